//! The engine over a model that makes vectors of prompts: whole prompts in a step, one end each, and the
//! same record as for answers.

use std::{
    num::NonZeroUsize,
    sync::{Arc, Mutex, atomic::Ordering},
    time::Duration,
};

use futures::executor::block_on;

use super::{
    test_random::check_cases,
    tests::{TickingClock, metric},
    *,
};
use crate::{finish_reason::FinishReason, sampling::Logits, stats::CacheConfig};

const WHOLE: RunnerType = RunnerType::Pooling {
    whole_prompts: true,
};
const CHUNKED: RunnerType = RunnerType::Pooling {
    whole_prompts: false,
};
/// A token that makes the model's vector no number.
const POISON: u32 = 99;
const CONTEXT: usize = 64;

/// Pools the sum and the number of a prompt's tokens, which it keeps in the cache's slots.
#[derive(Default)]
struct SummingRunner {
    whole: bool,
    slots: Vec<u32>,
    /// Sequences of each step.
    steps: Arc<Mutex<Vec<usize>>>,
}

impl Runner for SummingRunner {
    fn forward(&mut self, _: &Batch, _: &mut Logits) -> Result<(), RunnerError> {
        Err(RunnerError("nobody asks this model to generate".to_owned()))
    }

    fn pool(&mut self, batch: &Batch, pooled: &mut Pooled) -> Result<(), RunnerError> {
        self.slots.resize(1 << 12, u32::MAX);
        self.steps.lock().unwrap().push(batch.sequences());
        for (&slot, &token) in batch.slot_mapping.iter().zip(&batch.input_ids) {
            self.slots[slot as usize] = token;
        }
        (pooled.width, pooled.data) = (2, Vec::new());
        for (s, span) in batch.cu_seqlens_q.windows(2).enumerate() {
            let ends = batch.logits_idx.contains(&(span[1] - 1));
            let begins = batch.positions[span[0] as usize] == 0;
            assert!(!self.whole || (begins && ends), "a prompt in parts");
            if !ends {
                continue;
            }
            let table = &batch.block_tables[s * batch.block_table_width..];
            let token = |p: usize| {
                let slot = table[p / BLOCK_TOKENS] as usize * BLOCK_TOKENS + p % BLOCK_TOKENS;
                self.slots[slot]
            };
            let tokens: Vec<u32> = (0..batch.seqlens_k[s] as usize).map(token).collect();
            let sum = tokens.iter().sum::<u32>() as f32;
            let sum = if tokens.contains(&POISON) {
                f32::INFINITY
            } else {
                sum
            };
            pooled.data.extend([sum, tokens.len() as f32]);
        }
        Ok(())
    }
}

struct Pooling {
    handle: EngineHandle,
    thread: JoinHandle<()>,
    metrics: Arc<Metrics>,
    steps: Arc<Mutex<Vec<usize>>>,
}

fn pooling(runner_type: RunnerType, budget: usize, prefix_caching: bool) -> Pooling {
    let cache = CacheConfig {
        block_size: BLOCK_TOKENS,
        num_blocks: 64,
    };
    let metrics = Metrics::new("fake", CONTEXT, cache, true);
    let runner = SummingRunner {
        whole: runner_type == WHOLE,
        ..SummingRunner::default()
    };
    let steps = Arc::clone(&runner.steps);
    let config = EngineConfig {
        max_num_seqs: 8,
        max_num_batched_tokens: budget,
        max_queued_requests: 100,
        max_model_len: CONTEXT,
        kv_blocks: 64,
        prefix_caching,
        eos_token_ids: Vec::new(),
        runner_type,
    };
    let clock = Some(Arc::new(TickingClock::default()) as Arc<dyn Clock>);
    let (handle, thread) = start(Box::new(runner), config, clock, Arc::clone(&metrics)).unwrap();
    Pooling {
        handle,
        thread,
        metrics,
        steps,
    }
}

impl Pooling {
    fn submit(&self, prompt: &[u32]) -> EventStream {
        let request =
            GenerateRequest::pooling("test".into(), prompt.into(), None, self.handle.now());
        assert_eq!(request.branches, NonZeroUsize::MIN);
        self.handle.submit(request).unwrap()
    }

    fn stop(self) -> String {
        self.handle.stop();
        self.thread.join().unwrap();
        assert_eq!(self.metrics.gauges().kv_cache_usage, 0.0);
        assert_eq!(self.handle.shared.waiting.load(Ordering::Acquire), 0);
        self.metrics.render()
    }
}

/// The one event of a request.
fn end(mut stream: EventStream) -> Finished {
    let event = block_on(stream.next()).unwrap();
    assert_eq!((event.branch, event.token), (0, None));
    assert!(block_on(stream.next()).is_none());
    *event.finished.unwrap()
}

#[test]
fn every_prompt_gets_its_own_vector_whatever_else_is_in_the_step() {
    check_cases(50, |random| {
        let whole = random.chance(50);
        let (runner, budget) = match whole {
            true => (WHOLE, random.between(CONTEXT, 200)),
            false => (CHUNKED, random.between(8, 200)),
        };
        let engine = pooling(runner, budget, !whole);
        let prompts: Vec<Vec<u32>> = (0..random.between(1, 30))
            .map(|_| {
                let length = random.between(1, CONTEXT);
                (0..length)
                    .map(|i| (i % random.between(1, 3)) as u32)
                    .collect()
            })
            .collect();
        let streams: Vec<_> = prompts.iter().map(|prompt| engine.submit(prompt)).collect();
        let mut compute = Duration::ZERO;
        for (prompt, stream) in prompts.iter().zip(streams) {
            let finished = end(stream);
            let sum: u32 = prompt.iter().sum();
            let expected = [sum as f32, prompt.len() as f32];
            assert_eq!(finished.embedding.as_deref(), Some(&expected[..]));
            assert_eq!(finished.reason, FinishReason::Stop);
            assert_eq!(
                (finished.tokens.prompt, finished.tokens.completion),
                (prompt.len(), 0)
            );
            let stats = finished.stats.unwrap();
            assert_eq!(stats.decode_time, Duration::ZERO);
            assert_eq!(stats.prefill_time, stats.inference_time);
            assert!(stats.timeline.first_token.is_some());
            assert_eq!(stats.mean_time_per_output_token, 0.0);
            compute += stats.compute_time;
        }
        let text = engine.stop();
        let busy = metric(&text, "candela:engine_busy_seconds_total");
        assert!(
            (busy - compute.as_secs_f64()).abs() < 1e-9,
            "{busy} {compute:?}"
        );
        assert_eq!(metric(&text, "vllm:generation_tokens_total"), 0.0);
        let tokens: usize = prompts.iter().map(Vec::len).sum();
        assert_eq!(metric(&text, "vllm:prompt_tokens_total"), tokens as f64);
    });
}

#[test]
fn a_vector_that_is_no_number_fails_its_own_prompt_only() {
    let engine = pooling(WHOLE, 100, false);
    let (bad, good) = (engine.submit(&[1, POISON]), engine.submit(&[1, 2]));
    let bad = end(bad);
    assert_eq!((bad.reason, bad.embedding), (FinishReason::Error, None));
    assert!(bad.error.unwrap().contains("no number"));
    assert_eq!(end(good).embedding.as_deref(), Some(&[3.0, 2.0][..]));
    engine.stop();
}

#[test]
fn prompts_share_a_step_as_long_as_they_fit_whole() {
    let engine = pooling(WHOLE, CONTEXT, false);
    let prompt = vec![1; CONTEXT / 2 + 1];
    let streams: Vec<_> = (0..4).map(|_| engine.submit(&prompt)).collect();
    streams.into_iter().map(end).for_each(drop);
    assert_eq!(*engine.steps.lock().unwrap(), [1; 4]);
    engine.stop();
}

#[test]
fn a_beginning_in_the_cache_is_not_computed_again_where_chunks_may_be() {
    let engine = pooling(CHUNKED, 16, true);
    let prompt = vec![3; 50];
    let (first, second) = (end(engine.submit(&prompt)), end(engine.submit(&prompt)));
    assert_eq!((first.tokens.cached, second.tokens.cached), (0, 32));
    assert_eq!(first.embedding, second.embedding);
    engine.stop();
}

#[test]
fn a_step_that_no_whole_prompt_fits_is_refused() {
    let config = EngineConfig {
        max_num_seqs: 8,
        max_num_batched_tokens: CONTEXT - 1,
        max_queued_requests: 8,
        max_model_len: CONTEXT,
        kv_blocks: 64,
        prefix_caching: false,
        eos_token_ids: Vec::new(),
        runner_type: WHOLE,
    };
    let error = config.check().unwrap_err().to_string();
    assert!(error.contains("at least --max-model-len (64)"), "{error}");
    let chunked = EngineConfig {
        runner_type: CHUNKED,
        ..config
    };
    assert_eq!(chunked.check(), Ok(()));
}
