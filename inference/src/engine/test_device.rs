//! A device that draws tokens itself, made of a runner that does not.

use crate::{
    model::runner::{Batch, DeviceSampler, RowTasks, Runner, RunnerError},
    sampling::{Chosen, Drawn, Logits, RowTask, TokenLogprobs},
};

/// Runs the runner's model; its logits stay here.
#[derive(Default)]
pub(crate) struct Drawing<R> {
    runner: R,
    logits: Logits,
    /// Rows of the batch that was begun.
    begun: Option<usize>,
}

impl<R> Drawing<R> {
    pub(crate) fn of(runner: R) -> Self {
        Self {
            runner,
            logits: Logits::default(),
            begun: None,
        }
    }
}

impl<R: Runner> Runner for Drawing<R> {
    fn forward(&mut self, _: &Batch, _: &mut Logits) -> Result<(), RunnerError> {
        Err(RunnerError("logits leave the device".to_owned()))
    }

    fn device_sampler(&mut self) -> Option<&mut dyn DeviceSampler> {
        Some(self)
    }
}

impl<R: Runner> DeviceSampler for Drawing<R> {
    fn begin(&mut self, batch: &Batch) -> Result<(), RunnerError> {
        self.begun = None;
        self.runner.forward(batch, &mut self.logits)?;
        self.begun = Some(batch.logits_idx.len());
        Ok(())
    }

    fn draw(
        &mut self,
        tasks: &mut RowTasks<'_>,
        drawn: &mut Vec<Drawn>,
    ) -> Result<(), RunnerError> {
        let rows = self.begun.take().expect("a batch was begun");
        let vocab = self.logits.vocab;
        assert_eq!(self.logits.data.len(), rows * vocab);
        for row in self.logits.data.chunks_mut(vocab) {
            drawn.push(match tasks.next().unwrap_or(RowTask::Skip) {
                RowTask::Skip => Ok(Chosen {
                    token: u32::MAX,
                    logprobs: None,
                }),
                RowTask::Score { token, top } => {
                    let logprobs = TokenLogprobs::of(row, token, top);
                    logprobs.map(|logprobs| Chosen {
                        token,
                        logprobs: Some(Box::new(logprobs)),
                    })
                }
                RowTask::Draw(draw) => draw.of(row),
            });
        }
        assert_eq!(tasks.next(), None, "more tasks than rows");
        Ok(())
    }
}
