//! The id of a request: the client's, if it is one that can be logged and echoed, else our own; and the
//! trace it belongs to.

use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue};

use super::{limits::REQUEST_ID_BYTES_MAX, trace_context::TraceId};

/// The header in both directions.
pub(super) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Matches `[A-Za-z0-9._-]{1,128}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RequestId {
    id: Arc<str>,
    trace_id: Option<TraceId>,
}

impl RequestId {
    /// The client's id, or a new one.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let theirs = headers
            .get(X_REQUEST_ID)
            .and_then(|value| value.to_str().ok());
        let id = match theirs.filter(|id| is_plain(id)) {
            Some(id) => id.into(),
            None => uuid::Uuid::new_v4().simple().to_string().into(),
        };
        Self {
            id,
            trace_id: TraceId::of(headers),
        }
    }

    /// The trace that the request is part of.
    pub(super) fn trace_id(&self) -> Option<TraceId> {
        self.trace_id
    }

    /// What the log lines about the request carry.
    pub(super) fn span(&self) -> tracing::Span {
        let trace_id = self.trace_id.map(tracing::field::display);
        tracing::info_span!("request", id = &*self.id, trace_id)
    }

    pub(super) fn as_str(&self) -> &str {
        &self.id
    }

    /// The id as a header.
    pub(super) fn header(&self) -> HeaderValue {
        HeaderValue::from_str(&self.id).expect("plain ids are valid header values")
    }
}

fn is_plain(id: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    (1..=REQUEST_ID_BYTES_MAX).contains(&id.len()) && id.bytes().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_ids_are_taken_over() {
        let of = |value: &[u8]| {
            let mut headers = HeaderMap::new();
            headers.insert(X_REQUEST_ID, HeaderValue::from_bytes(value).unwrap());
            RequestId::of(&headers).as_str().as_bytes() == value
        };
        assert!(of(b"a") && of(b"A.b_c-9") && of(&[b'a'; 128]));
        for other in [
            &b""[..],
            b"a b",
            b"a\tb",
            b"\xe9",
            b"a/b",
            &[b'a'; 129],
            &[b'a'; 10_000],
        ] {
            assert!(!of(other), "{other:?}");
        }
    }
}
