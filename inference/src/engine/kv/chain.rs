//! The hash of a prefix, block after block: that of a block depends on every token before it, and on
//! the salt. It says where to look, never what is there: what is found is compared.

use std::hash::{BuildHasher, Hash, Hasher, RandomState};

/// Hashes chains of blocks. Keyed at random by default, so that no client can aim at a collision.
#[derive(Debug, Default)]
pub(in crate::engine) struct ChainHasher<S = RandomState>(S);

impl<S: BuildHasher> ChainHasher<S> {
    /// Hashes with hashers of `state`.
    #[cfg(test)]
    pub(in crate::engine) fn with_hasher(state: S) -> Self {
        Self(state)
    }

    /// The hash before the first block.
    pub(super) fn root(&self, salt: Option<&str>) -> u64 {
        self.0.hash_one(salt)
    }

    /// The hash of a block of `tokens` after one with the hash `parent`.
    pub(super) fn next(&self, parent: u64, tokens: &[u32]) -> u64 {
        let mut hasher = self.0.build_hasher();
        hasher.write_u64(parent);
        tokens.hash(&mut hasher);
        hasher.finish()
    }
}
