//! Writes the logits of every position of some prompts: what the parity suite compares with another
//! implementation, and a way to look at a model without a server.
//!
//! `logits --model FOLDER --prompts prompts.json --out logits.safetensors`, where `prompts.json` is a
//! list of lists of token ids. The tensor named `3` holds the logits of the fourth prompt, `[T, V]` f32.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, ensure};
use candela_engine::{
    model::{
        self, LoadProgress,
        runner::{Batch, Runner, blocks_for},
    },
    sampling::Logits,
};
use candela_flags::{
    BatchedTokens, ContextLength, Device, Dtype, EngineFlags, KvBlocks, MaxSequences, Quantization,
};
use clap::Parser;
use safetensors::tensor::{Dtype as Stored, TensorView};

/// Write the logits of every position of some prompts.
#[derive(Parser)]
struct Arguments {
    /// Folder of the model, or its GGUF file
    #[arg(long)]
    model: String,
    /// Device to compute on, as the engine's --device
    #[arg(long, default_value_t = Device::Cpu)]
    device: Device,
    /// Type of weights, activations and KV cache
    #[arg(long, value_enum, default_value_t = Dtype::Auto)]
    dtype: Dtype,
    /// Quantize the matrices of a safetensors model while it is loaded
    #[arg(long, value_enum, default_value_t = Quantization::None)]
    quantization: Quantization,
    /// Tokens of one sequence [default: what the model was made for]
    #[arg(long)]
    max_model_len: Option<ContextLength>,
    /// Tokens that one step takes of each prompt; all prompts are in every step together
    #[arg(long, default_value_t = usize::MAX)]
    chunk: usize,
    /// JSON: a list of lists of token ids
    #[arg(long)]
    prompts: PathBuf,
    /// Where the logits go, as safetensors
    #[arg(long)]
    out: PathBuf,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let path = &arguments.prompts;
    let text = fs::read(path).with_context(|| path.display().to_string())?;
    let prompts: Vec<Vec<u32>> = serde_json::from_slice(&text).context("the prompts")?;
    ensure!(arguments.chunk > 0, "--chunk must be at least 1");

    let longest = prompts.iter().map(Vec::len).max().unwrap_or(0);
    let width = blocks_for(longest);
    let mut flags = EngineFlags::for_model(arguments.model);
    flags.dtype = arguments.dtype;
    flags.quantization = arguments.quantization;
    flags.max_model_len = arguments.max_model_len;
    let fewest = flags
        .max_model_len
        .map_or(0, |len| blocks_for(len.as_usize()));
    let blocks = fewest.max(width * prompts.len()).max(2);
    flags.num_gpu_blocks_override = Some(KvBlocks::new(blocks as u64)?);

    // A GPU has memory for as much as is said here.
    let step: usize = prompts.iter().map(|p| p.len().min(arguments.chunk)).sum();
    flags.max_num_batched_tokens = BatchedTokens::new(step.max(16) as u64)?;
    flags.max_num_seqs = MaxSequences::new(prompts.len().max(1) as u64)?;

    let files = model::open(&flags.model)?;
    let device = model::open_device(arguments.device)?;
    let mut model = model::load(&files, device, &flags, &LoadProgress::default())?;
    ensure!(
        longest <= model.max_model_len,
        "a prompt of {longest} tokens is longer than the model's {}",
        model.max_model_len
    );
    for id in prompts.iter().flatten() {
        ensure!(
            (*id as usize) < model.vocab_size,
            "token {id} is not in the vocabulary"
        );
    }
    let rows = run(model.runner.as_mut(), &prompts, arguments.chunk, width)?;
    save(&rows, model.vocab_size, &arguments.out)
}

/// The logits of every token of each prompt, `[T × V]`. The blocks of the prompts are interleaved, so
/// that no block table is a plain range.
fn run(
    runner: &mut dyn Runner,
    prompts: &[Vec<u32>],
    chunk: usize,
    width: usize,
) -> anyhow::Result<Vec<Vec<f32>>> {
    let tables: Vec<Vec<u32>> = (0..prompts.len())
        .map(|at| {
            (0..width)
                .map(|block| (block * prompts.len() + at) as u32)
                .collect()
        })
        .collect();
    let mut rows = vec![Vec::new(); prompts.len()];
    let mut done = vec![0; prompts.len()];
    let (mut batch, mut logits) = (Batch::default(), Logits::default());
    loop {
        batch.clear();
        batch.block_table_width = width;
        let mut parts = Vec::new();
        for (at, prompt) in prompts.iter().enumerate() {
            let (from, tokens) = (done[at], chunk.min(prompt.len() - done[at]));
            if tokens > 0 {
                let next = &prompt[from..from + tokens];
                let used = &tables[at][..blocks_for(from + tokens)];
                batch.push(next, from, used, false);
                done[at] += tokens;
                parts.push((at, tokens));
            }
        }
        if parts.is_empty() {
            return Ok(rows);
        }
        batch.logits_idx = (0..batch.input_ids.len() as u32).collect();
        runner.forward(&batch, &mut logits)?;
        let mut rest = logits.data.as_slice();
        for (at, tokens) in parts {
            let (these, after) = rest.split_at(tokens * logits.vocab);
            rows[at].extend_from_slice(these);
            rest = after;
        }
    }
}

fn save(rows: &[Vec<f32>], vocab: usize, out: &Path) -> anyhow::Result<()> {
    let bytes: Vec<Vec<u8>> = rows
        .iter()
        .map(|row| row.iter().flat_map(|logit| logit.to_le_bytes()).collect())
        .collect();
    let tensors = bytes
        .iter()
        .enumerate()
        .map(|(at, bytes)| {
            let shape = vec![bytes.len() / 4 / vocab, vocab];
            Ok((at.to_string(), TensorView::new(Stored::F32, shape, bytes)?))
        })
        .collect::<Result<BTreeMap<_, _>, safetensors::SafeTensorError>>()?;
    safetensors::serialize_to_file(&tensors, None, out).with_context(|| out.display().to_string())
}
