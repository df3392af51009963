//! What the values of a step lie in: one piece of the device's memory, cut into parts when the model is loaded.

use std::sync::Arc;

use candela_cuda::{
    arguments::{Assignments, Edit, Plan, Pointer, SamplingRow},
    cudarc::driver::CudaStream,
};
use candle_core::DType;

use super::{
    draws,
    error::GpuError,
    inputs::Limits,
    memory::{ALIGNMENT, Memory},
};
use crate::model::config::{DecoderConfig, ExpertsConfig, MlpConfig};

/// Tokens of a split of a decoded sequence, and most splits of one: enough for a sequence alone to fill a GPU of 132 multiprocessors from 4096
/// tokens on, few enough that their sums take little of the memory.
pub(super) const SPLIT_TOKENS: u32 = 128;
pub(super) const SPLITS_MAX: u32 = 32;

/// Everything that a step writes to, but the KV cache.
pub(super) struct Buffers {
    #[expect(dead_code, reason = "it is freed with the parts")]
    memory: Memory,
    pub(super) parts: Parts,
}

/// Its parts; `R` rows, `S` sequences.
#[derive(Debug, Clone)]
pub(super) struct Parts {
    /// The step's inputs.
    pub(super) inputs: Pointer,
    /// The residual stream, `[R, hidden]`.
    pub(super) x: Pointer,
    /// The same, normed.
    pub(super) normed: Pointer,
    /// `[R, (heads + 2 · kv_heads) · head_dim]`
    pub(super) qkv: Pointer,
    /// `[R, heads · head_dim]`
    pub(super) queries: Pointer,
    /// `[R, heads · head_dim]`
    pub(super) attended: Pointer,
    /// What joins the residual stream, `[R, hidden]`.
    pub(super) y: Pointer,
    /// `[R, 2 · intermediate]`, or of a mixture's assignments.
    pub(super) gate_up: Pointer,
    /// `[R, intermediate]`, or of a mixture's assignments.
    pub(super) gated: Pointer,
    /// Rows whose logits are wanted, `[logits rows, hidden]`.
    pub(super) wanted: Pointer,
    /// `[logits rows, vocab]` f32
    pub(super) logits: Pointer,
    /// `[S · splits, heads, head_dim]` f32
    pub(super) partial: Pointer,
    /// `[S · splits, heads, 2]` f32
    pub(super) partial_state: Pointer,
    /// One for each window that some layer has; 0: none.
    pub(super) plans: Vec<(u32, Plan)>,
    pub(super) mixture: Option<MixtureParts>,
    pub(super) draws: DrawParts,
}

/// Parts for drawing tokens; `L` logits rows.
#[derive(Debug, Clone, Copy)]
pub(super) struct DrawParts {
    /// `[L]` [`SamplingRow`]
    pub(super) rows: Pointer,
    /// How many of the likeliest tokens are told of, `[L]`.
    pub(super) tops: Pointer,
    /// [`Edit`], [`draws::edits_max`] of them.
    pub(super) edits: Pointer,
    /// The edited logits as they were, f32.
    pub(super) kept: Pointer,
    /// `[S, words of the vocabulary]`
    pub(super) masks: Pointer,
    /// What is drawn, as [`draws::Results`] has it.
    pub(super) drawn: Pointer,
}

/// Parts for mixtures of experts; `A` assignments.
#[derive(Debug, Clone, Copy)]
pub(super) struct MixtureParts {
    /// The router's logits, `[R, experts]` f32.
    pub(super) logits: Pointer,
    pub(super) assignments: Assignments,
    /// What the experts make of their rows, `[A, hidden]`.
    pub(super) out: Pointer,
}

impl Buffers {
    pub(super) fn new(
        stream: &Arc<CudaStream>,
        config: &DecoderConfig,
        dtype: DType,
        limits: &Limits,
    ) -> Result<Self, GpuError> {
        let memory = Memory::new(stream, bytes(config, dtype, limits), "the values of a step")?;
        let parts = Cut(memory.address).parts(config, dtype, limits);
        Ok(Self { memory, parts })
    }
}

/// Bytes that they take.
pub(super) fn bytes(config: &DecoderConfig, dtype: DType, limits: &Limits) -> usize {
    let mut cut = Cut(0);
    cut.parts(config, dtype, limits);
    cut.0 as usize
}

/// The windows of the layers, each once; 0: none.
pub(super) fn windows(config: &DecoderConfig) -> Vec<u32> {
    let mut windows: Vec<u32> = config.layers.iter().map(|l| window(l.window)).collect();
    windows.sort_unstable();
    windows.dedup();
    windows
}

/// As the kernels are told.
pub(super) fn window(window: Option<usize>) -> u32 {
    window.map_or(0, |window| u32::try_from(window).unwrap_or(u32::MAX))
}

/// Where the next part begins.
struct Cut(Pointer);

impl Cut {
    fn take(&mut self, count: usize, number_bytes: usize) -> Pointer {
        let at = self.0;
        self.0 = (at + (count * number_bytes) as u64).next_multiple_of(ALIGNMENT as u64);
        at
    }

    fn parts(&mut self, config: &DecoderConfig, dtype: DType, limits: &Limits) -> Parts {
        let &Limits {
            rows,
            sequences,
            logits_rows,
            ..
        } = limits;
        let (narrow, wide) = (dtype.size_in_bytes(), size_of::<f32>());
        let hidden = config.hidden;
        let queries = config.heads * config.head_dim;
        let qkv = queries + 2 * config.kv_heads * config.head_dim;
        let splits = sequences * SPLITS_MAX as usize;
        let inner = config.layers.iter().map(|layer| match &layer.mlp {
            MlpConfig::Dense { intermediate } => *intermediate,
            MlpConfig::Experts(experts) => experts.per_token * experts.intermediate,
        });
        let inner = inner.max().unwrap_or(0);
        let mixture = config.layers.iter().find_map(|layer| match &layer.mlp {
            MlpConfig::Dense { .. } => None,
            MlpConfig::Experts(experts) => Some(experts),
        });
        let windows = windows(config).into_iter();
        Parts {
            inputs: self.take(limits.words(), size_of::<u32>()),
            x: self.take(rows * hidden, narrow),
            normed: self.take(rows * hidden, narrow),
            qkv: self.take(rows * qkv, narrow),
            queries: self.take(rows * queries, narrow),
            attended: self.take(rows * queries, narrow),
            y: self.take(rows * hidden, narrow),
            gate_up: self.take(2 * rows * inner, narrow),
            gated: self.take(rows * inner, narrow),
            wanted: self.take(logits_rows * hidden, narrow),
            // Hidden states too, where those are wanted.
            logits: self.take(logits_rows * config.vocab.max(hidden), wide),
            partial: self.take(splits * queries, wide),
            partial_state: self.take(splits * config.heads * 2, wide),
            plans: windows
                .map(|window| (window, self.plan(sequences)))
                .collect(),
            mixture: mixture.map(|experts| self.mixture(experts, rows, hidden, narrow)),
            draws: self.draws(limits, config.vocab),
        }
    }

    fn draws(&mut self, limits: &Limits, vocab: usize) -> DrawParts {
        let (rows, edits) = (limits.logits_rows, draws::edits_max(vocab));
        DrawParts {
            rows: self.take(rows, size_of::<SamplingRow>()),
            tops: self.take(rows, size_of::<u32>()),
            edits: self.take(edits, size_of::<Edit>()),
            kept: self.take(edits, size_of::<f32>()),
            masks: self.take(limits.sequences * draws::words(vocab), size_of::<u32>()),
            drawn: self.take(draws::Results::new(rows).words(), size_of::<u32>()),
        }
    }

    fn plan(&mut self, sequences: usize) -> Plan {
        let word = size_of::<u32>();
        Plan {
            first_item: self.take(sequences + 1, word),
            items: self.take(sequences * SPLITS_MAX as usize, word),
            first_tile: self.take(sequences + 1, word),
        }
    }

    fn mixture(
        &mut self,
        experts: &ExpertsConfig,
        rows: usize,
        hidden: usize,
        number_bytes: usize,
    ) -> MixtureParts {
        let (word, assignments) = (size_of::<u32>(), rows * experts.per_token);
        MixtureParts {
            logits: self.take(rows * experts.count, word),
            assignments: Assignments {
                experts: self.take(assignments, word),
                weights: self.take(assignments, word),
                counts: self.take(experts.count, word),
                first: self.take(experts.count + 1, word),
                first_tile: self.take(experts.count + 1, word),
                tokens: self.take(assignments, word),
                places: self.take(assignments, word),
            },
            out: self.take(assignments * hidden, number_bytes),
        }
    }
}
