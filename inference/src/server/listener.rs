//! Connections: accepted up to a limit, each with limits of its own, closed gracefully at the end.

use std::{io, pin::pin, sync::Arc, time::Duration};

use axum::Router;
use candela_flags::{ConnectionFlags, PeerSeconds};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
    task::JoinSet,
    time::{interval, timeout},
};

use super::{
    limits,
    peer_watch::{PeerWatch, Verdict},
    stall::StallGuard,
    state::Phase,
};

/// How often a peer is looked at within the shorter of its timeouts.
const LOOKS: u32 = 4;

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
/// the others a moment to take their last bytes. None is left when it returns. Connections that are idle
/// when `phase` turns to refusing are closed then: their peers shall ask elsewhere, not be refused here.
pub(super) async fn serve_connections(
    listener: TcpListener,
    router: Router,
    peer_limits: PeerLimits,
    phase: watch::Receiver<Phase>,
    mut stop: watch::Receiver<bool>,
) {
    let mut connections = JoinSet::new();
    let permits = Arc::new(Semaphore::new(peer_limits.connections_max));
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next() => continue,
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
        let (router, phase, stop) = (router.clone(), phase.clone(), stop.clone());
        connections.spawn(async move {
            serve_one(stream, router, peer_limits, phase, stop).await;
            drop(permit);
        });
    }
    drop(listener);
    let ended = async { while connections.join_next().await.is_some() {} };
    if timeout(limits::FLUSH_TIMEOUT, ended).await.is_err() {
        tracing::warn!("connections were still busy when the server ended");
        connections.shutdown().await;
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

/// Serves one connection to its end, or until its peer is given up.
async fn serve_one(
    stream: TcpStream,
    router: Router,
    peer_limits: PeerLimits,
    mut phase: watch::Receiver<Phase>,
    mut stop: watch::Receiver<bool>,
) {
    // Small chunks must leave at once; where that cannot be set, they leave a little later.
    let _ = stream.set_nodelay(true);
    let PeerLimits {
        connections_max: _,
        head_timeout,
        write_timeout,
    } = peer_limits;
    let watch = PeerWatch::new();
    let io = TokioIo::new(StallGuard::new(stream, write_timeout));
    let builder = builder(peer_limits);
    let mut connection = pin!(builder.serve_connection(io, watch.service(router)));
    let mut looks = interval(head_timeout.min(write_timeout) / LOOKS);
    let mut finishing = false;
    // Who comes later gets an answer that says why.
    let came_in_time = *phase.borrow() < Phase::Refusing;
    loop {
        let finish = tokio::select! {
            outcome = &mut connection => {
                if let Err(error) = outcome {
                    tracing::debug!(%error, "a connection ended early");
                }
                return;
            }
            _ = stop.wait_for(|&stop| stop), if !finishing => true,
            _ = phase.wait_for(|&phase| phase >= Phase::Refusing), if came_in_time && !finishing => true,
            _ = looks.tick() => match watch.look(head_timeout, write_timeout) {
                Verdict::Keep => false,
                Verdict::Finish => true,
                Verdict::Drop => return,
            },
        };
        if finish && !finishing {
            connection.as_mut().graceful_shutdown();
            finishing = true;
        }
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
