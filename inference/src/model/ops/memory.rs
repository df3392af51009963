//! Memory for weights and for keys and values, in large pages where the system has them at hand: with small ones a tenth of the
//! time that reading takes goes into finding them.
//!
//! A system whose memory is in small pieces makes large pages by moving what is there, which can take tens of milliseconds each, and
//! half a minute for a model. So waiting for them has an end; what is left comes in small pages, which the system may put
//! together later.

use std::{
    ops::Range,
    sync::atomic::{AtomicBool, Ordering},
};

use candle_core::{Result, bail};
use memmap2::MmapMut;

use super::team::team;

pub(super) const LARGE_PAGE: usize = 2 << 20;

/// Zeros.
pub(super) fn memory(bytes: usize) -> Result<MmapMut> {
    let memory = match MmapMut::map_anon(bytes.max(1)) {
        Ok(memory) => memory,
        Err(error) => bail!("{bytes} bytes for weights cannot be had: {error}"),
    };
    let begin = memory.as_ptr().addr();
    let pages = OnDemand::of(begin..begin + memory.len());
    pages.give(std::iter::once(0..memory.len()));
    Ok(memory)
}

/// Memory that the system gives in large pages, each when it is asked for. What lies before the first whole page, or behind the last,
/// comes in small ones.
#[derive(Debug)]
pub(super) struct OnDemand {
    /// Where it begins.
    start: usize,
    /// Where the first whole page begins.
    first: usize,
    /// Of each page, whether it was asked for.
    given: Vec<AtomicBool>,
}

impl OnDemand {
    /// Of memory that nothing was written to yet, by its addresses.
    pub(super) fn of(addresses: Range<usize>) -> Self {
        let first = addresses.start.next_multiple_of(LARGE_PAGE);
        let pages = addresses.end.saturating_sub(first) / LARGE_PAGE;
        Self {
            start: addresses.start,
            first,
            given: (0..pages).map(|_| AtomicBool::new(false)).collect(),
        }
    }

    /// Has the system give the pages that these bytes lie in, on all threads. Advice that it does not take costs speed, and nothing
    /// else: small pages come when they are written to.
    pub(super) fn give(&self, ranges: impl IntoIterator<Item = Range<usize>>) {
        let before = self.first - self.start;
        let mut pages = Vec::new();
        for bytes in ranges {
            let from = bytes.start.saturating_sub(before) / LARGE_PAGE;
            let to = bytes.end.saturating_sub(before).div_ceil(LARGE_PAGE);
            for page in from..to.min(self.given.len()) {
                let given = &self.given[page];
                if !given.load(Ordering::Relaxed) && !given.swap(true, Ordering::Relaxed) {
                    pages.push(page);
                }
            }
        }
        if !pages.is_empty() {
            team().run(pages.len(), |index| {
                large_pages::give(self.first + pages[index] * LARGE_PAGE);
            });
        }
    }
}

#[cfg(target_os = "linux")]
mod large_pages {
    use std::{
        ffi::c_void,
        ptr,
        sync::atomic::{AtomicU64, Ordering},
        time::{Duration, Instant},
    };

    use rustix::mm::{Advice, madvise};

    use super::LARGE_PAGE;

    /// Filling a large page that is at hand with zeros takes less.
    const AT_HAND: Duration = Duration::from_millis(2);
    /// How long all threads together wait for pages that are not, in the life of this process.
    const PATIENCE: Duration = Duration::from_millis(200);

    /// Microseconds that were waited.
    static WAITED: AtomicU64 = AtomicU64::new(0);

    /// Has the system give the page at this address.
    pub(super) fn give(address: usize) {
        if u128::from(WAITED.load(Ordering::Relaxed)) < PATIENCE.as_micros() {
            advise(address, Advice::LinuxHugepage);
            let took = timed(|| advise(address, Advice::LinuxPopulateWrite));
            if took > AT_HAND {
                WAITED.fetch_add(took.as_micros() as u64, Ordering::Relaxed);
            }
        } else {
            advise(address, Advice::LinuxNoHugepage);
            advise(address, Advice::LinuxPopulateWrite);
            // The system may put small pages together when it has the time.
            advise(address, Advice::LinuxHugepage);
        }
    }

    fn advise(address: usize, advice: Advice) {
        let page: *mut c_void = ptr::with_exposed_provenance_mut(address);
        #[expect(unsafe_code, reason = "advice on memory by its address")]
        // SAFETY: these kinds of advice change nothing that a program can see but how long its reads and writes take: what is in
        // the memory stays, and what is not mapped is refused.
        let _ = unsafe { madvise(page, LARGE_PAGE, advice) };
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

#[cfg(not(target_os = "linux"))]
mod large_pages {
    pub(super) fn give(_: usize) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_of_any_size_is_zeros_and_can_be_written() {
        for bytes in [0, 1, 4096, LARGE_PAGE - 1, 3 * LARGE_PAGE + 5] {
            let mut memory = memory(bytes).unwrap();
            assert_eq!(memory.len(), bytes.max(1));
            assert!(memory.iter().all(|byte| *byte == 0));
            memory.fill(1);
        }
    }

    #[test]
    fn a_page_is_asked_for_once_and_keeps_what_is_in_it() {
        let mut memory = MmapMut::map_anon(5 * LARGE_PAGE).unwrap();
        let begin = memory.as_ptr().addr() + 4096;
        let pages = OnDemand::of(begin..begin + 4 * LARGE_PAGE);
        let given = |pages: &OnDemand| -> Vec<bool> {
            let given = pages.given.iter();
            given.map(|page| page.load(Ordering::Relaxed)).collect()
        };
        let whole = given(&pages).len();
        assert!((3..=4).contains(&whole));
        let before = pages.first - pages.start;
        pages.give([0..0, before..before + 1]);
        assert_eq!(given(&pages).iter().filter(|given| **given).count(), 1);
        memory.fill(7);
        pages.give([0..4 * LARGE_PAGE, 0..4 * LARGE_PAGE]);
        assert!(given(&pages).iter().all(|given| *given));
        assert!(memory.iter().all(|byte| *byte == 7));
        // Nothing is there to be given, nor behind the end.
        OnDemand::of(begin..begin + 1).give([0..1, 5..3 * LARGE_PAGE]);
    }
}
