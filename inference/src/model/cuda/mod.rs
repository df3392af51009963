//! The runner on a GPU: a decoder whose weights, KV cache and values all lie in the device's memory.
//!
//! `load.rs` plans the memory and fills it, `weights.rs` holds the weights, `buffers.rs` cuts up the rest, `inputs.rs` lays a step's inputs out
//! for one copy, `pass.rs` is the forward pass as launches, of `kernels.rs` and `products.rs`, `graph.rs` records them.
//!
//! # Guarantees
//! A row's result depends on its own sequence and on how many rows its step is padded to ([`padded`], [`bucket`]), not on what is in the
//! other rows. The number of rows decides which algorithm cuBLASLt takes, and with it the last bits of a result.

mod buffers;
mod error;
mod graph;
mod inputs;
mod kernels;
mod load;
mod memory;
mod pass;
mod products;
mod weights;

use std::{collections::BTreeMap, sync::Arc};

use candela_cuda::{arguments::Pointer, cudarc::driver::CudaStream};

pub use error::GpuError;
pub(super) use load::{check, load, plan};

use self::{
    graph::Graph,
    inputs::{Layout, Limits},
    memory::Pinned,
    pass::{Decoder, Step},
};
use super::runner::{Batch, Pooled, Runner, RunnerError};
use crate::sampling::Logits;

/// Up to so many rows are padded to a power of two, more to a multiple of it.
const ROWS_STEP: usize = 64;

/// A decoder on a GPU.
pub(super) struct CudaRunner {
    /// How often each bucket of decoded sequences was met. They go before what they refer to.
    buckets: BTreeMap<usize, Bucket>,
    decoder: Decoder,
    /// Freed behind what lies in it.
    #[expect(dead_code, reason = "the decoder's parts lie in it")]
    buffers: buffers::Buffers,
    stream: Arc<CudaStream>,
    inputs: Pinned<u32>,
    results: Pinned<f32>,
    limits: Limits,
    positions: usize,
}

/// A number of decoded sequences.
enum Bucket {
    /// Its launches were done once, one by one: kernels are loaded, and products chosen, when they are first used.
    Met,
    /// They are recorded.
    Recorded(Graph),
}

/// What is made of the wanted rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wanted {
    Logits,
    States,
}

impl Runner for CudaRunner {
    /// Returns when the device has finished the step: the time between schedule and return is the device's, and a host that waits here does
    /// nothing else.
    fn forward(&mut self, batch: &Batch, logits: &mut Logits) -> Result<(), RunnerError> {
        logits.vocab = self.decoder.model.config.vocab;
        logits.data.clear();
        if self.decoder.model.lm_head.is_none() {
            return Err(RunnerError(
                "the model was loaded without an LM head".to_owned(),
            ));
        }
        self.run(batch, Wanted::Logits, &mut logits.data)
    }

    /// The last token's hidden state.
    fn pool(&mut self, batch: &Batch, pooled: &mut Pooled) -> Result<(), RunnerError> {
        pooled.width = self.decoder.model.config.hidden;
        pooled.data.clear();
        self.run(batch, Wanted::States, &mut pooled.data)
    }
}

impl CudaRunner {
    fn run(
        &mut self,
        batch: &Batch,
        wanted: Wanted,
        results: &mut Vec<f32>,
    ) -> Result<(), RunnerError> {
        if batch.input_ids.is_empty() {
            return Ok(());
        }
        self.check(batch)?;
        self.pass(batch, wanted, results).map_err(|error| {
            // What was begun may still read the inputs, which the next step writes to. That the step failed is said already.
            let _ = self.stream.synchronize();
            RunnerError(error.to_string())
        })
    }

    /// That the batch stays within what was allocated: a kernel does not look.
    fn check(&self, batch: &Batch) -> Result<(), RunnerError> {
        let Limits {
            rows, sequences, ..
        } = self.limits;
        let (tokens, count) = (batch.input_ids.len(), batch.sequences());
        if tokens > rows || count > sequences {
            return Err(RunnerError(format!(
                "a batch of {tokens} tokens of {count} sequences, and there is memory for {rows} and {sequences}: raise \
                 --max-num-batched-tokens or --max-num-seqs"
            )));
        }
        let known = self.positions;
        let slots = self.decoder.cache.blocks * super::runner::BLOCK_TOKENS;
        if let Some(at) = batch.positions.iter().find(|&&at| at as usize >= known) {
            return Err(RunnerError(format!(
                "position {at} of {known} that there are"
            )));
        }
        if let Some(slot) = batch.slot_mapping.iter().find(|&&s| s as usize >= slots) {
            return Err(RunnerError(format!("slot {slot} is outside the cache")));
        }
        Ok(())
    }

    fn pass(
        &mut self,
        batch: &Batch,
        wanted: Wanted,
        results: &mut Vec<f32>,
    ) -> Result<(), GpuError> {
        self.stream
            .context()
            .bind_to_thread()
            .map_err(GpuError::driver("using the GPU from this thread"))?;
        if batch.max_seqlen_q == 1 && wanted == Wanted::Logits {
            return self.decode(batch, results);
        }
        let wanted_rows = batch.logits_idx.len();
        let layout = Layout::new(
            padded(batch.input_ids.len()),
            batch.sequences(),
            wanted_rows.next_multiple_of(ROWS_STEP),
            self.limits.table_width,
        );
        let singles = batch.cu_seqlens_q.windows(2).any(|s| s[1] - s[0] == 1);
        let step = self.send(batch, &layout, (singles, batch.max_seqlen_q > 1))?;
        self.decoder.states(&step)?;
        if wanted_rows == 0 {
            return self.wait();
        }
        for first in (0..wanted_rows).step_by(self.limits.logits_rows) {
            let rows = self.limits.logits_rows.min(wanted_rows - first);
            let padded = padded(rows).min(self.limits.logits_rows);
            self.decoder.wanted(&step, first, padded)?;
            let width = match wanted {
                Wanted::Logits => {
                    let states = self.decoder.parts.wanted;
                    self.decoder.logits(states, padded)?;
                    self.decoder.model.config.vocab
                }
                Wanted::States => {
                    self.decoder.wide_states(padded)?;
                    self.decoder.model.config.hidden
                }
            };
            results.extend_from_slice(self.receive(rows * width)?);
        }
        Ok(())
    }

    /// A step in which every sequence has one token: by the graph of its bucket.
    fn decode(&mut self, batch: &Batch, results: &mut Vec<f32>) -> Result<(), GpuError> {
        let sequences = batch.sequences();
        let bucket = bucket(sequences, self.limits.sequences);
        let layout = Layout::new(bucket, bucket, bucket, self.limits.table_width);
        let step = self.send(batch, &layout, (true, false))?;
        let decoder = &mut self.decoder;
        let mut launch = || {
            decoder.states(&step)?;
            decoder.logits(decoder.parts.normed, bucket)
        };
        match self.buckets.get(&bucket) {
            None => {
                launch()?;
                self.buckets.insert(bucket, Bucket::Met);
            }
            Some(Bucket::Met) => {
                let graph = Graph::record(&self.stream, launch)?;
                graph.launch()?;
                self.buckets.insert(bucket, Bucket::Recorded(graph));
            }
            Some(Bucket::Recorded(graph)) => graph.launch()?,
        }
        let vocab = self.decoder.model.config.vocab;
        let rows = self.receive(sequences * vocab)?;
        for &row in &batch.logits_idx {
            results.extend_from_slice(&rows[row as usize * vocab..][..vocab]);
        }
        Ok(())
    }

    /// Begins to bring the batch to the device.
    fn send(
        &mut self,
        batch: &Batch,
        layout: &Layout,
        (decodes, prefills): (bool, bool),
    ) -> Result<Step, GpuError> {
        layout.write(batch, self.inputs.numbers_mut());
        let base: Pointer = self.decoder.parts.inputs;
        self.inputs.send(&self.stream, layout.words(), base)?;
        Ok(Step {
            inputs: layout.on_device(base),
            rows: layout.rows,
            decodes,
            prefills,
        })
    }

    /// The first results, when the device has finished.
    fn receive(&mut self, count: usize) -> Result<&[f32], GpuError> {
        let from = self.decoder.parts.logits;
        self.results.receive(&self.stream, count, from)?;
        self.wait()?;
        Ok(&self.results.numbers()[..count])
    }

    fn wait(&self) -> Result<(), GpuError> {
        self.stream
            .synchronize()
            .map_err(GpuError::driver("waiting for the step"))
    }
}

/// Rows that a step with prompts is run as: of products there are then few sizes, and for each an algorithm is chosen once.
fn padded(rows: usize) -> usize {
    if rows <= ROWS_STEP {
        rows.next_power_of_two()
    } else {
        rows.next_multiple_of(ROWS_STEP)
    }
}

/// Places that so many decoded sequences are run in, of at most `most`.
fn bucket(sequences: usize, most: usize) -> usize {
    sequences.next_power_of_two().min(most)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_padded_to_few_sizes() {
        assert_eq!([1, 2, 3, 33, 64].map(padded), [1, 2, 4, 64, 64]);
        assert_eq!([65, 128, 500].map(padded), [128, 128, 512]);
        assert_eq!([1, 3, 5, 48].map(|n| bucket(n, 48)), [1, 4, 8, 48]);
    }
}
