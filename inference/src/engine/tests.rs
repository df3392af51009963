//! The engine over a fake model whose next token depends on every token it finds through the block
//! table: a wrong slot, a lost block or a skipped token changes the output.

use std::{
    num::NonZeroUsize,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use futures::executor::block_on;

use super::{test_device::Drawing, *};
use crate::{
    finish_reason::FinishReason,
    sampling::{Logits, SamplingParams},
    stats::{CacheConfig, Timestamp},
};

const VOCAB: u32 = 101;
const EOS: u32 = 100;
/// A prompt token that makes the fake model return NaN for its sequence.
pub(super) const POISON: u32 = 99;
/// A token that makes its pass panic.
pub(super) const PANIC: u32 = 98;
/// A token that makes its pass fail.
pub(super) const BREAK: u32 = 97;

/// The token after `tokens`; none of the above.
fn next_token(tokens: &[u32]) -> u32 {
    let mix = |hash: u64, token: &u32| (hash ^ u64::from(*token)).wrapping_mul(0x100_0000_01b3);
    (tokens.iter().fold(0xcbf2_9ce4_8422_2325, mix) % 97) as u32
}

pub(super) fn expected(prompt: &[u32], count: usize) -> Vec<u32> {
    let mut tokens = prompt.to_vec();
    for _ in 0..count {
        tokens.push(next_token(&tokens));
    }
    tokens.split_off(prompt.len())
}

#[derive(Default)]
struct FakeRunner {
    slots: Vec<u32>,
    fails: Arc<AtomicBool>,
    /// Who holds it holds up the step.
    gate: Arc<Mutex<()>>,
}

impl Runner for FakeRunner {
    fn forward(&mut self, batch: &Batch, logits: &mut Logits) -> Result<(), RunnerError> {
        let _open = self.gate.lock();
        if self.fails.load(Ordering::Relaxed) {
            return Err(RunnerError("the device is gone".to_owned()));
        }
        assert!(!batch.input_ids.contains(&PANIC), "a panic");
        if batch.input_ids.contains(&BREAK) {
            return Err(RunnerError("a token is broken".to_owned()));
        }
        self.slots.resize(1 << 16, u32::MAX);
        for (&slot, &token) in batch.slot_mapping.iter().zip(&batch.input_ids) {
            self.slots[slot as usize] = token;
        }
        (logits.vocab, logits.data) = (VOCAB as usize, Vec::new());
        for (s, span) in batch.cu_seqlens_q.windows(2).enumerate() {
            if !batch.logits_idx.contains(&(span[1] - 1)) {
                continue;
            }
            let table = &batch.block_tables[s * batch.block_table_width..];
            let slot =
                |p: usize| table[p / BLOCK_TOKENS] as usize * BLOCK_TOKENS + p % BLOCK_TOKENS;
            let tokens: Vec<u32> = (0..batch.seqlens_k[s] as usize)
                .map(|p| self.slots[slot(p)])
                .collect();
            let mut row = vec![0f32; VOCAB as usize];
            row[next_token(&tokens) as usize] = 1.0;
            row[EOS as usize] = if tokens.len() >= 200 { 2.0 } else { -1.0 };
            if tokens.contains(&POISON) {
                row.fill(f32::NAN);
            }
            logits.data.extend(row);
        }
        Ok(())
    }
}

/// A clock that a reading moves on by a millisecond.
#[derive(Default)]
pub(super) struct TickingClock(AtomicU64);

impl Clock for TickingClock {
    fn now(&self) -> Timestamp {
        Timestamp::after_start(Duration::from_millis(
            self.0.fetch_add(1, Ordering::Relaxed),
        ))
    }
}

pub(super) struct Setup {
    pub(super) blocks: usize,
    pub(super) seqs: usize,
    pub(super) budget: usize,
    pub(super) queue: usize,
    pub(super) stats: bool,
    pub(super) prefix_caching: bool,
    pub(super) device_draws: bool,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            blocks: 64,
            seqs: 8,
            budget: 64,
            queue: 256,
            stats: true,
            prefix_caching: true,
            device_draws: false,
        }
    }
}

pub(super) struct Running {
    pub(super) handle: EngineHandle,
    thread: Option<JoinHandle<()>>,
    metrics: Arc<Metrics>,
    pub(super) fails: Arc<AtomicBool>,
    pub(super) gate: Arc<Mutex<()>>,
}

impl Setup {
    pub(super) fn start(self) -> Running {
        let Self {
            blocks,
            seqs,
            budget,
            queue,
            stats,
            prefix_caching,
            device_draws,
        } = self;
        let cache = CacheConfig {
            block_size: BLOCK_TOKENS,
            num_blocks: blocks,
        };
        let metrics = Metrics::new("fake", 256, cache, stats);
        let runner = FakeRunner::default();
        let (fails, gate) = (Arc::clone(&runner.fails), Arc::clone(&runner.gate));
        let runner: Box<dyn Runner> = match device_draws {
            true => Box::new(Drawing::of(runner)),
            false => Box::new(runner),
        };
        let config = EngineConfig {
            max_num_seqs: seqs,
            max_num_batched_tokens: budget,
            max_queued_requests: queue,
            max_model_len: 256,
            kv_blocks: blocks,
            prefix_caching,
            eos_token_ids: vec![EOS],
            runner_type: RunnerType::Generate,
        };
        let clock = stats.then(|| Arc::new(TickingClock::default()) as Arc<dyn Clock>);
        let (handle, thread) = start(runner, config, clock, Arc::clone(&metrics)).unwrap();
        Running {
            handle,
            thread: Some(thread),
            metrics,
            fails,
            gate,
        }
    }
}

impl Running {
    pub(super) fn submit(
        &self,
        prompt: &[u32],
        params: SamplingParams,
        branches: usize,
    ) -> EventStream {
        self.handle
            .submit(self.request(prompt, params, branches))
            .unwrap()
    }

    pub(super) fn request(
        &self,
        prompt: &[u32],
        params: SamplingParams,
        branches: usize,
    ) -> GenerateRequest {
        GenerateRequest {
            id: "test".into(),
            prompt: prompt.into(),
            params,
            branches: NonZeroUsize::new(branches).unwrap(),
            cache_salt: None,
            stop: None,
            constraint: None,
            arrival: self.handle.now(),
        }
    }

    /// Ends the thread, and checks what must hold of an engine that is done.
    pub(super) fn stop(mut self) -> String {
        self.handle.stop();
        self.thread.take().unwrap().join().unwrap();
        let gauges = self.metrics.gauges();
        assert_eq!(
            (gauges.running, gauges.waiting, gauges.kv_cache_usage),
            (0, 0, 0.0)
        );
        assert_eq!(self.handle.shared.waiting.load(Ordering::Acquire), 0);
        self.metrics.render()
    }
}

pub(super) fn metric(text: &str, name: &str) -> f64 {
    let mut lines = text.lines().filter(|line| line.starts_with(name));
    lines
        .next()
        .unwrap()
        .rsplit(' ')
        .next()
        .unwrap()
        .parse()
        .unwrap()
}

/// All tokens and ends of a request, by branch.
pub(super) fn collect(mut stream: EventStream) -> Vec<(Vec<u32>, Finished)> {
    let mut branches: Vec<(Vec<u32>, Option<Finished>)> = Vec::new();
    while let Some(event) = block_on(stream.next()) {
        if branches.len() <= event.branch {
            branches.resize(event.branch + 1, (Vec::new(), None));
        }
        let (tokens, finished) = &mut branches[event.branch];
        assert!(finished.is_none(), "an event after the end");
        tokens.extend(event.token);
        *finished = event.finished.map(|finished| *finished);
    }
    branches
        .into_iter()
        .map(|(tokens, finished)| (tokens, finished.unwrap()))
        .collect()
}

pub(super) fn prompt(seed: u32, len: usize) -> Vec<u32> {
    (0..len as u32).map(|i| (seed * 31 + i * 7) % 90).collect()
}

#[test]
fn every_request_gets_its_own_tokens_whatever_the_batch_and_the_pool() {
    // 8 blocks hold 256 tokens; 64 requests of up to 110 tokens and 40 more must take turns.
    for (blocks, seqs, budget) in [(8, 8, 16), (8, 64, 64), (64, 3, 8), (200, 64, 512)] {
        let engine = Setup {
            blocks,
            seqs,
            budget,
            ..Setup::default()
        }
        .start();
        let requests: Vec<(Vec<u32>, usize, EventStream)> = (0..64u32)
            .map(|i| {
                let (prompt, count) = (prompt(i, 1 + (i as usize * 37) % 110), 1 + i as usize % 40);
                let stream = engine.submit(&prompt, SamplingParams::greedy(count), 1);
                (prompt, count, stream)
            })
            .collect();
        for (prompt, count, stream) in requests {
            let [(tokens, finished)] = collect(stream).try_into().unwrap();
            assert_eq!(tokens, expected(&prompt, count), "{blocks} {seqs} {budget}");
            assert_eq!(finished.reason, FinishReason::Length);
            assert_eq!(
                (finished.tokens.prompt, finished.tokens.completion),
                (prompt.len(), count)
            );
        }
        let text = engine.stop();
        let preempted = metric(&text, "vllm:num_preemptions_total");
        assert_eq!(
            preempted > 0.0,
            blocks == 8,
            "{blocks} {seqs} {budget}: {preempted}"
        );
        assert_eq!(
            metric(
                &text,
                "vllm:request_success_total{engine=\"0\",finished_reason=\"length\""
            ),
            64.0
        );
    }
}

#[test]
fn compute_time_of_all_requests_adds_up_to_the_busy_time() {
    let engine = Setup {
        blocks: 8,
        ..Setup::default()
    }
    .start();
    let held = engine.gate.lock().unwrap();
    let submit = |i: u32| {
        let stream = engine.submit(
            &prompt(i, 5 + i as usize * 2),
            SamplingParams::greedy(30),
            1,
        );
        (i, stream)
    };
    let mut streams = vec![submit(0)];
    while engine.handle.shared.waiting.load(Ordering::Acquire) > 0 {
        std::thread::yield_now();
    }
    streams.extend((1..24).map(submit));
    // A third hangs up: the first in its first step, the others in the queue. What it used is on the
    // bill all the same.
    streams.retain(|(i, _)| i % 3 != 0);
    drop(held);
    let mut total = Duration::ZERO;
    for (_, stream) in streams {
        for (_, finished) in collect(stream) {
            let stats = finished.stats.unwrap();
            assert_eq!(stats.prefill_time + stats.decode_time, stats.inference_time);
            assert!(stats.queued_time + stats.inference_time <= stats.e2e_latency);
            total += stats.compute_time;
        }
    }
    let text = engine.stop();
    let busy = metric(&text, "candela:engine_busy_seconds_total");
    let billed = metric(&text, "candela:request_compute_seconds_total");
    assert!(
        busy > 0.0 && (busy - billed).abs() < 1e-6,
        "busy {busy}, billed {billed}"
    );
    assert!(total.as_secs_f64() < billed);
    let aborted = metric(
        &text,
        "vllm:request_success_total{engine=\"0\",finished_reason=\"abort\"",
    );
    assert_eq!(aborted, 8.0);
}

#[test]
fn a_cancelled_request_still_says_what_it_used() {
    let engine = Setup::default().start();
    let held = engine.gate.lock().unwrap();
    let stream = engine.submit(&[1, 2], SamplingParams::greedy(200), 2);
    stream.canceller().cancel();
    drop(held);
    let ends = collect(stream);
    assert_eq!(ends.len(), 2);
    for (_, finished) in ends {
        assert_eq!(finished.reason, FinishReason::Abort);
        assert!(finished.stats.is_some());
    }
    engine.stop();
}

#[test]
fn without_a_clock_there_is_no_record() {
    let engine = Setup {
        stats: false,
        ..Setup::default()
    }
    .start();
    assert_eq!(engine.handle.now(), None);
    let [(tokens, finished)] = collect(engine.submit(&[1, 2], SamplingParams::greedy(4), 1))
        .try_into()
        .unwrap();
    assert_eq!((tokens.len(), finished.tokens.completion), (4, 4));
    assert_eq!(finished.stats, None);
    assert!(!engine.stop().contains("_total"));
}

#[test]
fn a_full_queue_refuses_all_branches_or_none() {
    let engine = Setup {
        queue: 4,
        ..Setup::default()
    }
    .start();
    let request = engine.request(&[1], SamplingParams::greedy(1), 5);
    let refused = engine.handle.submit(request).map(|_| ());
    assert_eq!(
        refused,
        Err(SubmitError::QueueFull {
            waiting: 0,
            limit: 4
        })
    );
    assert_eq!(
        collect(engine.submit(&[1], SamplingParams::greedy(1), 4)).len(),
        4
    );
    engine.stop();
}

#[test]
fn branches_of_a_seed_differ_and_are_reproduced_in_any_company() {
    let params = SamplingParams {
        temperature: 50.0,
        seed: Some(5),
        ..SamplingParams::greedy(12)
    };
    let run = |others: u32| {
        let engine = Setup {
            blocks: 16,
            ..Setup::default()
        }
        .start();
        let company: Vec<EventStream> = (0..others)
            .map(|i| engine.submit(&prompt(i, 60), SamplingParams::greedy(20), 1))
            .collect();
        let stream = engine.submit(&[3, 4], params.clone(), 3);
        let tokens: Vec<Vec<u32>> = collect(stream)
            .into_iter()
            .map(|(tokens, _)| tokens)
            .collect();
        drop(company);
        engine.stop();
        tokens
    };
    let alone = run(0);
    assert_eq!(alone.len(), 3);
    assert_ne!(alone[0], alone[1]);
    assert_eq!(alone, run(9));
}

#[test]
fn end_tokens_end_an_answer_unless_ignored_or_too_early() {
    let engine = Setup::default().start();
    let long = prompt(1, 200);
    let run = |params| -> (Vec<u32>, Finished) {
        let [branch] = collect(engine.submit(&long, params, 1)).try_into().unwrap();
        branch
    };
    let (tokens, finished) = run(SamplingParams::greedy(9));
    assert_eq!(
        (tokens, finished.reason, finished.stop),
        (vec![EOS], FinishReason::Stop, None)
    );
    let (tokens, finished) = run(SamplingParams {
        min_tokens: 4,
        ..SamplingParams::greedy(9)
    });
    assert_eq!((tokens.len(), finished.reason), (5, FinishReason::Stop));
    assert!(!tokens[..4].contains(&EOS));
    let (tokens, finished) = run(SamplingParams {
        ignore_eos: true,
        ..SamplingParams::greedy(9)
    });
    assert_eq!((tokens.len(), finished.reason), (9, FinishReason::Length));
    let own = SamplingParams {
        stop_token_ids: vec![EOS],
        ignore_eos: true,
        ..SamplingParams::greedy(9)
    };
    assert_eq!(run(own).1.stop, Some(StopCause::Token(EOS)));
    engine.stop();
}

struct StopAt(Mutex<usize>);

impl StopCheck for StopAt {
    fn push(&mut self, _: u32) -> Option<StopMatch> {
        let left = self.0.get_mut().unwrap();
        *left -= 1;
        (*left == 0).then(|| StopMatch {
            stop: "x".into(),
            text_bytes: 7,
        })
    }
}

#[test]
fn a_stop_string_ends_the_branch_in_the_same_step() {
    let engine = Setup::default().start();
    let mut request = engine.request(&[1], SamplingParams::greedy(50), 1);
    request.stop = Some(Box::new(|| Box::new(StopAt(Mutex::new(3)))));
    let [(tokens, finished)] = collect(engine.handle.submit(request).unwrap())
        .try_into()
        .unwrap();
    assert_eq!((tokens.len(), finished.tokens.completion), (3, 3));
    assert!(matches!(
        finished.stop,
        Some(StopCause::Text(StopMatch { text_bytes: 7, .. }))
    ));
    engine.stop();
}

#[test]
fn the_context_is_never_outgrown() {
    let engine = Setup::default().start();
    let params = SamplingParams {
        ignore_eos: true,
        ..SamplingParams::greedy(1000)
    };
    let [(tokens, finished)] = collect(engine.submit(&prompt(2, 250), params, 1))
        .try_into()
        .unwrap();
    assert_eq!((tokens.len(), finished.reason), (6, FinishReason::Length));
    engine.stop();
}

#[test]
fn logits_that_are_not_numbers_fail_their_own_request_only() {
    let engine = Setup::default().start();
    let good = engine.submit(&[1, 2], SamplingParams::greedy(20), 1);
    let bad = engine.submit(&[1, POISON], SamplingParams::greedy(20), 1);
    let [(tokens, finished)] = collect(bad).try_into().unwrap();
    assert_eq!((tokens.len(), finished.reason), (0, FinishReason::Error));
    assert!(finished.error.unwrap().contains("not numbers"));
    assert_eq!(collect(good)[0].0, expected(&[1, 2], 20));
    engine.stop();
}

#[test]
fn a_failed_device_ends_every_request_with_its_record_and_stops_the_engine() {
    let engine = Setup::default().start();
    let params = SamplingParams {
        ignore_eos: true,
        ..SamplingParams::greedy(200)
    };
    let held = engine.gate.lock().unwrap();
    let stream = engine.submit(&[1, 2], params, 1);
    engine.fails.store(true, Ordering::Relaxed);
    drop(held);
    let [(_, finished)] = collect(stream).try_into().unwrap();
    assert_eq!(finished.reason, FinishReason::Error);
    assert!(finished.stats.is_some());
    assert!(
        !finished.error.unwrap().contains("device is gone"),
        "internals are for the log"
    );
    let refused = engine.request(&[1], SamplingParams::greedy(1), 1);
    assert_eq!(
        engine.handle.submit(refused).map(|_| ()),
        Err(SubmitError::Stopped)
    );
    engine.stop();
}

#[test]
fn limits_that_contradict_each_other_are_refused() {
    let config = EngineConfig {
        max_num_seqs: 8,
        max_num_batched_tokens: 8,
        max_queued_requests: 8,
        max_model_len: 64,
        kv_blocks: 2,
        prefix_caching: true,
        eos_token_ids: Vec::new(),
        runner_type: RunnerType::Generate,
    };
    assert_eq!(config.check(), Ok(()));
    let error = EngineConfig {
        max_num_seqs: 9,
        ..config.clone()
    }
    .check()
    .unwrap_err();
    assert!(
        error.to_string().contains("--max-num-batched-tokens (8)"),
        "{error}"
    );
    let error = EngineConfig {
        max_model_len: 65,
        ..config
    }
    .check()
    .unwrap_err();
    assert!(error.to_string().contains("at most 64"), "{error}");
}
