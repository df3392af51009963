//! A response as a stream of events: `event: <type>`, `data: {json}`, numbered from 0; there is no
//! `[DONE]`.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use axum::response::Response;
use bytes::Bytes;
use futures::stream;
use http::HeaderMap;
use http_body::Frame;

use super::{
    keep,
    object::{self, Outcome, ResponseFormat},
    output::Output,
};
use crate::{
    openai::responses::{ItemStatus, NumberedEvent, ResponseEvent},
    server::{
        error::ApiError,
        generation::{Generation, Piece},
        respond::{Gates, report},
        sse,
        state::SharedState,
    },
    stats::RequestMetrics,
};

/// Streams the answer. The body owns the generation: a client that hangs up cancels it.
pub(super) fn response(
    state: SharedState,
    format: ResponseFormat,
    generation: Generation,
    gates: Gates,
    keep_alive: Option<Duration>,
) -> Response {
    let count = Arc::<AtomicU64>::default();
    let mut events = Events {
        state,
        format,
        generation,
        output: Output::default(),
        gates,
        keep_alive,
        count: Arc::clone(&count),
        frames: VecDeque::new(),
        done: false,
    };
    events.begin();
    let frames = stream::unfold(events, |mut events| async {
        events.next_frame().await.map(|frame| (frame, events))
    });
    sse::event_stream(frames, gates.headers, move || {
        numbered(error_event(&ApiError::internal()), &count)
    })
}

/// A stream of frames under way.
struct Events {
    state: SharedState,
    format: ResponseFormat,
    generation: Generation,
    output: Output,
    /// `headers` are trailers here.
    gates: Gates,
    keep_alive: Option<Duration>,
    /// Events so far; it outlives a panic.
    count: Arc<AtomicU64>,
    /// Events that are ready.
    frames: VecDeque<Bytes>,
    done: bool,
}

impl Events {
    fn begin(&mut self) {
        let response = Box::new(self.format.in_progress());
        self.emit(ResponseEvent::Created {
            response: response.clone(),
        });
        self.emit(ResponseEvent::InProgress { response });
    }

    async fn next_frame(&mut self) -> Option<Frame<Bytes>> {
        loop {
            if let Some(event) = self.frames.pop_front() {
                return Some(Frame::data(event));
            }
            if self.done {
                return self.take_trailers().map(Frame::trailers);
            }
            let next = self.generation.next();
            let Some(next) = sse::or_keep_alive(next, self.keep_alive).await else {
                return Some(Frame::data(sse::KEEP_ALIVE));
            };
            match next {
                Some(Ok(piece)) => self.push(piece),
                Some(Err(error)) => self.fail(&error),
                None => self.done = true,
            }
        }
    }

    fn push(&mut self, mut piece: Piece) {
        let finish_reason = piece.finish_reason;
        let found = piece.logprobs.take();
        let logprobs = self.format.logprobs(&self.generation, found);
        self.output.push(piece, logprobs);
        if let Some(reason) = finish_reason {
            self.end(Outcome::of(reason));
        } else {
            self.emit_output();
        }
    }

    fn end(&mut self, outcome: Outcome) {
        self.output.finish(outcome.item_status());
        self.emit_output();
        let usage = object::usage(&self.state, &self.generation, &self.output);
        let record = self.generation.record().filter(|_| self.gates.metrics);
        let metrics = record.map(|record| RequestMetrics::new(&record).without_nulls().into());
        let output = std::mem::take(&mut self.output);
        let response = self.format.finished(outcome, output, usage, metrics);
        keep(&self.state, &self.format, &response);
        let response = Box::new(response);
        self.emit(match outcome {
            Outcome::Completed => ResponseEvent::Completed { response },
            Outcome::CutOff => ResponseEvent::Incomplete { response },
        });
        self.done = true;
    }

    fn fail(&mut self, error: &ApiError) {
        self.output.finish(ItemStatus::Incomplete);
        self.emit_output();
        let output = std::mem::take(&mut self.output);
        let response = Box::new(self.format.failed(error, output));
        self.emit(ResponseEvent::Failed { response });
        self.emit(error_event(error));
        self.gates.headers = false;
        self.done = true;
    }

    fn emit_output(&mut self) {
        for event in self.output.take_events() {
            self.emit(event);
        }
    }

    fn emit(&mut self, event: ResponseEvent) {
        let frame = numbered(event, &self.count);
        self.frames.push_back(frame);
    }

    /// What the request cost, once, if it was answered to its end.
    fn take_trailers(&mut self) -> Option<HeaderMap> {
        let wanted = std::mem::take(&mut self.gates.headers) && self.generation.is_complete();
        let record = self.generation.record().filter(|_| wanted)?;
        let mut trailers = HeaderMap::new();
        report(&record, &mut trailers);
        Some(trailers)
    }
}

fn error_event(error: &ApiError) -> ResponseEvent {
    ResponseEvent::Error {
        code: Some("server_error".to_owned()),
        message: error.message.clone(),
        param: error.param.clone(),
    }
}

fn numbered(event: ResponseEvent, count: &AtomicU64) -> Bytes {
    let name = event.name();
    let event = NumberedEvent {
        event,
        sequence_number: count.fetch_add(1, Ordering::Relaxed),
    };
    let json = serde_json::to_string(&event).unwrap_or_default();
    format!("event: {name}\ndata: {json}\n\n").into()
}
