//! Answers as server-sent events: `data: {json}` per chunk, `data: [DONE]` at the end, and then, for
//! clients that ask with `TE: trailers`, the stats headers as trailers.

use std::{collections::VecDeque, convert::Infallible, panic::AssertUnwindSafe, time::Duration};

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use candela_flags::EngineFlags;
use futures::{Stream, StreamExt, stream};
use http::{HeaderMap, HeaderValue, header};
use http_body::Frame;
use http_body_util::StreamBody;
use serde::Serialize;

use super::{
    error::ApiError,
    format::{ChunkExtras, Format},
    generation::{Generation, Piece},
    logprobs::PendingLogprobs,
    respond::{Gates, report},
};
use crate::stats::{HEADER_NAMES, RequestMetrics};

const DATA: &[u8] = b"data: ";
/// Room for a chunk that brings a token. Longer ones take more.
const EVENT_BYTES: usize = 320;
const DONE: Bytes = Bytes::from_static(b"data: [DONE]\n\n");
/// A comment, which clients skip.
pub(super) const KEEP_ALIVE: Bytes = Bytes::from_static(b": keep-alive\n\n");

/// Streams the answers. The body owns the generation: a client that hangs up cancels it.
pub(super) fn response(
    format: Format,
    generation: Generation,
    gates: Gates,
    keep_alive: Option<Duration>,
) -> Response {
    let answers = generation.prompts().len() * generation.answers();
    let events = Events {
        format,
        generation,
        metrics: gates.metrics,
        trailers: gates.headers,
        keep_alive,
        frames: VecDeque::new(),
        answers: vec![AnswerState::default(); answers],
        opened: false,
        done: false,
    };
    let frames = stream::unfold(events, |mut events| async {
        events.next_frame().await.map(|frame| (frame, events))
    });
    event_stream(frames, gates.headers, || {
        let error = data(&ApiError::internal().body());
        [error, DONE].concat().into()
    })
}

/// The answer whose body these frames are. `on_panic` makes the last one should they panic.
pub(super) fn event_stream(
    frames: impl Stream<Item = Frame<Bytes>> + Send + 'static,
    trailers: bool,
    on_panic: impl Fn() -> Bytes + Send + 'static,
) -> Response {
    let frames = AssertUnwindSafe(frames).catch_unwind().map(move |frame| {
        Ok::<_, Infallible>(frame.unwrap_or_else(|_| {
            tracing::error!("streaming an answer panicked");
            Frame::data(on_panic())
        }))
    });
    let mut response = Body::new(StreamBody::new(frames)).into_response();
    let headers = response.headers_mut();
    if trailers {
        // hyper drops trailers that are not announced here.
        let names = HeaderValue::from_str(&HEADER_NAMES.join(", "));
        headers.insert(
            header::TRAILER,
            names.expect("header names are visible ASCII"),
        );
    }
    let event_stream = HeaderValue::from_static("text/event-stream; charset=utf-8");
    headers.insert(header::CONTENT_TYPE, event_stream);
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    // Proxies that buffer would hold the tokens back.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

/// The pause after which a stream says that it is still there.
pub(super) fn keep_alive(flags: &EngineFlags) -> Option<Duration> {
    let interval = flags.sse_keep_alive_interval.get();
    (interval > 0).then(|| Duration::from_secs(interval))
}

/// What comes next; `None` when nothing did for so long that the client should be told.
pub(super) async fn or_keep_alive<T>(
    next: impl Future<Output = T>,
    interval: Option<Duration>,
) -> Option<T> {
    match interval {
        None => Some(next.await),
        Some(interval) => tokio::time::timeout(interval, next).await.ok(),
    }
}

/// One server-sent event: `data: {json}` and an empty line.
pub fn data(value: &impl Serialize) -> Bytes {
    let mut event = Vec::with_capacity(EVENT_BYTES);
    event.extend_from_slice(DATA);
    if serde_json::to_writer(&mut event, value).is_err() {
        event.truncate(DATA.len());
    }
    event.extend_from_slice(b"\n\n");
    event.into()
}

/// A stream of frames under way.
struct Events {
    format: Format,
    generation: Generation,
    /// Report what the request cost on the last chunk.
    metrics: bool,
    /// Report it in trailers.
    trailers: bool,
    keep_alive: Option<Duration>,
    /// Chunks that are ready.
    frames: VecDeque<Bytes>,
    answers: Vec<AnswerState>,
    opened: bool,
    done: bool,
}

/// What of an answer is in no chunk yet.
#[derive(Debug, Clone, Default)]
struct AnswerState {
    begun: bool,
    tokens: Vec<u32>,
    logprobs: PendingLogprobs,
}

impl Events {
    async fn next_frame(&mut self) -> Option<Frame<Bytes>> {
        loop {
            if let Some(chunk) = self.frames.pop_front() {
                return Some(Frame::data(chunk));
            }
            if self.done {
                return self.take_trailers().map(Frame::trailers);
            }
            let next = self.generation.next();
            let Some(next) = or_keep_alive(next, self.keep_alive).await else {
                return Some(Frame::data(KEEP_ALIVE));
            };
            match next {
                Some(Ok(piece)) => self.push(piece),
                Some(Err(error)) => self.fail(&error),
                None => self.end(),
            }
        }
    }

    fn push(&mut self, mut piece: Piece) {
        if !std::mem::replace(&mut self.opened, true) {
            let opening = self.format.opening(&self.generation);
            self.frames.extend(opening.iter().map(data));
        }
        let answer = &mut self.answers[piece.index];
        answer.tokens.extend(piece.token);
        answer.logprobs.push(piece.logprobs.take());
        if piece.delta.is_empty() && piece.finish_reason.is_none() {
            return;
        }
        let complete = self.generation.is_complete();
        let first = !std::mem::replace(&mut answer.begun, true);
        let (generation, pending) = (&self.generation, &mut answer.logprobs);
        let extras = ChunkExtras {
            tokens: std::mem::take(&mut answer.tokens),
            logprobs: self
                .format
                .logprobs(generation, piece.index, first, pending),
            first,
            metrics: if complete && !self.format.include_usage() {
                self.record()
            } else {
                None
            },
        };
        let chunk = self.format.chunk(&self.generation, piece, extras);
        self.frames.push_back(data(&chunk));
        if complete {
            self.end();
        }
    }

    fn end(&mut self) {
        if self.format.include_usage() {
            let chunk = self
                .format
                .usage_chunk(self.generation.usage(), self.record());
            self.frames.push_back(data(&chunk));
        }
        self.frames.push_back(DONE);
        self.done = true;
    }

    fn fail(&mut self, error: &ApiError) {
        self.frames.extend([data(&error.body()), DONE]);
        self.trailers = false;
        self.done = true;
    }

    /// What the request cost, once, if it was answered to its end.
    fn take_trailers(&mut self) -> Option<HeaderMap> {
        let wanted = std::mem::take(&mut self.trailers) && self.generation.is_complete();
        let record = self.generation.record().filter(|_| wanted)?;
        let mut trailers = HeaderMap::new();
        report(&record, &mut trailers);
        Some(trailers)
    }

    /// The record as `metrics`, if both gates are open; members without a value are left out.
    fn record(&self) -> Option<serde_json::Value> {
        let record = self.generation.record().filter(|_| self.metrics)?;
        Some(RequestMetrics::new(&record).without_nulls().into())
    }
}
