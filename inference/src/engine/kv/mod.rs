//! Where keys and values live: blocks of 32 tokens in a pool that is also the prefix cache, and tables
//! that say which sequence has which blocks.
//!
//! Read in this order: `pool.rs` (blocks, who holds them, what they are known to contain), `table.rs` (a
//! sequence's view), `free_list.rs` (the order in which blocks are used again).

mod chain;
mod free_list;
mod pool;
mod table;

pub(in crate::engine) use chain::ChainHasher;
pub(in crate::engine) use pool::BlockPool;
pub(in crate::engine) use table::BlockTable;

#[cfg(test)]
mod pool_tests;
