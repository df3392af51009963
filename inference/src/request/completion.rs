//! A checked text completion request.

use super::{
    AnswerLength, CheckedOptions, FieldRoute, LogprobsOptions, ModelFacts, RequestError, limits,
    options, other_fields::refuse_other_fields, parse, unsupported,
};
use crate::openai::{CompletionRequest, GenerationOptions, Prompt};

/// A text completion request without a fault that can be seen before its prompts are tokenized.
#[derive(Debug, Clone, PartialEq)]
pub struct CheckedCompletion {
    /// How to answer.
    pub options: CheckedOptions,
    /// At least one.
    pub prompts: Vec<PromptInput>,
    /// Begin text prompts with the tokenizer's own special tokens.
    pub add_special_tokens: bool,
}

/// A prompt, not empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PromptInput {
    /// To be tokenized.
    Text(String),
    /// Tokens of the vocabulary.
    Ids(Vec<u32>),
}

/// Reads and checks a body of `/v1/completions`.
///
/// # Errors
/// [`RequestError`]: a 400 naming the field, or a 404 for an unknown model.
pub fn check_completion(
    body: &[u8],
    facts: &ModelFacts,
) -> Result<CheckedCompletion, RequestError> {
    let object = parse::object(body)?;
    let shared: GenerationOptions = parse::fields(&object)?;
    let completion: CompletionRequest = parse::fields(&object)?;
    refuse_other_fields(FieldRoute::Completions, &object)?;
    drop(object);
    let logprobs = LogprobsOptions::of_completion(&shared, &completion)?;
    let length = match shared.max_tokens {
        // The prompt alone, with its log probabilities.
        Some(0) if logprobs.echo => AnswerLength::Exactly(0),
        asked => options::answer_length("max_tokens", asked, facts)?
            .unwrap_or(AnswerLength::AtMost(limits::COMPLETION_TOKENS_DEFAULT)),
    };
    let mut options = CheckedOptions::check(shared, length, facts)?;
    unsupported::refuse_completion(&completion, options.answers.get())?;
    let add_special_tokens = completion.add_special_tokens.unwrap_or(true);
    let prompts = prompts(completion.prompt, facts)?;
    options.report_logprobs(logprobs, prompts.len());
    let sequences = prompts.len() * options.answers.get();
    let most = facts.max_queued_sequences;
    if sequences > most {
        let message = format!(
            "prompt: {} prompts with {} answers each are {sequences} sequences; at most {most} may \
             wait here: send them in several requests",
            prompts.len(),
            options.answers
        );
        return Err(RequestError::invalid("prompt", message));
    }
    Ok(CheckedCompletion {
        options,
        prompts,
        add_special_tokens,
    })
}

fn prompts(prompt: Prompt, facts: &ModelFacts) -> Result<Vec<PromptInput>, RequestError> {
    match prompt {
        Prompt::Text(text) => Ok(vec![text_prompt("prompt".to_owned(), text)?]),
        Prompt::Texts(texts) => {
            bounded_count(texts.len())?;
            let texts = texts.into_iter().enumerate();
            texts
                .map(|(i, text)| text_prompt(format!("prompt[{i}]"), text))
                .collect()
        }
        Prompt::Ids(ids) => Ok(vec![id_prompt("prompt", &ids, facts)?]),
        Prompt::IdLists(lists) => {
            bounded_count(lists.len())?;
            let lists = lists.iter().enumerate();
            lists
                .map(|(i, ids)| id_prompt(&format!("prompt[{i}]"), ids, facts))
                .collect()
        }
    }
}

fn bounded_count(count: usize) -> Result<(), RequestError> {
    if (1..=limits::PROMPTS_MAX).contains(&count) {
        return Ok(());
    }
    let max = limits::PROMPTS_MAX;
    Err(RequestError::invalid(
        "prompt",
        format!("prompt: from 1 to {max} prompts, not {count}"),
    ))
}

fn text_prompt(param: String, text: String) -> Result<PromptInput, RequestError> {
    if text.is_empty() {
        return Err(empty(param));
    }
    Ok(PromptInput::Text(text))
}

fn id_prompt(param: &str, ids: &[i64], facts: &ModelFacts) -> Result<PromptInput, RequestError> {
    if ids.is_empty() {
        return Err(empty(param.to_owned()));
    }
    if ids.len() >= facts.max_model_len {
        return Err(options::prompt_too_long(
            param,
            ids.len(),
            facts.max_model_len,
        ));
    }
    let ids = ids.iter().enumerate();
    let ids =
        ids.map(|(i, &id)| options::token_id(id, facts.vocab_size, || format!("{param}[{i}]")));
    ids.collect::<Result<_, _>>().map(PromptInput::Ids)
}

fn empty(param: String) -> RequestError {
    let message = format!("{param}: the prompt is empty");
    RequestError::invalid(param, message)
}
