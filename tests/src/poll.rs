//! Waiting for a condition with a deadline. The only place of the suites where time passes on purpose.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;

/// How long to rest between two looks at a condition.
const PAUSE: Duration = Duration::from_millis(100);
/// How long to rest between two looks at a state that should last.
const LONG_PAUSE: Duration = Duration::from_secs(2);

/// What one look at a condition saw.
#[derive(Debug)]
pub enum Seen<T> {
    /// The condition holds, and this came of it.
    Yes(T),
    /// Not yet; the text says what was seen instead.
    NotYet(String),
}

/// A moment after which waiting is given up.
#[derive(Debug, Clone, Copy)]
pub struct Deadline {
    started: Instant,
    limit: Duration,
}

impl Deadline {
    /// The moment `limit` from now.
    #[expect(
        clippy::disallowed_methods,
        reason = "a suite's patience is no request's cost"
    )]
    pub fn after(limit: Duration) -> Self {
        Self {
            started: Instant::now(),
            limit,
        }
    }

    /// Whether the moment has passed.
    pub fn is_over(&self) -> bool {
        self.elapsed() >= self.limit
    }

    /// Time since the deadline was set.
    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }
}

/// Looks until `look` says yes.
///
/// # Errors
/// `look`'s own error at once, or, when `limit` has passed, what was waited for and what was seen last.
pub fn wait_for<T>(
    what: &str,
    limit: Duration,
    mut look: impl FnMut() -> anyhow::Result<Seen<T>>,
) -> anyhow::Result<T> {
    let deadline = Deadline::after(limit);
    loop {
        match look()? {
            Seen::Yes(found) => return Ok(found),
            Seen::NotYet(seen) if deadline.is_over() => {
                anyhow::bail!("waited {} s for {what}; last seen: {seen}", limit.as_secs())
            }
            Seen::NotYet(_) => thread::park_timeout(PAUSE),
        }
    }
}

/// Looks for as long as `length` whether a state lasts: `look` fails when it does not.
///
/// # Errors
/// `look`'s own, with how long the state had lasted.
pub fn hold(
    what: &str,
    length: Duration,
    mut look: impl FnMut() -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let end = Deadline::after(length);
    while !end.is_over() {
        let lasted = end.elapsed().as_secs();
        look().with_context(|| format!("{what} lasted for {lasted} s"))?;
        thread::park_timeout(LONG_PAUSE);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_that_never_holds_ends_with_what_was_seen_last() {
        let mut looks = 0;
        let error = wait_for::<()>("rain", Duration::from_millis(250), || {
            looks += 1;
            Ok(Seen::NotYet(format!("look {looks}")))
        })
        .expect_err("it never holds");
        assert!(looks >= 2, "it looked {looks} times");
        assert_eq!(
            error.to_string(),
            format!("waited 0 s for rain; last seen: look {looks}")
        );
    }
}
