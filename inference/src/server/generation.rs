//! A request while it is generated: the events of its prompts and branches, turned into text, ends and
//! records. Dropping it cancels what is left.

use std::sync::Arc;

use futures::{
    StreamExt,
    stream::{self, BoxStream, SelectAll},
};

use super::{
    error::ApiError,
    logprobs::Echo,
    state::SharedState,
    usage_log::{Ending, Payer, UsageLine},
};
use crate::{
    engine::{Canceller, Event, EventStream, Finished, StopCause},
    finish_reason::FinishReason,
    openai::{PromptTokensDetails, Usage},
    prompt::{AnswerMessage, MessageDelta, Tokenizer},
    sampling::TokenLogprobs,
    stats::{FinishedRequestStats, TokenCounts},
};

/// The status that stands in the usage log for a client that went away; it was never sent.
const STATUS_CLIENT_CLOSED: u16 = 499;

/// What is new of one answer.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Piece {
    /// Which answer: `prompt * answers + branch`.
    pub(super) index: usize,
    /// What certainly belongs to the answer.
    pub(super) delta: MessageDelta,
    /// The token behind it, if there is a new one.
    pub(super) token: Option<u32>,
    /// How likely that token was, if the request asked.
    pub(super) logprobs: Option<Box<TokenLogprobs>>,
    /// Set when the answer is complete.
    pub(super) finish_reason: Option<&'static str>,
}

/// One answer so far.
struct Branch {
    message: AnswerMessage,
    tokens: usize,
    /// It has begun, with the prompt if that is echoed.
    begun: bool,
    finished: Option<Box<Finished>>,
}

/// What is known of a prompt, beside its tokens, since its first event.
#[derive(Debug, Clone, Default)]
struct PromptReport {
    cached_tokens: usize,
    logprobs: Arc<[TokenLogprobs]>,
    /// Its answers begin with it.
    echo: Option<Echo>,
}

/// All answers of a request.
pub(super) struct Generation {
    events: SelectAll<BoxStream<'static, (usize, Event)>>,
    cancellers: Vec<Canceller>,
    /// The client went away.
    left: bool,
    /// The status of the first failure, which the client was told.
    failed: Option<u16>,
    branches: Vec<Branch>,
    answers: usize,
    prompts: Vec<Arc<[u32]>>,
    reports: Vec<PromptReport>,
    /// Keep the text of the token that ended an answer.
    include_stop: bool,
    state: SharedState,
    payer: Payer,
    /// Prompts whose line is in the usage log.
    logged: Vec<bool>,
}

impl Generation {
    /// Watches one stream per prompt. `message` is the empty answer that every branch begins with.
    pub(super) fn new(
        streams: Vec<EventStream>,
        prompts: Vec<Arc<[u32]>>,
        answers: usize,
        message: &AnswerMessage,
        include_stop: bool,
        state: SharedState,
        payer: Payer,
    ) -> Self {
        let branch = || Branch {
            message: message.clone(),
            tokens: 0,
            begun: false,
            finished: None,
        };
        let cancellers = streams.iter().map(EventStream::canceller).collect();
        let events = streams.into_iter().enumerate().map(|(prompt, events)| {
            stream::unfold(events, |mut events| async {
                events.next().await.map(|event| (event, events))
            })
            .map(move |event| (prompt, event))
            .boxed()
        });
        Self {
            events: stream::select_all(events),
            cancellers,
            left: false,
            failed: None,
            branches: (0..prompts.len() * answers).map(|_| branch()).collect(),
            answers,
            logged: vec![false; prompts.len()],
            reports: vec![PromptReport::default(); prompts.len()],
            prompts,
            include_stop,
            state,
            payer,
        }
    }

    /// Begins every answer with its prompt.
    pub(super) fn echo_prompts(&mut self, echoes: Vec<Echo>) {
        for (report, echo) in self.reports.iter_mut().zip(echoes) {
            report.echo = Some(echo);
        }
    }

    /// The next piece of any answer; `None` when all are complete.
    ///
    /// # Errors
    /// The engine's failure on one of the answers, which is the request's.
    pub(super) async fn next(&mut self) -> Option<Result<Piece, ApiError>> {
        match self.events.next().await {
            Some((prompt, event)) => Some(self.take(prompt, event)),
            None if self.is_complete() => None,
            // The engine's thread ended without a word.
            None => {
                let error = ApiError::unavailable("the engine stopped");
                self.note_failure(&error);
                Some(Err(error))
            }
        }
    }

    fn take(&mut self, prompt: usize, event: Event) -> Result<Piece, ApiError> {
        let index = prompt * self.answers + event.branch;
        self.reports[prompt].take(&event);
        let branch = &mut self.branches[index];
        let mut piece = Piece {
            index,
            token: event.token,
            logprobs: event.logprobs,
            ..Piece::default()
        };
        branch.tokens += usize::from(event.token.is_some());
        let has_text = self.include_stop || !ends_by_token(event.finished.as_deref());
        if let Some(token) = event.token.filter(|_| has_text) {
            piece.delta = branch.message.push_token(token);
        }
        let begins = event.token.is_some() || event.finished.is_some();
        if begins && !std::mem::replace(&mut branch.begun, true) {
            let echo = self.reports[prompt].echo.as_ref();
            let echo = echo.map_or("", |echo| &echo.text);
            piece.delta.content.insert_str(0, echo);
        }
        let Some(finished) = event.finished else {
            return Ok(piece);
        };
        piece.delta.extend(branch.message.finish());
        let outcome = outcome(&finished, &branch.message);
        branch.finished = Some(finished);
        if let Err(error) = &outcome {
            self.note_failure(error);
        }
        self.log_if_complete(prompt);
        piece.finish_reason = Some(outcome?);
        Ok(piece)
    }

    /// Remembers the first failure, unless nobody was there to be told.
    fn note_failure(&mut self, error: &ApiError) {
        if !self.left {
            self.failed.get_or_insert(error.status.as_u16());
        }
    }

    /// What stands in the usage log for prompts that end now.
    fn status(&self) -> u16 {
        let without_failure = if self.left { STATUS_CLIENT_CLOSED } else { 200 };
        self.failed.unwrap_or(without_failure)
    }

    /// Every answer has its end.
    pub(super) fn is_complete(&self) -> bool {
        self.branches.iter().all(|branch| branch.finished.is_some())
    }

    /// The prompts, as tokens.
    pub(super) fn prompts(&self) -> &[Arc<[u32]>] {
        &self.prompts
    }

    /// Answers to each prompt.
    pub(super) fn answers(&self) -> usize {
        self.answers
    }

    /// What echoes the prompt of an answer, the prompt, and its log probabilities.
    pub(super) fn echo(&self, index: usize) -> Option<(&Echo, &[u32], &[TokenLogprobs])> {
        let prompt = index / self.answers;
        let PromptReport { logprobs, echo, .. } = &self.reports[prompt];
        Some((echo.as_ref()?, &self.prompts[prompt], logprobs))
    }

    /// How likely a prompt's tokens after the first were, if the request asked.
    pub(super) fn prompt_logprobs(&self, prompt: usize) -> &[TokenLogprobs] {
        &self.reports[prompt].logprobs
    }

    /// What its tokens stand for.
    pub(super) fn tokenizer(&self) -> &Tokenizer {
        let serving = self.state.loaded();
        &serving
            .expect("what is generated comes from a model")
            .tokenizer
    }

    /// Usage of all answers so far; each prompt counts once.
    pub(super) fn usage(&self) -> Usage {
        let prompt_tokens = self.prompts.iter().map(|prompt| prompt.len()).sum();
        let completion_tokens = self.branches.iter().map(|branch| branch.tokens).sum();
        self.usage_of(prompt_tokens, completion_tokens, self.cached_tokens())
    }

    /// Prompt tokens that the prefix cache had.
    pub(super) fn cached_tokens(&self) -> usize {
        self.reports.iter().map(|report| report.cached_tokens).sum()
    }

    /// Usage of one answer so far.
    pub(super) fn usage_of_answer(&self, index: usize) -> Usage {
        let prompt = index / self.answers;
        let cached = self.reports[prompt].cached_tokens;
        self.usage_of(
            self.prompts[prompt].len(),
            self.branches[index].tokens,
            cached,
        )
    }

    fn usage_of(&self, prompt_tokens: usize, completion_tokens: usize, cached: usize) -> Usage {
        let details = self.state.flags.enable_prompt_tokens_details;
        Usage {
            prompt_tokens,
            total_tokens: prompt_tokens + completion_tokens,
            completion_tokens,
            prompt_tokens_details: details.then_some(PromptTokensDetails {
                cached_tokens: cached,
            }),
        }
    }

    /// The whole request's record; `None` while stats are off, and with several prompts, which cannot
    /// be added up meaningfully.
    pub(super) fn record(&self) -> Option<FinishedRequestStats> {
        if self.prompts.len() == 1 {
            self.record_of(0)
        } else {
            None
        }
    }

    fn record_of(&self, prompt: usize) -> Option<FinishedRequestStats> {
        let branches = self.branches_of(prompt).iter();
        let records: Option<Vec<_>> = branches
            .map(|branch| branch.finished.as_ref()?.stats.clone())
            .collect();
        FinishedRequestStats::aggregate(&records?)
    }

    fn branches_of(&self, prompt: usize) -> &[Branch] {
        &self.branches[prompt * self.answers..][..self.answers]
    }

    fn log_if_complete(&mut self, prompt: usize) {
        if self
            .branches_of(prompt)
            .iter()
            .all(|branch| branch.finished.is_some())
        {
            let reason = self.branches_of(prompt)[0]
                .finished
                .as_ref()
                .map(|f| f.reason);
            self.log(prompt, reason.unwrap_or(FinishReason::Error));
        }
    }

    fn log(&mut self, prompt: usize, reason: FinishReason) {
        self.logged[prompt] = true;
        let Some(log) = &self.state.usage_log else {
            return;
        };
        let branches = self.branches_of(prompt);
        let cached = branches[0]
            .finished
            .as_ref()
            .map_or(0, |finished| finished.tokens.cached);
        let stats = self.record_of(prompt);
        let ending = Ending {
            prompt_index: (self.prompts.len() > 1).then_some(prompt),
            finish_reason: reason.as_str(),
            status: self.status(),
            tokens: TokenCounts {
                prompt: self.prompts[prompt].len(),
                completion: branches.iter().map(|branch| branch.tokens).sum(),
                cached,
            },
            stats: stats.as_ref(),
        };
        log.record(UsageLine::new(&self.payer, ending));
    }
}

impl PromptReport {
    /// What an event says of the prompt. The first branch, which comes first, speaks for all.
    fn take(&mut self, event: &Event) {
        if event.branch == 0 {
            self.cached_tokens = event.cached_tokens;
        }
        if let Some(logprobs) = &event.prompt_logprobs {
            self.logprobs = Arc::clone(logprobs);
        }
    }
}

impl Generation {
    /// Takes the ends, and with them the records, of a request that was cancelled.
    async fn run_out(mut self) {
        while let Some((prompt, event)) = self.events.next().await {
            // A failure was for a client that is no longer there; it is in the usage log.
            let _ = self.take(prompt, event);
        }
    }
}

impl Drop for Generation {
    /// What the client does not wait for is cancelled. With a usage log, its records are still taken,
    /// so that nothing that was used is missing there.
    fn drop(&mut self) {
        if self.logged.iter().all(|&logged| logged) {
            return;
        }
        self.cancellers.iter().for_each(Canceller::cancel);
        let wanted = self.state.usage_log.is_some() && !self.left;
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) if wanted => {
                let rest = Self {
                    events: std::mem::take(&mut self.events),
                    cancellers: Vec::new(),
                    left: true,
                    failed: self.failed,
                    branches: std::mem::take(&mut self.branches),
                    answers: self.answers,
                    prompts: std::mem::take(&mut self.prompts),
                    reports: std::mem::take(&mut self.reports),
                    include_stop: self.include_stop,
                    state: self.state.clone(),
                    payer: self.payer.clone(),
                    logged: std::mem::take(&mut self.logged),
                };
                let guard = self.state.in_flight.enter();
                runtime.spawn(async {
                    rest.run_out().await;
                    drop(guard);
                });
            }
            _ => {
                self.left = true;
                for prompt in 0..self.prompts.len() {
                    if !self.logged[prompt] {
                        self.log(prompt, FinishReason::Abort);
                    }
                }
            }
        }
    }
}

/// An end-of-sequence token or a stop token is no part of the answer's text.
fn ends_by_token(finished: Option<&Finished>) -> bool {
    finished.is_some_and(|finished| {
        finished.reason == FinishReason::Stop && !matches!(finished.stop, Some(StopCause::Text(_)))
    })
}

/// The finish reason on the wire, or the failure.
fn outcome(finished: &Finished, message: &AnswerMessage) -> Result<&'static str, ApiError> {
    match finished.reason {
        FinishReason::Stop if message.stops_for_tools() => Ok("tool_calls"),
        FinishReason::Stop | FinishReason::Length => Ok(finished.reason.as_str()),
        FinishReason::Abort => Err(ApiError::unavailable("the server is shutting down")),
        FinishReason::Error => {
            let mut error = ApiError::internal();
            if let Some(message) = &finished.error {
                error.message.clone_from(message);
            }
            Err(error)
        }
    }
}
