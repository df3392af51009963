//! The fields that chat and text completions share, checked.

use std::{fmt, num::NonZeroUsize, sync::Arc};

use super::{
    AskedGrammar, LogprobsOptions, ModelFacts, RequestError, embedding, limits, logits,
    structured::asked_grammar, unsupported,
};
use crate::{openai::GenerationOptions, sampling::SamplingParams};

/// How to sample, when to stop, and what to report, checked against the model.
#[derive(Debug, Clone, PartialEq)]
pub struct CheckedOptions {
    /// The served name that the request gave, or the first one.
    pub model: String,
    /// Answers to each prompt.
    pub answers: NonZeroUsize,
    /// How long an answer may be.
    pub length: AnswerLength,
    /// Stop strings, none of them empty.
    pub stop: Vec<Arc<str>>,
    /// Keep the stop string in the text.
    pub include_stop: bool,
    /// Leave special tokens out of the text.
    pub skip_special_tokens: bool,
    /// Whether and how to stream.
    pub streaming: Option<Streaming>,
    /// What to report beside the text.
    pub reporting: Reporting,
    /// Who may share the KV cache with it: requests of the same salt, or all that have none.
    pub cache_salt: Option<Arc<str>>,
    /// What the answer must follow.
    pub grammar: Option<AskedGrammar>,
    sampling: SamplingParams,
    /// Prompts of the request.
    prompts: usize,
}

/// How long an answer may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AnswerLength {
    /// As long as the request says, or the request is refused.
    Exactly(usize),
    /// So long, or less when the context ends before.
    AtMost(usize),
    /// To the end of the context.
    Rest,
}

/// How to stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Streaming {
    /// One more chunk with the whole usage; the other chunks then carry a null.
    pub include_usage: bool,
    /// Usage so far on every chunk.
    pub continuous_usage: bool,
}

/// What to report beside the text.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Reporting {
    /// `include_metrics`; the server's gate decides as well.
    pub metrics: bool,
    /// Token ids of prompts and answers.
    pub token_ids: bool,
    /// Log probabilities.
    pub logprobs: LogprobsOptions,
    /// `user`, for the usage log.
    pub user: Option<String>,
}

impl CheckedOptions {
    /// Checks the shared fields. `max_tokens` is what the route made of its own and the shared field.
    pub(super) fn check(
        options: GenerationOptions,
        length: AnswerLength,
        facts: &ModelFacts,
    ) -> Result<Self, RequestError> {
        let model = served_name(options.model.as_deref(), &facts.served_names)?;
        embedding::refuse_other_runner(facts, false)?;
        unsupported::refuse_shared(&options)?;
        let answers = answers(options.n, facts)?;
        let grammar = asked_grammar(&options)?;
        let sampling = sampling(&options, length, facts)?;
        let streaming = streaming(&options)?;
        let user = user(options.user)?;
        Ok(Self {
            model,
            answers,
            length,
            stop: stop_strings(options.stop.map(|stop| stop.into_vec()).unwrap_or_default())?,
            include_stop: options.include_stop_str_in_output.unwrap_or(false),
            skip_special_tokens: options.skip_special_tokens.unwrap_or(true),
            streaming,
            reporting: Reporting {
                metrics: options.include_metrics.unwrap_or(false),
                token_ids: options.return_token_ids.unwrap_or(false),
                logprobs: LogprobsOptions::default(),
                user,
            },
            cache_salt: cache_salt(options.cache_salt)?,
            grammar,
            sampling,
            prompts: 1,
        })
    }

    /// Reports log probabilities as well. The request has so many prompts.
    pub(super) fn report_logprobs(&mut self, logprobs: LogprobsOptions, prompts: usize) {
        logprobs.ask(&mut self.sampling);
        self.reporting.logprobs = logprobs;
        self.prompts = prompts;
    }

    /// Reports nothing of the answer's tokens, and has nothing of it computed: it would tell what is hidden.
    pub fn hide_answer_tokens(&mut self) {
        self.reporting.token_ids = false;
        self.reporting.logprobs.answer = None;
        self.reporting.logprobs.ask(&mut self.sampling);
    }

    /// The sampling parameters for a prompt of so many tokens, with the answer's length filled in.
    ///
    /// # Errors
    /// A 400 that gives the numbers when prompt and answer do not fit the context. `param` is the
    /// field that holds the prompt.
    pub fn params_for(
        &self,
        prompt_tokens: usize,
        param: &str,
        max_model_len: usize,
    ) -> Result<SamplingParams, RequestError> {
        if prompt_tokens == 0 {
            return Err(RequestError::invalid(
                param,
                format!("{param}: the prompt is empty"),
            ));
        }
        let Some(rest) = max_model_len
            .checked_sub(prompt_tokens)
            .filter(|&rest| rest > 0)
        else {
            return Err(prompt_too_long(param, prompt_tokens, max_model_len));
        };
        let logprobs = &self.reporting.logprobs;
        let answers = self.answers.get();
        let reported = logprobs.answer_tokens_max(self.prompts, answers, prompt_tokens, param)?;
        let max_tokens = match self.length {
            AnswerLength::Exactly(tokens) if tokens > rest => {
                return Err(RequestError::invalid(
                    "max_tokens",
                    format!(
                        "max_tokens: this model's maximum context length is {max_model_len} tokens, \
                         but the prompt's {prompt_tokens} and an answer of {tokens} are more: ask \
                         for at most {rest}, or shorten {param}"
                    ),
                ));
            }
            AnswerLength::Exactly(tokens) if tokens > reported => {
                return Err(RequestError::invalid(
                    "max_tokens",
                    format!(
                        "max_tokens: with the log probabilities that are asked for, answers have at most \
                         {reported} tokens here: ask for fewer of either, or for fewer answers"
                    ),
                ));
            }
            AnswerLength::Exactly(tokens) => tokens,
            AnswerLength::AtMost(tokens) => tokens.min(rest).min(reported),
            AnswerLength::Rest => rest.min(reported),
        };
        let min_tokens = self.sampling.min_tokens;
        if min_tokens > max_tokens {
            return Err(RequestError::invalid(
                "min_tokens",
                format!("min_tokens: {min_tokens} is more than the answer's {max_tokens} tokens"),
            ));
        }
        Ok(SamplingParams {
            max_tokens,
            ..self.sampling.clone()
        })
    }

    /// Tokens before which no stop string ends the answer.
    pub fn min_tokens(&self) -> usize {
        self.sampling.min_tokens
    }
}

/// `user`, if it says who.
pub(super) fn user(user: Option<String>) -> Result<Option<String>, RequestError> {
    let max = limits::USER_BYTES_MAX;
    match user.filter(|user| !user.is_empty()) {
        Some(user) if user.len() > max => Err(RequestError::invalid(
            "user",
            format!("user: at most {max} bytes"),
        )),
        user => Ok(user),
    }
}

/// A 400 for a prompt that leaves no room for an answer. `tokens` is how many it has, or at least has.
/// LangChain and LiteLLM know the error by its words ("prompt is too long", "maximum context length").
pub fn prompt_too_long(
    param: &str,
    tokens: impl fmt::Display,
    max_model_len: usize,
) -> RequestError {
    RequestError::invalid(
        param,
        format!(
            "{param}: the prompt is too long: this model's maximum context length is \
             {max_model_len} tokens, prompt and answer together, but it has {tokens}: shorten {param}"
        ),
    )
}

pub(super) fn served_name(asked: Option<&str>, served: &[String]) -> Result<String, RequestError> {
    match asked {
        None => Ok(served.first().cloned().unwrap_or_default()),
        Some(asked) if served.iter().any(|name| name == asked) => Ok(asked.to_owned()),
        Some(asked) => Err(RequestError::model_not_found(asked, served)),
    }
}

fn answers(n: Option<i64>, facts: &ModelFacts) -> Result<NonZeroUsize, RequestError> {
    let max = limits::ANSWERS_MAX.min(facts.max_queued_sequences);
    let n = n.unwrap_or(1);
    usize::try_from(n)
        .ok()
        .and_then(NonZeroUsize::new)
        .filter(|n| n.get() <= max)
        .ok_or_else(|| RequestError::invalid("n", format!("n: must be from 1 to {max}, not {n}")))
}

fn sampling(
    options: &GenerationOptions,
    length: AnswerLength,
    facts: &ModelFacts,
) -> Result<SamplingParams, RequestError> {
    let defaults = &facts.defaults;
    let temperature = options.temperature.unwrap_or(defaults.temperature);
    if !(0.0..=limits::TEMPERATURE_MAX).contains(&temperature) {
        let max = limits::TEMPERATURE_MAX;
        let message = format!("temperature: must be from 0 to {max}, not {temperature}");
        return Err(RequestError::invalid("temperature", message));
    }
    let temperature = match temperature {
        0.0 => 0.0,
        above => above.max(limits::TEMPERATURE_MIN),
    };
    let top_p = options.top_p.unwrap_or(defaults.top_p);
    if !(top_p > 0.0 && top_p <= 1.0) {
        let message = format!("top_p: must be above 0 and at most 1, not {top_p}");
        return Err(RequestError::invalid("top_p", message));
    }
    let top_k = top_k(options.top_k.unwrap_or(defaults.top_k))?;
    let seed = options.seed.map(seed).transpose()?.or(defaults.seed);
    let min_tokens = min_tokens(options.min_tokens.unwrap_or(0), length, facts)?;
    Ok(SamplingParams {
        temperature: temperature as f32,
        top_k,
        // The smallest f32 above 0 keeps one token, as any smaller double would.
        top_p: (top_p as f32).max(f32::MIN_POSITIVE),
        seed,
        max_tokens: 0,
        min_tokens,
        ignore_eos: options.ignore_eos.unwrap_or(false),
        stop_token_ids: stop_token_ids(options.stop_token_ids.as_deref(), facts.vocab_size)?,
        ..logits::shaping(options, facts)?
    })
}

fn top_k(top_k: i64) -> Result<u32, RequestError> {
    match top_k {
        -1 | 0 => Ok(0),
        // Beyond the vocabulary it keeps all, so the type's end is as good as any larger number.
        1.. => Ok(u32::try_from(top_k).unwrap_or(u32::MAX)),
        _ => Err(RequestError::invalid(
            "top_k",
            format!("top_k: must be at least 1, or 0 or -1 to keep all tokens, not {top_k}"),
        )),
    }
}

/// A seed's 64 bits: negative numbers and those beyond `i64` are seeds like any other.
fn seed(seed: i128) -> Result<u64, RequestError> {
    i64::try_from(seed)
        .map(i64::cast_unsigned)
        .or_else(|_| u64::try_from(seed))
        .map_err(|_| RequestError::invalid("seed", "seed: must be an integer of 64 bits"))
}

fn min_tokens(asked: i64, length: AnswerLength, facts: &ModelFacts) -> Result<usize, RequestError> {
    let max = match length {
        AnswerLength::Exactly(tokens) | AnswerLength::AtMost(tokens) => tokens,
        AnswerLength::Rest => facts.max_model_len - 1,
    };
    usize::try_from(asked)
        .ok()
        .filter(|&min| min <= max)
        .ok_or_else(|| {
            let message = format!("min_tokens: must be from 0 to the answer's {max}, not {asked}");
            RequestError::invalid("min_tokens", message)
        })
}

fn stop_token_ids(ids: Option<&[i64]>, vocab_size: usize) -> Result<Vec<u32>, RequestError> {
    let ids = ids.unwrap_or_default();
    if ids.len() > limits::STOP_TOKEN_IDS_MAX {
        let message = format!(
            "stop_token_ids: at most {} of them",
            limits::STOP_TOKEN_IDS_MAX
        );
        return Err(RequestError::invalid("stop_token_ids", message));
    }
    ids.iter()
        .enumerate()
        .map(|(i, &id)| token_id(id, vocab_size, || format!("stop_token_ids[{i}]")))
        .collect()
}

/// A token id inside the vocabulary.
pub(super) fn token_id(
    id: i64,
    vocab_size: usize,
    param: impl FnOnce() -> String,
) -> Result<u32, RequestError> {
    u32::try_from(id)
        .ok()
        .filter(|&id| (id as usize) < vocab_size)
        .ok_or_else(|| {
            let param = param();
            let last = vocab_size - 1;
            let message =
                format!("{param}: {id} is not a token; the vocabulary is from 0 to {last}");
            RequestError::invalid(param, message)
        })
}

fn stop_strings(stop: Vec<String>) -> Result<Vec<Arc<str>>, RequestError> {
    let refuse = |message: String| Err(RequestError::invalid("stop", message));
    if stop.len() > limits::STOP_STRINGS_MAX {
        return refuse(format!(
            "stop: at most {} strings",
            limits::STOP_STRINGS_MAX
        ));
    }
    if stop.iter().any(String::is_empty) {
        return refuse("stop: an empty string stops nothing; leave it out".to_owned());
    }
    if stop
        .iter()
        .any(|stop| stop.len() > limits::STOP_STRING_BYTES_MAX)
    {
        return refuse(format!(
            "stop: at most {} bytes each",
            limits::STOP_STRING_BYTES_MAX
        ));
    }
    Ok(stop.into_iter().map(Arc::from).collect())
}

pub(super) fn cache_salt(salt: Option<String>) -> Result<Option<Arc<str>>, RequestError> {
    let max = limits::CACHE_SALT_BYTES_MAX;
    salt.map(|salt| match salt.len() {
        len if (1..=max).contains(&len) => Ok(Arc::from(salt)),
        len => {
            let message = format!("cache_salt: must be from 1 to {max} bytes, not {len}");
            Err(RequestError::invalid("cache_salt", message))
        }
    })
    .transpose()
}

fn streaming(options: &GenerationOptions) -> Result<Option<Streaming>, RequestError> {
    match (options.stream.unwrap_or(false), options.stream_options) {
        (true, extra) => {
            let extra = extra.unwrap_or_default();
            Ok(Some(Streaming {
                include_usage: extra.include_usage.unwrap_or(false),
                continuous_usage: extra.continuous_usage_stats.unwrap_or(false),
            }))
        }
        (false, None) => Ok(None),
        (false, Some(_)) => Err(RequestError::invalid(
            "stream_options",
            "stream_options: only with \"stream\": true",
        )),
    }
}

/// `max_tokens` of a request, if given.
pub(super) fn answer_length(
    param: &str,
    asked: Option<i64>,
    facts: &ModelFacts,
) -> Result<Option<AnswerLength>, RequestError> {
    // One token of the context is the prompt's at least.
    let max = facts.max_model_len - 1;
    asked
        .map(|asked| match usize::try_from(asked) {
            Ok(tokens) if (1..=max).contains(&tokens) => Ok(AnswerLength::Exactly(tokens)),
            _ => Err(RequestError::invalid(
                param,
                format!(
                    "{param}: must be from 1 to {max}, not {asked}; the model's context is {} \
                     tokens, prompt and answer together",
                    facts.max_model_len
                ),
            )),
        })
        .transpose()
}
