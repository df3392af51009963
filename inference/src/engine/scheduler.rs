//! Who is in the next step, with how many tokens, and who waits.
//!
//! # Guarantees
//! - First come, first served: `running` and `waiting` are ordered by arrival, and all of `running`
//!   came before all of `waiting`.
//! - Every running sequence that has its prompt behind it gets its token in every step; what is left
//!   of the budget goes to prompts, in chunks.
//! - The oldest sequence is never preempted by another's need, so it always progresses.
//! - Keys and values are written to blocks that one sequence holds and nobody can find.

use std::{
    collections::VecDeque,
    hash::{BuildHasher, RandomState},
    sync::Arc,
};

use super::{
    kv::{BlockPool, BlockTable, ChainHasher},
    prompt_logprobs::PROMPT_LOGITS_ROWS_MAX,
    sequence::Sequence,
};
use crate::model::runner::{BLOCK_TOKENS, RunnerType, blocks_for};

/// Sequences and the blocks they hold.
pub(super) struct Scheduler<S = RandomState> {
    pub(super) waiting: VecDeque<Sequence>,
    pub(super) running: Vec<Sequence>,
    pub(super) pool: BlockPool,
    /// For the prefix cache; `None`: there is none.
    hasher: Option<ChainHasher<S>>,
    max_num_seqs: usize,
    max_num_batched_tokens: usize,
    /// A prompt goes through the model in one step.
    whole_prompts: bool,
    /// Cached blocks of the sequence that is being admitted.
    hits: Vec<u32>,
}

/// What is left to give out of a step.
struct Budget {
    tokens: usize,
    /// Rows of logits for prompts that are scored.
    rows: usize,
}

impl<S: BuildHasher> Scheduler<S> {
    pub(super) fn new(
        kv_blocks: usize,
        max_num_seqs: usize,
        max_num_batched_tokens: usize,
        hasher: Option<ChainHasher<S>>,
    ) -> Self {
        Self {
            waiting: VecDeque::new(),
            running: Vec::new(),
            pool: BlockPool::new(kv_blocks),
            hasher,
            max_num_seqs,
            max_num_batched_tokens,
            whole_prompts: false,
            hits: Vec::new(),
        }
    }

    /// Admits as the model takes its prompts: in chunks, or each in one step.
    pub(super) fn whole_prompts(mut self, runner: RunnerType) -> Self {
        let whole_prompts = true;
        self.whole_prompts = runner == RunnerType::Pooling { whole_prompts };
        self
    }

    pub(super) fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.running.is_empty()
    }

    /// Puts the branches of a request at the end of the queue. Their prompt is hashed here, once.
    pub(super) fn enqueue(&mut self, mut branches: Vec<Sequence>) {
        if let (Some(hasher), Some((first, others))) = (&self.hasher, branches.split_first_mut()) {
            first.table.hash(hasher, &first.tokens);
            for other in others {
                other.table.clone_from(&first.table);
            }
        }
        self.waiting.extend(branches);
    }

    /// Plans a step: sets `scheduled` of every running sequence and gives it the blocks it needs.
    /// Returns how many sequences had to give theirs up.
    pub(super) fn schedule(&mut self) -> usize {
        let mut budget = Budget {
            tokens: self.max_num_batched_tokens,
            rows: PROMPT_LOGITS_ROWS_MAX,
        };
        self.running
            .iter_mut()
            .for_each(|sequence| sequence.scheduled = 0);
        let preempted = self.plan_running(&mut budget, |sequence| sequence.remaining() == 1)
            + self.plan_running(&mut budget, |sequence| sequence.remaining() > 1);
        if preempted == 0 {
            self.admit(&mut budget);
        }
        self.assert_sound();
        preempted
    }

    /// Plans the running sequences that `wanted` picks, the oldest first.
    fn plan_running(&mut self, budget: &mut Budget, wanted: fn(&Sequence) -> bool) -> usize {
        let (mut index, mut preempted) = (0, 0);
        while index < self.running.len() && budget.tokens > 0 {
            let next = &self.running[index];
            if next.scheduled == 0 && wanted(next) && !self.waits_for_scores(next) {
                let was_held_back = next.table.blocks().is_empty();
                let (pool, sequence) = (&mut self.pool, &mut self.running[index]);
                if was_held_back {
                    find_hits(sequence, pool, &mut self.hits);
                    begin(sequence, pool, &self.hits);
                }
                if !give(sequence, pool, budget) {
                    self.preempt_newest(budget);
                    preempted += 1;
                    continue;
                }
            }
            index += 1;
        }
        preempted
    }

    /// Sends the newest running sequence back to wait, its cache to be computed again. What it had of the
    /// step is given back.
    fn preempt_newest(&mut self, budget: &mut Budget) {
        let mut newest = self
            .running
            .pop()
            .expect("a sequence that needs blocks is running");
        budget.rows += newest.scored_now().len();
        budget.tokens += std::mem::take(&mut newest.scheduled);
        newest.table.release(&mut self.pool);
        newest.computed = 0;
        newest.preemptions += 1;
        self.waiting.push_front(newest);
    }

    /// How many sequences wait that were in a step before: they are the first of those that wait.
    pub(super) fn preempted(&self) -> usize {
        self.waiting.iter().take_while(|s| s.started).count()
    }

    /// Moves waiting sequences into the step while budget and places last, and there are blocks for all
    /// their tokens, and for those of the running ones that are not in the step: budget is left when all
    /// their tokens are, those of prompts aside that are scored. Who waits for scores, or for rows of
    /// logits, takes a place without tokens: that can last for many steps, and is none of the others' fault.
    fn admit(&mut self, budget: &mut Budget) {
        while budget.tokens > 0 && self.running.len() < self.max_num_seqs && self.pool.free() > 0 {
            let Some(next) = self.waiting.front() else {
                return;
            };
            if self.whole_prompts && next.tokens.len() > budget.tokens {
                return;
            }
            find_hits(next, &self.pool, &mut self.hits);
            let held = self.hits.iter().filter(|&&hit| !self.pool.is_free(hit));
            let missing = |s: &Sequence| blocks_for(s.tokens.len()) - s.table.blocks().len();
            let promised: usize = self.running.iter().map(missing).sum();
            let needed = promised + blocks_for(next.tokens.len()) - held.count();
            let waits_for_rows = next.prompt_scores.is_some() && budget.rows == 0;
            let is_held_back = waits_for_rows || self.waits_for_scores(next);
            if needed > self.pool.free() || !is_held_back && self.is_better_later(next) {
                return;
            }
            let Some(mut sequence) = self.waiting.pop_front() else {
                return;
            };
            if !is_held_back {
                begin(&mut sequence, &mut self.pool, &self.hits);
                let given = give(&mut sequence, &mut self.pool, budget);
                assert!(given, "more blocks than these were free");
            }
            self.running.push(sequence);
        }
    }

    /// Another branch of the same request is computing blocks of the prompt that this one would compute
    /// beside it, and will find in the cache once that is done.
    fn is_better_later(&self, next: &Sequence) -> bool {
        let prompt = next.request.prompt.len();
        let shares = self.hasher.is_some() && self.hits.len() < (prompt - 1) / BLOCK_TOKENS;
        next.branch > 0 && shares && self.siblings(next).any(|s| s.computed < prompt)
    }

    /// The log probabilities of the prompt come before any branch's first token.
    fn waits_for_scores(&self, next: &Sequence) -> bool {
        next.branch > 0
            && next.request.params.prompt_logprobs.is_some()
            && self.siblings(next).any(|s| s.prompt_scores.is_some())
    }

    /// Running branches of the same request.
    fn siblings(&self, of: &Sequence) -> impl Iterator<Item = &Sequence> {
        let is_sibling = |s: &&Sequence| Arc::ptr_eq(&s.request, &of.request);
        self.running.iter().filter(is_sibling)
    }

    /// What must hold of every step, and costs little to see.
    fn assert_sound(&self) {
        let held = self.running.iter().map(|s| s.table.blocks().len());
        assert_eq!(
            held.sum::<usize>(),
            self.pool.holds(),
            "running sequences hold blocks, and nobody else"
        );
        for s in &self.running {
            s.table
                .assert_writable(&self.pool, s.computed, s.computed + s.scheduled);
        }
    }

    /// The tokens that a running sequence had in the step are computed: the blocks they fill are cached.
    pub(super) fn advance(&mut self, index: usize) {
        let sequence = &mut self.running[index];
        sequence.computed += std::mem::take(&mut sequence.scheduled);
        let Sequence {
            table,
            tokens,
            computed,
            ..
        } = sequence;
        if let Some(hasher) = &self.hasher {
            table.cache(&mut self.pool, hasher, tokens, *computed);
        }
    }

    /// Takes out every sequence that `gone` picks, with its blocks given back.
    pub(super) fn take_where(&mut self, gone: impl Fn(&Sequence) -> bool) -> Vec<Sequence> {
        if !self.running.iter().chain(&self.waiting).any(&gone) {
            return Vec::new();
        }
        let mut taken: Vec<Sequence> = self.running.extract_if(.., |s| gone(s)).collect();
        for sequence in &mut taken {
            sequence.table.release(&mut self.pool);
        }
        let (left, kept): (VecDeque<_>, VecDeque<_>) = std::mem::take(&mut self.waiting)
            .into_iter()
            .partition(gone);
        self.waiting = kept;
        taken.extend(left);
        taken
    }

    /// Forgets all blocks, held and cached, after a step that panicked: nothing is known of them. What is
    /// left to do then is to take the sequences out.
    pub(super) fn abandon_blocks(&mut self) {
        self.pool = BlockPool::new(self.pool.len());
        for sequence in &mut self.running {
            sequence.table = BlockTable::default();
        }
    }

    /// Takes out a running sequence, with its blocks given back. What one that `failed` computed is not
    /// kept for others.
    pub(super) fn take_running(&mut self, index: usize, failed: bool) -> Sequence {
        let mut sequence = self.running.remove(index);
        if failed {
            sequence.table.discard(&mut self.pool);
        } else {
            sequence.table.release(&mut self.pool);
        }
        sequence
    }
}

/// The cached blocks that a sequence can begin with.
fn find_hits(sequence: &Sequence, pool: &BlockPool, hits: &mut Vec<u32>) {
    sequence.table.find(pool, &sequence.tokens, hits);
    hits.truncate(sequence.skippable_blocks());
}

/// Gives a sequence its cached blocks.
fn begin(sequence: &mut Sequence, pool: &mut BlockPool, hits: &[u32]) {
    sequence.table.begin(pool, hits);
    sequence.computed = hits.len() * BLOCK_TOKENS;
    if sequence.preemptions == 0 {
        sequence.cached_tokens = sequence.computed;
    }
}

/// Gives a sequence tokens in the step, and the blocks for them; false, and nothing, if there are none.
fn give(sequence: &mut Sequence, pool: &mut BlockPool, budget: &mut Budget) -> bool {
    let tokens = sequence.remaining().min(budget.tokens);
    let (tokens, rows) = sequence.within_rows(tokens, budget.rows);
    let blocks = blocks_for(sequence.computed + tokens);
    if !sequence.table.grow(pool, blocks) {
        return false;
    }
    sequence.scheduled = tokens;
    budget.tokens -= tokens;
    budget.rows -= rows;
    true
}
