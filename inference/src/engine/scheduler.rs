//! Who is in the next step, with how many tokens, and who waits.
//!
//! # Guarantees
//! - First come, first served: `running` and `waiting` are ordered by arrival, and all of `running`
//!   came before all of `waiting`.
//! - Every running sequence that has its prompt behind it gets its token in every step; what is left
//!   of the budget goes to prompts, in chunks.
//! - The oldest sequence is never preempted by another's need, so it always progresses.

use std::collections::VecDeque;

use super::{kv::BlockPool, sequence::Sequence};
use crate::model::runner::blocks_for;

/// Sequences and the blocks they hold.
pub(super) struct Scheduler {
    pub(super) waiting: VecDeque<Sequence>,
    pub(super) running: Vec<Sequence>,
    pub(super) pool: BlockPool,
    max_num_seqs: usize,
    max_num_batched_tokens: usize,
}

impl Scheduler {
    pub(super) fn new(
        kv_blocks: usize,
        max_num_seqs: usize,
        max_num_batched_tokens: usize,
    ) -> Self {
        Self {
            waiting: VecDeque::new(),
            running: Vec::new(),
            pool: BlockPool::new(kv_blocks),
            max_num_seqs,
            max_num_batched_tokens,
        }
    }

    pub(super) fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.running.is_empty()
    }

    /// Plans a step: sets `scheduled` of every running sequence and gives it the blocks it needs.
    /// Returns how many sequences had to give theirs up.
    pub(super) fn schedule(&mut self) -> usize {
        let mut budget = self.max_num_batched_tokens;
        self.running
            .iter_mut()
            .for_each(|sequence| sequence.scheduled = 0);
        let preempted = self.plan_running(&mut budget, |sequence| sequence.remaining() == 1)
            + self.plan_running(&mut budget, |sequence| sequence.remaining() > 1);
        if preempted == 0 {
            self.admit(&mut budget);
        }
        preempted
    }

    /// Plans the running sequences that `wanted` picks, the oldest first.
    fn plan_running(&mut self, budget: &mut usize, wanted: fn(&Sequence) -> bool) -> usize {
        let (mut index, mut preempted) = (0, 0);
        while index < self.running.len() && *budget > 0 {
            let sequence = &mut self.running[index];
            if sequence.scheduled == 0 && wanted(sequence) {
                let tokens = sequence.remaining().min(*budget);
                let blocks = blocks_for(sequence.computed + tokens);
                if !self.pool.grow(&mut sequence.blocks, blocks) {
                    *budget += self.preempt_newest();
                    preempted += 1;
                    continue;
                }
                sequence.scheduled = tokens;
                *budget -= tokens;
            }
            index += 1;
        }
        preempted
    }

    /// Sends the newest running sequence back to wait, its cache to be computed again. Returns the
    /// tokens that it had in the step.
    fn preempt_newest(&mut self) -> usize {
        let mut newest = self
            .running
            .pop()
            .expect("a sequence that needs blocks is running");
        self.pool.release(&mut newest.blocks);
        newest.computed = 0;
        newest.preemptions += 1;
        let tokens = std::mem::take(&mut newest.scheduled);
        self.waiting.push_front(newest);
        tokens
    }

    /// Moves waiting sequences into the step while budget, places and blocks for all their tokens
    /// last.
    fn admit(&mut self, budget: &mut usize) {
        while *budget > 0 && self.running.len() < self.max_num_seqs {
            let Some(next) = self.waiting.front() else {
                return;
            };
            if blocks_for(next.tokens.len()) > self.pool.free() {
                return;
            }
            let Some(mut sequence) = self.waiting.pop_front() else {
                return;
            };
            sequence.scheduled = sequence.remaining().min(*budget);
            *budget -= sequence.scheduled;
            let blocks = blocks_for(sequence.computed + sequence.scheduled);
            let grown = self.pool.grow(&mut sequence.blocks, blocks);
            assert!(grown, "more blocks than these were free");
            self.running.push(sequence);
        }
    }

    /// Takes out every sequence that `gone` picks, with its blocks given back.
    pub(super) fn take_where(&mut self, gone: impl Fn(&Sequence) -> bool) -> Vec<Sequence> {
        if !self.running.iter().chain(&self.waiting).any(&gone) {
            return Vec::new();
        }
        let mut taken: Vec<Sequence> = self.running.extract_if(.., |s| gone(s)).collect();
        for sequence in &mut taken {
            self.pool.release(&mut sequence.blocks);
        }
        let (left, kept): (VecDeque<_>, VecDeque<_>) = std::mem::take(&mut self.waiting)
            .into_iter()
            .partition(gone);
        self.waiting = kept;
        taken.extend(left);
        taken
    }

    /// Takes out a running sequence, with its blocks given back.
    pub(super) fn take_running(&mut self, index: usize) -> Sequence {
        let mut sequence = self.running.remove(index);
        self.pool.release(&mut sequence.blocks);
        sequence
    }
}
