//! The whole engine over a runner that keeps what the model leaves in every slot, and whose answers depend
//! on all of it: with a small pool, prefix cache, chunks and preemption everyone gets the answer that a
//! pool without limits and without cache gives.

use std::{
    num::NonZeroUsize,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use futures::executor::block_on;

use super::{
    handle::Listener,
    prompt_logprobs::PROMPT_LOGITS_ROWS_MAX,
    step::Engine,
    test_device::Drawing,
    test_random::{Random, check_cases, texts},
    tests::{POISON, Running, Setup, collect, metric, prompt},
    *,
};
use crate::{
    finish_reason::FinishReason,
    sampling::{Logits, SamplingParams, TokenLogprobs},
    stats::CacheConfig,
};

const CASES: u64 = 3_000;
const VOCAB: u32 = 31;
const EOS: u32 = 30;

/// The state of a model after a token: it depends on the state before it, as a deep layer's keys and values
/// do on everything before.
fn state_after(before: u64, token: u32, position: usize) -> u64 {
    let mixed =
        (before ^ u64::from(token) ^ ((position as u64) << 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed ^ (mixed >> 29)
}

/// Keeps a state in each slot. What it reads of a sequence's past it reads through the block table, every
/// slot of it.
#[derive(Default)]
struct RememberingRunner {
    slots: Vec<u64>,
}

impl RememberingRunner {
    fn slot(batch: &Batch, sequence: usize, position: usize) -> usize {
        let table = &batch.block_tables[sequence * batch.block_table_width..];
        table[position / BLOCK_TOKENS] as usize * BLOCK_TOKENS + position % BLOCK_TOKENS
    }

    /// No slot is written twice, or written by one sequence and read by another, in the same step.
    fn assert_no_conflict(batch: &Batch) {
        let mut written =
            vec![false; 1 + batch.slot_mapping.iter().max().map_or(0, |&s| s as usize)];
        for &slot in &batch.slot_mapping {
            let twice = std::mem::replace(&mut written[slot as usize], true);
            assert!(!twice, "slot {slot} is written twice");
        }
        for (sequence, span) in batch.cu_seqlens_q.windows(2).enumerate() {
            let past = batch.seqlens_k[sequence] as usize - (span[1] - span[0]) as usize;
            for position in 0..past {
                let slot = Self::slot(batch, sequence, position);
                let conflict = written.get(slot).is_some_and(|&written| written);
                assert!(!conflict, "slot {slot} is read while it is written");
            }
        }
    }

    /// Writes the states of a sequence's tokens.
    fn run(&mut self, batch: &Batch, sequence: usize) {
        let span = batch.cu_seqlens_q[sequence] as usize..batch.cu_seqlens_q[sequence + 1] as usize;
        let mut state = match batch.positions[span.start] as usize {
            0 => 0,
            first => self.slots[Self::slot(batch, sequence, first - 1)],
        };
        for at in span {
            let position = batch.positions[at] as usize;
            state = state_after(state, batch.input_ids[at], position);
            let slot = batch.slot_mapping[at] as usize;
            assert_eq!(slot, Self::slot(batch, sequence, position));
            self.slots[slot] = state;
        }
    }

    /// A digest of all tokens up to the one at `at` in the batch.
    fn digest(&self, batch: &Batch, sequence: usize, at: usize) -> u64 {
        (0..=batch.positions[at] as usize).fold(0, |digest, position| {
            let state = self.slots[Self::slot(batch, sequence, position)];
            state_after(digest, state as u32, (state >> 32) as usize)
        })
    }
}

impl Runner for RememberingRunner {
    fn forward(&mut self, batch: &Batch, logits: &mut Logits) -> Result<(), RunnerError> {
        Self::assert_no_conflict(batch);
        self.slots.resize(1 << 14, 0);
        (logits.vocab, logits.data) = (VOCAB as usize, Vec::new());
        for sequence in 0..batch.sequences() {
            self.run(batch, sequence);
            let span = batch.cu_seqlens_q[sequence]..batch.cu_seqlens_q[sequence + 1];
            for &at in batch.logits_idx.iter().filter(|at| span.contains(at)) {
                let digest = self.digest(batch, sequence, at as usize);
                let row =
                    (0..VOCAB).map(|token| (digest.rotate_left(2 * token) & 0xff) as f32 / 32.0);
                logits.data.extend(row);
            }
        }
        let scored = batch.logits_idx.len().saturating_sub(batch.sequences());
        assert!(
            scored <= PROMPT_LOGITS_ROWS_MAX,
            "{scored} rows for prompts"
        );
        assert_eq!(logits.data.len(), batch.logits_idx.len() * VOCAB as usize);
        Ok(())
    }
}

/// A request of a case.
struct Asked {
    prompt: Vec<u32>,
    params: SamplingParams,
    branches: usize,
    salt: Option<&'static str>,
    /// The step before which it comes.
    arrival: usize,
    /// The step before which it is cancelled.
    cancelled: Option<usize>,
}

fn ask(random: &mut Random, texts: &[Vec<u32>], tokens_max: usize) -> Asked {
    let text = &texts[random.below(texts.len())];
    let prompt = text[..random.between(1, text.len().min(tokens_max - 1))].to_vec();
    let shortest = usize::from(random.chance(90));
    let longest = random.between(shortest, 60 * shortest);
    let greedy = SamplingParams::greedy(longest.min(tokens_max - prompt.len()));
    let some = |random: &mut Random, neutral: f32, value: f32| match random.chance(20) {
        true => value,
        false => neutral,
    };
    Asked {
        params: SamplingParams {
            temperature: if random.chance(50) { 1.0 } else { 0.0 },
            seed: Some(random.below(3) as u64),
            ignore_eos: random.chance(50),
            min_p: some(random, 0.0, 0.05),
            presence_penalty: some(random, 0.0, 1.5),
            frequency_penalty: some(random, 0.0, -0.5),
            repetition_penalty: some(random, 1.0, 1.3),
            logprobs: random.chance(20).then(|| random.below(4)),
            prompt_logprobs: random.chance(30).then(|| random.below(4)),
            ..greedy
        },
        prompt,
        branches: [1, 1, 2, 3][random.below(4)],
        salt: [None, None, Some("a")][random.below(3)],
        arrival: random.below(30),
        cancelled: random.chance(10).then(|| random.below(40)),
    }
}

/// A branch, as it ended.
#[derive(Default)]
struct Answer {
    tokens: Vec<u32>,
    logprobs: Vec<TokenLogprobs>,
    prompt_logprobs: Option<Arc<[TokenLogprobs]>>,
    end: Option<Finished>,
}

impl Answer {
    fn end(&self) -> &Finished {
        self.end.as_ref().unwrap()
    }
}

/// The branches of each request.
type Answers = Vec<Vec<Answer>>;

/// Takes a request's events, and sees that the prompt's log probabilities come once, before all else.
fn take_events(mut stream: EventStream, branches: usize) -> Vec<Answer> {
    let mut answers: Vec<Answer> = (0..branches).map(|_| Answer::default()).collect();
    while let Some(event) = block_on(stream.next()) {
        if let Some(scores) = event.prompt_logprobs {
            assert!(
                answers
                    .iter()
                    .all(|a| a.tokens.is_empty() && a.prompt_logprobs.is_none())
            );
            assert_eq!(event.branch, 0);
            answers[0].prompt_logprobs = Some(scores);
        }
        let answer = &mut answers[event.branch];
        assert!(answer.end.is_none(), "an event after the end");
        answer.tokens.extend(event.token);
        answer
            .logprobs
            .extend(event.logprobs.map(|logprobs| *logprobs));
        answer.end = event.finished.map(|finished| *finished);
    }
    answers
}

/// Serves the requests, step by step on this thread. Requests are cancelled, and tokens drawn by the device, as asked.
fn serve(config: &EngineConfig, asked: &[Asked], (cancel, device_draws): (bool, bool)) -> Answers {
    let cache = CacheConfig {
        block_size: BLOCK_TOKENS,
        num_blocks: config.kv_blocks,
    };
    let metrics = Metrics::new("fake", config.max_model_len, cache, false);
    let runner: Box<dyn Runner> = match device_draws {
        true => Box::<Drawing<RememberingRunner>>::default(),
        false => Box::<RememberingRunner>::default(),
    };
    let mut engine = Engine::new(runner, config.clone(), None, metrics);
    let mut streams: Vec<Option<EventStream>> = asked.iter().map(|_| None).collect();
    let tokens = |one: &Asked| one.branches * (one.prompt.len() + one.params.max_tokens);
    // The oldest has a token in every step: with so many steps everyone is done.
    let steps = 40 + asked.iter().map(tokens).sum::<usize>();
    for step in 0..steps {
        for (one, stream) in asked.iter().zip(&mut streams) {
            if one.arrival == step {
                let (listener, events) = Listener::new();
                engine.queue(request(one), listener);
                *stream = Some(events);
            }
            if let (true, Some(events)) = (cancel && one.cancelled == Some(step), &stream) {
                events.canceller().cancel();
            }
        }
        engine.step().unwrap();
    }
    drop(engine);
    let answers = asked.iter().zip(streams);
    answers
        .map(|(one, stream)| take_events(stream.unwrap(), one.branches))
        .collect()
}

fn request(one: &Asked) -> GenerateRequest {
    GenerateRequest {
        id: "test".into(),
        prompt: one.prompt.as_slice().into(),
        params: one.params.clone(),
        branches: NonZeroUsize::new(one.branches).unwrap(),
        cache_salt: one.salt.map(Arc::from),
        stop: None,
        constraint: None,
        arrival: None,
    }
}

fn compare(seen: &Answer, expected: &Answer, one: &Asked) {
    let (end, whole) = (seen.end(), expected.end());
    if one.cancelled.is_some() && end.reason == FinishReason::Abort {
        assert!(expected.tokens.starts_with(&seen.tokens));
        assert!(expected.logprobs.starts_with(&seen.logprobs));
        return;
    }
    assert_eq!((&seen.tokens, end.reason), (&expected.tokens, whole.reason));
    assert_eq!(seen.logprobs, expected.logprobs);
    let reported = one.params.logprobs.map_or(0, |_| seen.tokens.len());
    assert_eq!(seen.logprobs.len(), reported);
    for (logprobs, &token) in seen.logprobs.iter().zip(&seen.tokens) {
        assert_eq!(logprobs.token, token);
    }
    assert_eq!(seen.prompt_logprobs, expected.prompt_logprobs);
    if let Some(scores) = &seen.prompt_logprobs {
        let scored: Vec<u32> = scores.iter().map(|score| score.token).collect();
        assert_eq!(scored, one.prompt[1..]);
        assert_eq!(end.tokens.cached, 0);
    }
    assert!(end.tokens.cached < end.tokens.prompt);
}

#[test]
fn answers_are_those_of_a_pool_without_limits_and_without_cache() {
    let cached = AtomicUsize::new(0);
    check_cases(CASES, |random| {
        let blocks = random.between(2, 14);
        let texts = texts(random, 5);
        let asked: Vec<Asked> = (0..random.between(2, 10))
            .map(|_| ask(random, &texts, blocks * BLOCK_TOKENS))
            .collect();
        let seqs = random.between(1, 8);
        let small = EngineConfig {
            max_num_seqs: seqs,
            max_num_batched_tokens: seqs.max(random.between(1, 120)),
            max_queued_requests: 100,
            max_model_len: blocks * BLOCK_TOKENS,
            kv_blocks: blocks,
            prefix_caching: random.chance(90),
            eos_token_ids: vec![EOS],
            runner_type: RunnerType::Generate,
        };
        let unlimited = EngineConfig {
            max_num_seqs: 100,
            max_num_batched_tokens: 100_000,
            kv_blocks: 500,
            prefix_caching: false,
            ..small.clone()
        };
        let seen = serve(&small, &asked, (true, random.chance(50)));
        let expected = serve(&unlimited, &asked, (false, false));
        for ((seen, expected), one) in seen.iter().zip(&expected).zip(&asked) {
            assert_eq!((seen.len(), expected.len()), (one.branches, one.branches));
            for (branch, (seen, expected)) in seen.iter().zip(expected).enumerate() {
                let scored = one.params.prompt_logprobs.is_some() && branch == 0;
                assert_eq!(expected.prompt_logprobs.is_some(), scored);
                compare(seen, expected, one);
                cached.fetch_add(seen.end().tokens.cached, Ordering::Relaxed);
            }
        }
    });
    println!("cached tokens: {cached:?}");
}

/// Cached tokens of each branch of an answer to `prompt`.
fn cached(engine: &Running, prompt: &[u32], salt: Option<&str>, branches: usize) -> Vec<usize> {
    let mut request = engine.request(prompt, SamplingParams::greedy(2), branches);
    request.cache_salt = salt.map(Arc::from);
    let ends = collect(engine.handle.submit(request).unwrap());
    ends.iter().map(|(_, end)| end.tokens.cached).collect()
}

#[test]
fn a_prompt_that_came_before_is_served_from_the_cache_up_to_its_last_token() {
    let engine = Setup::default().start();
    for (len, expected) in [(32, 0), (33, 32), (64, 32), (65, 64), (100, 96)] {
        let prompt = prompt(len as u32, len);
        assert_eq!(cached(&engine, &prompt, None, 1), [0]);
        assert_eq!(cached(&engine, &prompt, None, 1), [expected], "{len}");
    }
    let text = engine.stop();
    let queries = 2.0 * (32 + 33 + 64 + 65 + 100) as f64;
    let hits = f64::from(32 + 32 + 64 + 96);
    assert_eq!(metric(&text, "vllm:prefix_cache_queries_total"), queries);
    assert_eq!(metric(&text, "vllm:prefix_cache_hits_total"), hits);
    assert_eq!(metric(&text, "vllm:prompt_tokens_total"), queries);
    assert_eq!(metric(&text, "vllm:prompt_tokens_cached_total"), hits);
    // Two tokens each: the second's step has one token.
    let steps_tokens = metric(&text, "vllm:iteration_tokens_total_sum");
    assert_eq!(steps_tokens, queries - hits + 10.0);
}

#[test]
fn a_conversation_goes_on_from_the_blocks_of_its_answers() {
    let engine = Setup::default().start();
    let mut text = prompt(1, 20);
    for expected in [0, 64, 96] {
        let params = SamplingParams::greedy(45);
        let [(answer, end)] = collect(engine.submit(&text, params, 1)).try_into().unwrap();
        assert_eq!(end.tokens.cached, expected);
        text.extend(answer);
        text.extend([1; 5]);
    }
    engine.stop();
}

#[test]
fn salts_keep_requests_apart() {
    let engine = Setup::default().start();
    let prompt = prompt(1, 40);
    for salt in [None, Some("a"), Some("b")] {
        assert_eq!(cached(&engine, &prompt, salt, 1), [0], "{salt:?}");
    }
    for salt in [None, Some("a"), Some("b")] {
        assert_eq!(cached(&engine, &prompt, salt, 1), [32], "{salt:?}");
    }
    engine.stop();
}

#[test]
fn branches_share_the_prompt_that_the_first_computes() {
    let engine = Setup {
        budget: 512,
        ..Setup::default()
    }
    .start();
    assert_eq!(
        cached(&engine, &prompt(1, 150), None, 4),
        [0, 128, 128, 128]
    );
    let text = engine.stop();
    assert_eq!(metric(&text, "vllm:prompt_tokens_cached_total"), 0.0);
    assert_eq!(metric(&text, "vllm:prefix_cache_hits_total"), 384.0);
    let tokens = metric(&text, "vllm:iteration_tokens_total_sum");
    assert_eq!(tokens, 150.0 + 3.0 * 22.0 + 4.0);
}

#[test]
fn without_prefix_caching_every_prompt_is_computed() {
    let engine = Setup {
        prefix_caching: false,
        ..Setup::default()
    }
    .start();
    for _ in 0..2 {
        assert_eq!(cached(&engine, &prompt(1, 100), None, 2), [0, 0]);
    }
    let text = engine.stop();
    assert_eq!(metric(&text, "vllm:prefix_cache_queries_total"), 0.0);
    assert_eq!(metric(&text, "vllm:prefix_cache_hits_total"), 0.0);
}

#[test]
fn what_a_failed_request_computed_is_not_kept() {
    let engine = Setup::default().start();
    let mut prompt = prompt(1, 100);
    prompt[50] = POISON;
    for _ in 0..2 {
        assert_eq!(cached(&engine, &prompt, None, 1), [0]);
    }
    engine.stop();
}

#[test]
fn only_the_first_schedule_counts_as_cached() {
    // Three sequences of up to 119 tokens in 8 blocks: the newest is preempted, and finds its own blocks.
    let engine = Setup {
        blocks: 8,
        ..Setup::default()
    }
    .start();
    let held = engine.gate.lock().unwrap();
    let params = || SamplingParams {
        ignore_eos: true,
        ..SamplingParams::greedy(80)
    };
    let streams = [1, 2, 3].map(|seed| engine.submit(&prompt(seed, 40), params(), 1));
    drop(held);
    for stream in streams {
        let [(tokens, end)] = collect(stream).try_into().unwrap();
        assert_eq!((tokens.len(), end.tokens.cached), (80, 0));
    }
    let text = engine.stop();
    assert!(metric(&text, "vllm:num_preemptions_total") > 0.0);
    assert_eq!(metric(&text, "vllm:prefix_cache_hits_total"), 0.0);
    let tokens = metric(&text, "vllm:iteration_tokens_total_sum");
    assert!(
        tokens < 3.0 * 119.0 + 96.0,
        "{tokens} tokens: blocks were not found again"
    );
}
