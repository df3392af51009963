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
use crate::stats::Timestamp;

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
    /// A request, and where its events go.
    Submit(GenerateRequest, events::UnboundedSender<Event>),
    /// Abort everything, then end.
    Stop,
}

/// State that the handles and the engine's thread share.
#[derive(Debug, Default)]
pub(super) struct Shared {
    /// Sequences submitted and not yet in a first step.
    pub(super) waiting: AtomicUsize,
    /// The thread has ended, or is about to.
    pub(super) stopped: AtomicBool,
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
    /// which cancels what is left. The stream holds at most `max_tokens` + 1 events a branch.
    ///
    /// # Errors
    /// [`SubmitError::QueueFull`] beyond the queue's limit; [`SubmitError::Stopped`] once the engine
    /// has ended.
    pub fn submit(&self, request: GenerateRequest) -> Result<EventStream, SubmitError> {
        if self.is_stopped() {
            return Err(SubmitError::Stopped);
        }
        let branches = request.branches.get();
        let limit = self.queue_limit;
        self.shared
            .waiting
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |waiting| {
                waiting.checked_add(branches).filter(|&all| all <= limit)
            })
            .map_err(|waiting| SubmitError::QueueFull { waiting, limit })?;
        let (sender, receiver) = events::unbounded_channel();
        self.commands
            .send(Command::Submit(request, sender))
            .map_err(|_| SubmitError::Stopped)?;
        Ok(EventStream(receiver))
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
pub struct EventStream(events::UnboundedReceiver<Event>);

impl EventStream {
    /// The next event; `None` after the last branch finished.
    pub async fn next(&mut self) -> Option<Event> {
        self.0.recv().await
    }

    /// An event that is there already.
    pub fn try_next(&mut self) -> Option<Event> {
        self.0.try_recv().ok()
    }
}
