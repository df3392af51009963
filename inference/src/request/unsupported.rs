//! Fields that this server does not honour. A neutral value asks for nothing and passes; any other is
//! refused, since an answer that ignores it would not be the one that was asked for.

use super::RequestError;
use crate::openai::{ChatRequest, CompletionRequest, GenerationOptions};

/// Those that both routes have.
pub(super) fn refuse_shared(options: &GenerationOptions) -> Result<(), RequestError> {
    // Sequences are taken in the order in which they come, as by vLLM unless it is told otherwise.
    neutral_or("priority", options.priority.is_none_or(|p| p == 0), "0")
}

/// Those of chats.
pub(super) fn refuse_chat(chat: &ChatRequest) -> Result<(), RequestError> {
    neutral_or("chat_template", chat.chat_template.is_none(), "null")
}

/// Those of text completions. `best_of` must equal `n`: answers are not ranked.
pub(super) fn refuse_completion(
    completion: &CompletionRequest,
    answers: usize,
) -> Result<(), RequestError> {
    if completion.suffix.as_ref().is_some_and(|s| !s.is_empty()) {
        let message = "suffix: this model continues text, it does not fill gaps; leave suffix out, or write \
                       the model's own fill-in-the-middle tokens into prompt";
        return Err(RequestError::invalid("suffix", message));
    }
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
