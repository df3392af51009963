//! What the peer of one connection does: whether it asks for anything, and over HTTP/2 whether it takes its
//! answers. There a peer can hold back single streams while its socket takes every byte (RFC 9113, 5.2), so
//! that `stall` sees nothing; and hyper lets a connection that answers pings be idle for ever.

use std::{
    convert::Infallible,
    io,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::{Router, body::Body, response::Response};
use bytes::Bytes;
use http::Version;
use http_body::{Frame, SizeHint};
use hyper::{Request, body::Incoming, service::Service};
use hyper_util::service::TowerToHyperService;
use tokio::time::Instant;

use super::limits::HTTP2_CHUNK_BYTES_MAX;

/// Sees all requests and answers of a connection.
#[derive(Debug, Clone)]
pub(super) struct PeerWatch(Arc<Mutex<Seen>>);

/// What was seen.
#[derive(Debug)]
struct Seen {
    /// The protocol, since the first request.
    version: Option<Version>,
    /// HTTP/2 requests whose answer is not handed out.
    open: usize,
    /// Since when there is none.
    idle_since: Instant,
    /// The answers of those.
    answers: Vec<Weak<Mutex<Answer>>>,
}

/// What to do with a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Serve it.
    Keep,
    /// Take no more requests, and let it end.
    Finish,
    /// Close it.
    Drop,
}

impl PeerWatch {
    pub(super) fn new() -> Self {
        Self(Arc::new(Mutex::new(Seen {
            version: None,
            open: 0,
            idle_since: Instant::now(),
            answers: Vec::new(),
        })))
    }

    /// The router, watched.
    pub(super) fn service(&self, router: Router) -> WatchedService {
        WatchedService {
            watch: self.clone(),
            inner: TowerToHyperService::new(router),
        }
    }

    /// Drops HTTP/2 answers of which the peer took nothing for `write_timeout`, and says what is to be done
    /// with a peer that asks for nothing for `idle_timeout`.
    pub(super) fn look(&self, idle_timeout: Duration, write_timeout: Duration) -> Verdict {
        let now = Instant::now();
        let mut seen = lock(&self.0);
        seen.answers.retain(|answer| answer.strong_count() > 0);
        let answers: Vec<_> = seen.answers.iter().filter_map(Weak::upgrade).collect();
        let (version, open, idle) = (seen.version, seen.open, now - seen.idle_since);
        // What is dropped here locks it itself.
        drop(seen);
        for answer in answers {
            drop(lock(&answer).take_if_stalled(now, write_timeout));
        }
        match version {
            // hyper's own timeout begins with the protocol known; a peer that does not tell is let go here.
            None if idle >= idle_timeout * 2 => Verdict::Drop,
            Some(Version::HTTP_2) if open == 0 && idle >= idle_timeout * 2 => Verdict::Drop,
            Some(Version::HTTP_2) if open == 0 && idle >= idle_timeout => Verdict::Finish,
            _ => Verdict::Keep,
        }
    }

    fn open(&self) -> OpenRequest {
        lock(&self.0).open += 1;
        OpenRequest(self.clone())
    }

    /// The answer, handed out in small pieces and dropped when the peer does not take them.
    fn watch(&self, response: Response, open: OpenRequest) -> Response {
        response.map(|body| {
            let answer = Arc::new(Mutex::new(Answer {
                body: Some((body, open)),
                rest: Bytes::new(),
                handed_at: None,
            }));
            let mut seen = lock(&self.0);
            if seen.answers.len() > 2 * seen.open {
                seen.answers.retain(|answer| answer.strong_count() > 0);
            }
            seen.answers.push(Arc::downgrade(&answer));
            drop(seen);
            Body::new(WatchedBody(answer))
        })
    }
}

/// A request, until its answer is handed out or given up.
#[derive(Debug)]
struct OpenRequest(PeerWatch);

impl Drop for OpenRequest {
    fn drop(&mut self) {
        let mut seen = lock(&self.0.0);
        seen.open -= 1;
        seen.idle_since = Instant::now();
    }
}

/// A router whose requests and answers are seen.
#[derive(Clone)]
pub(super) struct WatchedService {
    watch: PeerWatch,
    inner: TowerToHyperService<Router>,
}

impl Service<Request<Incoming>> for WatchedService {
    type Response = Response;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let version = request.version();
        lock(&self.watch.0).version = Some(version);
        if version != Version::HTTP_2 {
            return Box::pin(self.inner.call(request));
        }
        let (watch, open) = (self.watch.clone(), self.watch.open());
        let answer = self.inner.call(request);
        Box::pin(async move { Ok(watch.watch(answer.await?, open)) })
    }
}

/// A body under way. hyper takes the next piece once the last one is within the peer's window.
#[derive(Debug)]
struct Answer {
    /// `None`: given up.
    body: Option<(Body, OpenRequest)>,
    /// What is left of a frame.
    rest: Bytes,
    /// When the last piece was handed to hyper, if it took none since.
    handed_at: Option<Instant>,
}

impl Answer {
    fn take_if_stalled(&mut self, now: Instant, timeout: Duration) -> Option<(Body, OpenRequest)> {
        let stalled = self.handed_at.is_some_and(|at| now - at >= timeout);
        if !stalled {
            return None;
        }
        self.rest = Bytes::new();
        self.body.take()
    }

    fn poll(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        self.handed_at = None;
        let Some((body, _)) = &mut self.body else {
            let error = io::Error::from(io::ErrorKind::TimedOut);
            return Poll::Ready(Some(Err(axum::Error::new(error))));
        };
        if self.rest.is_empty() {
            match ready!(http_body::Body::poll_frame(Pin::new(body), context)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.rest = data,
                    Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
                },
                end_or_error => return Poll::Ready(end_or_error),
            }
        }
        self.handed_at = Some(Instant::now());
        let length = self.rest.len().min(HTTP2_CHUNK_BYTES_MAX);
        Poll::Ready(Some(Ok(Frame::data(self.rest.split_to(length)))))
    }
}

struct WatchedBody(Arc<Mutex<Answer>>);

impl http_body::Body for WatchedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        lock(&self.0).poll(context)
    }

    fn is_end_stream(&self) -> bool {
        let answer = lock(&self.0);
        let ended = |(body, _): &(Body, _)| body.is_end_stream();
        answer.rest.is_empty() && answer.body.as_ref().is_some_and(ended)
    }

    fn size_hint(&self) -> SizeHint {
        let answer = lock(&self.0);
        // Asked for before the first piece alone.
        let whole = answer.body.as_ref().filter(|_| answer.rest.is_empty());
        whole.map_or_else(SizeHint::default, |(body, _)| body.size_hint())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
