//! `/tokenize` and `/detokenize`: the model's tokenizer and chat template, without the model.

use axum::{
    Json,
    extract::{Request, State},
};

use super::{
    body,
    error::ApiError,
    generate, limits, off_thread,
    state::{Serving, SharedState},
};
use crate::{
    openai::{DetokenizeResponse, TokenizeResponse},
    prompt::{TokenizerError, Truncation},
    request::{RequestError, TokenizeInput, check_detokenize, check_tokenize},
};

/// The tokens of a text or a chat.
pub(super) async fn tokenize(
    State(state): State<SharedState>,
    request: Request,
) -> Result<Json<TokenizeResponse>, ApiError> {
    let serving = state.serving()?;
    let body = body::read(request, state.flags.max_body_bytes.as_usize()).await?;
    let bytes = body.len();
    off_thread::run(bytes, move || tokenized(&serving, &body).map(Json)).await
}

fn tokenized(serving: &Serving, body: &[u8]) -> Result<TokenizeResponse, ApiError> {
    let checked = check_tokenize(body, &serving.facts)?;
    let (field, text) = match checked.input {
        TokenizeInput::Text(text) => ("prompt", text),
        TokenizeInput::Chat(chat) => ("messages", generate::render(serving, &chat)?),
    };
    let tokens = tokens(serving, field, &text, checked.add_special_tokens, None)?;
    let written = |ids: &[u32]| {
        ids.iter()
            .map(|&id| serving.tokenizer.vocabulary_entry(id))
            .collect()
    };
    Ok(TokenizeResponse {
        count: tokens.len(),
        max_model_len: serving.facts.max_model_len,
        token_strs: checked.token_strs.then(|| written(&tokens)),
        tokens,
    })
}

/// The text of tokens.
pub(super) async fn detokenize(
    State(state): State<SharedState>,
    request: Request,
) -> Result<Json<DetokenizeResponse>, ApiError> {
    let serving = state.serving()?;
    let body = body::read(request, state.flags.max_body_bytes.as_usize()).await?;
    let bytes = body.len();
    let work = move || {
        let tokens = check_detokenize(&body, &serving.facts)?;
        let prompt = serving.tokenizer.decode(&tokens, false);
        Ok(Json(DetokenizeResponse { prompt }))
    };
    off_thread::run(bytes, work).await
}

/// The tokens of a text, cut if asked for.
///
/// # Errors
/// A 400 naming `field`.
pub(super) fn tokens(
    serving: &Serving,
    field: &str,
    text: &str,
    add_special_tokens: bool,
    truncation: Option<Truncation>,
) -> Result<Vec<u32>, ApiError> {
    let (bytes, max) = (text.len(), limits::TOKENIZED_BYTES_MAX);
    if bytes > max {
        let message = format!("{field}: the text has {bytes} bytes; at most {max} are tokenized");
        return Err(RequestError::invalid(field, message).into());
    }
    let tokenizer = &serving.tokenizer;
    let encoded = match truncation {
        None => tokenizer.encode(text, add_special_tokens),
        Some(truncation) => tokenizer.encode_cut(text, add_special_tokens, truncation),
    };
    encoded.map_err(|error| {
        let (field, reason) = match error {
            TokenizerError::NotInModel { .. } => (field, error.to_string()),
            TokenizerError::NoRoom { .. } => ("truncate_prompt_tokens", error.to_string()),
            _ => {
                tracing::error!(%error, "a text could not be tokenized");
                (field, "the text cannot be tokenized".to_owned())
            }
        };
        RequestError::invalid(field, format!("{field}: {reason}")).into()
    })
}
