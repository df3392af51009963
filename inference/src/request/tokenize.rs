//! Checked requests of `/tokenize` and `/detokenize`.

use super::{ModelFacts, RequestError, chat, limits, options, parse};
use crate::{
    openai::{DetokenizeRequest, TokenizeRequest},
    prompt::ChatInput,
};

/// A text or a chat to be turned into tokens.
#[derive(Debug, Clone, PartialEq)]
pub struct CheckedTokenize {
    /// What.
    pub input: TokenizeInput,
    /// Begin with the tokenizer's own special tokens.
    pub add_special_tokens: bool,
    /// Report the tokens as the vocabulary writes them, too.
    pub token_strs: bool,
}

/// What is turned into tokens.
#[derive(Debug, Clone, PartialEq)]
pub enum TokenizeInput {
    /// A text.
    Text(String),
    /// A chat, by the model's template.
    Chat(ChatInput),
}

/// Reads and checks a body of `/tokenize`.
///
/// # Errors
/// [`RequestError`]: a 400 naming the field, or a 404 for an unknown model.
pub fn check_tokenize(body: &[u8], facts: &ModelFacts) -> Result<CheckedTokenize, RequestError> {
    let object = parse::object(body)?;
    let request: TokenizeRequest = parse::fields(&object)?;
    options::served_name(request.model.as_deref(), &facts.served_names)?;
    let (input, special) = match (request.prompt, request.messages) {
        (Some(prompt), None) => (TokenizeInput::Text(prompt), true),
        (None, Some(_)) if request.chat_template.is_some() => {
            let message =
                "chat_template: not taken from requests; start the server with --chat-template";
            return Err(RequestError::invalid("chat_template", message));
        }
        (None, Some(_)) => {
            let (input, _) = chat::conversation(parse::fields(&object)?)?;
            (TokenizeInput::Chat(input), false)
        }
        (Some(_), Some(_)) => {
            let message = "messages: send either messages or prompt";
            return Err(RequestError::invalid("messages", message));
        }
        (None, None) => {
            let message = "prompt: required, but absent; or send messages";
            return Err(RequestError::invalid("prompt", message));
        }
    };
    Ok(CheckedTokenize {
        input,
        add_special_tokens: request.add_special_tokens.unwrap_or(special),
        token_strs: request.return_token_strs.unwrap_or(false),
    })
}

/// Reads and checks a body of `/detokenize`: the tokens.
///
/// # Errors
/// [`RequestError`]: a 400 naming the field, or a 404 for an unknown model.
pub fn check_detokenize(body: &[u8], facts: &ModelFacts) -> Result<Vec<u32>, RequestError> {
    let object = parse::object(body)?;
    let request: DetokenizeRequest = parse::fields(&object)?;
    drop(object);
    options::served_name(request.model.as_deref(), &facts.served_names)?;
    let (count, max) = (request.tokens.len(), limits::DETOKENIZED_MAX);
    if count > max {
        let message = format!("tokens: at most {max}, not {count}");
        return Err(RequestError::invalid("tokens", message));
    }
    let ids = request.tokens.iter().enumerate();
    ids.map(|(i, &id)| options::token_id(id, facts.vocab_size, || format!("tokens[{i}]")))
        .collect()
}
