//! Connections: accepted up to a limit, each with limits of its own, closed gracefully at the end.

use std::{
    io,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use axum::Router;
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

/// Serves until `stop` turns true, then closes the listener and what connections are idle, and gives
/// the others a moment to take their last bytes.
pub(super) async fn serve_connections(
    listener: TcpListener,
    router: Router,
    mut stop: watch::Receiver<bool>,
) {
    let graceful = GracefulShutdown::new();
    let permits = Arc::new(Semaphore::new(limits::CONNECTIONS_MAX));
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
                limit = limits::CONNECTIONS_MAX,
                "too many connections; one was closed"
            );
            continue;
        };
        let watcher = graceful.watcher();
        let router = router.clone();
        tokio::spawn(async move {
            serve_one(stream, router, watcher).await;
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
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
}

async fn serve_one(
    stream: TcpStream,
    router: Router,
    watcher: hyper_util::server::graceful::Watcher,
) {
    // Small chunks must leave at once; where that cannot be set, they leave a little later.
    let _ = stream.set_nodelay(true);
    let seen = Arc::new(AtomicBool::new(false));
    let service = FirstRequest {
        seen: Arc::clone(&seen),
        inner: TowerToHyperService::new(router),
    };
    let io = TokioIo::new(StallGuard::new(stream, limits::WRITE_STALL_TIMEOUT));
    let connection = builder().serve_connection(io, service).into_owned();
    let mut connection = pin!(watcher.watch(connection));
    // hyper's own timeout begins with the protocol known; a peer that does not tell is let go here.
    let outcome = tokio::select! {
        outcome = &mut connection => outcome,
        () = tokio::time::sleep(limits::HEADER_READ_TIMEOUT * 2) => {
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

fn builder() -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limits::HEADER_READ_TIMEOUT)
        .max_headers(limits::HEADERS_MAX)
        .max_buf_size(limits::HEADER_BYTES_MAX);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits::HTTP2_STREAMS_MAX)
        .max_pending_accept_reset_streams(limits::HTTP2_RESETS_MAX)
        .max_local_error_reset_streams(limits::HTTP2_RESETS_MAX)
        .max_header_list_size(limits::HEADER_BYTES_MAX as u32)
        .keep_alive_interval(limits::HTTP2_KEEP_ALIVE)
        .keep_alive_timeout(limits::HTTP2_KEEP_ALIVE);
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
