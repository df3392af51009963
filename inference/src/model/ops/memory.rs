//! Memory for weights, in large pages where the system has them at hand: with small ones a tenth of the time that reading weights
//! takes goes into finding them.
//!
//! A system whose memory is in small pieces makes large pages by moving what is there, which can take tens of milliseconds each, and
//! half a minute for a model. So waiting for them has an end; what is left comes in small pages, which the system may put
//! together later.

use candle_core::{Result, bail};
use memmap2::MmapMut;

/// Zeros.
pub(super) fn memory(bytes: usize) -> Result<MmapMut> {
    let memory = match MmapMut::map_anon(bytes.max(1)) {
        Ok(memory) => memory,
        Err(error) => bail!("{bytes} bytes for weights cannot be had: {error}"),
    };
    #[cfg(target_os = "linux")]
    large_pages::populate(&memory);
    Ok(memory)
}

#[cfg(target_os = "linux")]
mod large_pages {
    use std::{
        sync::atomic::{AtomicU64, Ordering},
        time::{Duration, Instant},
    };

    use memmap2::{Advice, MmapMut};

    use crate::model::ops::team::team;

    const LARGE_PAGE: usize = 2 << 20;
    /// Filling a large page that is at hand with zeros takes less.
    const AT_HAND: Duration = Duration::from_millis(2);
    /// How long all threads together wait for pages that are not, in the life of this process.
    const PATIENCE: Duration = Duration::from_millis(200);

    /// Microseconds that were waited.
    static WAITED: AtomicU64 = AtomicU64::new(0);

    /// Has the system give the memory its pages, on all threads. Advice that it does not take costs speed, and nothing else: the pages
    /// come when they are written to.
    pub(super) fn populate(memory: &MmapMut) {
        let begin = memory.as_ptr() as usize;
        let first = begin.next_multiple_of(LARGE_PAGE) - begin;
        let pages = memory.len().saturating_sub(first) / LARGE_PAGE;
        if pages == 0 {
            return;
        }
        let _ = memory.advise(Advice::HugePage);
        team().run(pages, |page| {
            let at = first + page * LARGE_PAGE;
            let give = || memory.advise_range(Advice::PopulateWrite, at, LARGE_PAGE);
            if u128::from(WAITED.load(Ordering::Relaxed)) < PATIENCE.as_micros() {
                let took = timed(give);
                if took > AT_HAND {
                    WAITED.fetch_add(took.as_micros() as u64, Ordering::Relaxed);
                }
            } else {
                let _ = memory.advise_range(Advice::NoHugePage, at, LARGE_PAGE);
                let _ = give();
            }
        });
        // The system may put small pages together when it has the time.
        let _ = memory.advise(Advice::HugePage);
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "how long the system takes, not a request"
    )]
    fn timed<T>(work: impl FnOnce() -> T) -> Duration {
        let begun = Instant::now();
        work();
        begun.elapsed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_of_any_size_is_zeros_and_can_be_written() {
        for bytes in [0, 1, 4096, (2 << 20) - 1, (6 << 20) + 5] {
            let mut memory = memory(bytes).unwrap();
            assert_eq!(memory.len(), bytes.max(1));
            assert!(memory.iter().all(|byte| *byte == 0));
            memory.fill(1);
        }
    }
}
