//! A sequence's blocks, and the chain of hashes by which they are found again.

use std::{hash::BuildHasher, sync::Arc};

use super::{
    chain::ChainHasher,
    pool::{BlockPool, Content, Parent},
};
use crate::model::runner::{BLOCK_TOKENS, blocks_for};

/// The blocks of one sequence, in the order of its tokens.
///
/// # Guarantees
/// Cached blocks come first; after the first one that is not, none is.
#[derive(Debug, Clone, Default)]
pub(in crate::engine) struct BlockTable {
    blocks: Vec<u32>,
    /// How many of them, from the first on, are cached.
    cached: usize,
    /// Hash of each full block of tokens, as far as they were needed; kept when the blocks are let go.
    hashes: Vec<u64>,
    /// Sequences share blocks with those of the same salt only.
    salt: Option<Arc<str>>,
}

impl BlockTable {
    /// A table without blocks.
    pub(in crate::engine) fn new(salt: Option<Arc<str>>) -> Self {
        Self {
            salt,
            ..Self::default()
        }
    }

    /// The blocks.
    pub(in crate::engine) fn blocks(&self) -> &[u32] {
        &self.blocks
    }

    /// Hashes the full blocks of `tokens`, those aside that were hashed before.
    pub(in crate::engine) fn hash<S: BuildHasher>(
        &mut self,
        hasher: &ChainHasher<S>,
        tokens: &[u32],
    ) {
        let (full, _) = tokens.as_chunks::<BLOCK_TOKENS>();
        for block in full.iter().skip(self.hashes.len()) {
            let last = self.hashes.last().copied();
            let parent = last.unwrap_or_else(|| hasher.root(self.salt.as_deref()));
            self.hashes.push(hasher.next(parent, block));
        }
    }

    /// Fills `hits` with the cached blocks that a table without blocks could begin with. The block of the
    /// last token is not among them: its logits are wanted, so it is computed, and a block that is
    /// written to is never shared.
    pub(in crate::engine) fn find(&self, pool: &BlockPool, tokens: &[u32], hits: &mut Vec<u32>) {
        hits.clear();
        let reusable = &tokens[..tokens.len().saturating_sub(1)];
        let (full, _) = reusable.as_chunks::<BLOCK_TOKENS>();
        let mut parent = self.root();
        for (&hash, tokens) in self.hashes.iter().zip(full) {
            let content = Content {
                hash,
                parent: &parent,
                tokens,
            };
            let Some(hit) = pool.find(content) else {
                return;
            };
            hits.push(hit);
            parent = Parent::Block(hit);
        }
    }

    /// Begins a table without blocks with cached ones, as [`Self::find`] found them.
    pub(in crate::engine) fn begin(&mut self, pool: &mut BlockPool, hits: &[u32]) {
        assert!(self.blocks.is_empty(), "cached blocks come first");
        hits.iter().for_each(|&block| pool.hold(block));
        self.blocks.extend_from_slice(hits);
        self.cached = hits.len();
    }

    /// Grows to `blocks` blocks, or stays as it is when the pool has too few.
    pub(in crate::engine) fn grow(&mut self, pool: &mut BlockPool, blocks: usize) -> bool {
        let missing = blocks.saturating_sub(self.blocks.len());
        if missing > pool.free() {
            return false;
        }
        let taken = std::iter::from_fn(|| pool.take()).take(missing);
        self.blocks.extend(taken);
        true
    }

    /// Asserts that the blocks of the positions `from..to` may be written to.
    pub(in crate::engine) fn assert_writable(&self, pool: &BlockPool, from: usize, to: usize) {
        for &block in &self.blocks[from / BLOCK_TOKENS..blocks_for(to)] {
            assert!(
                pool.is_writable(block),
                "block {block} is shared and would be written to"
            );
        }
    }

    /// Caches the blocks that the first `computed` of `tokens` fill. Where a block of the same content is
    /// cached, it takes the place of this table's own.
    pub(in crate::engine) fn cache<S: BuildHasher>(
        &mut self,
        pool: &mut BlockPool,
        hasher: &ChainHasher<S>,
        tokens: &[u32],
        computed: usize,
    ) {
        let full = computed / BLOCK_TOKENS;
        if full == self.cached {
            return;
        }
        self.hash(hasher, &tokens[..full * BLOCK_TOKENS]);
        for index in self.cached..full {
            let parent = match index.checked_sub(1) {
                None => self.root(),
                Some(before) => Parent::Block(self.blocks[before]),
            };
            let content = Content {
                hash: self.hashes[index],
                parent: &parent,
                tokens: &tokens[index * BLOCK_TOKENS..][..BLOCK_TOKENS],
            };
            self.blocks[index] = pool.cache(self.blocks[index], content);
        }
        self.cached = full;
    }

    /// Lets go of every block as [`Self::release`] does, but first takes those that nobody shares out of
    /// the cache: their keys and values are in doubt.
    pub(in crate::engine) fn discard(&mut self, pool: &mut BlockPool) {
        for &block in self.blocks[..self.cached].iter().rev() {
            pool.forget_unshared(block);
        }
        self.release(pool);
    }

    /// Lets go of every block, the last first: the end of a sequence is used again before its beginning.
    pub(in crate::engine) fn release(&mut self, pool: &mut BlockPool) {
        for block in self.blocks.drain(..).rev() {
            pool.let_go(block);
        }
        self.cached = 0;
    }

    fn root(&self) -> Parent {
        Parent::Root(self.salt.clone())
    }
}
