//! From a request's body to a running generation: check, render, tokenize, submit.

use std::sync::Arc;

use bytes::Bytes;
use http::HeaderMap;

use super::{
    error::ApiError,
    format::Endpoint,
    generation::Generation,
    limits,
    logprobs::Echo,
    request_id::RequestId,
    state::{Serving, SharedState},
    usage_log::Payer,
    wall_clock,
};
use crate::{
    engine::{GenerateRequest, StopCheck},
    grammar::{CompiledGrammar, GrammarError},
    prompt::{AnswerMessage, AnswerSyntax, AnswerText, StopMatcher, TokenizerError},
    request::{
        CheckedChat, CheckedCompletion, CheckedOptions, PromptInput, RequestError, check_chat,
        check_completion, grammar_error, prompt_too_long,
    },
    sampling::SamplingParams,
    stats::Timestamp,
};

/// A request that the engine can take.
pub(super) struct Job {
    pub(super) options: CheckedOptions,
    /// What the answers are read as.
    syntax: AnswerSyntax,
    prompts: Vec<(Arc<[u32]>, SamplingParams)>,
    /// The prompts that answers begin with, or none.
    echoes: Vec<Echo>,
    grammar: Option<Arc<CompiledGrammar>>,
    arrival: Option<Timestamp>,
}

/// What a job is made of.
pub(super) enum Checked {
    Chat(CheckedChat),
    Completion(CheckedCompletion),
}

/// Checks and tokenizes a body.
///
/// # Errors
/// What is wrong with the request.
pub(super) async fn prepare(
    serving: &Arc<Serving>,
    endpoint: Endpoint,
    body: Bytes,
) -> Result<Job, ApiError> {
    let mut job = checking(serving, body, move |serving, body, arrival| {
        let checked = match endpoint {
            Endpoint::Chat => Checked::Chat(check_chat(body, &serving.facts)?),
            Endpoint::Completion => Checked::Completion(check_completion(body, &serving.facts)?),
        };
        job(serving, checked, endpoint.prompt_field(), arrival)
    })
    .await?;
    compile_grammar(serving, &mut job).await?;
    Ok(job)
}

/// Compiles the grammar that the job's answers must follow, if there is one.
///
/// # Errors
/// What is wrong with it, 503 while too many are compiled, or 500 when none can be.
pub(super) async fn compile_grammar(serving: &Arc<Serving>, job: &mut Job) -> Result<(), ApiError> {
    if let Some(asked) = job.options.grammar.take() {
        let compiled = serving.grammars.compile(asked.grammar).await;
        job.grammar = Some(compiled.map_err(|error| match error {
            GrammarError::Busy => ApiError::unavailable(error.to_string()),
            GrammarError::Failed => ApiError::internal(),
            error => grammar_error(&asked.param, &error).into(),
        })?);
    }
    Ok(())
}

/// Does what takes long with a large body: that one on a thread of its own.
///
/// # Errors
/// What is wrong with the request.
pub(super) async fn checking<T: Send + 'static>(
    serving: &Arc<Serving>,
    body: Bytes,
    check: impl FnOnce(&Serving, &[u8], Option<Timestamp>) -> Result<T, ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    let arrival = serving.engine.now();
    if body.len() <= limits::INLINE_BODY_BYTES_MAX {
        return check(serving, &body, arrival);
    }
    let serving = Arc::clone(serving);
    let checked = tokio::task::spawn_blocking(move || check(&serving, &body, arrival)).await;
    checked.unwrap_or_else(|error| {
        tracing::error!(%error, "checking a request failed");
        Err(ApiError::internal())
    })
}

/// Renders and tokenizes. `field` is the one that holds the prompt.
///
/// # Errors
/// What is wrong with the request.
pub(super) fn job(
    serving: &Serving,
    checked: Checked,
    field: &str,
    arrival: Option<Timestamp>,
) -> Result<Job, ApiError> {
    let mut echoes = Vec::new();
    let (options, syntax, prompts) = match checked {
        Checked::Chat(mut chat) => {
            serving.parsers.hide_tools(&mut chat);
            let text = render(serving, &chat.input)?;
            let syntax = serving.parsers.read(&mut chat, &text)?;
            let prompt = encode(serving, field, &text, chat.add_special_tokens)?;
            (chat.options, syntax, vec![prompt])
        }
        Checked::Completion(completion) => {
            let special = completion.add_special_tokens;
            let echo = completion.options.reporting.logprobs.echo;
            let prompts = completion.prompts.into_iter().map(|prompt| {
                let (ids, text) = match prompt {
                    PromptInput::Ids(ids) => (ids, None),
                    PromptInput::Text(text) => {
                        (encode(serving, field, &text, special)?, Some(text))
                    }
                };
                if echo {
                    echoes.push(Echo::new(&serving.tokenizer, &ids, text.as_deref()));
                }
                Ok(ids)
            });
            let prompts = prompts.collect::<Result<_, ApiError>>()?;
            (completion.options, AnswerSyntax::default(), prompts)
        }
    };
    let max_model_len = serving.facts.max_model_len;
    let prompts = prompts.into_iter().map(|prompt| {
        let params = options.params_for(prompt.len(), field, max_model_len)?;
        Ok((Arc::from(prompt), params))
    });
    let prompts = prompts.collect::<Result<_, RequestError>>()?;
    Ok(Job {
        options,
        syntax,
        prompts,
        echoes,
        grammar: None,
        arrival,
    })
}

/// The text of a chat, by the model's template.
pub(super) fn render(
    serving: &Serving,
    input: &crate::prompt::ChatInput,
) -> Result<String, ApiError> {
    let Some(template) = &serving.template else {
        return Err(RequestError::invalid(
            "messages",
            "messages: this model has no chat template: use /v1/completions, or start the server \
             with --chat-template",
        )
        .into());
    };
    template
        .render(input, wall_clock::unix_seconds())
        .map_err(|error| RequestError::invalid("messages", format!("messages: {error}")).into())
}

fn encode(
    serving: &Serving,
    field: &str,
    text: &str,
    add_special_tokens: bool,
) -> Result<Vec<u32>, ApiError> {
    let max_model_len = serving.facts.max_model_len;
    if let Some(fewest) = serving.tokenizer.surely_exceeds(text, max_model_len) {
        return Err(
            prompt_too_long(field, format_args!("at least {fewest}"), max_model_len).into(),
        );
    }
    serving
        .tokenizer
        .encode(text, add_special_tokens)
        .map_err(|error| {
            let TokenizerError::NotInModel { .. } = error else {
                tracing::error!(%error, "a prompt could not be tokenized");
                let message = format!("{field}: the text cannot be tokenized");
                return RequestError::invalid(field, message).into();
            };
            RequestError::invalid(field, format!("{field}: {error}")).into()
        })
}

/// Hands all prompts to the engine, or none.
///
/// # Errors
/// 503 when the queue is full or the engine has stopped.
pub(super) fn submit(
    state: &SharedState,
    serving: &Serving,
    job: Job,
    id: &RequestId,
    tenant: Option<String>,
) -> Result<Generation, ApiError> {
    let Job {
        options,
        syntax,
        prompts,
        echoes,
        grammar,
        arrival,
    } = job;
    let stops = StopMatcher::new(options.stop.clone(), options.include_stop);
    let tokenizer = Arc::clone(&serving.tokenizer);
    let min_tokens = options.min_tokens();
    let kept = syntax
        .markers()
        .filter_map(|marker| tokenizer.token_id(marker));
    let kept = kept.collect();
    let text = AnswerText::new(tokenizer, options.skip_special_tokens, stops, min_tokens);
    let text = text.keeping(kept);
    let requests = prompts.iter().map(|(prompt, params)| GenerateRequest {
        id: id.as_str().into(),
        prompt: Arc::clone(prompt),
        params: params.clone(),
        branches: options.answers,
        cache_salt: options.cache_salt.clone(),
        constraint: grammar
            .as_ref()
            .map(|grammar| grammar.constraint(params.ignore_eos)),
        stop: (!options.stop.is_empty()).then(|| stop_checks(&text)),
        arrival,
    });
    let streams = serving.engine.submit_all(requests.collect())?;
    let payer = Payer {
        request_id: id.as_str().to_owned(),
        trace_id: id.trace_id().map(|trace_id| trace_id.to_string()),
        model: options.model,
        user: options.reporting.user,
        tenant,
    };
    let prompts = prompts.into_iter().map(|(prompt, _)| prompt).collect();
    let answers = options.answers.get();
    let include_stop = options.include_stop;
    let mut generation = Generation::new(
        streams,
        prompts,
        answers,
        &AnswerMessage::new(text, &syntax),
        include_stop,
        state.clone(),
        payer,
    );
    generation.echo_prompts(echoes);
    Ok(generation)
}

fn stop_checks(text: &AnswerText) -> Box<dyn Fn() -> Box<dyn StopCheck> + Send> {
    let text = text.clone();
    Box::new(move || Box::new(text.clone()))
}

/// `X-Candela-Tenant`, for the usage log.
///
/// # Errors
/// A 400 for what a bill could not name.
pub(super) fn tenant(headers: &HeaderMap) -> Result<Option<String>, ApiError> {
    let Some(value) = headers.get("x-candela-tenant") else {
        return Ok(None);
    };
    let bytes = value.as_bytes();
    let max = limits::TENANT_BYTES_MAX;
    if (1..=max).contains(&bytes.len()) && bytes.iter().all(u8::is_ascii_graphic) {
        return Ok(Some(String::from_utf8_lossy(bytes).into_owned()));
    }
    let message = format!("X-Candela-Tenant: must be from 1 to {max} visible ASCII characters");
    Err(RequestError::invalid("X-Candela-Tenant", message).into())
}
