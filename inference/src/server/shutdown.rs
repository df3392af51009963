//! The way to a clean end: not ready at once, late requests served for a while, running ones finished,
//! then out. A second signal, or the time limit, cuts it short.

use std::time::Duration;

use tokio::sync::mpsc;

use super::state::{Phase, SharedState};

/// Signals to stop, as they come.
#[derive(Debug)]
pub struct Signals(mpsc::Receiver<()>);

impl Signals {
    /// Signals, and the way to send them.
    pub fn channel() -> (mpsc::Sender<()>, Self) {
        let (sender, receiver) = mpsc::channel(4);
        (sender, Self(receiver))
    }

    /// The next signal; without a sender there is none.
    async fn next(&mut self) {
        if self.0.recv().await.is_none() {
            std::future::pending::<()>().await;
        }
    }
}

/// SIGTERM and SIGINT, alike.
///
/// # Errors
/// The system's, when it does not let the process handle them.
pub fn os_signals() -> std::io::Result<Signals> {
    use tokio::signal::unix::{SignalKind, signal};
    let (sender, signals) = Signals::channel();
    for kind in [SignalKind::terminate(), SignalKind::interrupt()] {
        let mut signal = signal(kind)?;
        let sender = sender.clone();
        tokio::spawn(async move {
            while signal.recv().await.is_some() {
                // A third signal changes nothing.
                let _ = sender.try_send(());
            }
        });
    }
    Ok(signals)
}

/// Waits for a signal, then until nothing is left to wait for.
pub(super) async fn drained(state: &SharedState, mut signals: Signals) {
    signals.next().await;
    if state.loaded().is_none() {
        tracing::info!("told to stop while the model loads");
        return;
    }
    let grace = Duration::from_secs(state.flags.drain_grace.get());
    let timeout = Duration::from_secs(state.flags.shutdown_timeout.get());
    tracing::info!(?grace, ?timeout, "told to stop; draining");
    state.advance(Phase::Draining);
    let finished = async {
        tokio::time::sleep(grace).await;
        state.advance(Phase::Refusing);
        state.in_flight.idle().await;
    };
    tokio::select! {
        () = finished => tracing::info!("drained"),
        () = tokio::time::sleep(timeout) => {
            tracing::warn!("the shutdown timeout is over; what still runs is aborted");
        }
        () = signals.next() => tracing::warn!("told to stop again; what still runs is aborted"),
    }
    state.advance(Phase::Refusing);
}
