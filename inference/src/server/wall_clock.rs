//! The wall clock, for dates in answers and logs. What a request cost is never measured with it.

use std::time::{Duration, SystemTime};

/// Time since the unix epoch.
#[expect(
    clippy::disallowed_methods,
    reason = "this file is where wall time is read"
)]
fn since_epoch() -> Duration {
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default()
}

/// Unix seconds.
pub(super) fn unix_seconds() -> u64 {
    since_epoch().as_secs()
}

/// Unix milliseconds.
pub(super) fn unix_milliseconds() -> u128 {
    since_epoch().as_millis()
}
