//! How far loading is: written while weights are read, read by whoever asks.

use std::sync::atomic::AtomicU64;

/// How far loading is, to be read from other threads.
#[derive(Debug, Default)]
pub struct LoadProgress {
    /// Bytes of weights taken so far.
    pub bytes_done: AtomicU64,
    /// Bytes of weights in all; 0 until known.
    pub bytes_total: AtomicU64,
}
