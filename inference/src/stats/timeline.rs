//! When things happened to a request, on one monotonic clock.

use std::time::Duration;

/// A reading of the engine's monotonic clock: time since the clock's own start. Never wall time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Timestamp(Duration);

impl Timestamp {
    /// A reading so long after the clock's start.
    pub const fn after_start(elapsed: Duration) -> Self {
        Self(elapsed)
    }

    /// Time since the clock's start.
    pub const fn since_start(self) -> Duration {
        self.0
    }

    /// Time from `earlier` to this reading; zero if `earlier` is later.
    pub fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

/// When a request reached each state. A state it never reached is `None`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestTimeline {
    /// The request was read, before tokenization.
    pub arrival: Timestamp,
    /// The scheduler accepted it.
    pub queued: Timestamp,
    /// It was first part of a batch. Later preemptions do not move it.
    pub scheduled: Option<Timestamp>,
    /// Its first token was ready.
    pub first_token: Option<Timestamp>,
    /// Its last token so far was ready.
    pub last_token: Option<Timestamp>,
}

impl RequestTimeline {
    /// A request that arrived and was accepted, and no more.
    pub const fn new(arrival: Timestamp, queued: Timestamp) -> Self {
        Self {
            arrival,
            queued,
            scheduled: None,
            first_token: None,
            last_token: None,
        }
    }

    /// Marks the first batch; later calls change nothing.
    pub fn mark_scheduled(&mut self, at: Timestamp) {
        self.scheduled.get_or_insert(at);
    }

    /// Marks a token, and returns the time since the previous one.
    pub fn mark_token(&mut self, at: Timestamp) -> Option<Duration> {
        self.first_token.get_or_insert(at);
        self.last_token
            .replace(at)
            .map(|previous| at.since(previous))
    }
}
