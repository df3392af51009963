//! Reading a request's body: JSON, of a bounded size, in a bounded time.

use axum::{body::Body, extract::Request};
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, StatusCode, header};
use http_body_util::BodyExt;

use super::{error::ApiError, limits};

/// The whole body.
///
/// # Errors
/// 400 for a body that is not declared as plain JSON or breaks off, 413 beyond `bytes_max`, 408 when
/// it does not arrive in time.
pub(super) async fn read(request: Request, bytes_max: usize) -> Result<Bytes, ApiError> {
    let (head, body) = request.into_parts();
    check_headers(&head.headers)?;
    let declared = http_body::Body::size_hint(&body).lower();
    if declared > bytes_max as u64 {
        return Err(too_large(bytes_max));
    }
    tokio::time::timeout(limits::BODY_READ_TIMEOUT, collect(body, bytes_max))
        .await
        .unwrap_or_else(|_| {
            let seconds = limits::BODY_READ_TIMEOUT.as_secs();
            let message = format!("the body did not arrive within {seconds} seconds");
            Err(ApiError::new(StatusCode::REQUEST_TIMEOUT, message))
        })
}

async fn collect(mut body: Body, bytes_max: usize) -> Result<Bytes, ApiError> {
    let mut bytes = BytesMut::new();
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
            bytes.extend_from_slice(data);
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
