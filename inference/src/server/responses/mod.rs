//! `/v1/responses`: a request that amounts to a chat, and its answer in items.

mod object;
mod output;
mod store;
mod stream;

use std::sync::Arc;

use axum::{
    Extension, Json,
    extract::{Path, Request, State, rejection::PathRejection},
    response::{IntoResponse, Response},
};
use http::header;

pub(super) use self::store::ResponseStore;
use self::{
    object::{Outcome, ResponseFormat},
    output::Output,
};
use super::{
    body,
    error::ApiError,
    generate,
    generation::Generation,
    request_id::RequestId,
    respond::{self, Gates},
    routes, sse,
    state::SharedState,
};
use crate::{
    openai::responses::{ResponseDeleted, ResponseObject},
    request::{
        CheckedResponses, RequestError, check_responses, response_not_found, responses_terms,
    },
};

/// The field that holds the prompt.
const PROMPT_FIELD: &str = "input";

/// `POST /v1/responses`.
pub(super) async fn create(
    State(state): State<SharedState>,
    Extension(id): Extension<RequestId>,
    request: Request,
) -> Result<Response, ApiError> {
    let serving = state.serving()?;
    let tenant = generate::tenant(request.headers())?;
    let takes_trailers = routes::takes_trailers(request.headers());
    let body = body::read(request, state.flags.max_body_bytes.as_usize()).await?;
    let store = Arc::clone(&state.responses);
    let (mut job, echo, keep) =
        generate::checking(&serving, body, move |serving, body, arrival| {
            let checked = check_responses(body, &serving.facts, |id| store.messages(id))?;
            let CheckedResponses {
                chat,
                echo,
                store,
                history,
            } = checked;
            let chat = generate::Checked::Chat(chat);
            let job = generate::job(serving, chat, PROMPT_FIELD, arrival).map_err(in_own_terms)?;
            Ok((job, echo, store.then_some(history)))
        })
        .await?;
    generate::compile_grammar(&serving, &mut job)
        .await
        .map_err(in_own_terms)?;
    let format = ResponseFormat::new(&id, &job.options, echo, keep);
    let gates = Gates::new(&state.flags, &job.options);
    let streaming = job.options.streaming.is_some();
    let generation = generate::submit(&state, &serving, job, &id, tenant)?;
    if !streaming {
        return whole(&state, format, generation, gates).await;
    }
    let keep_alive = sse::keep_alive(&state.flags);
    let gates = Gates {
        headers: gates.headers && takes_trailers,
        ..gates
    };
    Ok(stream::response(
        state, format, generation, gates, keep_alive,
    ))
}

/// Waits for the answer and sends it as one.
async fn whole(
    state: &SharedState,
    format: ResponseFormat,
    mut generation: Generation,
    gates: Gates,
) -> Result<Response, ApiError> {
    let mut output = Output::default();
    let mut finish_reason = "";
    while let Some(piece) = generation.next().await {
        let mut piece = piece?;
        let logprobs = format.logprobs(&generation, piece.logprobs.take());
        finish_reason = piece.finish_reason.unwrap_or(finish_reason);
        output.push(piece, logprobs);
    }
    let outcome = Outcome::of(finish_reason);
    output.finish(outcome.item_status());
    let record = generation.record();
    let metrics = record.as_ref().filter(|_| gates.metrics);
    let usage = object::usage(state, &generation, &output);
    let object = format.finished(outcome, output, usage, metrics.map(respond::body_metrics));
    keep(state, &format, &object);
    let mut response = Json(object).into_response();
    if let Some(record) = record.filter(|_| gates.headers) {
        respond::report(&record, response.headers_mut());
    }
    Ok(response)
}

/// Stores a response whose request asked for that.
fn keep(state: &SharedState, format: &ResponseFormat, object: &ResponseObject) {
    if let Some(messages) = format.messages_with(&object.output) {
        state.responses.insert(object, &messages);
    }
}

/// `GET /v1/responses/{id}`: a response that was stored.
pub(super) async fn retrieve(
    State(state): State<SharedState>,
    path: Result<Path<String>, PathRejection>,
    request: Request,
) -> Result<Response, ApiError> {
    state.serving()?;
    let id = routes::id_of(path)?;
    let query = request.uri().query().unwrap_or_default();
    if query.split('&').any(|pair| pair == "stream=true") {
        let message = "stream: stored responses are not streamed; leave it out";
        return Err(RequestError::invalid("stream", message).into());
    }
    let object = state.responses.object(&id);
    let object = object.ok_or_else(|| response_not_found("response_id", &id))?;
    Ok(([(header::CONTENT_TYPE, "application/json")], object).into_response())
}

/// `DELETE /v1/responses/{id}`: forgets a response that was stored.
pub(super) async fn delete(
    State(state): State<SharedState>,
    path: Result<Path<String>, PathRejection>,
) -> Result<Response, ApiError> {
    state.serving()?;
    let id = routes::id_of(path)?;
    if !state.responses.remove(&id) {
        return Err(response_not_found("response_id", &id).into());
    }
    Ok(Json(ResponseDeleted {
        id,
        object: object::OBJECT,
        deleted: true,
    })
    .into_response())
}

/// An error about a field of the chat, as one about the field that the client wrote.
fn in_own_terms(mut error: ApiError) -> ApiError {
    if let Some(field) = &error.param {
        let (field, message) = responses_terms(field, &error.message);
        error.message = message;
        error.param = Some(field);
    }
    error
}
