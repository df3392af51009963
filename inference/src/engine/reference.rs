//! What the scheduler, the pool and the prefix cache do, written down once more, slowly: plain vectors,
//! linear searches, and whole prefixes where the real ones have hashes and links. Nothing is shared with
//! them but the size of a block.

use crate::model::runner::BLOCK_TOKENS;

/// One branch of a request.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Branch {
    pub(super) request: usize,
    pub(super) number: usize,
    pub(super) salt: Option<&'static str>,
    pub(super) prompt: usize,
    pub(super) tokens: Vec<u32>,
    pub(super) computed: usize,
    pub(super) scheduled: usize,
    pub(super) blocks: Vec<u32>,
    pub(super) cached_tokens: usize,
    pub(super) preemptions: usize,
}

/// What is in a full block: its tokens and all before them, and who may know of it.
#[derive(Debug, Clone, PartialEq)]
struct Content {
    salt: Option<&'static str>,
    tokens: Vec<u32>,
}

pub(super) struct Reference {
    pub(super) waiting: Vec<Branch>,
    pub(super) running: Vec<Branch>,
    /// The first is taken next.
    pub(super) free: Vec<u32>,
    /// By block.
    contents: Vec<Option<Content>>,
    places: usize,
    budget: usize,
    caching: bool,
}

fn blocks(tokens: usize) -> usize {
    let partial = !tokens.is_multiple_of(BLOCK_TOKENS);
    tokens / BLOCK_TOKENS + usize::from(partial)
}

impl Reference {
    pub(super) fn new(blocks: usize, places: usize, budget: usize, caching: bool) -> Self {
        Self {
            waiting: Vec::new(),
            running: Vec::new(),
            free: (0..blocks as u32).collect(),
            contents: vec![None; blocks],
            places,
            budget,
            caching,
        }
    }

    /// Plans a step; returns how many were preempted.
    pub(super) fn schedule(&mut self) -> usize {
        let mut left = self.budget;
        let mut preempted = 0;
        for branch in &mut self.running {
            branch.scheduled = 0;
        }
        for decoding in [true, false] {
            let mut at = 0;
            while at < self.running.len() {
                let branch = &self.running[at];
                let missing = branch.tokens.len() - branch.computed;
                if left == 0 || branch.scheduled > 0 || (missing == 1) != decoding {
                    at += 1;
                    continue;
                }
                let tokens = missing.min(left);
                let wanted = blocks(branch.computed + tokens) - branch.blocks.len();
                if wanted > self.free.len() {
                    left += self.preempt();
                    preempted += 1;
                    continue;
                }
                for _ in 0..wanted {
                    let block = self.take();
                    self.running[at].blocks.push(block);
                }
                self.running[at].scheduled = tokens;
                left -= tokens;
                at += 1;
            }
        }
        while preempted == 0 && left > 0 && self.running.len() < self.places {
            let Some(tokens) = self.admit(left) else {
                break;
            };
            left -= tokens;
        }
        preempted
    }

    /// The newest goes back to the front of the queue.
    fn preempt(&mut self) -> usize {
        let mut branch = self.running.pop().unwrap();
        self.release(&branch.blocks);
        let scheduled = branch.scheduled;
        branch.blocks.clear();
        branch.computed = 0;
        branch.scheduled = 0;
        branch.preemptions += 1;
        self.waiting.insert(0, branch);
        scheduled
    }

    /// Admits the first that waits, if all that runs and it can have blocks for all tokens they have.
    fn admit(&mut self, left: usize) -> Option<usize> {
        let next = self.waiting.first()?.clone();
        let hits = self.hits(&next);
        let hits_in_use = hits.iter().filter(|hit| !self.free.contains(hit)).count();
        let mut need = blocks(next.tokens.len()) - hits_in_use;
        for branch in &self.running {
            need += blocks(branch.tokens.len()) - branch.blocks.len();
        }
        let sibling_is_at_it = self
            .running
            .iter()
            .any(|other| other.request == next.request && other.computed < other.prompt);
        let more_to_come = hits.len() * BLOCK_TOKENS + BLOCK_TOKENS < next.prompt;
        if need > self.free.len() || (self.caching && sibling_is_at_it && more_to_come) {
            return None;
        }
        let mut branch = self.waiting.remove(0);
        self.free.retain(|block| !hits.contains(block));
        branch.computed = hits.len() * BLOCK_TOKENS;
        branch.blocks = hits;
        if branch.preemptions == 0 {
            branch.cached_tokens = branch.computed;
        }
        branch.scheduled = (branch.tokens.len() - branch.computed).min(left);
        while branch.blocks.len() < blocks(branch.computed + branch.scheduled) {
            branch.blocks.push(self.take());
        }
        let scheduled = branch.scheduled;
        self.running.push(branch);
        Some(scheduled)
    }

    /// The blocks that hold the longest known beginning of the branch's tokens, the last token aside.
    fn hits(&self, branch: &Branch) -> Vec<u32> {
        let mut hits = Vec::new();
        for end in (BLOCK_TOKENS..branch.tokens.len()).step_by(BLOCK_TOKENS) {
            match self.holder_of(branch.salt, &branch.tokens[..end]) {
                Some(block) => hits.push(block),
                None => break,
            }
        }
        hits
    }

    fn holder_of(&self, salt: Option<&'static str>, tokens: &[u32]) -> Option<u32> {
        let same = |content: &Option<Content>| {
            let content = content.as_ref();
            content.is_some_and(|content| content.salt == salt && content.tokens == tokens)
        };
        self.contents
            .iter()
            .position(same)
            .map(|block| block as u32)
    }

    fn take(&mut self) -> u32 {
        let block = self.free.remove(0);
        self.contents[block as usize] = None;
        block
    }

    /// Frees those of the blocks that no running branch has, the last first. What is known goes to the
    /// end of the list.
    fn release(&mut self, blocks: &[u32]) {
        for &block in blocks.iter().rev() {
            if self
                .running
                .iter()
                .any(|other| other.blocks.contains(&block))
            {
                continue;
            }
            match self.contents[block as usize] {
                Some(_) => self.free.push(block),
                None => self.free.insert(0, block),
            }
        }
    }

    /// The step's tokens of a branch are computed.
    pub(super) fn advance(&mut self, at: usize) {
        let branch = &mut self.running[at];
        branch.computed += branch.scheduled;
        branch.scheduled = 0;
        let branch = branch.clone();
        for full in 0..branch.computed / BLOCK_TOKENS {
            let own = branch.blocks[full];
            if !self.caching || self.contents[own as usize].is_some() {
                continue;
            }
            let tokens = &branch.tokens[..(full + 1) * BLOCK_TOKENS];
            match self.holder_of(branch.salt, tokens) {
                None => {
                    self.contents[own as usize] = Some(Content {
                        salt: branch.salt,
                        tokens: tokens.to_vec(),
                    });
                }
                Some(other) => {
                    self.free.retain(|&block| block != other);
                    self.free.insert(0, own);
                    self.running[at].blocks[full] = other;
                }
            }
        }
    }

    /// A branch that runs is done.
    pub(super) fn finish(&mut self, at: usize, failed: bool) {
        let branch = self.running.remove(at);
        for &block in branch.blocks.iter().rev() {
            if failed && !self.is_shared(block) {
                self.contents[block as usize] = None;
            }
        }
        self.release(&branch.blocks);
    }

    /// Another branch has it, or a known block goes on from it.
    fn is_shared(&self, block: u32) -> bool {
        let Some(own) = &self.contents[block as usize] else {
            return false;
        };
        let goes_on = |other: &Content| {
            other.salt == own.salt
                && other.tokens.len() > own.tokens.len()
                && other.tokens.starts_with(&own.tokens)
        };
        self.running
            .iter()
            .any(|other| other.blocks.contains(&block))
            || self.contents.iter().flatten().any(goes_on)
    }

    /// A request is no longer wanted.
    pub(super) fn cancel(&mut self, request: usize) {
        self.waiting.retain(|branch| branch.request != request);
        let (gone, kept) = std::mem::take(&mut self.running)
            .into_iter()
            .partition(|branch: &Branch| branch.request == request);
        self.running = kept;
        let gone: Vec<Branch> = gone;
        for (at, branch) in gone.iter().enumerate() {
            let others: Vec<Branch> = gone[at + 1..].to_vec();
            let kept = self.running.len();
            self.running.extend(others);
            self.release(&branch.blocks);
            self.running.truncate(kept);
        }
    }
}
