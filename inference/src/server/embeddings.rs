//! `/v1/embeddings`: texts to tokens, tokens to the engine, and its vectors to the answer. Each input is a
//! sequence of its own, with a record and a line in the usage log of its own.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicBool, Ordering},
};

use axum::{
    Extension, Json,
    extract::{Request, State},
    response::{IntoResponse, Response},
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use futures::future::join_all;

use super::{
    body,
    error::ApiError,
    generate, off_thread,
    request_id::RequestId,
    respond,
    state::{Serving, SharedState},
    tokenize,
    usage_log::{Ending, Payer, UsageLine},
    wall_clock,
};
use crate::{
    engine::{Canceller, EventStream, Finished, GenerateRequest},
    finish_reason::FinishReason,
    openai::{EmbeddingObject, EmbeddingResponse, EmbeddingUsage, EmbeddingVector},
    request::{
        CheckedEmbedding, EmbeddingForm, PromptInput, check_embedding, empty_input, input_too_long,
    },
    stats::TokenCounts,
};

/// The status that stands in the usage log for a client that went away; it was never sent.
const STATUS_CLIENT_CLOSED: u16 = 499;

/// Answers a request.
pub(super) async fn embeddings(
    State(state): State<SharedState>,
    Extension(id): Extension<RequestId>,
    request: Request,
) -> Result<Response, ApiError> {
    let serving = state.serving()?;
    let tenant = generate::tenant(request.headers())?;
    let body = body::read(request, state.flags.max_body_bytes.as_usize()).await?;
    let arrival = serving.engine.now();
    let (bytes, checking) = (body.len(), Arc::clone(&serving));
    let (checked, inputs) = off_thread::run(bytes, move || check(&checking, &body)).await?;
    let request = |tokens: &Arc<[u32]>| {
        let (id, tokens) = (id.as_str().into(), Arc::clone(tokens));
        let salt = checked.cache_salt.clone();
        GenerateRequest::pooling(id, tokens, salt, arrival)
    };
    let streams = serving
        .engine
        .submit_all(inputs.iter().map(request).collect())?;
    let payer = Payer {
        request_id: id.as_str().to_owned(),
        trace_id: id.trace_id().map(|trace_id| trace_id.to_string()),
        model: checked.model.clone(),
        user: checked.user,
        tenant,
    };
    let form = checked.form;
    let prompt_tokens = inputs.iter().map(|tokens| tokens.len()).sum();
    let waiting = Waiting::new(&streams);
    let run = Run {
        state: state.clone(),
        payer,
        inputs,
        left: Arc::clone(&waiting.left),
        failed: OnceLock::new(),
    };
    // The records are taken even if the client leaves and this future is dropped.
    let guard = state.in_flight.enter();
    let run = async {
        let finished = run.finish(streams).await;
        drop(guard);
        finished
    };
    let finished = tokio::spawn(run).await.map_err(|error| {
        tracing::error!(%error, "collecting embeddings failed");
        ApiError::internal()
    })??;
    waiting.done();
    let vectors = finished.iter().map(|finished| vector(finished, form));
    let data = vectors.enumerate().map(|(index, embedding)| {
        embedding.map(|embedding| EmbeddingObject {
            index,
            object: "embedding",
            embedding,
        })
    });
    let answer = EmbeddingResponse {
        id: format!("embd-{}", id.as_str()),
        object: "list",
        created: wall_clock::unix_seconds(),
        model: checked.model,
        data: data.collect::<Result<_, _>>()?,
        usage: EmbeddingUsage {
            prompt_tokens,
            total_tokens: prompt_tokens,
        },
    };
    let mut response = Json(answer).into_response();
    if let ([only], true) = (&*finished, state.flags.enable_request_stats_headers)
        && let Some(record) = &only.stats
    {
        respond::report(record, response.headers_mut());
    }
    Ok(response)
}

/// The tokens of each input.
type Inputs = Vec<Arc<[u32]>>;

/// The checked request, and the tokens of each of its inputs.
fn check(serving: &Serving, body: &[u8]) -> Result<(CheckedEmbedding, Inputs), ApiError> {
    let mut checked = check_embedding(body, &serving.facts)?;
    let inputs = std::mem::take(&mut checked.inputs);
    let single = inputs.len() == 1;
    let inputs = inputs.into_iter().enumerate().map(|(i, input)| {
        let field = if single {
            "input".to_owned()
        } else {
            format!("input[{i}]")
        };
        tokens(serving, &checked, &field, input)
    });
    let inputs = inputs.collect::<Result<_, _>>()?;
    Ok((checked, inputs))
}

fn tokens(
    serving: &Serving,
    checked: &CheckedEmbedding,
    field: &str,
    input: PromptInput,
) -> Result<Arc<[u32]>, ApiError> {
    let (special, cut) = (checked.add_special_tokens, checked.truncation);
    let tokens = match input {
        PromptInput::Ids(ids) => cut.map_or(&*ids, |cut| cut.cut(&ids)).into(),
        PromptInput::Text(text) if checked.lowercase => {
            tokenize::tokens(serving, field, &text.to_lowercase(), special, cut)?.into()
        }
        PromptInput::Text(text) => tokenize::tokens(serving, field, &text, special, cut)?.into(),
    };
    let tokens: Arc<[u32]> = tokens;
    let max = serving.facts.max_model_len;
    match tokens.len() {
        0 => Err(empty_input(field).into()),
        count if count > max => Err(input_too_long(field, count, max).into()),
        _ => Ok(tokens),
    }
}

/// Cancels what is left when the client is gone, that is, when it is dropped before it is done.
struct Waiting {
    cancellers: Vec<Canceller>,
    left: Arc<AtomicBool>,
}

impl Waiting {
    fn new(streams: &[EventStream]) -> Self {
        Self {
            cancellers: streams.iter().map(EventStream::canceller).collect(),
            left: Arc::default(),
        }
    }

    fn done(mut self) {
        self.cancellers.clear();
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.left
            .store(!self.cancellers.is_empty(), Ordering::Relaxed);
        self.cancellers.iter().for_each(Canceller::cancel);
    }
}

/// What is left to do for a request while the engine runs it.
struct Run {
    state: SharedState,
    payer: Payer,
    inputs: Vec<Arc<[u32]>>,
    /// The client is gone.
    left: Arc<AtomicBool>,
    /// The status of the first failure, which is the answer's.
    failed: OnceLock<u16>,
}

impl Run {
    /// Waits for the end of every input and writes the usage log.
    async fn finish(self, streams: Vec<EventStream>) -> Result<Vec<Box<Finished>>, ApiError> {
        let cancellers: Vec<Canceller> = streams.iter().map(EventStream::canceller).collect();
        let ends = streams.into_iter().enumerate().map(|(index, stream)| {
            let end = self.end(index, stream);
            let cancellers = &cancellers;
            async move {
                let end = end.await;
                if end.is_err() {
                    // Nobody gets the others.
                    cancellers.iter().for_each(Canceller::cancel);
                }
                end
            }
        });
        let mut ends = join_all(ends).await;
        // The failure, not the inputs that were cancelled for it.
        let failure =
            |end: &Result<_, ApiError>| matches!(end, Err(error) if error.status.as_u16() == 500);
        if let Some(at) = ends.iter().position(failure) {
            ends.swap(0, at);
        }
        ends.into_iter().collect()
    }

    async fn end(&self, index: usize, mut stream: EventStream) -> Result<Box<Finished>, ApiError> {
        let finished = loop {
            match stream.next().await {
                Some(event) => {
                    if let Some(finished) = event.finished {
                        break Some(finished);
                    }
                }
                // The engine's thread ended without a word.
                None => break None,
            }
        };
        let outcome = match finished.as_deref() {
            None => Err(ApiError::unavailable("the engine stopped")),
            Some(finished) => outcome(finished),
        };
        self.log(index, finished.as_deref(), &outcome);
        outcome?;
        finished.ok_or_else(ApiError::internal)
    }

    fn log(&self, index: usize, finished: Option<&Finished>, outcome: &Result<(), ApiError>) {
        let Some(log) = &self.state.usage_log else {
            return;
        };
        let status = match outcome {
            _ if self.left.load(Ordering::Relaxed) => STATUS_CLIENT_CLOSED,
            Ok(()) => 200,
            // Those that were cancelled for the first failure share its status.
            Err(error) => *self.failed.get_or_init(|| error.status.as_u16()),
        };
        let prompt = self.inputs[index].len();
        let counts = TokenCounts {
            prompt,
            ..TokenCounts::default()
        };
        let ending = Ending {
            prompt_index: (self.inputs.len() > 1).then_some(index),
            finish_reason: finished.map_or(FinishReason::Error, |f| f.reason).as_str(),
            status,
            tokens: finished.map_or(counts, |finished| finished.tokens),
            stats: finished.and_then(|finished| finished.stats.as_ref()),
        };
        log.record(UsageLine::new(&self.payer, ending));
    }
}

/// How an input ended, or the failure.
fn outcome(finished: &Finished) -> Result<(), ApiError> {
    match finished.reason {
        FinishReason::Stop | FinishReason::Length => Ok(()),
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

/// The vector, cut and made one long as asked, in its encoding.
fn vector(finished: &Finished, form: EmbeddingForm) -> Result<EmbeddingVector, ApiError> {
    let pooled = finished
        .embedding
        .as_deref()
        .ok_or_else(ApiError::internal)?;
    let mut numbers = pooled[..form.dimensions.min(pooled.len())].to_vec();
    if form.normalize {
        normalize(&mut numbers);
    }
    Ok(match form.base64 {
        false => EmbeddingVector::Float(numbers),
        true => {
            let bytes: Vec<u8> = numbers.iter().flat_map(|n| n.to_le_bytes()).collect();
            EmbeddingVector::Base64(BASE64_STANDARD.encode(bytes))
        }
    })
}

/// Makes a vector one long; one of nothing but zeros stays as it is.
fn normalize(vector: &mut [f32]) {
    /// PyTorch's `normalize` divides by no less.
    const LENGTH_MIN: f64 = 1e-12;
    let squares: f64 = vector.iter().map(|&n| f64::from(n).powi(2)).sum();
    let length = squares.sqrt().max(LENGTH_MIN);
    vector
        .iter_mut()
        .for_each(|n| *n = (f64::from(*n) / length) as f32);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finished(embedding: &[f32]) -> Finished {
        Finished {
            reason: FinishReason::Stop,
            stop: None,
            error: None,
            embedding: Some(Arc::from(embedding)),
            tokens: TokenCounts::default(),
            stats: None,
        }
    }

    #[test]
    fn a_vector_is_cut_first_and_normalized_then() {
        let form = |dimensions, normalize| EmbeddingForm {
            dimensions,
            normalize,
            base64: false,
        };
        for (form, expected) in [
            (form(3, false), vec![3.0, 4.0, 12.0]),
            (form(2, true), vec![0.6, 0.8]),
            (form(1, true), vec![1.0]),
        ] {
            let vector = vector(&finished(&[3.0, 4.0, 12.0]), form).unwrap();
            assert_eq!(vector, EmbeddingVector::Float(expected));
        }
        let mut zeros = [0.0; 2];
        normalize(&mut zeros);
        assert_eq!(zeros, [0.0; 2]);
    }

    #[test]
    fn base64_holds_the_same_numbers_little_endian() {
        let form = EmbeddingForm {
            dimensions: 2,
            normalize: false,
            base64: true,
        };
        let vector = vector(&finished(&[1.0, -2.5]), form).unwrap();
        let expected = EmbeddingVector::Base64("AACAPwAAIMA=".to_owned());
        assert_eq!(vector, expected);
    }
}
