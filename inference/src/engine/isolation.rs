//! A failure stays with the request that causes it. What runs for one sequence alone is guarded; a
//! forward pass that fails is run again sequence by sequence, and only those that fail alone end.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::{
    choose::tasks,
    sequence::{End, Sequence},
};
use crate::{
    model::runner::{BLOCK_TOKENS, Batch, Pooled, Runner, RunnerError, RunnerType},
    sampling::{Drawn, Logits},
};

/// What a forward pass brings, as the model is run for.
pub(super) enum Output {
    /// Rows of logits, for a model that generates.
    Logits(Logits),
    /// What its device made of them.
    Drawn(Vec<Drawn>),
    /// Vectors, for one that pools.
    Pooled(Pooled),
}

impl Output {
    /// Nothing yet.
    pub(super) fn new(runner_type: RunnerType, runner: &mut dyn Runner) -> Self {
        match runner_type {
            RunnerType::Generate if runner.device_sampler().is_some() => Self::Drawn(Vec::new()),
            RunnerType::Generate => Self::Logits(Logits::default()),
            RunnerType::Pooling { .. } => Self::Pooled(Pooled::default()),
        }
    }

    /// Nothing of the same kind.
    pub(super) fn empty(&self) -> Self {
        match self {
            Self::Logits(_) => Self::Logits(Logits::default()),
            Self::Drawn(_) => Self::Drawn(Vec::new()),
            Self::Pooled(_) => Self::Pooled(Pooled::default()),
        }
    }

    /// The last token of `sequence` in the current step has a row in it.
    pub(super) fn is_wanted(&self, sequence: &Sequence) -> bool {
        match self {
            Self::Logits(_) | Self::Drawn(_) => sequence.gets_token(),
            Self::Pooled(_) => sequence.samples(),
        }
    }

    fn clear(&mut self) {
        match self {
            Self::Logits(logits) => logits.data.clear(),
            Self::Drawn(drawn) => drawn.clear(),
            Self::Pooled(pooled) => pooled.data.clear(),
        }
    }

    /// Adds the rows of `other`, which is of the same kind.
    fn append(&mut self, other: &mut Self) {
        match (self, other) {
            (Self::Logits(logits), Self::Logits(more)) => {
                logits.vocab = more.vocab;
                logits.data.extend_from_slice(&more.data);
            }
            (Self::Drawn(drawn), Self::Drawn(more)) => drawn.append(more),
            (Self::Pooled(pooled), Self::Pooled(more)) => {
                pooled.width = more.width;
                pooled.data.extend_from_slice(&more.data);
            }
            _ => {}
        }
    }
}

/// Steps in a row in which no sequence got through, before the device is taken for broken although it
/// still passes its probe.
pub const BARREN_STEPS_MAX: usize = 32;

/// How a sequence ends that something of its own made fail. What it was is in the log.
pub(super) fn failure() -> End {
    End::error("the server failed on this request; it was not completed")
}

/// Runs what belongs to one request.
///
/// # Errors
/// The end of that request, when it panics.
pub(super) fn guarded<T>(id: &str, doing: &str, work: impl FnOnce() -> T) -> Result<T, End> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|_| {
        tracing::error!(request = id, doing, "a request panicked and ends");
        failure()
    })
}

/// Runs batches so that one sequence's failure is not another's.
pub(super) struct Isolation {
    /// One sequence's part of the step.
    alone: Batch,
    /// And what it brought.
    output: Output,
    barren_steps: usize,
}

impl Isolation {
    /// With room for what one sequence brings.
    pub(super) fn new(output: Output) -> Self {
        Self {
            alone: Batch::default(),
            output,
            barren_steps: 0,
        }
    }

    /// Runs the step's batch of the scheduled sequences of `running`.
    ///
    /// # Flow
    /// If the batch fails, each sequence is run alone: keys and values that are written twice are the
    /// same. Those that fail again are marked [`Sequence::failed`]. If all do, a batch of one harmless
    /// token tells whether it is they or the device.
    ///
    /// # Guarantees
    /// `output` has the rows of every sequence that did not fail, in order.
    ///
    /// # Errors
    /// [`RunnerError`] when the device is broken.
    pub(super) fn forward(
        &mut self,
        runner: &mut dyn Runner,
        batch: &Batch,
        output: &mut Output,
        running: &mut [Sequence],
    ) -> Result<(), RunnerError> {
        let Err(error) = run(runner, batch, output, running) else {
            self.barren_steps = 0;
            return Ok(());
        };
        tracing::error!(%error, sequences = batch.sequences(), "a step failed; its sequences are run alone");
        output.clear();
        let mut passed = 0;
        for sequence in running.iter_mut().filter(|s| s.scheduled > 0) {
            self.fill_alone(sequence);
            let alone = std::slice::from_mut(sequence);
            match run(runner, &self.alone, &mut self.output, alone) {
                Ok(()) => {
                    passed += 1;
                    output.append(&mut self.output);
                }
                Err(error) => {
                    let request = &*sequence.request.id;
                    tracing::error!(request, %error, "a request fails the forward pass and ends");
                    sequence.failed = true;
                }
            }
        }
        if passed > 0 {
            self.barren_steps = 0;
            return Ok(());
        }
        self.barren_steps += 1;
        if self.barren_steps >= BARREN_STEPS_MAX {
            return Err(error);
        }
        self.probe(runner)
    }

    fn fill_alone(&mut self, sequence: &Sequence) {
        let blocks = sequence.table.blocks();
        let (from, to) = (sequence.computed, sequence.computed + sequence.scheduled);
        self.alone.clear();
        self.alone.block_table_width = blocks.len();
        let scored = sequence.scored_now();
        let scored = scored.start.saturating_sub(from)..scored.end.saturating_sub(from);
        self.alone.want_logits(scored);
        let tokens = &sequence.tokens[from..to];
        self.alone
            .push(tokens, from, blocks, self.output.is_wanted(sequence));
    }

    /// Runs one token in the block that the last sequence was about to write to.
    fn probe(&mut self, runner: &mut dyn Runner) -> Result<(), RunnerError> {
        let slot = self.alone.slot_mapping.last().copied().unwrap_or(0);
        let block = slot / BLOCK_TOKENS as u32;
        self.alone.clear();
        self.alone.block_table_width = 1;
        self.alone.push(&[0], 0, &[block], true);
        run(runner, &self.alone, &mut self.output, &mut [])
    }
}

/// A pass over the batch of the scheduled ones of `sequences`; a panic is an error like any other.
fn run(
    runner: &mut dyn Runner,
    batch: &Batch,
    output: &mut Output,
    sequences: &mut [Sequence],
) -> Result<(), RunnerError> {
    let pass = || match output {
        Output::Logits(logits) => runner.forward(batch, logits),
        Output::Pooled(pooled) => runner.pool(batch, pooled),
        Output::Drawn(drawn) => {
            let lost = || RunnerError("the device draws no tokens any more".to_owned());
            let device = runner.device_sampler().ok_or_else(lost)?;
            device.begin(batch)?;
            let scheduled = sequences.iter_mut().filter(|s| s.scheduled > 0);
            drawn.clear();
            device.draw(&mut scheduled.flat_map(tasks), drawn)
        }
    };
    catch_unwind(AssertUnwindSafe(pass))
        .unwrap_or_else(|_| Err(RunnerError("it panicked".to_owned())))
}
