//! The runner on a GPU: a decoder whose weights, KV cache and values all lie in the device's memory.
//!
//! `load.rs` plans the memory and fills it, `weights.rs` holds the weights, `blocks.rs` those in blocks, `buffers.rs` cuts up the rest,
//! `inputs.rs` lays a step's inputs out for one copy, `pass.rs` is the forward pass as launches, of `kernels.rs` and `multiply.rs` with
//! `products.rs`, `graph.rs` records them, `draws.rs` makes tokens of the logits.
//!
//! # Guarantees
//! A row's result depends on its own sequence and on how many rows its step is padded to ([`padded`], [`bucket`]), not on what is in the
//! other rows. The number of rows decides which algorithm cuBLASLt takes, and with it the last bits of a result.

mod blocks;
mod buffers;
mod draws;
mod error;
mod graph;
mod inputs;
mod kernels;
mod load;
mod memory;
mod multiply;
mod pass;
mod products;
mod weights;

use std::{collections::BTreeMap, sync::Arc};

use candela_cuda::{arguments::Pointer, cudarc::driver::CudaStream};

pub use error::GpuError;
pub(super) use load::{check, load, plan};

use self::{
    draws::Draws,
    graph::Graph,
    inputs::{Layout, Limits},
    memory::{Pinned, copy_from},
    pass::{Decoder, Step},
};
use super::runner::{Batch, DeviceSampler, Pooled, RowTasks, Runner, RunnerError};
use crate::sampling::{Drawn, Logits, RowTask};

/// Up to so many rows are padded to a power of two, more to a multiple of it.
const ROWS_STEP: usize = 64;

/// A decoder on a GPU.
pub(super) struct CudaRunner {
    /// How often each bucket of decoded sequences was met. They go before what they refer to.
    buckets: BTreeMap<usize, Bucket>,
    decoder: Decoder,
    draws: Draws,
    /// Freed behind what lies in it.
    #[expect(dead_code, reason = "the decoder's parts lie in it")]
    buffers: buffers::Buffers,
    stream: Arc<CudaStream>,
    inputs: Pinned<u32>,
    /// The batch that the device works on, or has left when something failed.
    begun: Option<Begun>,
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

/// A batch that is under way.
#[derive(Debug, Clone)]
enum Begun {
    /// Every sequence has one token, and its logits are in the row of its place.
    Decoding {
        /// Rows that are wanted, ascending.
        wanted: Vec<u32>,
        sequences: usize,
    },
    /// The states of all tokens are made.
    Prefilling { step: Step, wanted: usize },
}

impl Runner for CudaRunner {
    fn forward(&mut self, batch: &Batch, logits: &mut Logits) -> Result<(), RunnerError> {
        logits.vocab = self.decoder.model.config.vocab;
        logits.data.clear();
        if self.decoder.model.lm_head.is_none() {
            return Err(RunnerError(
                "the model was loaded without an LM head".to_owned(),
            ));
        }
        self.run(batch, true, |runner| runner.bring_logits(&mut logits.data))
    }

    /// The last token's hidden state.
    fn pool(&mut self, batch: &Batch, pooled: &mut Pooled) -> Result<(), RunnerError> {
        pooled.width = self.decoder.model.config.hidden;
        pooled.data.clear();
        self.run(batch, false, |runner| runner.bring_states(&mut pooled.data))
    }

    fn device_sampler(&mut self) -> Option<&mut dyn DeviceSampler> {
        self.decoder.model.lm_head.as_ref()?;
        Some(self)
    }
}

impl DeviceSampler for CudaRunner {
    fn begin(&mut self, batch: &Batch) -> Result<(), RunnerError> {
        self.run(batch, true, |_| Ok(()))
    }

    /// Returns when the device has finished the step: the time between schedule and return is the device's, and a host that waits here does
    /// nothing else.
    fn draw(
        &mut self,
        tasks: &mut RowTasks<'_>,
        drawn: &mut Vec<Drawn>,
    ) -> Result<(), RunnerError> {
        self.guarded(|runner| runner.bring_tokens(tasks, drawn))
    }
}

impl CudaRunner {
    /// Begins the batch, and then does something with it. `decodes`: sequences of one token each are run by the graph of their bucket,
    /// which makes their logits.
    fn run(
        &mut self,
        batch: &Batch,
        decodes: bool,
        then: impl FnOnce(&mut Self) -> Result<(), GpuError>,
    ) -> Result<(), RunnerError> {
        if self.begun.take().is_some() {
            // It was left in the middle: what is still under way may read the inputs.
            self.guarded(|runner| runner.wait())?;
        }
        if batch.input_ids.is_empty() {
            return Ok(());
        }
        self.check(batch)?;
        self.guarded(|runner| {
            runner.begun = Some(runner.pass(batch, decodes)?);
            then(runner)
        })
    }

    fn guarded(
        &mut self,
        work: impl FnOnce(&mut Self) -> Result<(), GpuError>,
    ) -> Result<(), RunnerError> {
        work(self).map_err(|error| {
            // What was begun may still read the inputs, which the next step writes to. That the step failed is said already.
            let _ = self.stream.synchronize();
            self.begun = None;
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

    fn pass(&mut self, batch: &Batch, decodes: bool) -> Result<Begun, GpuError> {
        self.stream
            .context()
            .bind_to_thread()
            .map_err(GpuError::driver("using the GPU from this thread"))?;
        if batch.max_seqlen_q == 1 && decodes {
            self.decode(batch)?;
            return Ok(Begun::Decoding {
                wanted: batch.logits_idx.clone(),
                sequences: batch.sequences(),
            });
        }
        let wanted = batch.logits_idx.len();
        let layout = Layout::new(
            padded(batch.input_ids.len()),
            batch.sequences(),
            wanted.next_multiple_of(ROWS_STEP),
            self.limits.table_width,
        );
        let singles = batch.cu_seqlens_q.windows(2).any(|s| s[1] - s[0] == 1);
        let step = self.send(batch, &layout, (singles, batch.max_seqlen_q > 1))?;
        self.decoder.states(&step)?;
        Ok(Begun::Prefilling { step, wanted })
    }

    /// A step in which every sequence has one token: by the graph of its bucket.
    fn decode(&mut self, batch: &Batch) -> Result<(), GpuError> {
        let bucket = bucket(batch.sequences(), self.limits.sequences);
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

    /// Draws the tokens of the batch that was begun.
    fn bring_tokens(
        &mut self,
        tasks: &mut RowTasks<'_>,
        drawn: &mut Vec<Drawn>,
    ) -> Result<(), GpuError> {
        let logits = self.decoder.parts.logits;
        let mut next = || tasks.next().unwrap_or(RowTask::Skip);
        match self.begun.take() {
            None => {}
            Some(Begun::Decoding { wanted, sequences }) => {
                let is_wanted = |row: usize| wanted.binary_search(&(row as u32)).is_ok();
                self.draws.draw(
                    (&self.stream, &self.decoder.kernels),
                    (logits, sequences),
                    |row| {
                        if is_wanted(row) {
                            next()
                        } else {
                            RowTask::Skip
                        }
                    },
                    |row, token| {
                        if is_wanted(row) {
                            drawn.push(token);
                        }
                    },
                )?;
            }
            Some(Begun::Prefilling { step, wanted }) => {
                for (first, rows) in self.parts_of(wanted) {
                    self.make_logits(&step, first, rows)?;
                    self.draws.draw(
                        (&self.stream, &self.decoder.kernels),
                        (logits, rows),
                        |_| next(),
                        |_, token| drawn.push(token),
                    )?;
                }
            }
        }
        self.wait()
    }

    /// Brings the wanted logits of the batch that was begun.
    fn bring_logits(&mut self, to: &mut Vec<f32>) -> Result<(), GpuError> {
        let (logits, vocab) = (self.decoder.parts.logits, self.decoder.model.config.vocab);
        match self.begun.take() {
            None => {}
            Some(Begun::Decoding { wanted, .. }) => {
                for row in wanted {
                    let row = logits + (row as usize * vocab * size_of::<f32>()) as u64;
                    copy_from(&self.stream, row, vocab, to)?;
                }
            }
            Some(Begun::Prefilling { step, wanted }) => {
                for (first, rows) in self.parts_of(wanted) {
                    self.make_logits(&step, first, rows)?;
                    copy_from(&self.stream, logits, rows * vocab, to)?;
                }
            }
        }
        self.wait()
    }

    /// Brings the wanted hidden states of the batch that was begun.
    fn bring_states(&mut self, to: &mut Vec<f32>) -> Result<(), GpuError> {
        let Some(Begun::Prefilling { step, wanted }) = self.begun.take() else {
            return self.wait();
        };
        for (first, rows) in self.parts_of(wanted) {
            let padded = self.padded_wanted(rows);
            self.decoder.wanted(&step, first, padded)?;
            self.decoder.wide_states(padded)?;
            let width = self.decoder.model.config.hidden;
            let from = self.decoder.parts.logits;
            copy_from(&self.stream, from, rows * width, to)?;
        }
        self.wait()
    }

    /// The wanted rows, as many at a time as there is room for: the first of each part, and how many.
    fn parts_of(&self, wanted: usize) -> impl Iterator<Item = (usize, usize)> + use<> {
        let most = self.limits.logits_rows;
        (0..wanted)
            .step_by(most)
            .map(move |first| (first, most.min(wanted - first)))
    }

    fn padded_wanted(&self, rows: usize) -> usize {
        padded(rows).min(self.limits.logits_rows)
    }

    fn make_logits(&mut self, step: &Step, first: usize, rows: usize) -> Result<(), GpuError> {
        let padded = self.padded_wanted(rows);
        self.decoder.wanted(step, first, padded)?;
        let states = self.decoder.parts.wanted;
        self.decoder.logits(states, padded)
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
