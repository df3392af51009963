//! Weights that nobody trained: every tensor that a configuration asks for, of random numbers, so that a shape of model can be
//! measured without its files.

use std::{cell::RefCell, collections::BTreeMap};

use candle_core::DType;
use half::{bf16, f16};
use rand::{RngExt, SeedableRng, rngs::SmallRng};

use super::{
    config::DecoderConfig,
    layer::{ExpertMatrices, Form, Layer, Matrices, Place},
    saved::{Saved, SavedType, Undo},
    weights::WeightsError,
};

/// Where messages say that a tensor is from.
const FILE: &str = "--load-format=dummy";
/// Numbers after which they come again: a prime, so that no two rows of a matrix are the same.
const PERIOD: usize = 1_000_003;
/// The largest number of a matrix. A row of thousands of them leaves what it meets about as large as it was.
const LARGEST: f32 = 0.03;
const SEED: u64 = 1;

/// Names and shapes, and numbers that all tensors take theirs from.
pub(super) struct DummyWeights {
    shapes: BTreeMap<String, Vec<usize>>,
    dtype: DType,
    /// As many as the largest tensor has, and a period.
    numbers: Vec<u8>,
    ones: Vec<u8>,
}

impl DummyWeights {
    pub(super) fn new(config: &DecoderConfig, dtype: DType) -> Result<Self, WeightsError> {
        let shapes = shapes(config)?;
        let counts = shapes.values().map(|shape| shape.iter().product::<usize>());
        let largest = counts.max().unwrap_or(0);
        let widest = shapes
            .values()
            .filter(|shape| shape.len() == 1)
            .map(|shape| shape[0]);
        let one = bytes(dtype, 1.0);
        let mut random = SmallRng::seed_from_u64(SEED);
        let period: Vec<u8> = (0..PERIOD)
            .flat_map(|_| bytes(dtype, random.random_range(-LARGEST..LARGEST)))
            .collect();
        Ok(Self {
            dtype,
            numbers: repeated(&period, largest * dtype.size_in_bytes() + period.len()),
            ones: one.repeat(widest.max().unwrap_or(0)),
            shapes,
        })
    }

    pub(super) fn find(&self, name: &str) -> Option<Saved<'_>> {
        let (name, shape) = self.shapes.get_key_value(name)?;
        Some(self.saved(name, shape))
    }

    pub(super) fn all(&self) -> impl Iterator<Item = Saved<'_>> {
        self.shapes
            .iter()
            .map(|(name, shape)| self.saved(name, shape))
    }

    fn saved(&self, name: &str, shape: &[usize]) -> Saved<'_> {
        let number_bytes = self.dtype.size_in_bytes();
        let count = shape.iter().product::<usize>() * number_bytes;
        let bytes = if name.ends_with("norm.weight") {
            &self.ones[..count]
        } else {
            let place = name.bytes().fold(0, |place: usize, byte| {
                place * 31 % PERIOD + usize::from(byte)
            });
            &self.numbers[place % PERIOD * number_bytes..][..count]
        };
        Saved {
            file: FILE,
            name: name.to_owned(),
            shape: shape.to_vec(),
            kind: SavedType::Float(self.dtype),
            bytes,
            undo: Undo::Nothing,
        }
    }
}

fn bytes(dtype: DType, number: f32) -> Vec<u8> {
    match dtype {
        DType::BF16 => bf16::from_f32(number).to_le_bytes().to_vec(),
        DType::F16 => f16::from_f32(number).to_le_bytes().to_vec(),
        _ => number.to_le_bytes().to_vec(),
    }
}

fn repeated(period: &[u8], count: usize) -> Vec<u8> {
    let mut all = Vec::with_capacity(count);
    while all.len() < count {
        let rest = count - all.len();
        all.extend_from_slice(&period[..rest.min(period.len())]);
    }
    all
}

/// What a decoder of this configuration takes out of its files.
fn shapes(config: &DecoderConfig) -> Result<BTreeMap<String, Vec<usize>>, WeightsError> {
    let recorder = Recorder(RefCell::default());
    for index in 0..config.layers.len() {
        Layer::load(config, &recorder, index)?;
    }
    let (hidden, vocab) = (config.hidden, config.vocab);
    recorder.norm("model.norm.weight", hidden)?;
    recorder.put("model.embed_tokens.weight", &[vocab, hidden]);
    if !config.tied && !config.headless {
        recorder.put("lm_head.weight", &[vocab, hidden]);
    }
    Ok(recorder.0.into_inner())
}

/// Writes down what is asked of it.
struct Recorder(RefCell<BTreeMap<String, Vec<usize>>>);

enum Nothing {}

impl Form for Nothing {
    type Norm = ();
    type Linear = ();
    type Gated = ();
    type Experts = ();
}

impl Recorder {
    fn put(&self, name: &str, shape: &[usize]) {
        self.0.borrow_mut().insert(name.to_owned(), shape.to_vec());
    }
}

impl Place<Nothing> for Recorder {
    fn norm(&self, name: &str, width: usize) -> Result<(), WeightsError> {
        self.put(name, &[width]);
        Ok(())
    }

    fn linear(&self, matrices: &Matrices) -> Result<(), WeightsError> {
        for (at, (name, &rows)) in matrices.names.iter().zip(&matrices.rows).enumerate() {
            self.put(name, &[rows, matrices.columns]);
            if let Some(biases) = &matrices.biases {
                self.put(&biases[at], &[rows]);
            }
        }
        Ok(())
    }

    fn gated(&self, matrices: &Matrices) -> Result<(), WeightsError> {
        self.linear(matrices)
    }

    fn experts(&self, experts: &ExpertMatrices) -> Result<(), WeightsError> {
        self.linear(&experts.router)?;
        experts.experts.iter().try_for_each(|(gate_up, down)| {
            self.linear(gate_up)?;
            self.linear(down)
        })
    }
}

#[cfg(test)]
mod tests {
    use candela_flags::{ContextLength, Device as Asked, EngineFlags, LoadFormat};

    use super::*;
    use crate::{
        model::{self, Device, LoadProgress, config::ModelConfig, runner::Batch, shards::Shards},
        sampling::Logits,
    };

    #[test]
    fn what_is_made_up_is_what_a_trained_model_has() {
        let files = model::open("builtin://demo").unwrap();
        let config = files.read("config.json").unwrap();
        let ModelConfig::Decoder(config) = ModelConfig::parse(&config, None).unwrap() else {
            panic!("the demo model is a decoder");
        };
        let dummy = DummyWeights::new(&config, DType::BF16).unwrap();
        let shards = Shards::open(&files).unwrap();
        let mut trained: Vec<(String, Vec<usize>)> = shards
            .names()
            .map(|name| (name.to_owned(), shards.find(name).unwrap().shape))
            .collect();
        trained.sort();
        let made_up: Vec<(String, Vec<usize>)> = dummy
            .all()
            .map(|saved| (saved.name.clone(), saved.shape))
            .collect();
        assert_eq!(made_up, trained);
        for saved in dummy.all() {
            assert_eq!(saved.bytes.len(), 2 * saved.shape.iter().product::<usize>());
        }
    }

    #[test]
    fn a_configuration_alone_is_run() {
        let folder = tempfile::tempdir().unwrap();
        let config = serde_json::json!({
            "architectures": ["Qwen3MoeForCausalLM"],
            "num_hidden_layers": 2, "hidden_size": 64, "num_attention_heads": 4, "num_key_value_heads": 2,
            "head_dim": 16, "intermediate_size": 96, "moe_intermediate_size": 32, "num_experts": 4,
            "num_experts_per_tok": 2, "vocab_size": 100, "max_position_embeddings": 128,
            "tie_word_embeddings": false, "rms_norm_eps": 1e-6, "rope_theta": 10000.0, "eos_token_id": 2,
        });
        std::fs::write(folder.path().join("config.json"), config.to_string()).unwrap();
        let mut flags = EngineFlags::for_model(folder.path().to_str().unwrap());
        flags.load_format = LoadFormat::Dummy;
        flags.max_model_len = Some(ContextLength::new(64).unwrap());
        flags.device = Asked::Cpu;
        let files = model::open(&flags.model).unwrap();
        let loaded = model::load(&files, Device::Cpu, &flags, &LoadProgress::default());
        let mut loaded = loaded.unwrap();
        let (mut batch, mut logits) = (Batch::default(), Logits::default());
        batch.clear();
        batch.block_table_width = 1;
        batch.push(&[1, 2, 3], 0, &[0], true);
        loaded.runner.forward(&batch, &mut logits).unwrap();
        assert_eq!(logits.data.len(), 100);
        assert!(logits.data.iter().all(|logit| logit.is_finite()));
        let apart = logits.data.iter().any(|logit| *logit != logits.data[0]);
        assert!(apart, "the weights are random");
    }
}
