//! Routes for kubelets, operators and scrapers. None of them needs a key.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};
use http::{StatusCode, header};
use schemars::JsonSchema;
use serde::Serialize;

use super::{
    error::ApiError,
    state::{Phase, SharedState, StartProgress},
};
use crate::{
    fetch::DownloadProgress,
    stats::{StartBytes, start_metrics},
};

/// How far the start is.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Progress {
    /// `downloading`, `loading`, `ready`, `draining` or `failed`.
    phase: &'static str,
    /// Of the download or of the weights.
    bytes_done: u64,
    /// 0 while it is unknown.
    bytes_total: u64,
    /// Seconds from the start of the process until the model answered requests; null before.
    load_seconds: Option<f64>,
    /// Seconds that the first request of all waited for its first token; null before, and without stats.
    first_token_seconds: Option<f64>,
}

impl Progress {
    /// Of a download.
    pub(super) fn of_download(download: &DownloadProgress) -> Self {
        Self {
            phase: "downloading",
            bytes_done: download.bytes_done.load(Ordering::Relaxed),
            bytes_total: download.bytes_total.load(Ordering::Relaxed),
            load_seconds: None,
            first_token_seconds: None,
        }
    }
}

/// Which engine it is.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Version {
    version: &'static str,
}

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

/// How far loading is: of the download while files come to this machine, else of the weights.
pub(super) async fn progress(State(state): State<SharedState>) -> Response {
    let StartProgress {
        download,
        load,
        ready_after,
    } = state.progress.as_ref();
    let phase = state.phase();
    let downloading = phase == Phase::Loading && download.active.load(Ordering::Relaxed);
    let progress = match downloading {
        true => Progress::of_download(download),
        false => Progress {
            phase: phase.as_str(),
            bytes_done: load.bytes_done.load(Ordering::Relaxed),
            bytes_total: load.bytes_total.load(Ordering::Relaxed),
            load_seconds: ready_after.get().map(Duration::as_secs_f64),
            first_token_seconds: state
                .loaded()
                .and_then(|serving| serving.metrics.first_token())
                .map(|waited| waited.as_secs_f64()),
        },
    };
    Json(progress).into_response()
}

/// The engine's version.
pub(super) async fn version() -> Response {
    Json(Version {
        version: env!("CARGO_PKG_VERSION"),
    })
    .into_response()
}

/// Prometheus text: how far the start is, and from the first moment of the model on all that is measured.
pub(super) async fn metrics(State(state): State<SharedState>) -> Response {
    let StartProgress { download, load, .. } = state.progress.as_ref();
    let bytes = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let mut text = start_metrics(&[
        StartBytes {
            phase: "download",
            done: bytes(&download.bytes_done),
            total: bytes(&download.bytes_total),
        },
        StartBytes {
            phase: "load",
            done: bytes(&load.bytes_done),
            total: bytes(&load.bytes_total),
        },
    ]);
    if let Some(serving) = state.loaded() {
        text += &serving.metrics.render();
    }
    (
        [(
            header::CONTENT_TYPE,
            "text/plain; version=0.0.4; charset=utf-8",
        )],
        text,
    )
        .into_response()
}
