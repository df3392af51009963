//! A checked request for embeddings.

use std::{fmt, sync::Arc};

use super::{EmbeddingFacts, ModelFacts, PromptInput, RequestError, limits, options, parse};
use crate::{
    openai::{EmbeddingRequest, Prompt},
    prompt::{Truncation, TruncationSide},
};

/// A request for embeddings without a fault that can be seen before its texts are tokenized.
#[derive(Debug, Clone, PartialEq)]
pub struct CheckedEmbedding {
    /// The served name that the request gave, or the first one.
    pub model: String,
    /// At least one.
    pub inputs: Vec<PromptInput>,
    /// Begin and end texts with the tokenizer's own special tokens.
    pub add_special_tokens: bool,
    /// Write texts in small letters first, as the model's files ask.
    pub lowercase: bool,
    /// Cut inputs to so many tokens; otherwise longer ones are refused.
    pub truncation: Option<Truncation>,
    /// How the vectors are reported.
    pub form: EmbeddingForm,
    /// `user`, for the usage log.
    pub user: Option<String>,
    /// Who may share the KV cache with it.
    pub cache_salt: Option<Arc<str>>,
}

/// How vectors are reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EmbeddingForm {
    /// Numbers to keep, from the first on; at most the model's.
    pub dimensions: usize,
    /// Make the vector one long.
    pub normalize: bool,
    /// Write it in base64.
    pub base64: bool,
}

/// Refuses what a model that generates, or one that makes embeddings, does not do.
///
/// # Errors
/// A 400 naming the model and the route that it serves.
pub(super) fn refuse_other_runner(facts: &ModelFacts, pooling: bool) -> Result<(), RequestError> {
    let name = facts.served_names.first().map_or("", String::as_str);
    let message = match (pooling, &facts.embeddings) {
        (false, Some(_)) => format!(
            "model: `{name}` makes embeddings and generates no text: use /v1/embeddings, or serve \
             it with --runner generate if it is a text model"
        ),
        (true, None) => format!(
            "model: `{name}` generates text and makes no embeddings: use /v1/chat/completions or \
             /v1/completions, or serve it with --runner pooling"
        ),
        _ => return Ok(()),
    };
    Err(RequestError::invalid("model", message))
}

/// Reads and checks a body of `/v1/embeddings`.
///
/// # Errors
/// [`RequestError`]: a 400 naming the field, or a 404 for an unknown model.
pub fn check_embedding(body: &[u8], facts: &ModelFacts) -> Result<CheckedEmbedding, RequestError> {
    let object = parse::object(body)?;
    let request: EmbeddingRequest = parse::fields(&object)?;
    drop(object);
    let model = options::served_name(request.model.as_deref(), &facts.served_names)?;
    refuse_other_runner(facts, true)?;
    let Some(embeddings) = &facts.embeddings else {
        return Err(RequestError::invalid(
            "model",
            "model: it makes no embeddings",
        ));
    };
    refuse_unsupported(&request)?;
    let form = EmbeddingForm {
        dimensions: dimensions(request.dimensions, &model, embeddings)?,
        normalize: request.use_activation.unwrap_or(embeddings.normalize),
        base64: is_base64(request.encoding_format.as_deref())?,
    };
    let truncation = truncation(&request, facts.max_model_len)?;
    let input = request
        .input
        .ok_or_else(|| RequestError::invalid("input", "input: required, but absent"))?;
    Ok(CheckedEmbedding {
        model,
        inputs: inputs(input, facts, truncation.is_some())?,
        add_special_tokens: request.add_special_tokens.unwrap_or(true),
        lowercase: embeddings.lowercase,
        truncation,
        form,
        user: options::user(request.user)?,
        cache_salt: options::cache_salt(request.cache_salt)?,
    })
}

/// Fields with one value that asks for nothing.
fn refuse_unsupported(request: &EmbeddingRequest) -> Result<(), RequestError> {
    let refuse = |field: &str, instead: &str| {
        let message = format!("{field}: not supported by this server; {instead}");
        Err(RequestError::invalid(field, message))
    };
    let is = |value: &Option<String>, neutral: &[&str]| {
        value
            .as_deref()
            .is_none_or(|value| neutral.contains(&value))
    };
    if request.messages.is_some() {
        return refuse("messages", "send texts or token ids as input");
    }
    if request.normalize.is_some() {
        return refuse("normalize", "its name is use_activation");
    }
    if !is(&request.padding, &["do_not_pad"]) {
        return refuse("padding", "leave it out, or set it to \"do_not_pad\"");
    }
    if !is(&request.embed_dtype, &["float32"]) {
        return refuse("embed_dtype", "leave it out, or set it to \"float32\"");
    }
    if !is(&request.endianness, &["native", "little"]) {
        return refuse("endianness", "leave it out, or set it to \"little\"");
    }
    if request.priority.is_some_and(|priority| priority != 0) {
        return refuse("priority", "leave it out, or set it to 0");
    }
    Ok(())
}

fn is_base64(format: Option<&str>) -> Result<bool, RequestError> {
    match format {
        None | Some("float") => Ok(false),
        Some("base64") => Ok(true),
        Some(other) => {
            let other: String = other.chars().take(limits::ECHOED_CHARS_MAX).collect();
            let message =
                format!("encoding_format: must be \"float\" or \"base64\", not {other:?}");
            Err(RequestError::invalid("encoding_format", message))
        }
    }
}

/// Only models that were trained so that their vectors may be cut have them cut, as in vLLM.
fn dimensions(
    asked: Option<i64>,
    model: &str,
    embeddings: &EmbeddingFacts,
) -> Result<usize, RequestError> {
    let all = embeddings.dimensions;
    let refuse = |message: String| Err(RequestError::invalid("dimensions", message));
    let Some(asked) = asked else {
        return Ok(all);
    };
    let Some(count) = usize::try_from(asked)
        .ok()
        .filter(|count| (1..=all).contains(count))
    else {
        return refuse(format!("dimensions: must be from 1 to {all}, not {asked}"));
    };
    match embeddings.matryoshka.as_deref() {
        _ if count == all => Ok(count),
        Some([]) => Ok(count),
        Some(lengths) if lengths.contains(&count) => Ok(count),
        Some(lengths) => refuse(format!(
            "dimensions: the vectors of `{model}` may be cut to {lengths:?}, not to {count}"
        )),
        None => refuse(format!(
            "dimensions: the vectors of `{model}` have {all} numbers and it was not trained to have \
             them cut: its config.json says neither is_matryoshka nor matryoshka_dimensions"
        )),
    }
}

fn truncation(request: &EmbeddingRequest, max: usize) -> Result<Option<Truncation>, RequestError> {
    let side = match request.truncation_side.as_deref() {
        None | Some("right") => TruncationSide::Right,
        Some("left") => TruncationSide::Left,
        Some(_) => {
            let message = "truncation_side: must be \"left\" or \"right\"";
            return Err(RequestError::invalid("truncation_side", message));
        }
    };
    let tokens = match request.truncate_prompt_tokens {
        None => return Ok(None),
        Some(-1) => max,
        Some(asked) => usize::try_from(asked)
            .ok()
            .filter(|tokens| (1..=max).contains(tokens))
            .ok_or_else(|| {
                let message = format!(
                    "truncate_prompt_tokens: must be from 1 to {max}, or -1 for {max}, not {asked}"
                );
                RequestError::invalid("truncate_prompt_tokens", message)
            })?,
    };
    Ok(Some(Truncation { tokens, side }))
}

fn inputs(
    input: Prompt,
    facts: &ModelFacts,
    truncated: bool,
) -> Result<Vec<PromptInput>, RequestError> {
    let ids = |param: String, ids: &[i64]| id_input(param, ids, facts, truncated);
    match input {
        Prompt::Text(text) => Ok(vec![PromptInput::Text(text)]),
        Prompt::Texts(texts) => {
            bounded_count(texts.len(), facts)?;
            Ok(texts.into_iter().map(PromptInput::Text).collect())
        }
        Prompt::Ids(list) => Ok(vec![ids("input".to_owned(), &list)?]),
        Prompt::IdLists(lists) => {
            bounded_count(lists.len(), facts)?;
            let lists = lists.iter().enumerate();
            lists
                .map(|(i, list)| ids(format!("input[{i}]"), list))
                .collect()
        }
    }
}

fn bounded_count(count: usize, facts: &ModelFacts) -> Result<(), RequestError> {
    let max = limits::INPUTS_MAX.min(facts.max_queued_sequences);
    if (1..=max).contains(&count) {
        return Ok(());
    }
    let message = format!("input: from 1 to {max} inputs, not {count}");
    Err(RequestError::invalid("input", message))
}

fn id_input(
    param: String,
    ids: &[i64],
    facts: &ModelFacts,
    truncated: bool,
) -> Result<PromptInput, RequestError> {
    if ids.is_empty() {
        return Err(empty_input(&param));
    }
    if !truncated && ids.len() > facts.max_model_len {
        return Err(input_too_long(&param, ids.len(), facts.max_model_len));
    }
    let ids = ids.iter().enumerate();
    let ids =
        ids.map(|(i, &id)| options::token_id(id, facts.vocab_size, || format!("{param}[{i}]")));
    ids.collect::<Result<_, _>>().map(PromptInput::Ids)
}

/// A 400 for an input without tokens.
pub fn empty_input(param: &str) -> RequestError {
    RequestError::invalid(param, format!("{param}: the input is empty"))
}

/// A 400 for an input that the model does not take.
pub fn input_too_long(
    param: &str,
    tokens: impl fmt::Display,
    max_model_len: usize,
) -> RequestError {
    let message = format!(
        "{param}: the input has {tokens} tokens, but the model takes at most {max_model_len}: \
         shorten it, or have it cut with \"truncate_prompt_tokens\": -1"
    );
    RequestError::invalid(param, message)
}

#[cfg(test)]
#[path = "embedding_tests.rs"]
mod tests;
