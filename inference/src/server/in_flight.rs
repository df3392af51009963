//! Counts requests that are being answered, to the last byte of the body, or whose records are still taken,
//! for the shutdown to wait for.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use axum::{body::Body, response::Response};
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tokio::sync::watch;

/// How many requests are being answered.
#[derive(Debug, Clone)]
pub(super) struct InFlight(Arc<watch::Sender<usize>>);

/// One of them.
#[derive(Debug)]
pub(super) struct InFlightGuard(Arc<watch::Sender<usize>>);

impl InFlight {
    pub(super) fn new() -> Self {
        Self(Arc::new(watch::Sender::new(0)))
    }

    /// Counts a request until the guard is dropped.
    pub(super) fn enter(&self) -> InFlightGuard {
        self.0.send_modify(|count| *count += 1);
        InFlightGuard(Arc::clone(&self.0))
    }

    /// Waits until there is none.
    pub(super) async fn idle(&self) {
        // The sender lives in `self`, so the wait ends with the condition only.
        let _ = self.0.subscribe().wait_for(|&count| count == 0).await;
    }
}

impl Drop for InFlightGuard {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}

impl InFlightGuard {
    /// Keeps the request counted until its answer's body was sent or dropped.
    pub(super) fn attach(self, response: Response) -> Response {
        response.map(|body| Body::new(Guarded { body, _guard: self }))
    }
}

struct Guarded {
    body: Body,
    _guard: InFlightGuard,
}

impl http_body::Body for Guarded {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
