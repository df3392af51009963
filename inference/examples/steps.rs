//! Times the steps of a decoder on a device, without a server: decoding side by side, and whole prompts, as one JSON line each.
//!
//! `steps --model FOLDER --load-format dummy --device cuda --sequences 1,64,256 --context 512 --prompt 8192`
//!
//! A decode step counts from handing over the batch to having its greedy tokens, like the engine's. What it must move is the
//! weights, each once, the embedding aside unless it is the LM head too, and the keys and values of all sequences; what a
//! prompt must compute is two operations for each weight and token, and the products of queries, keys and values.
#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "it measures by the clock, serves no requests, and prints what it found"
)]

use std::time::Instant;

use anyhow::{Context, ensure};
use candela_engine::{
    model::{
        self, LoadProgress,
        runner::{Batch, Runner, blocks_for},
    },
    sampling::{Logits, Past, RowTask, Sampler, SamplingParams},
};
use candela_flags::{
    BatchedTokens, ContextLength, Device, Dtype, EngineFlags, KvBlocks, LoadFormat, MaxSequences,
    Quantization,
};
use clap::Parser;
use serde_json::{Value, json};

/// Time the steps of a decoder.
#[derive(Parser)]
struct Arguments {
    /// Folder of the model
    #[arg(long)]
    model: String,
    /// Where weights come from
    #[arg(long, value_enum, default_value_t = LoadFormat::Auto)]
    load_format: LoadFormat,
    /// Device to compute on, as the engine's --device
    #[arg(long, default_value_t = Device::Cpu)]
    device: Device,
    /// Type of weights, activations and KV cache
    #[arg(long, value_enum, default_value_t = Dtype::Auto)]
    dtype: Dtype,
    /// Quantize the matrices of a safetensors model while it is loaded
    #[arg(long, value_enum, default_value_t = Quantization::None)]
    quantization: Quantization,
    /// Sequences that decode side by side, each number in turn
    #[arg(long, value_delimiter = ',', default_values_t = [1, 64, 256])]
    sequences: Vec<usize>,
    /// Tokens that each of them has before
    #[arg(long, default_value_t = 512)]
    context: usize,
    /// Steps that are timed for each number of sequences
    #[arg(long, default_value_t = 50)]
    steps: usize,
    /// Lengths of prompts that are each computed in one step
    #[arg(long, value_delimiter = ',', default_values_t = [2048, 8192])]
    prompt: Vec<usize>,
    /// Prompts of each length that are timed
    #[arg(long, default_value_t = 5)]
    prompts: usize,
}

/// Steps before the timed ones: kernels are loaded, and a GPU's graph is recorded, in the first.
const WARM_UP: usize = 4;

/// What a model's steps are measured against.
struct Shape {
    vocab: usize,
    layers: usize,
    heads: usize,
    kv_heads: usize,
    head_dim: usize,
    /// Weights that every token meets.
    weights: usize,
    weight_bytes: f64,
    number_bytes: usize,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let most = arguments.sequences.iter().copied().max().unwrap_or(1);
    let longest = arguments.prompt.iter().copied().max().unwrap_or(1);
    let room = arguments.context + WARM_UP + arguments.steps;
    let positions = room.max(longest);
    let mut flags = EngineFlags::for_model(arguments.model.clone());
    flags.load_format = arguments.load_format;
    flags.dtype = arguments.dtype;
    flags.quantization = arguments.quantization;
    flags.max_model_len = Some(ContextLength::new(positions as u64)?);
    flags.max_num_seqs = MaxSequences::new(most as u64)?;
    flags.max_num_batched_tokens = BatchedTokens::new(longest.max(most).max(16) as u64)?;
    let blocks = (most * blocks_for(room)).max(blocks_for(positions));
    flags.num_gpu_blocks_override = Some(KvBlocks::new(blocks as u64)?);

    let files = model::open(&flags.model)?;
    let described = model::describe(&files, &flags)?;
    let begun = Instant::now();
    let device = model::open_device(arguments.device)?;
    let mut loaded = model::load(&files, device, &flags, &LoadProgress::default())?;
    let seconds = begun.elapsed().as_secs_f64();
    let shape = Shape::of(
        &files.read("config.json")?,
        described.parameters,
        loaded.dtype,
        arguments.quantization,
    )?;
    let loaded_line = json!({
        "what": "load", "seconds": seconds, "dtype": loaded.dtype, "parameters": described.parameters,
        "weight_bytes": shape.weight_bytes,
    });
    println!("{loaded_line}");
    let mut session = Session {
        runner: &mut *loaded.runner,
        vocab: shape.vocab,
        batch: Batch::default(),
        logits: Logits::default(),
        step_tokens: longest.max(most),
    };
    for &length in &arguments.prompt {
        println!(
            "{}",
            session.time_prompts(&shape, length, arguments.prompts)?
        );
    }
    for &sequences in &arguments.sequences {
        let (context, steps) = (arguments.context, arguments.steps);
        println!(
            "{}",
            session.time_decoding(&shape, (sequences, context), steps)?
        );
    }
    Ok(())
}

impl Shape {
    fn of(
        config: &[u8],
        parameters: usize,
        dtype: &str,
        quantization: Quantization,
    ) -> anyhow::Result<Self> {
        let config: Value = serde_json::from_slice(config).context("config.json")?;
        let number = |key: &str| {
            let number = config[key].as_u64().map(|number| number as usize);
            number.with_context(|| format!("config.json has no number {key}"))
        };
        let (hidden, heads, vocab) = (
            number("hidden_size")?,
            number("num_attention_heads")?,
            number("vocab_size")?,
        );
        let is_tied = config["tie_word_embeddings"].as_bool().unwrap_or(false);
        let weights = if is_tied {
            parameters
        } else {
            parameters - vocab * hidden
        };
        let number_bytes = if dtype == "float32" { 4 } else { 2 };
        let bits = match quantization {
            Quantization::None => 8.0 * number_bytes as f64,
            Quantization::Q8_0 => 8.5,
            Quantization::Q4K => 4.5,
        };
        Ok(Self {
            vocab,
            layers: number("num_hidden_layers")?,
            heads,
            kv_heads: number("num_key_value_heads").unwrap_or(heads),
            head_dim: number("head_dim").unwrap_or(hidden / heads),
            weights,
            weight_bytes: weights as f64 * bits / 8.0,
            number_bytes,
        })
    }

    /// Bytes that a step moves at least, of so many sequences with so many tokens.
    fn moved(&self, sequences: usize, context: usize) -> f64 {
        let token = 2 * self.layers * self.kv_heads * self.head_dim * self.number_bytes;
        self.weight_bytes + (sequences * context * token) as f64
    }

    /// Operations of a prompt: each token sees those before it, half of all on the average.
    fn operations(&self, length: usize) -> f64 {
        let attention = 2 * length * length * self.heads * self.head_dim * self.layers;
        2.0 * self.weights as f64 * length as f64 + attention as f64
    }
}

struct Session<'a> {
    runner: &'a mut dyn Runner,
    vocab: usize,
    batch: Batch,
    logits: Logits,
    /// Most of a step.
    step_tokens: usize,
}

impl Session<'_> {
    fn time_prompts(
        &mut self,
        shape: &Shape,
        length: usize,
        count: usize,
    ) -> anyhow::Result<Value> {
        let tokens: Vec<u32> = self.tokens(0, length);
        let blocks: Vec<u32> = (0..blocks_for(length) as u32).collect();
        let mut seconds = Vec::new();
        for _ in 0..=count {
            self.batch.clear();
            self.batch.block_table_width = blocks.len();
            self.batch.push(&tokens, 0, &blocks, true);
            seconds.push(self.step()?);
        }
        let median = median(&mut seconds[1..]);
        Ok(json!({
            "what": "prompt", "tokens": length, "seconds": median, "tokens_per_second": length as f64 / median,
            "tera_operations_per_second": shape.operations(length) / median / 1e12,
        }))
    }

    fn time_decoding(
        &mut self,
        shape: &Shape,
        (sequences, context): (usize, usize),
        steps: usize,
    ) -> anyhow::Result<Value> {
        let width = blocks_for(context + WARM_UP + steps);
        // Interleaved, so that no table is a plain range.
        let tables: Vec<Vec<u32>> = (0..sequences)
            .map(|at| {
                (0..width)
                    .map(|block| (block * sequences + at) as u32)
                    .collect()
            })
            .collect();
        for (at, table) in tables.iter().enumerate() {
            let tokens = self.tokens(at, context);
            for first in (0..context).step_by(self.step_tokens) {
                let part = &tokens[first..context.min(first + self.step_tokens)];
                self.batch.clear();
                self.batch.block_table_width = width;
                self.batch.push(part, first, table, false);
                self.step()?;
            }
        }
        let mut seconds = Vec::new();
        for step in 0..WARM_UP + steps {
            self.batch.clear();
            self.batch.block_table_width = width;
            for (at, table) in tables.iter().enumerate() {
                let token = [((at * 31 + step * 7) % self.vocab) as u32];
                self.batch.push(&token, context + step, table, true);
            }
            seconds.push(self.step()?);
        }
        let timed = &mut seconds[WARM_UP..];
        let median = median(timed);
        let moved = shape.moved(sequences, context + WARM_UP + steps / 2);
        Ok(json!({
            "what": "decode", "sequences": sequences, "context": context, "seconds": median,
            "slowest_seconds": timed.last(), "tokens_per_second": sequences as f64 / median,
            "giga_bytes_per_second": moved / median / 1e9,
        }))
    }

    fn tokens(&self, sequence: usize, count: usize) -> Vec<u32> {
        let token = |at: usize| ((at * 37 + sequence * 101 + 5) % self.vocab) as u32;
        (0..count).map(token).collect()
    }

    /// Runs the batch to its greedy tokens; the seconds that it takes.
    fn step(&mut self) -> anyhow::Result<f64> {
        let begun = Instant::now();
        let params = SamplingParams::greedy(1);
        let wanted = self.batch.logits_idx.len();
        let mut samplers: Vec<Sampler> = (0..wanted).map(|_| Sampler::new(0, 0)).collect();
        let draws = samplers
            .iter_mut()
            .map(|sampler| sampler.draw(&params, None, &[], Past::default()));
        let drawn = match self.runner.device_sampler() {
            Some(device) => {
                let mut drawn = Vec::with_capacity(wanted);
                device.begin(&self.batch)?;
                device.draw(&mut draws.map(RowTask::Draw), &mut drawn)?;
                drawn
            }
            None => {
                self.runner.forward(&self.batch, &mut self.logits)?;
                let rows = self.logits.data.chunks_mut(self.logits.vocab);
                draws.zip(rows).map(|(draw, row)| draw.of(row)).collect()
            }
        };
        ensure!(drawn.len() == wanted, "a row has no token");
        drawn.into_iter().collect::<Result<Vec<_>, _>>()?;
        Ok(begun.elapsed().as_secs_f64())
    }
}

/// Leaves them sorted.
fn median(seconds: &mut [f64]) -> f64 {
    seconds.sort_by(f64::total_cmp);
    seconds[seconds.len() / 2]
}
