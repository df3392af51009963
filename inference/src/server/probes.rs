//! Routes for kubelets, operators and scrapers. None of them needs a key.

use std::sync::atomic::Ordering;

use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};
use http::{StatusCode, header};
use serde_json::json;

use super::{
    error::ApiError,
    state::{Phase, SharedState},
};

/// 200 from the first moment on; 503 once the engine is dead or the server was told to stop.
pub(super) async fn health(State(state): State<SharedState>) -> Result<StatusCode, ApiError> {
    match state.phase() {
        Phase::Loading | Phase::Ready => Ok(StatusCode::OK),
        Phase::Draining | Phase::Refusing => {
            Err(ApiError::unavailable("the server is shutting down"))
        }
        Phase::Dead => Err(ApiError::unavailable(
            "the engine failed; the server restarts",
        )),
    }
}

/// 200 only while the model is loaded and the server was not told to stop.
pub(super) async fn ready(State(state): State<SharedState>) -> Result<StatusCode, ApiError> {
    match state.phase() {
        Phase::Ready => Ok(StatusCode::OK),
        Phase::Loading => Err(ApiError::unavailable("the model is still loading")),
        _ => health(State(state)).await,
    }
}

/// How far loading is.
pub(super) async fn progress(State(state): State<SharedState>) -> Response {
    let progress = &state.progress;
    Json(json!({
        "phase": state.phase().as_str(),
        "bytes_done": progress.bytes_done.load(Ordering::Relaxed),
        "bytes_total": progress.bytes_total.load(Ordering::Relaxed),
    }))
    .into_response()
}

/// The engine's version.
pub(super) async fn version() -> Response {
    Json(json!({ "version": env!("CARGO_PKG_VERSION") })).into_response()
}

/// Prometheus text; empty until the model is loaded.
pub(super) async fn metrics(State(state): State<SharedState>) -> Response {
    let text = state
        .loaded()
        .map(|serving| serving.metrics.render())
        .unwrap_or_default();
    (
        [(
            header::CONTENT_TYPE,
            "text/plain; version=0.0.4; charset=utf-8",
        )],
        text,
    )
        .into_response()
}
