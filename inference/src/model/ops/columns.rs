//! The result `[T, N]` of a linear layer while several threads write it, each its own columns.

use std::{marker::PhantomData, ops::Range};

use super::{Element, team::team};

/// Rows of a result, of which threads write disjoint columns.
pub(super) struct Columns<'a, T> {
    data: *mut T,
    tokens: usize,
    /// Of a row of the result.
    width: usize,
    /// Those that are written here.
    range: Range<usize>,
    /// Added to each of them.
    bias: Option<&'a [f32]>,
    result: PhantomData<&'a mut [T]>,
}

#[expect(unsafe_code, reason = "threads write disjoint columns of the same rows")]
// SAFETY: `split` hands out columns that do not overlap, and what is written is `Send`.
unsafe impl<T: Send> Sync for Columns<'_, T> {}
