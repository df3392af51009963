//! Errors as OpenAI's clients expect them: a status, and the error object as the body.

use axum::{
    Json,
    response::{IntoResponse, Response},
};
use http::{HeaderValue, StatusCode, header};

use super::limits;
use crate::{
    engine::SubmitError,
    openai::{ErrorBody, ErrorObject},
    request::{RequestError, RequestErrorKind},
};

/// An answer that is not a success.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ApiError {
    pub(super) status: StatusCode,
    pub(super) message: String,
    pub(super) param: Option<String>,
    /// The kind, where the status does not say it.
    pub(super) kind: Option<&'static str>,
    /// What is left of the request is not read: the connection cannot serve another.
    closes: bool,
}

impl ApiError {
    pub(super) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self {
            status,
            message: message.into(),
            param: None,
            kind: None,
            closes: false,
        }
    }

    /// 500, without internals; those are in the log.
    pub(super) fn internal() -> Self {
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "the server failed on this request",
        )
    }

    /// 503: try again, here or elsewhere.
    pub(super) fn unavailable(message: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, message)
    }

    /// The same error, as the last of its connection.
    pub(super) fn closing(self) -> Self {
        Self {
            closes: true,
            ..self
        }
    }

    /// The error object.
    pub(super) fn body(&self) -> ErrorBody {
        ErrorBody {
            error: ErrorObject {
                message: self.message.clone(),
                kind: self.kind.unwrap_or_else(|| kind(self.status)),
                param: self.param.clone(),
                code: self.status.as_u16(),
            },
        }
    }
}

/// The kinds, named as vLLM names them where it has them.
fn kind(status: StatusCode) -> &'static str {
    match status {
        StatusCode::UNAUTHORIZED => "AuthenticationError",
        StatusCode::NOT_FOUND => "NotFoundError",
        StatusCode::METHOD_NOT_ALLOWED => "MethodNotAllowedError",
        StatusCode::REQUEST_TIMEOUT => "RequestTimeoutError",
        StatusCode::PAYLOAD_TOO_LARGE => "PayloadTooLargeError",
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => "RequestHeaderFieldsTooLargeError",
        StatusCode::SERVICE_UNAVAILABLE => "ServiceUnavailableError",
        status if status.is_client_error() => "BadRequestError",
        _ => "InternalServerError",
    }
}

impl From<RequestError> for ApiError {
    fn from(error: RequestError) -> Self {
        let status = match error.kind {
            RequestErrorKind::Invalid => StatusCode::BAD_REQUEST,
            RequestErrorKind::ModelNotFound | RequestErrorKind::ResponseNotFound => {
                StatusCode::NOT_FOUND
            }
        };
        // OpenAI's own word, which clients look for.
        let not_stored = error.kind == RequestErrorKind::ResponseNotFound;
        Self {
            status,
            message: error.message,
            param: error.param,
            kind: not_stored.then_some("invalid_request_error"),
            closes: false,
        }
    }
}

impl From<SubmitError> for ApiError {
    fn from(error: SubmitError) -> Self {
        Self::unavailable(error.to_string())
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(self.body())).into_response();
        let headers = response.headers_mut();
        match self.status {
            StatusCode::SERVICE_UNAVAILABLE => {
                headers.insert(header::RETRY_AFTER, limits::RETRY_AFTER_SECONDS.into());
            }
            StatusCode::UNAUTHORIZED => {
                headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            _ => {}
        }
        if self.closes || unread(self.status) {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

/// Statuses that are answered before the whole request was read.
fn unread(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::PAYLOAD_TOO_LARGE
            | StatusCode::REQUEST_TIMEOUT
            | StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE
    )
}
