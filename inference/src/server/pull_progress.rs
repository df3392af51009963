//! `GET /progress` of `candela-engine pull`, as the server itself has it while it downloads.

use std::{io, net::SocketAddr, sync::Arc, thread};

use axum::{Json, Router, routing::get};
use candela_flags::ConnectionFlags;
use tokio::{net::TcpListener, runtime, sync::watch};

use super::{
    listener::{self, PeerLimits},
    probes::Progress,
    state::Phase,
};
use crate::fetch::DownloadProgress;

/// Serves at `address` for the rest of this process, on a thread of its own.
///
/// # Errors
/// The address cannot be listened on, or there is no thread.
pub fn serve_pull_progress(address: SocketAddr, progress: Arc<DownloadProgress>) -> io::Result<()> {
    let runtime = runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let listener = runtime.block_on(TcpListener::bind(address))?;
    tracing::info!(address = %listener.local_addr()?, "GET /progress says how far the download is");
    let router = Router::new().route(
        "/progress",
        get(async move || Json(Progress::of_download(&progress))),
    );
    let serve = move || {
        // Nobody stops it: the process ends.
        let (_phase, phases) = watch::channel(Phase::Ready);
        let (_stop, stopped) = watch::channel(false);
        let limits = PeerLimits::new(&ConnectionFlags::default());
        runtime.block_on(listener::serve_connections(
            listener, router, limits, phases, stopped,
        ));
    };
    thread::Builder::new()
        .name("progress".to_owned())
        .spawn(serve)
        .map(drop)
}
