//! The loop on the engine's own thread: take commands, then step while there is work.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::Ordering,
        mpsc::{Receiver, TryRecvError},
    },
};

use tokio::sync::mpsc::UnboundedSender;

use super::{
    EngineConfig,
    clock::Clock,
    handle::{Command, Listener, Shared},
    isolation::{Isolation, Output, failure, guarded},
    kv::ChainHasher,
    outcome::{Outcome, take_outcomes},
    request::{Event, GenerateRequest},
    scheduler::Scheduler,
    sequence::{End, Sequence, branches},
};
use crate::{
    model::runner::{Batch, Runner, RunnerError, RunnerType},
    sampling::Chosen,
    stats::{Metrics, StepTokens, Timestamp, split_step},
};

/// Everything the engine's thread owns.
pub(super) struct Engine {
    runner: Box<dyn Runner>,
    pub(super) scheduler: Scheduler,
    config: EngineConfig,
    clock: Option<Arc<dyn Clock>>,
    metrics: Arc<Metrics>,
    pub(super) shared: Arc<Shared>,
    batch: Batch,
    isolation: Isolation,
    output: Output,
    /// What the step brings each sequence in it, in order.
    outcomes: Vec<Outcome>,
    /// Tokens of each sequence in the step, for dividing its duration.
    step_tokens: Vec<usize>,
    /// Events of the step, sent when counters and gauges are up to date.
    outbox: Vec<(UnboundedSender<Event>, Event)>,
}

impl Engine {
    pub(super) fn new(
        mut runner: Box<dyn Runner>,
        config: EngineConfig,
        clock: Option<Arc<dyn Clock>>,
        metrics: Arc<Metrics>,
    ) -> Self {
        let EngineConfig {
            kv_blocks,
            max_num_seqs,
            max_num_batched_tokens,
            prefix_caching,
            runner_type,
            ..
        } = config;
        let output = Output::new(runner_type, &mut *runner);
        let hasher = prefix_caching.then(ChainHasher::default);
        Self {
            runner,
            scheduler: Scheduler::new(kv_blocks, max_num_seqs, max_num_batched_tokens, hasher)
                .whole_prompts(runner_type),
            config,
            clock,
            shared: Arc::new(Shared::new(&metrics)),
            metrics,
            batch: Batch::default(),
            isolation: Isolation::new(output.empty()),
            output,
            outcomes: Vec::new(),
            step_tokens: Vec::new(),
            outbox: Vec::new(),
        }
    }

    /// Serves until it is stopped, every handle is gone, or the device fails.
    ///
    /// # Guarantees
    /// Every branch taken ends with a `Finished` event and, with stats on, a record.
    pub(super) fn run(mut self, commands: &Receiver<Command>) {
        let mut end: fn() -> End = End::abort;
        while self.take_commands(commands) {
            let step = catch_unwind(AssertUnwindSafe(|| self.step()));
            let failure = match step {
                Ok(Ok(())) => continue,
                Ok(Err(error)) => error.to_string(),
                Err(_) => {
                    self.scheduler.abandon_blocks();
                    "the step panicked".to_owned()
                }
            };
            tracing::error!(%failure, "the engine stops");
            end = || End::error("the engine failed; the request was not completed");
            break;
        }
        self.shared.stopped.store(true, Ordering::Release);
        for command in commands.try_iter() {
            if let Command::Submit(request, listener) = command {
                self.queue(*request, listener);
            }
        }
        self.finish_where(|_| true, end);
        self.flush();
    }

    /// Takes what was submitted; waits for it when there is nothing else to do. False: stop.
    fn take_commands(&mut self, commands: &Receiver<Command>) -> bool {
        let mut next = match self.scheduler.is_idle() {
            true => commands.recv().map_err(|_| TryRecvError::Disconnected),
            false => commands.try_recv(),
        };
        loop {
            match next {
                Ok(Command::Submit(request, listener)) => self.queue(*request, listener),
                Err(TryRecvError::Empty) => return true,
                Ok(Command::Stop) | Err(TryRecvError::Disconnected) => return false,
            }
            next = commands.try_recv();
        }
    }

    pub(super) fn queue(&mut self, request: GenerateRequest, listener: Listener) {
        let now = self.now();
        if self.config.runner_type == RunnerType::Generate {
            let (branches, max_tokens) = (request.branches.get(), request.params.max_tokens);
            self.metrics.record_request(branches, max_tokens);
        }
        let seed = request.params.seed.unwrap_or_else(rand::random);
        let sequences = branches(request, listener, &self.config.eos_token_ids, seed, now);
        self.scheduler.enqueue(sequences);
    }

    /// One step. Its duration, from choosing sequences to having their tokens, is divided among them.
    pub(super) fn step(&mut self) -> Result<(), RunnerError> {
        self.finish_where(Sequence::is_cancelled, End::abort);
        self.finish_where(|sequence| sequence.failed, failure);
        let begun = self.now();
        for _ in 0..self.scheduler.schedule() {
            self.metrics.record_preemption();
        }
        self.mark_scheduled(begun);
        // A prompt's step may take seconds, and is not to look like an idle engine meanwhile.
        self.set_gauges();
        self.fill_batch();
        if self.batch.sequences() > 0 {
            let forward = self.isolation.forward(
                &mut *self.runner,
                &self.batch,
                &mut self.output,
                &mut self.scheduler.running,
            );
            if forward.is_ok() {
                self.take_outcomes();
            }
            let ended = self.now();
            self.attribute(begun, ended);
            forward?;
            self.apply(ended);
        }
        self.flush();
        Ok(())
    }

    fn now(&self) -> Option<Timestamp> {
        self.clock.as_ref().map(|clock| clock.now())
    }

    fn mark_scheduled(&mut self, now: Option<Timestamp>) {
        for sequence in self
            .scheduler
            .running
            .iter_mut()
            .filter(|s| s.scheduled > 0)
        {
            if !std::mem::replace(&mut sequence.started, true) {
                self.shared.waiting.fetch_sub(1, Ordering::AcqRel);
                // A prompt that is scored does not look into the cache.
                if self.config.prefix_caching && sequence.prompt_scores.is_none() {
                    let (queries, hits) = (sequence.request.prompt.len(), sequence.cached_tokens);
                    self.metrics.record_prefix_lookup(queries, hits);
                }
            }
            if let Some((timeline, now)) = sequence.timeline.as_mut().zip(now) {
                timeline.mark_scheduled(now);
            }
        }
    }

    fn fill_batch(&mut self) {
        let Self {
            batch,
            scheduler,
            output,
            ..
        } = self;
        let scheduled = || scheduler.running.iter().filter(|s| s.scheduled > 0);
        batch.clear();
        batch.block_table_width = scheduled()
            .map(|s| s.table.blocks().len())
            .max()
            .unwrap_or(0);
        for sequence in scheduled() {
            let from = sequence.computed;
            let tokens = &sequence.tokens[from..from + sequence.scheduled];
            let scored = sequence.scored_now();
            batch.want_logits(scored.start.saturating_sub(from)..scored.end.saturating_sub(from));
            batch.push(
                tokens,
                from,
                sequence.table.blocks(),
                output.is_wanted(sequence),
            );
        }
    }

    fn take_outcomes(&mut self) {
        let Self {
            batch,
            scheduler,
            output,
            outcomes,
            ..
        } = self;
        let scheduled = scheduler.running.iter_mut().filter(|s| s.scheduled > 0);
        take_outcomes(scheduled, batch.sequences(), output, outcomes);
    }

    /// Divides the step among the sequences in it, in proportion to their tokens.
    fn attribute(&mut self, begun: Option<Timestamp>, ended: Option<Timestamp>) {
        let Some((begun, ended)) = begun.zip(ended) else {
            return;
        };
        let (busy, running) = (ended.since(begun), &mut self.scheduler.running);
        self.step_tokens.clear();
        self.step_tokens
            .extend(running.iter().map(|s| s.scheduled).filter(|&n| n > 0));
        let scheduled = running.iter_mut().filter(|s| s.scheduled > 0);
        for (sequence, share) in scheduled.zip(split_step(busy, &self.step_tokens)) {
            sequence.compute_time += share;
        }
        let tokens = running.iter().filter(|s| s.gets_token());
        let (processed, generated) = (self.batch.input_ids.len(), tokens.count());
        self.metrics.record_step(
            busy,
            StepTokens {
                processed,
                generated,
            },
        );
    }

    /// Gives every sequence what the step brought it, and takes out those that are done.
    fn apply(&mut self, now: Option<Timestamp>) {
        let mut all = std::mem::take(&mut self.outcomes);
        let mut outcomes = all.drain(..);
        let mut index = 0;
        while index < self.scheduler.running.len() {
            let sequence = &self.scheduler.running[index];
            let in_step = sequence.scheduled > 0;
            let is_computed = sequence.samples();
            let outcome = if in_step { outcomes.next() } else { None };
            let Some(outcome) = outcome else {
                index += 1;
                continue;
            };
            if !outcome.is_failure() {
                self.scheduler.advance(index);
                let sequence = &mut self.scheduler.running[index];
                if is_computed && let Some(event) = sequence.prompt_event() {
                    self.outbox
                        .push((sequence.request.listener.events.clone(), event));
                }
            }
            match self.settle(index, outcome, now) {
                None => index += 1,
                Some((chosen, end)) => {
                    let failed = end.error.is_some();
                    let sequence = self.scheduler.take_running(index, failed);
                    self.finish(&sequence, chosen, end, now);
                }
            }
        }
        drop(outcomes);
        self.outcomes = all;
    }

    /// Gives a sequence what the step brought it. Returns its end, with its last token, if this is it.
    fn settle(
        &mut self,
        index: usize,
        outcome: Outcome,
        now: Option<Timestamp>,
    ) -> Option<(Option<Chosen>, End)> {
        let sequence = &mut self.scheduler.running[index];
        let chosen = match outcome {
            Outcome::Computed => return None,
            Outcome::Ended(end) => return Some((None, end)),
            Outcome::Scored => {
                mark_token(&self.metrics, sequence, now);
                return Some((None, End::length()));
            }
            Outcome::Pooled(vector) => {
                mark_token(&self.metrics, sequence, now);
                return Some((None, End::pooled(vector)));
            }
            Outcome::Token(chosen) => chosen,
        };
        let (id, token) = (Arc::clone(&sequence.request.id), chosen.token);
        let max_model_len = self.config.max_model_len;
        let pushed = guarded(&id, "applying a token", || {
            sequence.push(token, max_model_len)
        });
        mark_token(&self.metrics, sequence, now);
        match pushed {
            Err(end) => Some((None, end)),
            Ok(Some((reason, stop))) => Some((Some(chosen), End::of(reason, stop))),
            Ok(None) => {
                let event = sequence.event(Some(chosen), None);
                self.outbox
                    .push((sequence.request.listener.events.clone(), event));
                None
            }
        }
    }

    /// Ends every sequence that `gone` picks.
    fn finish_where(&mut self, gone: impl Fn(&Sequence) -> bool, end: impl Fn() -> End) {
        let sequences = self.scheduler.take_where(gone);
        if sequences.is_empty() {
            return;
        }
        let now = self.now();
        for sequence in sequences {
            self.finish(&sequence, None, end(), now);
        }
    }

    /// Records a sequence that was taken out, and tells whoever listens.
    fn finish(
        &mut self,
        sequence: &Sequence,
        chosen: Option<Chosen>,
        end: End,
        now: Option<Timestamp>,
    ) {
        if !sequence.started {
            self.shared.waiting.fetch_sub(1, Ordering::AcqRel);
        }
        let finished = sequence.finish(end, now);
        if let Some(stats) = &finished.stats {
            self.metrics.record_finished(stats);
        }
        let event = sequence.event(chosen, Some(finished));
        self.outbox
            .push((sequence.request.listener.events.clone(), event));
    }

    fn set_gauges(&self) {
        let running = self.scheduler.running.iter().filter(|s| s.started);
        let (preempted, usage) = (self.scheduler.preempted(), self.scheduler.pool.usage());
        self.metrics.set_gauges(running.count(), preempted, usage);
    }

    /// Sets the gauges, then sends the step's events: what a client can see is on `/metrics` already.
    fn flush(&mut self) {
        self.set_gauges();
        for (events, event) in self.outbox.drain(..) {
            // A failed send means that the client is gone; the next step ends its sequences.
            let _ = events.send(event);
        }
    }
}

fn mark_token(metrics: &Metrics, sequence: &mut Sequence, now: Option<Timestamp>) {
    let Some((timeline, now)) = sequence.timeline.as_mut().zip(now) else {
        return;
    };
    match timeline.mark_token(now) {
        Some(gap) => metrics.record_inter_token(gap),
        None => {
            metrics.record_first_token(now.since(timeline.arrival));
            if sequence.branch == 0 {
                metrics.record_prompt(sequence.request.prompt.len(), sequence.cached_tokens);
            }
        }
    }
}
