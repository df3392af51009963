//! Fields that this server does not honour. A neutral value asks for nothing and passes; any other is
//! refused, since an answer that ignores it would not be the one that was asked for.

use super::RequestError;
use crate::openai::{ChatRequest, CompletionRequest, GenerationOptions};

/// Those that both routes have.
pub(super) fn refuse_shared(options: &GenerationOptions) -> Result<(), RequestError> {
    let zero = |value: Option<f64>| value.is_none_or(|v| v == 0.0);
    neutral_or("presence_penalty", zero(options.presence_penalty), "0")?;
    neutral_or("frequency_penalty", zero(options.frequency_penalty), "0")?;
    neutral_or("min_p", zero(options.min_p), "0")?;
    neutral_or(
        "repetition_penalty",
        options.repetition_penalty.is_none_or(|v| v == 1.0),
        "1",
    )?;
    neutral_or(
        "logit_bias",
        options.logit_bias.as_ref().is_none_or(|b| b.is_empty()),
        "{}",
    )?;
    neutral_or("prompt_logprobs", options.prompt_logprobs.is_none(), "null")?;
    neutral_or("priority", options.priority.is_none_or(|p| p == 0), "0")
}

/// Those of chats.
pub(super) fn refuse_chat(chat: &ChatRequest) -> Result<(), RequestError> {
    if chat.top_logprobs.is_some_and(|top| top != 0) && chat.logprobs != Some(true) {
        return Err(RequestError::invalid(
            "top_logprobs",
            "top_logprobs: only with \"logprobs\": true",
        ));
    }
    neutral_or("logprobs", chat.logprobs != Some(true), "false")?;
    neutral_or("chat_template", chat.chat_template.is_none(), "null")
}

/// Those of text completions. `best_of` must equal `n`: answers cannot be ranked without logprobs.
pub(super) fn refuse_completion(
    completion: &CompletionRequest,
    answers: usize,
) -> Result<(), RequestError> {
    neutral_or("echo", completion.echo != Some(true), "false")?;
    neutral_or("logprobs", completion.logprobs.is_none(), "null")?;
    neutral_or(
        "suffix",
        completion.suffix.as_ref().is_none_or(String::is_empty),
        "null",
    )?;
    let as_many = completion
        .best_of
        .is_none_or(|best| usize::try_from(best) == Ok(answers));
    neutral_or("best_of", as_many, "the value of n")
}

fn neutral_or(field: &str, neutral: bool, value: &str) -> Result<(), RequestError> {
    if neutral {
        return Ok(());
    }
    Err(RequestError::invalid(
        field,
        format!("{field}: not supported by this server; leave it out, or set it to {value}"),
    ))
}
