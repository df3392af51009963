//! The routes, and the handlers of `/v1`.

use axum::{
    Extension, Json, Router,
    extract::{Path, Request, State, rejection::PathRejection},
    middleware,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use http::{HeaderMap, Method, StatusCode, Uri, header};

use super::{
    body, embeddings, envelope,
    error::ApiError,
    format::{Endpoint, Format},
    generate, openapi, probes,
    request_id::RequestId,
    respond::{self, Gates},
    responses, sse,
    state::{Serving, SharedState},
    tokenize,
};
use crate::{
    openai::{Model, ModelList},
    request::RequestError,
};

/// Everything that is answered.
pub(super) fn router(state: SharedState) -> Router {
    Router::new()
        .route("/health", get(probes::health))
        .route("/ping", get(probes::health).post(probes::health))
        .route("/ready", get(probes::ready))
        .route("/progress", get(probes::progress))
        .route("/version", get(probes::version))
        .route("/metrics", get(probes::metrics))
        .route("/openapi.json", get(openapi::serve))
        .route("/v1/models", get(models))
        .route("/v1/models/{*id}", get(model))
        .route("/v1/chat/completions", post(chat_completions))
        .route("/v1/completions", post(completions))
        .route("/v1/embeddings", post(embeddings::embeddings))
        .route("/tokenize", post(tokenize::tokenize))
        .route("/detokenize", post(tokenize::detokenize))
        .route("/v1/responses", post(responses::create))
        .route(
            "/v1/responses/{id}",
            get(responses::retrieve).delete(responses::delete),
        )
        .fallback(no_route)
        .method_not_allowed_fallback(wrong_method)
        .layer(middleware::from_fn_with_state(
            state.clone(),
            envelope::wrap,
        ))
        .with_state(state)
}

async fn chat_completions(
    State(state): State<SharedState>,
    Extension(id): Extension<RequestId>,
    request: Request,
) -> Result<Response, ApiError> {
    answer(state, id, Endpoint::Chat, request).await
}

async fn completions(
    State(state): State<SharedState>,
    Extension(id): Extension<RequestId>,
    request: Request,
) -> Result<Response, ApiError> {
    answer(state, id, Endpoint::Completion, request).await
}

async fn answer(
    state: SharedState,
    id: RequestId,
    endpoint: Endpoint,
    request: Request,
) -> Result<Response, ApiError> {
    let serving = state.serving()?;
    let tenant = generate::tenant(request.headers())?;
    let takes_trailers = takes_trailers(request.headers());
    let body = body::read(request, state.flags.max_body_bytes.as_usize()).await?;
    let job = generate::prepare(&serving, endpoint, body).await?;
    let format = Format::new(endpoint, &id, &job.options);
    let gates = Gates::new(&state.flags, &job.options);
    let streaming = job.options.streaming.is_some();
    let generation = generate::submit(&state, &serving, job, &id, tenant)?;
    if !streaming {
        return respond::whole(&format, generation, gates).await;
    }
    let keep_alive = sse::keep_alive(&state.flags);
    let gates = Gates {
        headers: gates.headers && takes_trailers,
        ..gates
    };
    Ok(sse::response(format, generation, gates, keep_alive))
}

/// The client said that it reads trailers (RFC 9110, 10.1.4).
pub(super) fn takes_trailers(headers: &HeaderMap) -> bool {
    let codings = headers
        .get_all(header::TE)
        .into_iter()
        .filter_map(|value| value.to_str().ok());
    codings
        .flat_map(|value| value.split(','))
        .any(|coding| coding.trim().eq_ignore_ascii_case("trailers"))
}

async fn models(State(state): State<SharedState>) -> Result<Response, ApiError> {
    let serving = state.serving()?;
    let names = serving.facts.served_names.iter();
    let data = names.map(|name| model_object(&serving, name)).collect();
    Ok(Json(ModelList {
        object: "list",
        data,
    })
    .into_response())
}

async fn model(
    State(state): State<SharedState>,
    path: Result<Path<String>, PathRejection>,
) -> Result<Response, ApiError> {
    let serving = state.serving()?;
    let id = id_of(path)?;
    let names = &serving.facts.served_names;
    match names.iter().find(|name| **name == id) {
        Some(name) => Ok(Json(model_object(&serving, name)).into_response()),
        None => Err(RequestError::model_not_found(&id, names).into()),
    }
}

/// The id in a path.
///
/// # Errors
/// A 400 for a path that is no text.
pub(super) fn id_of(path: Result<Path<String>, PathRejection>) -> Result<String, ApiError> {
    let no_text = |_| ApiError::new(StatusCode::BAD_REQUEST, "the path is not encoded UTF-8");
    path.map(|Path(id)| id).map_err(no_text)
}

fn model_object(serving: &Serving, name: &str) -> Model {
    Model {
        id: name.to_owned(),
        object: "model",
        created: serving.created,
        owned_by: "candela",
        root: serving.root.clone(),
        max_model_len: serving.facts.max_model_len,
    }
}

async fn no_route(method: Method, uri: Uri) -> ApiError {
    let path: String = uri
        .path()
        .chars()
        .take(crate::request::limits::ECHOED_CHARS_MAX)
        .collect();
    ApiError::new(
        StatusCode::NOT_FOUND,
        format!("there is no route {method} {path}"),
    )
}

async fn wrong_method(method: Method, uri: Uri) -> ApiError {
    let message = format!(
        "{} does not answer to {method}; see the Allow header",
        uri.path()
    );
    ApiError::new(StatusCode::METHOD_NOT_ALLOWED, message)
}
