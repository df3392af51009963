//! Connections: accepted up to a limit, each with limits of its own, closed gracefully at the end.

use std::{
    io,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::Router;
use candela_flags::{ConnectionFlags, PeerSeconds};
use hyper::{body::Incoming, service::Service};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{conn::auto, graceful::GracefulShutdown},
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
};

use super::{limits, stall::StallGuard};

/// What a peer is held to.
#[derive(Debug, Clone, Copy)]
pub(super) struct PeerLimits {
    connections_max: usize,
    /// Of a head that arrives, of an idle connection, and of a silent HTTP/2 peer that is pinged.
    head_timeout: Duration,
    write_timeout: Duration,
}

impl PeerLimits {
    /// What the flags say.
    pub(super) fn new(flags: &ConnectionFlags) -> Self {
        let seconds = |seconds: PeerSeconds| Duration::from_secs(seconds.get());
        Self {
            connections_max: flags.max_connections.as_usize(),
            head_timeout: seconds(flags.timeout_keep_alive),
            write_timeout: seconds(flags.timeout_write),
        }
    }
}

/// Serves until `stop` turns true, then closes the listener and what connections are idle, and gives
/// the others a moment to take their last bytes.
pub(super) async fn serve_connections(
    listener: TcpListener,
    router: Router,
    peer_limits: PeerLimits,
    mut stop: watch::Receiver<bool>,
) {
    let graceful = GracefulShutdown::new();
    let permits = Arc::new(Semaphore::new(peer_limits.connections_max));
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stop.wait_for(|&stop| stop) => break,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                recover(&error).await;
                continue;
            }
        };
        let Ok(permit) = Arc::clone(&permits).try_acquire_owned() else {
            tracing::warn!(
                limit = peer_limits.connections_max,
                "too many connections; one was closed"
            );
            continue;
        };
        let watcher = graceful.watcher();
        let router = router.clone();
        tokio::spawn(async move {
            serve_one(stream, router, peer_limits, watcher).await;
            drop(permit);
        });
    }
    drop(listener);
    if tokio::time::timeout(limits::FLUSH_TIMEOUT, graceful.shutdown())
        .await
        .is_err()
    {
        tracing::warn!("connections were still busy when the server ended");
    }
}

/// Errors of `accept` are the peer's, or a lack of file descriptors that passes.
async fn recover(error: &io::Error) {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    if !matches!(
        error.kind(),
        ConnectionAborted | ConnectionRefused | ConnectionReset
    ) {
        tracing::error!(%error, "accepting a connection failed");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn serve_one(
    stream: TcpStream,
    router: Router,
    peer_limits: PeerLimits,
    watcher: hyper_util::server::graceful::Watcher,
) {
    // Small chunks must leave at once; where that cannot be set, they leave a little later.
    let _ = stream.set_nodelay(true);
    let seen = Arc::new(AtomicBool::new(false));
    let service = FirstRequest {
        seen: Arc::clone(&seen),
        inner: TowerToHyperService::new(router),
    };
    let io = TokioIo::new(StallGuard::new(stream, peer_limits.write_timeout));
    let connection = builder(peer_limits)
        .serve_connection(io, service)
        .into_owned();
    let mut connection = pin!(watcher.watch(connection));
    // hyper's own timeout begins with the protocol known; a peer that does not tell is let go here.
    let outcome = tokio::select! {
        outcome = &mut connection => outcome,
        () = tokio::time::sleep(peer_limits.head_timeout * 2) => {
            if !seen.load(Ordering::Relaxed) {
                return;
            }
            connection.await
        }
    };
    if let Err(error) = outcome {
        tracing::debug!(%error, "a connection ended early");
    }
}

/// What hyper refuses by itself gets an empty answer, so its limits on heads are twice ours: a head in
/// between is answered by the envelope, with an error object.
fn builder(peer_limits: PeerLimits) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(peer_limits.head_timeout)
        .max_headers(limits::HEADERS_MAX * 2)
        .max_buf_size(limits::HEADER_BYTES_MAX * 2);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits::HTTP2_STREAMS_MAX)
        .max_pending_accept_reset_streams(limits::HTTP2_RESETS_MAX)
        .max_local_error_reset_streams(limits::HTTP2_RESETS_MAX)
        .max_header_list_size(limits::HEADER_BYTES_MAX as u32 * 2)
        .keep_alive_interval(peer_limits.head_timeout)
        .keep_alive_timeout(peer_limits.head_timeout);
    builder
}

/// Notes that a connection brought a request.
#[derive(Clone)]
struct FirstRequest {
    seen: Arc<AtomicBool>,
    inner: TowerToHyperService<Router>,
}

impl Service<hyper::Request<Incoming>> for FirstRequest {
    type Response = axum::response::Response;
    type Error = std::convert::Infallible;
    type Future = <TowerToHyperService<Router> as Service<hyper::Request<Incoming>>>::Future;

    fn call(&self, request: hyper::Request<Incoming>) -> Self::Future {
        self.seen.store(true, Ordering::Relaxed);
        self.inner.call(request)
    }
}
