//! The operator's own HTTP server: `/metrics`, `/healthz`, `/readyz`. It knows nothing of reconciling.

use std::{future::Future, net::SocketAddr};

use axum::{Router, extract::State, http::StatusCode, routing::get};
use tokio::net::TcpListener;

use crate::metrics::Metrics;

/// Serves until `stop` resolves. A standby replica is healthy and ready, too: it can take over.
///
/// # Errors
/// When `address` cannot be listened on.
pub async fn serve(
    address: SocketAddr,
    metrics: Metrics,
    stop: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    let listener = TcpListener::bind(address).await?;
    tracing::info!(address = %listener.local_addr()?, "serving /metrics, /healthz and /readyz");
    axum::serve(listener, router(metrics))
        .with_graceful_shutdown(stop)
        .await
}

fn router(metrics: Metrics) -> Router {
    Router::new()
        .route("/healthz", get(|| async { StatusCode::OK }))
        .route("/readyz", get(|| async { StatusCode::OK }))
        .route("/metrics", get(render))
        .with_state(metrics)
}

async fn render(State(metrics): State<Metrics>) -> Result<String, StatusCode> {
    metrics.render().map_err(|error| {
        tracing::error!(%error, "metrics could not be rendered");
        StatusCode::INTERNAL_SERVER_ERROR
    })
}
