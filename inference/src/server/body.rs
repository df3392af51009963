//! Reading a request's body: JSON, of a bounded size, in a bounded time, out of bounded memory.

use std::time::Duration;

use axum::{body::Body, extract::Request};
use bytes::Bytes;
use candela_flags::EngineFlags;
use http::{HeaderMap, StatusCode, header};
use http_body_util::BodyExt;

use super::{body_memory::BodyMemory, error::ApiError};

/// What bodies may take of the server; the envelope gives it to every request.
#[derive(Debug, Clone)]
pub(super) struct Intake {
    /// Time for a body to arrive.
    pub(super) timeout: Duration,
    /// Memory of all bodies.
    pub(super) memory: BodyMemory,
}

impl Intake {
    /// What the flags allow.
    pub(super) fn new(flags: &EngineFlags) -> Self {
        let memory = flags.connection.max_body_memory_bytes.as_usize();
        Self {
            timeout: Duration::from_secs(flags.connection.timeout_body.get()),
            memory: BodyMemory::new(memory, flags.max_body_bytes.as_usize()),
        }
    }
}

/// The whole body. Its memory counts against all requests' until the last clone of it is dropped.
///
/// # Errors
/// 400 for a body that is not declared as plain JSON or breaks off, 413 beyond `bytes_max`, 408 when
/// it does not arrive in time, 503 while the bodies of other requests take all the memory there is.
pub(super) async fn read(request: Request, bytes_max: usize) -> Result<Bytes, ApiError> {
    let (mut head, body) = request.into_parts();
    let intake = head.extensions.remove::<Intake>();
    let Intake { timeout, memory } = intake.ok_or_else(ApiError::internal)?;
    check_headers(&head.headers)?;
    let declared = http_body::Body::size_hint(&body).lower();
    if declared > bytes_max as u64 {
        return Err(too_large(bytes_max));
    }
    tokio::time::timeout(timeout, collect(body, bytes_max, &memory))
        .await
        .unwrap_or_else(|_| {
            let seconds = timeout.as_secs();
            let message = format!("the body did not arrive within {seconds} seconds");
            Err(ApiError::new(StatusCode::REQUEST_TIMEOUT, message))
        })
}

async fn collect(mut body: Body, bytes_max: usize, memory: &BodyMemory) -> Result<Bytes, ApiError> {
    let mut bytes = memory.body();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| {
            ApiError::new(
                StatusCode::BAD_REQUEST,
                "the body broke off or is malformed",
            )
        })?;
        if let Some(data) = frame.data_ref() {
            if data.len() > bytes_max - bytes.len() {
                return Err(too_large(bytes_max));
            }
            bytes.extend(data).map_err(|_| {
                ApiError::unavailable("the bodies of other requests take all memory for bodies")
                    .closing()
            })?;
        }
    }
    Ok(bytes.freeze())
}

fn too_large(bytes_max: usize) -> ApiError {
    let message = format!("the body is larger than {bytes_max} bytes, the most this server takes");
    ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, message)
}

fn check_headers(headers: &HeaderMap) -> Result<(), ApiError> {
    let content_type = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    let media_type = content_type
        .unwrap_or_default()
        .split(';')
        .next()
        .unwrap_or_default()
        .trim();
    if !media_type.eq_ignore_ascii_case("application/json") {
        return Err(ApiError::new(
            StatusCode::BAD_REQUEST,
            "Content-Type: must be application/json",
        ));
    }
    let encoding = headers
        .get(header::CONTENT_ENCODING)
        .map(|value| value.as_bytes());
    if encoding.is_some_and(|encoding| !encoding.eq_ignore_ascii_case(b"identity")) {
        return Err(ApiError::new(
            StatusCode::BAD_REQUEST,
            "Content-Encoding: compressed bodies are not taken; send plain JSON",
        ));
    }
    Ok(())
}
