//! The pool of KV blocks, and what is known of their contents: the prefix cache.
//!
//! A block is held by the tables that it is in, or free. A full block whose keys and values are computed
//! can be *cached*: it is then found by its tokens and what comes before them, held or free, until a free
//! one is taken for something else, the longest unused first.
//!
//! # Guarantees
//! - Free and held exclude each other, and each block is one of them.
//! - There is one cached block for each content, and a cached block is found for exactly its content: the
//!   hash is for finding it, parent, salt and token ids are compared.
//! - A cached block's parent is cached. So a chain is found from its beginning, and a parent can be named
//!   by its number.
//! - Every operation is O(1).

use std::sync::Arc;

use hashbrown::HashTable;

use super::free_list::FreeList;
use crate::model::runner::BLOCK_TOKENS;

/// What comes before a block's tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::engine) enum Parent {
    /// Nothing; the requests that may share it have this salt, or all have none.
    Root(Option<Arc<str>>),
    /// This cached block.
    Block(u32),
}

/// The content of a full block, to look for or to cache.
#[derive(Debug, Clone, Copy)]
pub(in crate::engine) struct Content<'a> {
    /// Of the tokens, all before them, and the salt.
    pub(in crate::engine) hash: u64,
    pub(in crate::engine) parent: &'a Parent,
    /// As many as a block has.
    pub(in crate::engine) tokens: &'a [u32],
}

/// The blocks of the KV cache.
#[derive(Debug)]
pub(in crate::engine) struct BlockPool {
    blocks: Vec<Block>,
    /// Token ids of the cached blocks, 32 for each block of the pool.
    tokens: Vec<u32>,
    /// The cached blocks, by hash.
    cached: HashTable<u32>,
    free: FreeList,
    /// Places in tables that hold a block.
    holds: usize,
}

#[derive(Debug, Default)]
struct Block {
    /// Tables that hold it; 0: it is free.
    holders: u32,
    cached: Option<Cached>,
}

/// What a cached block contains, its tokens aside.
#[derive(Debug)]
struct Cached {
    hash: u64,
    parent: Parent,
    /// Cached blocks whose parent it is.
    children: u32,
}

impl BlockPool {
    /// A pool of `blocks` free blocks.
    pub(in crate::engine) fn new(blocks: usize) -> Self {
        Self {
            blocks: (0..blocks).map(|_| Block::default()).collect(),
            tokens: vec![0; blocks * BLOCK_TOKENS],
            // Room for all of them, so that it seldom grows in the middle of a step.
            cached: HashTable::with_capacity(blocks),
            free: FreeList::full(blocks),
            holds: 0,
        }
    }

    /// Blocks of the pool.
    pub(in crate::engine) fn len(&self) -> usize {
        self.blocks.len()
    }

    /// Blocks that are free, cached ones among them.
    pub(in crate::engine) fn free(&self) -> usize {
        self.free.len()
    }

    /// Places in tables that hold a block.
    pub(in crate::engine) fn holds(&self) -> usize {
        self.holds
    }

    /// Share of the pool that is held, 0..=1. A cached block that nobody holds counts as free.
    pub(in crate::engine) fn usage(&self) -> f64 {
        1.0 - self.free() as f64 / self.blocks.len() as f64
    }

    /// Whether nobody holds the block.
    pub(in crate::engine) fn is_free(&self, block: u32) -> bool {
        self.blocks[block as usize].holders == 0
    }

    /// Whether keys and values may be written to it: one table holds it, and nobody else can find it.
    pub(in crate::engine) fn is_writable(&self, block: u32) -> bool {
        let block = &self.blocks[block as usize];
        block.holders == 1 && block.cached.is_none()
    }

    /// The cached block of this content.
    pub(super) fn find(&self, content: Content<'_>) -> Option<u32> {
        let same = |&block: &u32| {
            let cached = self.cached(block);
            cached.hash == content.hash
                && cached.parent == *content.parent
                && self.tokens_of(block) == content.tokens
        };
        self.cached.find(content.hash, same).copied()
    }

    /// Holds a cached block once more.
    pub(super) fn hold(&mut self, block: u32) {
        if self.is_free(block) {
            self.free.remove(block);
        }
        self.blocks[block as usize].holders += 1;
        self.holds += 1;
    }

    /// Holds the free block that is next to be used; what it was cached as is forgotten.
    pub(super) fn take(&mut self) -> Option<u32> {
        let block = self.free.pop_front()?;
        let Block { holders, cached } = &mut self.blocks[block as usize];
        assert!(*holders == 0, "block {block} was free and held at once");
        *holders = 1;
        self.holds += 1;
        if cached.is_some() {
            self.forget(block);
        }
        Some(block)
    }

    /// Holds a block once less. The last to let go frees it: if it is cached it is used again after all
    /// that are free, if not before them.
    pub(super) fn let_go(&mut self, block: u32) {
        let Block { holders, cached } = &mut self.blocks[block as usize];
        assert!(
            *holders > 0,
            "block {block} was let go by one who did not hold it"
        );
        *holders -= 1;
        self.holds -= 1;
        match (*holders, cached.is_some()) {
            (0, true) => self.free.push_back(block),
            (0, false) => self.free.push_front(block),
            _ => {}
        }
    }

    /// Caches a block that its holder alone knows, and will not write to again. Where another block is
    /// cached with the same content, that one is held in its stead and this one let go. Returns the one
    /// that is held.
    pub(super) fn cache(&mut self, block: u32, content: Content<'_>) -> u32 {
        assert!(
            self.is_writable(block),
            "block {block} is shared before it is cached"
        );
        if let Some(same) = self.find(content) {
            self.hold(same);
            self.let_go(block);
            return same;
        }
        if let Parent::Block(parent) = *content.parent {
            self.cached_mut(parent).children += 1;
        }
        let Content {
            hash,
            parent,
            tokens,
        } = content;
        self.blocks[block as usize].cached = Some(Cached {
            hash,
            parent: parent.clone(),
            children: 0,
        });
        self.tokens[block as usize * BLOCK_TOKENS..][..BLOCK_TOKENS].copy_from_slice(tokens);
        let blocks = &self.blocks;
        let hash_of = |&block: &u32| hash_of(blocks, block);
        self.cached.insert_unique(hash, block, hash_of);
        block
    }

    /// Takes a block out of the cache if its one holder is the only one to know it.
    pub(super) fn forget_unshared(&mut self, block: u32) {
        let Block { holders, cached } = &self.blocks[block as usize];
        if *holders == 1 && cached.as_ref().is_some_and(|cached| cached.children == 0) {
            self.forget(block);
        }
    }

    /// Takes a block out of the cache.
    fn forget(&mut self, block: u32) {
        let Cached {
            hash,
            parent,
            children,
        } = self.blocks[block as usize]
            .cached
            .take()
            .expect("callers forget cached blocks only");
        // Who holds a block holds its parent, and lets it go after it: the parent is used again later.
        assert!(
            children == 0,
            "block {block} was forgotten before those that follow it"
        );
        if let Parent::Block(parent) = parent {
            self.cached_mut(parent).children -= 1;
        }
        match self.cached.find_entry(hash, |&other| other == block) {
            Ok(entry) => drop(entry.remove()),
            Err(_) => panic!("block {block} is cached, but not to be found"),
        }
    }

    fn cached(&self, block: u32) -> &Cached {
        let cached = self.blocks[block as usize].cached.as_ref();
        cached.expect("a block that can be found is cached")
    }

    fn cached_mut(&mut self, block: u32) -> &mut Cached {
        let cached = self.blocks[block as usize].cached.as_mut();
        cached.expect("a cached block's parent is cached")
    }

    fn tokens_of(&self, block: u32) -> &[u32] {
        &self.tokens[block as usize * BLOCK_TOKENS..][..BLOCK_TOKENS]
    }
}

fn hash_of(blocks: &[Block], block: u32) -> u64 {
    let cached = blocks[block as usize].cached.as_ref();
    cached.expect("a block that can be found is cached").hash
}

#[cfg(test)]
#[path = "pool_checks.rs"]
mod checks;
