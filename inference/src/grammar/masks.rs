//! Masks, and who computes them: threads of their own, while the model computes the next step. A step
//! that comes too early waits, or computes a mask itself if no thread has begun with it.

use std::{
    fmt, io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
};

use llguidance::{Matcher, api::StopReason, toktrie::SimpleVob};
use rayon::{ThreadPool, ThreadPoolBuilder};

use super::{CompiledGrammar, GrammarError, limits};
use crate::{engine::Clock, sampling::ConstraintError, stats::Metrics};

/// Times masks, unless stats are off: then there is no clock.
#[derive(Clone)]
pub struct MaskClock {
    /// The engine's.
    pub clock: Option<Arc<dyn Clock>>,
    /// Where the times go.
    pub metrics: Arc<Metrics>,
}

/// Which tokens may come next.
pub(super) struct Mask {
    allowed: SimpleVob,
    /// Nothing but an end may come.
    pub(super) complete: bool,
}

impl Mask {
    /// The mask of a state. A grammar that is at its end allows what ends an answer.
    pub(super) fn compute(matcher: &mut Matcher) -> Result<Self, ConstraintError> {
        if !matcher.is_stopped() {
            let accepting = matcher.is_accepting().map_err(|error| dead(&error))?;
            match matcher.compute_mask() {
                Ok(allowed) => {
                    return Ok(Self {
                        allowed,
                        complete: false,
                    });
                }
                // No token is left, not even one that ends an answer: the model has none.
                Err(error) if accepting && allows_nothing(&error.to_string()) => {
                    let allowed = SimpleVob::new();
                    return Ok(Self {
                        allowed,
                        complete: true,
                    });
                }
                Err(error) => return Err(dead(&error)),
            }
        }
        let env = matcher.tok_env().map_err(|error| dead(&error))?;
        Ok(Self {
            allowed: env.tok_trie().eos_token_set(),
            complete: true,
        })
    }

    /// As bits: token `token % 32` of word `token / 32`.
    pub(super) fn words(&self) -> &[u32] {
        self.allowed.as_slice()
    }

    /// The same without some tokens.
    pub(super) fn without(&self, tokens: &[u32]) -> Self {
        let mut allowed = self.allowed.clone();
        for &token in tokens {
            if (token as usize) < allowed.len() {
                allowed.disallow_token(token);
            }
        }
        Self {
            allowed,
            complete: self.complete,
        }
    }
}

/// Whether llguidance stopped because nothing can follow, and not because it failed or reached a limit.
fn allows_nothing(said: &str) -> bool {
    said.contains(&StopReason::NoExtensionBias.to_string())
}

/// What llguidance says when a grammar cannot go on, in words.
fn dead(said: &dyn fmt::Display) -> ConstraintError {
    let said = said.to_string();
    if allows_nothing(&said) {
        let reason = "the grammar allows no token after what was generated";
        return ConstraintError(reason.to_owned());
    }
    ConstraintError(GrammarError::from_reason(&said).to_string())
}

/// What comes of a token: the state behind it, and its mask.
pub(super) type Advanced = (Option<Matcher>, Result<Arc<Mask>, ConstraintError>);

/// A mask that is being computed.
pub(super) struct Slot {
    state: Mutex<State>,
    ready: Condvar,
}

enum State {
    Waiting(Box<Work>),
    Computing,
    Ready(Box<Advanced>),
    Gone,
}

/// A token that a state is to take.
pub(super) struct Work {
    /// The state before it; `None`: the grammar's beginning.
    pub(super) matcher: Option<Matcher>,
    pub(super) grammar: Arc<CompiledGrammar>,
    pub(super) token: u32,
}

impl Work {
    fn run(self) -> Advanced {
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            let mut matcher = self.matcher.unwrap_or_else(|| self.grammar.start());
            let taken = matcher.consume_token(self.token);
            let mask = taken
                .map_err(|error| dead(&error))
                .and_then(|()| Mask::compute(&mut matcher));
            (Some(matcher), mask.map(Arc::new))
        }));
        outcome.unwrap_or_else(|_| {
            let failed = ConstraintError("the grammar's parser failed".to_owned());
            (None, Err(failed))
        })
    }
}

impl Slot {
    /// Computes, unless someone else has or it is no longer wanted.
    fn run(&self, clock: &MaskClock) {
        let Some(work) = self.begin() else { return };
        let advanced = timed(clock, *work);
        let mut state = self.lock();
        if matches!(*state, State::Computing) {
            *state = State::Ready(Box::new(advanced));
            self.ready.notify_all();
        }
    }

    fn begin(&self) -> Option<Box<Work>> {
        let mut state = self.lock();
        match std::mem::replace(&mut *state, State::Computing) {
            State::Waiting(work) => Some(work),
            other => {
                *state = other;
                None
            }
        }
    }

    /// Nobody wants it any more.
    pub(super) fn abandon(&self) {
        *self.lock() = State::Gone;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn timed(clock: &MaskClock, work: Work) -> Advanced {
    let begun = clock.clock.as_ref().map(|clock| clock.now());
    let advanced = work.run();
    if let Some((begun, running)) = begun.zip(clock.clock.as_ref()) {
        clock.metrics.record_mask(running.now().since(begun));
    }
    advanced
}

/// The threads that compute masks.
pub(super) struct MaskPool {
    threads: ThreadPool,
    clock: MaskClock,
}

impl MaskPool {
    pub(super) fn start(clock: MaskClock) -> io::Result<Self> {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let threads = ThreadPoolBuilder::new()
            .num_threads((cores / 2).clamp(1, limits::MASK_THREADS_MAX))
            .thread_name(|index| format!("mask-{index}"))
            .build()
            .map_err(io::Error::other)?;
        Ok(Self { threads, clock })
    }

    /// Begins to compute what comes of a token.
    pub(super) fn begin(self: &Arc<Self>, work: Work) -> Arc<Slot> {
        let slot = Arc::new(Slot {
            state: Mutex::new(State::Waiting(Box::new(work))),
            ready: Condvar::new(),
        });
        let (pool, job) = (Arc::clone(self), Arc::clone(&slot));
        self.threads.spawn(move || job.run(&pool.clock));
        slot
    }

    /// What came of a token, at once if it is there, after computing it or waiting otherwise.
    pub(super) fn finish(&self, slot: &Slot) -> Advanced {
        if let Some(ready) = take_ready(&mut slot.lock()) {
            self.clock.metrics.record_mask_wait(None);
            return ready;
        }
        let begun = self.clock.clock.as_ref().map(|clock| clock.now());
        slot.run(&self.clock);
        let mut state = slot.lock();
        let ready = loop {
            if let Some(ready) = take_ready(&mut state) {
                break ready;
            }
            state = slot
                .ready
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        };
        if let Some((begun, clock)) = begun.zip(self.clock.clock.as_ref()) {
            let waited = clock.now().since(begun);
            self.clock.metrics.record_mask_wait(Some(waited));
        }
        ready
    }
}

fn take_ready(state: &mut State) -> Option<Advanced> {
    match std::mem::replace(state, State::Gone) {
        State::Ready(advanced) => Some(*advanced),
        other => {
            *state = other;
            None
        }
    }
}
