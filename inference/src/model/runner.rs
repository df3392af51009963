//! What the engine asks of a model: one forward pass over a ragged batch. No candle here.

use crate::sampling::{Drawn, Logits, RowTask};

/// Tokens of a KV block.
pub const BLOCK_TOKENS: usize = 32;

/// Most tokens of a step, beside the last of each sequence, whose logits are computed: those of prompts
/// that are scored. Each takes as many numbers as the vocabulary has tokens.
pub const PROMPT_LOGITS_ROWS_MAX: usize = 64;

/// Blocks that hold `tokens` tokens.
pub const fn blocks_for(tokens: usize) -> usize {
    tokens.div_ceil(BLOCK_TOKENS)
}

/// The tokens of one step, sequence after sequence, without padding. `T` tokens of `S` sequences.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Batch {
    /// Token ids, `[T]`.
    pub input_ids: Vec<u32>,
    /// Position of each token in its sequence, `[T]`.
    pub positions: Vec<u32>,
    /// Where each token's key and value go: block × 32 + offset, `[T]`.
    pub slot_mapping: Vec<u32>,
    /// Each sequence's blocks, `[S, block_table_width]`, unused ends 0.
    pub block_tables: Vec<u32>,
    /// Width of `block_tables`.
    pub block_table_width: usize,
    /// Where each sequence's tokens begin in this batch, and the end, `[S + 1]`.
    pub cu_seqlens_q: Vec<u32>,
    /// Tokens of each sequence with those of this batch, `[S]`.
    pub seqlens_k: Vec<u32>,
    /// Most tokens of one sequence in this batch.
    pub max_seqlen_q: usize,
    /// Longest sequence.
    pub max_seqlen_k: usize,
    /// Tokens whose logits are wanted, ascending, `[R]`.
    pub logits_idx: Vec<u32>,
}

impl Batch {
    /// Empties it, its memory kept.
    pub fn clear(&mut self) {
        let Self {
            input_ids,
            positions,
            slot_mapping,
            block_tables,
            block_table_width,
            cu_seqlens_q,
            seqlens_k,
            max_seqlen_q,
            max_seqlen_k,
            logits_idx,
        } = self;
        for list in [
            input_ids,
            positions,
            slot_mapping,
            block_tables,
            seqlens_k,
            logits_idx,
        ] {
            list.clear();
        }
        cu_seqlens_q.clear();
        cu_seqlens_q.push(0);
        (*block_table_width, *max_seqlen_q, *max_seqlen_k) = (0, 0, 0);
    }

    /// Number of sequences.
    pub fn sequences(&self) -> usize {
        self.seqlens_k.len()
    }

    /// Asks for the logits of tokens of the sequence that is pushed next, by their places among its tokens
    /// of this batch, the last aside.
    pub fn want_logits(&mut self, places: std::ops::Range<usize>) {
        let first = self.input_ids.len();
        self.logits_idx
            .extend(places.map(|place| (first + place) as u32));
    }

    /// Adds a sequence: its next `tokens`, the first at `position`, and the blocks that hold it.
    /// `block_table_width` must be set to at least `blocks.len()` before. With `wants_logits`, those
    /// of its last token are computed; [`Self::want_logits`] before asks for more.
    pub fn push(&mut self, tokens: &[u32], position: usize, blocks: &[u32], wants_logits: bool) {
        assert!(
            blocks.len() <= self.block_table_width,
            "block table wider than the batch's"
        );
        let end = position + tokens.len();
        for (at, &token) in (position..end).zip(tokens) {
            let slot = blocks[at / BLOCK_TOKENS] as usize * BLOCK_TOKENS + at % BLOCK_TOKENS;
            self.input_ids.push(token);
            self.positions.push(at as u32);
            self.slot_mapping.push(slot as u32);
        }
        self.block_tables.extend_from_slice(blocks);
        self.block_tables.resize(
            self.block_tables.len() + self.block_table_width - blocks.len(),
            0,
        );
        self.cu_seqlens_q.push(self.input_ids.len() as u32);
        self.seqlens_k.push(end as u32);
        self.max_seqlen_q = self.max_seqlen_q.max(tokens.len());
        self.max_seqlen_k = self.max_seqlen_k.max(end);
        if wants_logits {
            self.logits_idx.push(self.input_ids.len() as u32 - 1);
        }
    }
}

/// What a model is run for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunnerType {
    /// To go on with a text, token by token.
    Generate,
    /// To make a vector of a text.
    Pooling {
        /// A text goes through the model in one step, since its tokens see those behind them.
        whole_prompts: bool,
    },
}

/// Vectors of texts, one below the other, as a runner pools them.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Pooled {
    /// Numbers of each.
    pub width: usize,
    /// `[R, width]`
    pub data: Vec<f32>,
}

impl Pooled {
    /// One of the vectors.
    pub fn row(&self, row: usize) -> &[f32] {
        &self.data[row * self.width..(row + 1) * self.width]
    }
}

/// A forward pass that failed.
#[derive(Debug, thiserror::Error)]
#[error("the forward pass failed: {0}")]
pub struct RunnerError(pub String);

/// A model on a device, with its KV cache.
pub trait Runner: Send {
    /// Runs the batch: writes keys and values at `slot_mapping` and fills `logits` with a row for each
    /// of `logits_idx`, `[R, V]`.
    ///
    /// # Guarantees
    /// A row depends on its own sequence only, not on what else is in the batch. A pass that failed or
    /// panicked leaves nothing behind but keys and values at its own `slot_mapping`: its sequences may
    /// be run again.
    ///
    /// # Errors
    /// [`RunnerError`] when the pass failed; the engine then runs its sequences one by one, and stops if
    /// it is the device that is broken.
    fn forward(&mut self, batch: &Batch, logits: &mut Logits) -> Result<(), RunnerError>;

    /// Runs the batch of a model that is run for [`RunnerType::Pooling`]: fills `pooled` with the vector
    /// of each sequence whose last token is among `logits_idx`, `[R, width]`. The same is guaranteed.
    ///
    /// # Errors
    /// [`RunnerError`] when the pass failed, or the model is run to generate.
    fn pool(&mut self, _batch: &Batch, _pooled: &mut Pooled) -> Result<(), RunnerError> {
        Err(RunnerError("the model is run to generate".to_owned()))
    }

    /// What draws tokens where the logits are, if the device does that. A model that generates is then run by it instead of by
    /// [`Self::forward`].
    fn device_sampler(&mut self) -> Option<&mut dyn DeviceSampler> {
        None
    }
}

/// Tasks of the rows of a step, in the order of [`Batch::logits_idx`].
pub type RowTasks<'a> = dyn Iterator<Item = RowTask<'a>> + 'a;

/// A device that draws tokens itself, so that no row of logits leaves it. What is guaranteed of [`Runner::forward`] is guaranteed here too.
pub trait DeviceSampler {
    /// Begins to run the batch: the device works while the host finds out what the tasks are.
    ///
    /// # Errors
    /// [`RunnerError`] when the pass failed, as far as that is known yet.
    fn begin(&mut self, batch: &Batch) -> Result<(), RunnerError>;

    /// Fills `drawn` with what comes of each wanted row of the batch that was begun, when the device has finished. Rows that there is no
    /// task for are skipped.
    ///
    /// # Errors
    /// [`RunnerError`] when the pass or the drawing failed.
    fn draw(&mut self, tasks: &mut RowTasks<'_>, drawn: &mut Vec<Drawn>)
    -> Result<(), RunnerError>;
}
