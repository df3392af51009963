//! A slice whose parts are written by several threads at once, each its own.

use std::{marker::PhantomData, ops::Range};

/// A slice that is handed out in parts.
pub(in crate::model::ops) struct Disjoint<'a, T> {
    start: *mut T,
    len: usize,
    slice: PhantomData<&'a mut [T]>,
}

#[expect(unsafe_code, reason = "each thread writes parts of its own")]
// SAFETY: it hands out `&mut [T]`, which may be sent where `T` may; who asks for a part promises that nobody else has it.
unsafe impl<T: Send> Sync for Disjoint<'_, T> {}

impl<'a, T> Disjoint<'a, T> {
    pub(in crate::model::ops) fn new(slice: &'a mut [T]) -> Self {
        Self {
            start: slice.as_mut_ptr(),
            len: slice.len(),
            slice: PhantomData,
        }
    }

    /// The numbers in `range`.
    ///
    /// # Safety
    /// Of all parts that are in use at a time, no two overlap.
    ///
    /// # Panics
    /// Outside the slice.
    #[expect(
        unsafe_code,
        reason = "that parts do not overlap is the caller's promise"
    )]
    #[expect(clippy::mut_from_ref, reason = "the parts are disjoint")]
    pub(in crate::model::ops) unsafe fn part(&self, range: Range<usize>) -> &mut [T] {
        assert!(range.start <= range.end && range.end <= self.len);
        // SAFETY: the range is inside the slice, which is borrowed for 'a; the caller promises that no other part in use overlaps.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(range.start), range.len()) }
    }
}
