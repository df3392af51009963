//! What a request wants to know of log probabilities, checked.

use super::{RequestError, limits};
use crate::{
    openai::{ChatRequest, CompletionRequest, GenerationOptions},
    sampling::SamplingParams,
};

/// What to report of log probabilities.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LogprobsOptions {
    /// Those of the answer's tokens, and of so many likeliest.
    pub answer: Option<usize>,
    /// Those of the prompt's tokens, and of so many likeliest, as `prompt_logprobs`.
    pub prompt: Option<usize>,
    /// The answer begins with the prompt.
    pub echo: bool,
    /// `prompt_logprobs` are written into each choice, as text completions have them.
    pub in_choices: bool,
    /// Write tokens as `token_id:…`.
    pub as_token_ids: bool,
}

impl LogprobsOptions {
    /// What a chat wants.
    ///
    /// # Errors
    /// A 400 that names the field.
    pub(super) fn of_chat(
        shared: &GenerationOptions,
        chat: &ChatRequest,
    ) -> Result<Self, RequestError> {
        let wanted = chat.logprobs.unwrap_or(false);
        let top = count("top_logprobs", Some(chat.top_logprobs.unwrap_or(0)))?;
        if top != Some(0) && !wanted {
            let message = "top_logprobs: only with \"logprobs\": true";
            return Err(RequestError::invalid("top_logprobs", message));
        }
        Self::new(shared, top.filter(|_| wanted))
    }

    /// What a text completion wants.
    ///
    /// # Errors
    /// A 400 that names the field.
    pub(super) fn of_completion(
        shared: &GenerationOptions,
        completion: &CompletionRequest,
    ) -> Result<Self, RequestError> {
        let answer = count("logprobs", completion.logprobs)?;
        Ok(Self {
            echo: completion.echo.unwrap_or(false),
            in_choices: true,
            ..Self::new(shared, answer)?
        })
    }

    fn new(shared: &GenerationOptions, answer: Option<usize>) -> Result<Self, RequestError> {
        let prompt = count("prompt_logprobs", shared.prompt_logprobs)?;
        if prompt.is_some() && shared.stream == Some(true) {
            let message = "prompt_logprobs: not with \"stream\": true; leave one of them out";
            return Err(RequestError::invalid("prompt_logprobs", message));
        }
        Ok(Self {
            answer,
            prompt,
            echo: false,
            in_choices: false,
            as_token_ids: shared.return_tokens_as_token_ids.unwrap_or(false),
        })
    }

    /// The likeliest tokens that are wanted in place of each of the prompt's. An echoed prompt is reported
    /// like the answer.
    fn prompt_top(&self) -> Option<usize> {
        self.prompt.max(self.answer.filter(|_| self.echo))
    }

    /// Asks for it.
    pub(super) fn ask(&self, params: &mut SamplingParams) {
        params.logprobs = self.answer;
        params.prompt_logprobs = self.prompt_top();
    }

    /// Log probabilities that are written of each of a prompt's tokens, with so many answers to it.
    fn prompt_entries(&self, answers: usize) -> usize {
        let copies = if self.in_choices { answers } else { 1 };
        let echoed = self.answer.filter(|_| self.echo);
        entries(self.prompt) * copies + entries(echoed) * answers
    }

    /// How many tokens each of `answers` answers to one of `prompts` prompts may have, so that what is
    /// reported stays within [`limits::LOGPROB_ENTRIES_MAX`].
    ///
    /// # Errors
    /// A 400 when the prompt alone has too many.
    pub(super) fn answer_tokens_max(
        &self,
        prompts: usize,
        answers: usize,
        prompt_tokens: usize,
        param: &str,
    ) -> Result<usize, RequestError> {
        let all = limits::LOGPROB_ENTRIES_MAX;
        let of_prompt = prompt_tokens.saturating_mul(self.prompt_entries(answers));
        let left = (all / prompts.max(1)).checked_sub(of_prompt);
        let tokens = left.map(|left| match self.answer {
            Some(top) => left / (top + 1) / answers,
            None => usize::MAX,
        });
        tokens.filter(|&tokens| tokens > 0).ok_or_else(|| {
            let message = format!(
                "{param}: for {prompts} prompts, this one of {prompt_tokens} tokens, and {answers} answers \
                 to each more log probabilities are asked for than one request may have ({all}): ask for \
                 fewer, or send fewer prompts"
            );
            RequestError::invalid(param, message)
        })
    }
}

/// Log probabilities of one place: the token's own, and those of so many likeliest.
fn entries(top: Option<usize>) -> usize {
    top.map_or(0, |top| top + 1)
}

/// A number of likeliest tokens.
fn count(field: &str, asked: Option<i64>) -> Result<Option<usize>, RequestError> {
    let max = limits::LOGPROBS_MAX;
    asked
        .map(|asked| {
            usize::try_from(asked)
                .ok()
                .filter(|&count| count <= max)
                .ok_or_else(|| {
                    let message = format!("{field}: must be from 0 to {max}, not {asked}");
                    RequestError::invalid(field, message)
                })
        })
        .transpose()
}
