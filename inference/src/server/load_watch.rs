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

/// Runs `work` on a thread of its own. `others` says how much memory of its own the process may take for something else
/// meanwhile; mapped files do not count.
///
/// # Errors
/// [`LoadBomb`] when it takes more than `limits`: the process should end then.
pub(super) fn watched<T: Send + 'static>(
    what: &'static str,
    load_limits: LoadLimits,
    others: &dyn Fn() -> usize,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, LoadBomb> {
    let LoadLimits { time, memory_bytes } = load_limits;
    let before = own_bytes();
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
        let taken = own_bytes().saturating_sub(before);
        if taken > memory_bytes.saturating_add(others()) {
            let bytes = memory_bytes;
            return Err(LoadBomb::Memory { what, bytes });
        }
    }
}

/// Memory of this process that no file has; 0 where the system does not say.
fn own_bytes() -> usize {
    const PAGE_BYTES: usize = 4096;
    let statm = fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = |field| statm.split(' ').nth(field)?.parse::<usize>().ok();
    let (resident, shared) = (pages(1), pages(2));
    resident.unwrap_or(0).saturating_sub(shared.unwrap_or(0)) * PAGE_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_within_its_limits_is_done() {
        assert_eq!(watched("sum", LOAD_LIMITS, &|| 0, || 1 + 1), Ok(2));
    }

    #[test]
    fn work_beyond_its_limits_is_given_up() {
        let (release, held) = mpsc::channel::<()>();
        let limits = LoadLimits {
            time: Duration::from_millis(30),
            memory_bytes: usize::MAX,
        };
        let outcome = watched("slow", limits, &|| 0, move || held.recv().is_ok());
        assert!(matches!(outcome, Err(LoadBomb::Time { what: "slow", .. })));
        drop(release);
        let (release, held) = mpsc::channel::<()>();
        let limits = LoadLimits {
            time: Duration::from_secs(60),
            memory_bytes: 16 << 20,
        };
        let large = move || {
            let memory = vec![1u8; 256 << 20];
            let _ = held.recv();
            memory.len()
        };
        let outcome = watched("large", limits, &|| 0, large);
        assert!(matches!(
            outcome,
            Err(LoadBomb::Memory { what: "large", .. })
        ));
        drop(release);
        let large = || vec![1u8; 256 << 20].len();
        let outcome = watched("large beside others", limits, &|| 512 << 20, large);
        assert_eq!(outcome, Ok(256 << 20));
        let outcome = watched("bad", LOAD_LIMITS, &|| 0, || panic!("a panic"));
        assert_eq!(outcome, Err::<(), _>(LoadBomb::Failed { what: "bad" }));
    }
}
