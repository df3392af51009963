//! What happens around every request: its id, the API key, the load report, and panics.

use std::panic::AssertUnwindSafe;

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use futures::FutureExt;
use http::{HeaderValue, StatusCode, Version, header};
use tracing::Instrument;

use super::{
    error::ApiError,
    limits,
    orca::OrcaFormat,
    request_id::{RequestId, X_REQUEST_ID},
    state::{Phase, SharedState},
};

/// Wraps a handler. Only `/v1` is guarded by keys and waited for by the shutdown.
pub(super) async fn wrap(
    State(state): State<SharedState>,
    mut request: Request,
    next: Next,
) -> Response {
    let id = RequestId::of(request.headers());
    let orca = OrcaFormat::asked(request.headers());
    let version = request.version();
    request.extensions_mut().insert(id.clone());
    request.extensions_mut().insert(state.intake.clone());
    let mut response = if let Err(error) = check_head(&request) {
        error.into_response()
    } else if is_api(request.uri().path()) {
        let guard = state.in_flight.enter();
        let allowed = state
            .keys
            .as_ref()
            .map_or(Ok(()), |keys| keys.check(request.headers()));
        let response = match allowed {
            Ok(()) => catching_panics(next.run(request), &id).await,
            Err(error) => error.into_response(),
        };
        guard.attach(response)
    } else {
        catching_panics(next.run(request), &id).await
    };
    let headers = response.headers_mut();
    headers.insert(X_REQUEST_ID, id.header());
    if let Some((format, serving)) = orca.zip(state.loaded()) {
        format.report(serving.metrics.gauges(), headers);
    }
    let stopping = state.phase() > Phase::Ready;
    if stopping && version < Version::HTTP_2 {
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// Refuses a head that is too large.
///
/// # Errors
/// 431.
fn check_head(request: &Request) -> Result<(), ApiError> {
    let target = request.uri().path_and_query();
    let target = target.map_or(0, |target| target.as_str().len());
    let fields = request.headers().iter();
    // As RFC 9113 counts: 32 bytes for what surrounds name and value.
    let bytes = fields.fold(target, |sum, (name, value)| {
        sum + name.as_str().len() + value.len() + 32
    });
    if request.headers().len() <= limits::HEADERS_MAX && bytes <= limits::HEADER_BYTES_MAX {
        return Ok(());
    }
    let message = format!(
        "the head of a request may have {} bytes and {} headers, not {bytes} and {}",
        limits::HEADER_BYTES_MAX,
        limits::HEADERS_MAX,
        request.headers().len()
    );
    let status = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
    Err(ApiError::new(status, message))
}

fn is_api(path: &str) -> bool {
    path == "/v1" || path.starts_with("/v1/")
}

async fn catching_panics(handler: impl Future<Output = Response>, id: &RequestId) -> Response {
    AssertUnwindSafe(handler.instrument(id.span()))
        .catch_unwind()
        .await
        .unwrap_or_else(|_| {
            tracing::error!(request = id.as_str(), "answering a request panicked");
            ApiError::internal().into_response()
        })
}
