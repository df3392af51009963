//! The life of the server: listen, load, serve, drain, end.

use std::{io, sync::Arc};

use candela_flags::EngineFlags;
use tokio::{
    net::TcpListener,
    sync::{oneshot, watch},
    time::timeout,
};

use super::{
    auth::{ApiKeys, KeyFileError},
    limits,
    listener::{self, PeerLimits},
    load::{LoadError, Loaded},
    routes, shutdown,
    shutdown::Signals,
    state::{Phase, ServerState, SharedState, StartProgress},
    usage_log::{UsageLog, UsageLogError},
};
use crate::engine::{Clock, MonotonicClock};

/// Why the server ended other than by order. The process exits with an error, for its restart.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The API keys cannot be read.
    #[error(transparent)]
    Keys(#[from] KeyFileError),
    /// The usage log cannot be written.
    #[error(transparent)]
    UsageLog(#[from] UsageLogError),
    /// The model cannot be served.
    #[error("the model cannot be served")]
    Load(#[from] LoadError),
    /// A thread could not be started.
    #[error("starting a thread: {0}")]
    Thread(io::Error),
    /// The engine ended by itself.
    #[error("the engine failed")]
    EngineDied,
}

/// Serves on `listener` until told to stop. `load` runs on a thread of its own; until it is done
/// `/health` answers and everything else says that the model loads.
///
/// # Errors
/// [`ServeError`] when the model cannot be loaded or its engine dies.
pub async fn serve(
    listener: TcpListener,
    flags: EngineFlags,
    load: impl FnOnce(&EngineFlags, &StartProgress) -> Result<Loaded, LoadError> + Send + 'static,
    signals: Signals,
    since_start: MonotonicClock,
) -> Result<(), ServeError> {
    let keys = flags
        .api_key_file
        .clone()
        .map(ApiKeys::open)
        .transpose()?
        .map(Arc::new);
    let usage_log = flags.usage_log.as_deref().map(UsageLog::open).transpose()?;
    if let Some(keys) = &keys {
        tokio::spawn(Arc::clone(keys).follow());
    }
    if let Ok(address) = listener.local_addr() {
        tracing::info!(%address, "listening; the model loads");
    }
    let peer_limits = PeerLimits::new(&flags.connection);
    let state = ServerState::new(flags, keys, usage_log);
    let (stop, stopped) = watch::channel(false);
    let router = routes::router(Arc::clone(&state));
    let connections = tokio::spawn(listener::serve_connections(
        listener,
        router,
        peer_limits,
        state.phases(),
        stopped,
    ));
    let outcome = live(&state, load, signals, since_start).await;
    stop.send_replace(true);
    if connections.await.is_err() {
        tracing::error!("the listener panicked");
    }
    if let Some(log) = &state.usage_log {
        // Answers that were cut off just now still give their records.
        let records = state.in_flight.idle();
        if timeout(limits::FLUSH_TIMEOUT, records).await.is_err() {
            tracing::warn!("requests were still busy when the usage log was closed");
        }
        log.close(limits::USAGE_LOG_CLOSE_TIMEOUT);
    }
    outcome
}

async fn live(
    state: &SharedState,
    load: impl FnOnce(&EngineFlags, &StartProgress) -> Result<Loaded, LoadError> + Send + 'static,
    signals: Signals,
    since_start: MonotonicClock,
) -> Result<(), ServeError> {
    let mut model = std::pin::pin!(run_model(state, load, since_start));
    tokio::select! {
        outcome = &mut model => return outcome.and(Err(ServeError::EngineDied)),
        () = shutdown::drained(state, signals) => {}
    }
    if let Some(serving) = state.loaded() {
        serving.engine.stop();
        if tokio::time::timeout(limits::ENGINE_STOP_TIMEOUT, model)
            .await
            .is_err()
        {
            tracing::error!("the engine did not stop in time");
        }
    }
    Ok(())
}

/// Loads the model, then waits for the end of its engine.
async fn run_model(
    state: &SharedState,
    load: impl FnOnce(&EngineFlags, &StartProgress) -> Result<Loaded, LoadError> + Send + 'static,
    since_start: MonotonicClock,
) -> Result<(), ServeError> {
    let (flags, progress) = (state.flags.clone(), Arc::clone(&state.progress));
    let loaded = on_thread("load", move || load(&flags, &progress))?;
    let Loaded {
        serving,
        engine_thread,
        dtype,
        kv_blocks,
    } = loaded.await.unwrap_or(Err(LoadError::Panicked))?;
    let ready_after = since_start.now().since_start();
    state.progress.ready_after.get_or_init(|| ready_after);
    tracing::info!(
        model = %state.flags.model,
        names = ?serving.facts.served_names,
        dtype,
        kv_blocks,
        max_model_len = serving.facts.max_model_len,
        port = state.flags.port,
        seconds = ready_after.as_secs_f64(),
        "ready"
    );
    state.set_serving(serving);
    let ended = on_thread("engine-watch", move || engine_thread.join().is_ok())?;
    let clean = ended.await.unwrap_or(false);
    if state.phase() == Phase::Dead || !clean {
        state.advance(Phase::Dead);
        tracing::error!("the engine died; the server ends for its restart");
        tokio::time::sleep(limits::ENGINE_DEATH_NOTICE).await;
    }
    Ok(())
}

/// Runs something that blocks for long on a thread that nobody else waits for.
fn on_thread<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<oneshot::Receiver<T>, ServeError> {
    let (sender, receiver) = oneshot::channel();
    std::thread::Builder::new()
        .name(name.to_owned())
        // A closed channel means that the server has ended meanwhile.
        .spawn(move || drop(sender.send(work())))
        .map_err(ServeError::Thread)?;
    Ok(receiver)
}
