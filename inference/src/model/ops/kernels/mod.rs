//! The loops that the time goes into, on plain slices: no tensors, no threads.

pub(super) mod q8;
