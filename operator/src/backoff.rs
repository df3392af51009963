//! How long to wait after a failed reconcile: exponential, bounded, and jittered so that objects that
//! failed together do not come back together.

use std::{collections::HashMap, sync::Mutex, time::Duration};

/// Wait after the first failure, before jitter.
pub const FIRST: Duration = Duration::from_millis(500);
/// Longest wait, before jitter.
pub const LONGEST: Duration = Duration::from_secs(300);

/// Consecutive failures per object.
#[derive(Debug, Default)]
pub struct Failures(Mutex<HashMap<String, u32>>);

impl Failures {
    /// Counts a failure of `object` and says how long to wait.
    pub fn failed(&self, object: &str) -> Duration {
        let mut failures = self.lock();
        let count = failures.entry(object.to_owned()).or_default();
        *count = count.saturating_add(1);
        delay(*count, fastrand::f64())
    }

    /// Forgets the failures of `object`.
    pub fn succeeded(&self, object: &str) {
        self.lock().remove(object);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, u32>> {
        self.0
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// The wait after `failures` failures in a row; `random` from 0 to 1 places it between half and the
/// whole of the exponential wait.
pub fn delay(failures: u32, random: f64) -> Duration {
    let doublings = failures.saturating_sub(1).min(16);
    let whole = FIRST.saturating_mul(1 << doublings).min(LONGEST);
    whole.mul_f64(0.5 + random.clamp(0.0, 1.0) / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn delay_is_bounded_and_grows(failures in 1u32.., random in 0.0..=1.0) {
            let wait = delay(failures, random);
            prop_assert!(wait >= FIRST / 2 && wait <= LONGEST);
            prop_assert!(delay(failures.saturating_add(1), random) >= wait);
        }
    }

    #[test]
    fn success_starts_anew() {
        let failures = Failures::default();
        for _ in 0..12 {
            failures.failed("a/b");
        }
        assert!(failures.failed("a/b") > Duration::from_secs(100));
        failures.succeeded("a/b");
        assert!(failures.failed("a/b") <= FIRST);
    }
}
