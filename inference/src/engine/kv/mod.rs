//! Where keys and values live: blocks of 32 tokens in a pool, and tables that say which sequence has
//! which blocks.

mod pool;

pub use pool::BlockPool;
