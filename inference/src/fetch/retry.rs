//! Attempts, and the pauses between them: bounded, growing, and drawn at random so that many pods that
//! failed together do not come back together.

use std::time::Duration;

use rand::RngExt;

use super::{
    error::{Failure, Retry},
    limits,
};

/// Attempts that failed one after another.
pub(super) struct Attempts {
    failed: u32,
    max: u32,
}

impl Attempts {
    pub(super) fn new(max: u32) -> Self {
        Self { failed: 0, max }
    }

    /// The last attempt got somewhere.
    pub(super) fn progressed(&mut self) {
        self.failed = 0;
    }

    /// Waits before the next attempt, or gives up with the failure.
    pub(super) async fn pause(&mut self, failure: Failure) -> Result<(), Failure> {
        self.failed += 1;
        let pause = match failure.retry {
            Retry::Never | Retry::NotSoon => return Err(failure),
            _ if self.failed >= self.max => return Err(failure),
            Retry::Later => backoff(self.failed, rand::rng().random()),
            Retry::After(asked) => asked.min(limits::RETRY_AFTER_MAX),
        };
        tracing::warn!(
            attempt = self.failed,
            pause_seconds = pause.as_secs_f64(),
            "{}; trying again",
            failure.error
        );
        tokio::time::sleep(pause).await;
        Ok(())
    }
}

/// Repeats a request until it succeeds, fails for good, or has failed too often.
pub(super) async fn repeat<T>(
    max: u32,
    mut request: impl AsyncFnMut() -> Result<T, Failure>,
) -> Result<T, Failure> {
    let mut attempts = Attempts::new(max);
    loop {
        match request().await {
            Ok(answer) => return Ok(answer),
            Err(failure) => attempts.pause(failure).await?,
        }
    }
}

/// The pause after `failed` attempts; `drawn` is of 0..1.
fn backoff(failed: u32, drawn: f64) -> Duration {
    let doublings = failed.saturating_sub(1).min(16);
    let longest = (limits::BACKOFF_FIRST * (1 << doublings)).min(limits::BACKOFF_MAX);
    longest.mul_f64(0.5 + drawn / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_up_to_a_limit_and_vary() {
        assert_eq!(backoff(1, 1.0), limits::BACKOFF_FIRST);
        assert_eq!(backoff(1, 0.0), limits::BACKOFF_FIRST / 2);
        assert_eq!(backoff(3, 1.0), limits::BACKOFF_FIRST * 4);
        assert_eq!(backoff(u32::MAX, 1.0), limits::BACKOFF_MAX);
    }
}
