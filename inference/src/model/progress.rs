//! How far loading is: written while weights are read, read by whoever asks; and how to end it.

use std::sync::atomic::{AtomicBool, AtomicU64};

/// How far loading is, to be read from other threads.
#[derive(Debug, Default)]
pub struct LoadProgress {
    /// Bytes of weights taken so far.
    pub bytes_done: AtomicU64,
    /// Bytes of weights in all; 0 until known.
    pub bytes_total: AtomicU64,
    /// Bytes that loading takes of memory at most; 0 until known.
    pub memory_bytes: AtomicU64,
    /// Set by who no longer wants the model: loading ends with an error.
    pub given_up: AtomicBool,
}
