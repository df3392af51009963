//! What can go wrong between a client and the server. The server asks before it answers a call, serves a list, or sends an
//! event of a watch; who answers decides from a seed, or singles out one of them.

use std::time::Duration;

use super::call::{Call, Key, Verb};

/// How long a client waits for an answer before it gives up.
pub(crate) const CLIENT_TIMEOUT: Duration = Duration::from_secs(30);

/// What goes wrong with one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The connection fails; the server never sees the call.
    Refuse,
    /// The server carries it out, and the answer is lost.
    Lose,
    /// 409.
    Conflict,
    /// 429 with Retry-After.
    TooMany,
    /// 500.
    Internal,
    /// No answer until the client gives up; the server never sees the call.
    Hang,
    /// The same, but the server carries it out.
    HangAfter,
    /// The operator dies before the call is sent.
    CrashBefore,
    /// The operator dies after the call was carried out.
    CrashAfter,
}

/// What goes wrong with one event of a watch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hitch {
    /// It is never sent, and the watch goes on.
    Drop,
    /// The watch ends before it.
    Close,
    /// The watch breaks before it, and cannot be continued from where it was.
    Expire,
    /// It, and what follows, comes later.
    Delay(Duration),
}

/// What is decided about one call.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Fate {
    /// Time that the call is on its way.
    pub(crate) latency: Duration,
    pub(crate) fault: Option<Fault>,
}

/// Who decides what goes wrong.
pub(crate) trait Faults: Send {
    /// Of a call that is neither part of a list's paging nor an event.
    fn of_call(&mut self, _call: &Call) -> Fate {
        Fate::default()
    }

    /// By how many versions a list is too old.
    fn age_of_list(&mut self, _call: &Call) -> u64 {
        0
    }

    /// Of the event of `key` on a watch.
    fn of_event(&mut self, _key: &Key) -> Option<Hitch> {
        None
    }
}

/// Nothing goes wrong.
#[derive(Debug)]
pub(crate) struct Calm;

impl Faults for Calm {}

/// One thing goes wrong, once: a call or an event, by its number.
#[derive(Debug, Default)]
pub(crate) struct Once {
    pub(crate) call: Option<(usize, Fault)>,
    pub(crate) event: Option<(usize, Hitch)>,
    calls: usize,
    events: usize,
}

impl Once {
    pub(crate) fn call(number: usize, fault: Fault) -> Self {
        Self {
            call: Some((number, fault)),
            ..Self::default()
        }
    }

    pub(crate) fn event(number: usize, hitch: Hitch) -> Self {
        Self {
            event: Some((number, hitch)),
            ..Self::default()
        }
    }
}

impl Faults for Once {
    fn of_call(&mut self, _call: &Call) -> Fate {
        let number = self.calls;
        self.calls += 1;
        let fault = self
            .call
            .filter(|(at, _)| *at == number)
            .map(|(_, fault)| fault);
        Fate {
            latency: Duration::ZERO,
            fault,
        }
    }

    fn of_event(&mut self, _key: &Key) -> Option<Hitch> {
        let number = self.events;
        self.events += 1;
        self.event
            .filter(|(at, _)| *at == number)
            .map(|(_, hitch)| hitch)
    }
}

/// Anything goes wrong at any time, decided by a seed.
#[derive(Debug)]
pub(crate) struct Seeded {
    random: fastrand::Rng,
    /// Calls of a thousand that something happens to.
    per_mille: u16,
    may_crash: bool,
    may_drop_events: bool,
}

impl Seeded {
    pub(crate) fn new(seed: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        Self {
            per_mille: random.u16(0..300),
            may_crash: random.bool(),
            may_drop_events: random.u8(..) < 64,
            random,
        }
    }

    fn strikes(&mut self) -> bool {
        self.random.u16(0..1000) < self.per_mille
    }
}

impl Fault {
    /// Every one that leaves the operator running.
    pub(crate) const PLAIN: [Self; 7] = [
        Self::Refuse,
        Self::Lose,
        Self::Conflict,
        Self::TooMany,
        Self::Internal,
        Self::Hang,
        Self::HangAfter,
    ];
}

impl Faults for Seeded {
    fn of_call(&mut self, call: &Call) -> Fate {
        let latency = match self.random.u8(0..4) {
            0 => Duration::from_millis(self.random.u64(0..300)),
            _ => Duration::ZERO,
        };
        let is_crash = self.may_crash && self.random.u16(0..1000) < self.per_mille / 10;
        let fault = if is_crash && call.verb != Verb::Watch {
            Some(
                *[Fault::CrashBefore, Fault::CrashAfter]
                    .get(self.random.usize(0..2))
                    .unwrap_or(&Fault::CrashAfter),
            )
        } else if self.strikes() {
            Some(Fault::PLAIN[self.random.usize(0..Fault::PLAIN.len())])
        } else {
            None
        };
        Fate { latency, fault }
    }

    fn age_of_list(&mut self, _call: &Call) -> u64 {
        if self.strikes() {
            self.random.u64(1..=50)
        } else {
            0
        }
    }

    fn of_event(&mut self, _key: &Key) -> Option<Hitch> {
        if !self.strikes() {
            return None;
        }
        Some(match self.random.u8(0..4) {
            0 if self.may_drop_events => Hitch::Drop,
            0 | 1 => Hitch::Close,
            2 => Hitch::Expire,
            _ => Hitch::Delay(Duration::from_millis(self.random.u64(0..20_000))),
        })
    }
}
