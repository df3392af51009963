//! Watches what is loaded from files that may be bombs: a template that doubles a text in a loop, a
//! tokenizer whose parts multiply each other. Such work cannot be stopped from outside; but the server
//! has not begun to serve, so it refuses the model and ends, and the work with it.

use std::{fs, sync::mpsc, thread, time::Duration};

use super::limits;

/// What a part of a model may take to load.
#[derive(Debug, Clone, Copy)]
pub(super) struct LoadLimits {
    pub(super) time: Duration,
    pub(super) memory_bytes: usize,
}

/// What `limits` says of chat templates and tokenizers.
pub(super) const LOAD_LIMITS: LoadLimits = LoadLimits {
    time: limits::LOAD_TIME_MAX,
    memory_bytes: limits::LOAD_MEMORY_BYTES_MAX,
};

/// Work that went beyond its limits, and may still go on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LoadBomb {
    /// Too much memory.
    #[error("{what}: it takes more than {bytes} bytes of memory to load")]
    Memory {
        /// What was loaded.
        what: &'static str,
        /// The limit.
        bytes: usize,
    },
    /// Too long.
    #[error("{what}: it takes more than {} seconds to load", time.as_secs())]
    Time {
        /// What was loaded.
        what: &'static str,
        /// The limit.
        time: Duration,
    },
    /// It panicked, or there was no thread for it.
    #[error("{what}: it cannot be loaded")]
    Failed {
        /// What was loaded.
        what: &'static str,
    },
}

/// Runs `work` on a thread of its own.
///
/// # Errors
/// [`LoadBomb`] when it takes more than `limits`: the process should end then.
pub(super) fn watched<T: Send + 'static>(
    what: &'static str,
    load_limits: LoadLimits,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, LoadBomb> {
    let LoadLimits { time, memory_bytes } = load_limits;
    let before = resident_bytes();
    let (sender, outcome) = mpsc::channel();
    thread::Builder::new()
        .name("load-part".to_owned())
        .spawn(move || drop(sender.send(work())))
        .map_err(|_| LoadBomb::Failed { what })?;
    let mut waited = Duration::ZERO;
    loop {
        match outcome.recv_timeout(limits::LOAD_POLL) {
            Ok(outcome) => return Ok(outcome),
            Err(mpsc::RecvTimeoutError::Disconnected) => return Err(LoadBomb::Failed { what }),
            Err(mpsc::RecvTimeoutError::Timeout) => waited += limits::LOAD_POLL,
        }
        if waited >= time {
            return Err(LoadBomb::Time { what, time });
        }
        if resident_bytes().saturating_sub(before) > memory_bytes {
            let bytes = memory_bytes;
            return Err(LoadBomb::Memory { what, bytes });
        }
    }
}

/// Memory of this process; 0 where the system does not say.
fn resident_bytes() -> usize {
    const PAGE_BYTES: usize = 4096;
    let statm = fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = statm.split(' ').nth(1).and_then(|pages| pages.parse().ok());
    pages.unwrap_or(0usize) * PAGE_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_within_its_limits_is_done() {
        assert_eq!(watched("sum", LOAD_LIMITS, || 1 + 1), Ok(2));
    }

    #[test]
    fn work_beyond_its_limits_is_given_up() {
        let (release, held) = mpsc::channel::<()>();
        let limits = LoadLimits {
            time: Duration::from_millis(30),
            memory_bytes: usize::MAX,
        };
        let outcome = watched("slow", limits, move || held.recv().is_ok());
        assert!(matches!(outcome, Err(LoadBomb::Time { what: "slow", .. })));
        drop(release);
        let (release, held) = mpsc::channel::<()>();
        let limits = LoadLimits {
            time: Duration::from_secs(60),
            memory_bytes: 16 << 20,
        };
        let outcome = watched("large", limits, move || {
            let memory = vec![1u8; 256 << 20];
            let _ = held.recv();
            memory.len()
        });
        assert!(matches!(
            outcome,
            Err(LoadBomb::Memory { what: "large", .. })
        ));
        drop(release);
        let outcome = watched("bad", LOAD_LIMITS, || panic!("a panic"));
        assert_eq!(outcome, Err::<(), _>(LoadBomb::Failed { what: "bad" }));
    }
}
