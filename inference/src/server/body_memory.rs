//! Memory for bodies that are on their way: bounded for all requests together, not only for each. A
//! body pays as it grows and gives back when it is checked, so a peer that sends slowly holds no more
//! than it sent.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::limits;

/// What all bodies may take together. Cheap to clone.
///
/// # Guarantees
/// Large bodies cannot keep small ones out: those of up to [`limits::INLINE_BODY_BYTES_MAX`] bytes are
/// paid from a quarter that larger ones leave alone.
#[derive(Debug, Clone)]
pub(super) struct BodyMemory {
    small: Arc<Semaphore>,
    large: Arc<Semaphore>,
}

/// There is no memory for more of a body now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NoMemory;

impl BodyMemory {
    /// Memory for `bytes_max` bytes in all, of which one body may take `body_bytes_max`: with less
    /// than that, no such body could ever be taken.
    pub(super) fn new(bytes_max: usize, body_bytes_max: usize) -> Self {
        let small = (bytes_max / 4).max(limits::INLINE_BODY_BYTES_MAX);
        let large = (bytes_max - bytes_max / 4).max(body_bytes_max);
        Self {
            small: Arc::new(Semaphore::new(small)),
            large: Arc::new(Semaphore::new(large)),
        }
    }

    /// An empty body.
    pub(super) fn body(&self) -> PaidBytes {
        PaidBytes {
            memory: self.clone(),
            bytes: BytesMut::new(),
            paid: None,
        }
    }
}

/// A body as far as it has arrived, and the memory it paid for.
#[derive(Debug)]
pub(super) struct PaidBytes {
    memory: BodyMemory,
    bytes: BytesMut,
    /// For all of `bytes`, from one of the two.
    paid: Option<OwnedSemaphorePermit>,
}

impl PaidBytes {
    /// Bytes so far.
    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Takes more bytes.
    ///
    /// # Errors
    /// [`NoMemory`]; nothing was taken.
    pub(super) fn extend(&mut self, data: &[u8]) -> Result<(), NoMemory> {
        let whole = self.len() + data.len();
        let was_small = self.len() <= limits::INLINE_BODY_BYTES_MAX;
        let is_small = whole <= limits::INLINE_BODY_BYTES_MAX;
        let (from, bytes) = match (was_small, is_small) {
            (_, true) => (&self.memory.small, data.len()),
            (true, false) => (&self.memory.large, whole),
            (false, false) => (&self.memory.large, data.len()),
        };
        let more = take(from, bytes)?;
        match &mut self.paid {
            Some(paid) if was_small == is_small => paid.merge(more),
            // What was paid as a small body is given back.
            paid => *paid = Some(more),
        }
        self.bytes.extend_from_slice(data);
        Ok(())
    }

    /// The whole body; the memory is given back with the last clone of it.
    pub(super) fn freeze(self) -> Bytes {
        Bytes::from_owner(self)
    }
}

impl AsRef<[u8]> for PaidBytes {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

fn take(semaphore: &Arc<Semaphore>, bytes: usize) -> Result<OwnedSemaphorePermit, NoMemory> {
    let bytes = u32::try_from(bytes).map_err(|_| NoMemory)?;
    Arc::clone(semaphore)
        .try_acquire_many_owned(bytes)
        .map_err(|_| NoMemory)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_bounded_in_sum_and_given_back_with_the_body() {
        let memory = BodyMemory::new(400_000, 300_000);
        let mut first = memory.body();
        first.extend(&[1; 200_000]).unwrap();
        let mut second = memory.body();
        second.extend(&[2; 100_000]).unwrap();
        assert_eq!(second.extend(&[2; 100_000]), Err(NoMemory));
        assert_eq!(second.len(), 100_000);
        let whole = first.freeze();
        assert_eq!(second.extend(&[2; 100_000]), Err(NoMemory));
        let kept = whole.slice(..1);
        drop(whole);
        assert_eq!(second.extend(&[2; 100_000]), Err(NoMemory));
        drop(kept);
        second.extend(&[2; 100_000]).unwrap();
        drop(second);
        assert_eq!(memory.large.available_permits(), 300_000);
        assert_eq!(memory.small.available_permits(), 100_000);
    }

    #[test]
    fn large_bodies_do_not_keep_small_ones_out() {
        let memory = BodyMemory::new(100_000, 10);
        let mut large = memory.body();
        while large.extend(&[0; 10_000]).is_ok() {}
        let mut small = memory.body();
        small.extend(&[0; 1_000]).unwrap();
        assert_eq!(memory.small.available_permits(), 24_000);
    }

    #[test]
    fn the_largest_body_is_always_possible() {
        let memory = BodyMemory::new(65_536, 1 << 20);
        memory.body().extend(&vec![0; 1 << 20]).unwrap();
    }
}
