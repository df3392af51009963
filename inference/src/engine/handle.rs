//! The way into the engine from other threads: submit, watch, stop.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
    mpsc,
};

use tokio::sync::mpsc as events;

use super::{
    clock::Clock,
    request::{Event, GenerateRequest},
};
use crate::stats::{Metrics, Timestamp};

/// Why a request was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SubmitError {
    /// As many sequences wait as may.
    #[error("the queue is full: {waiting} sequences wait, at most {limit} may")]
    QueueFull {
        /// How many wait.
        waiting: usize,
        /// How many may.
        limit: usize,
    },
    /// The engine has stopped, by order or by a failure of its device.
    #[error("the engine has stopped")]
    Stopped,
}

/// What the engine's thread is told.
pub(super) enum Command {
    /// A request, and who waits for it.
    Submit(Box<GenerateRequest>, Listener),
    /// Abort everything, then end.
    Stop,
}

/// Where a request's events go, and whether they are still wanted.
#[derive(Clone)]
pub(super) struct Listener {
    pub(super) events: events::UnboundedSender<Event>,
    cancelled: Arc<AtomicBool>,
}

impl Listener {
    /// A listener, and the stream of what it is told.
    pub(super) fn new() -> (Self, EventStream) {
        let (sender, events) = events::unbounded_channel();
        let cancelled = Arc::<AtomicBool>::default();
        let listener = Self {
            events: sender,
            cancelled: Arc::clone(&cancelled),
        };
        let canceller = Canceller(cancelled);
        (listener, EventStream { events, canceller })
    }

    /// The request was cancelled, or nobody is left to hear of it.
    pub(super) fn is_gone(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed) || self.events.is_closed()
    }
}

/// State that the handles and the engine's thread share.
#[derive(Debug)]
pub(super) struct Shared {
    /// Sequences submitted and not yet in a first step.
    pub(super) waiting: Arc<AtomicUsize>,
    /// The thread has ended, or is about to.
    pub(super) stopped: AtomicBool,
}

impl Shared {
    /// The state of an engine whose queue these metrics show.
    pub(super) fn new(metrics: &Metrics) -> Self {
        Self {
            waiting: metrics.queued(),
            stopped: AtomicBool::default(),
        }
    }
}

/// The way into the engine. Cheap to clone.
#[derive(Clone)]
pub struct EngineHandle {
    pub(super) commands: mpsc::Sender<Command>,
    pub(super) shared: Arc<Shared>,
    pub(super) clock: Option<Arc<dyn Clock>>,
    pub(super) queue_limit: usize,
}

impl EngineHandle {
    /// Queues a request, all branches or none.
    ///
    /// # Guarantees
    /// Every branch yields exactly one event with `finished`, unless the stream is dropped first,
    /// which cancels what is left. The stream holds at most `max_tokens` + 2 events a branch.
    ///
    /// # Errors
    /// [`SubmitError::QueueFull`] beyond the queue's limit; [`SubmitError::Stopped`] once the engine
    /// has ended.
    pub fn submit(&self, request: GenerateRequest) -> Result<EventStream, SubmitError> {
        self.reserve(request.branches.get())?;
        self.send(request)
    }

    /// Queues several requests, all of them or none.
    ///
    /// # Errors
    /// As [`Self::submit`].
    pub fn submit_all(
        &self,
        requests: Vec<GenerateRequest>,
    ) -> Result<Vec<EventStream>, SubmitError> {
        let branches = requests.iter().map(|request| request.branches.get());
        self.reserve(branches.sum())?;
        // Streams that are there already are dropped with an error, which cancels them.
        let streams = requests.into_iter().map(|request| self.send(request));
        streams.collect()
    }

    /// Takes so many places in the queue.
    fn reserve(&self, branches: usize) -> Result<(), SubmitError> {
        if self.is_stopped() {
            return Err(SubmitError::Stopped);
        }
        let limit = self.queue_limit;
        self.shared
            .waiting
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |waiting| {
                waiting.checked_add(branches).filter(|&all| all <= limit)
            })
            .map(drop)
            .map_err(|waiting| SubmitError::QueueFull { waiting, limit })
    }

    /// Hands a request that has its places to the engine's thread.
    fn send(&self, request: GenerateRequest) -> Result<EventStream, SubmitError> {
        let (listener, stream) = Listener::new();
        self.commands
            .send(Command::Submit(Box::new(request), listener))
            .map_err(|_| SubmitError::Stopped)?;
        Ok(stream)
    }

    /// The time, for [`GenerateRequest::arrival`]; `None`, and no clock read, while stats are off.
    pub fn now(&self) -> Option<Timestamp> {
        self.clock.as_ref().map(|clock| clock.now())
    }

    /// Whether the engine has ended and takes no more requests.
    pub fn is_stopped(&self) -> bool {
        self.shared.stopped.load(Ordering::Acquire)
    }

    /// Aborts what is left, with its stats recorded, and ends the engine's thread.
    pub fn stop(&self) {
        // A failed send means that the thread has ended already.
        let _ = self.commands.send(Command::Stop);
    }
}

/// The events of one request. Dropping it cancels the request.
#[derive(Debug)]
pub struct EventStream {
    events: events::UnboundedReceiver<Event>,
    canceller: Canceller,
}

impl EventStream {
    /// The next event; `None` after the last branch finished.
    pub async fn next(&mut self) -> Option<Event> {
        self.events.recv().await
    }

    /// Cancels the request while its last events, and with them its records, are still received.
    pub fn canceller(&self) -> Canceller {
        self.canceller.clone()
    }
}

/// Cancels a request: each of its branches then ends, within a step, as aborted.
#[derive(Debug, Clone)]
pub struct Canceller(Arc<AtomicBool>);

impl Canceller {
    /// Cancels it. A request that is done stays as it is.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
