//! An engine whose model takes next to no time: what is left is the engine's own. The benchmarks, the count of
//! instructions and the count of allocations drive it, through the same doors as the server.

use std::{
    num::NonZeroUsize,
    sync::{
        Arc,
        mpsc::{self, Receiver, Sender},
    },
};

use candela_engine::{
    engine::{
        self, Batch, Clock, EngineConfig, EventStream, GenerateRequest, Runner, RunnerError,
        RunnerType,
    },
    model::runner::{BLOCK_TOKENS, blocks_for},
    sampling::{Logits, SamplingParams},
    stats::{CacheConfig, Metrics, Timestamp},
};
use futures::executor::block_on;

const PROMPT_TOKENS: usize = 16;
pub(crate) const VOCAB: usize = 32;

/// Sequences that run side by side from their first step to their last.
#[derive(Clone, Copy)]
pub(crate) struct Load {
    pub(crate) sequences: usize,
    /// That each generates, greedily.
    pub(crate) tokens: usize,
}

/// The token after `t` is `t + 1`.
struct Steady<F> {
    /// The first step says that it runs, and waits until all requests are there.
    gate: Option<(Sender<()>, Receiver<()>)>,
    observe: F,
}

impl<F: FnMut(&Batch) + Send> Runner for Steady<F> {
    fn forward(&mut self, batch: &Batch, logits: &mut Logits) -> Result<(), RunnerError> {
        if let Some((begun, all_there)) = self.gate.take() {
            // Errors are as good: nobody listens, and nobody submits any more.
            let _ = begun.send(());
            let _ = all_there.recv();
        }
        (self.observe)(batch);
        logits.vocab = VOCAB;
        logits.data.clear();
        logits.data.resize(batch.logits_idx.len() * VOCAB, 0.0);
        for (row, &at) in logits.data.chunks_exact_mut(VOCAB).zip(&batch.logits_idx) {
            row[(batch.input_ids[at as usize] as usize + 1) % VOCAB] = 1.0;
        }
        Ok(())
    }
}

/// Runs the load to its end. `observe` sees the batch of every step, on the engine's thread, when the model would run.
/// Stats are on with a clock, and off without.
pub(crate) fn run(
    load: Load,
    clock: Option<Arc<dyn Clock>>,
    observe: impl FnMut(&Batch) + Send + 'static,
) {
    let Load { sequences, tokens } = load;
    let max_model_len = PROMPT_TOKENS + tokens;
    let kv_blocks = (sequences + 1) * blocks_for(max_model_len);
    let config = EngineConfig {
        max_num_seqs: sequences,
        max_num_batched_tokens: sequences * PROMPT_TOKENS,
        max_queued_requests: sequences + 1,
        max_model_len,
        kv_blocks,
        prefix_caching: true,
        eos_token_ids: vec![0],
        runner_type: RunnerType::Generate,
    };
    let cache = CacheConfig {
        block_size: BLOCK_TOKENS,
        num_blocks: kv_blocks,
    };
    let metrics = Metrics::new("steady", max_model_len, cache, clock.is_some());
    let (begun, is_begun) = mpsc::channel();
    let (submitted, all_there) = mpsc::channel();
    let runner = Steady {
        gate: Some((begun, all_there)),
        observe,
    };
    let (engine, thread) = engine::start(Box::new(runner), config, clock, metrics)
        .expect("the limits agree, and the system has a thread");
    // One of a single token goes first; the others come while its step runs, so all of them begin in the next.
    let gate = engine.submit(request(sequences, 1, engine.now()));
    let gate = gate.expect("the queue is empty");
    is_begun.recv().expect("the first step runs");
    let requests = (0..sequences).map(|index| request(index, tokens, engine.now()));
    let streams = engine
        .submit_all(requests.collect())
        .expect("the queue has room for all");
    drop(submitted);
    read(gate, 1);
    for stream in streams {
        read(stream, tokens);
    }
    engine.stop();
    thread.join().expect("the engine does not panic");
}

fn request(index: usize, tokens: usize, arrival: Option<Timestamp>) -> GenerateRequest {
    // No two begin alike, so they share nothing.
    let first = [index / VOCAB, index % VOCAB].map(|token| token as u32);
    let prompt = first.into_iter().chain([1; PROMPT_TOKENS - 2]).collect();
    GenerateRequest {
        id: format!("request {index}").into(),
        prompt,
        params: SamplingParams {
            ignore_eos: true,
            ..SamplingParams::greedy(tokens)
        },
        branches: NonZeroUsize::MIN,
        cache_salt: None,
        stop: None,
        constraint: None,
        arrival,
    }
}

fn read(mut stream: EventStream, tokens: usize) {
    let events = std::iter::from_fn(|| block_on(stream.next()));
    let read = events.filter(|event| event.token.is_some()).count();
    assert_eq!(read, tokens, "a sequence generates what it was asked for");
}
