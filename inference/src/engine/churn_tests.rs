//! Clients that hang up, ten thousand of them, in every phase: a step after the last one is gone the
//! engine holds nothing. The steps are taken one by one, so that "a step" is one.

use std::{
    num::NonZeroUsize,
    sync::{Arc, atomic::Ordering},
};

use futures::executor::block_on;

use super::{
    handle::Listener,
    sequence::Request,
    step::Engine,
    test_random::{Random, check_cases},
    *,
};
use crate::{
    finish_reason::FinishReason,
    sampling::{Logits, SamplingParams},
    stats::CacheConfig,
};

const DISCONNECTS: usize = 10_000;
/// Enough that a round of clients fills them and some are preempted.
const BLOCKS: usize = 24;

/// Any token, always the same: what is generated does not matter here.
struct OneToken;

impl Runner for OneToken {
    fn forward(&mut self, batch: &Batch, logits: &mut Logits) -> Result<(), RunnerError> {
        logits.vocab = 4;
        logits.data = [0.0, 1.0, 0.0, 0.0].repeat(batch.logits_idx.len());
        Ok(())
    }
}

fn engine() -> Engine {
    let config = EngineConfig {
        max_num_seqs: 8,
        max_num_batched_tokens: 48,
        max_queued_requests: 256,
        max_model_len: 256,
        kv_blocks: BLOCKS,
        prefix_caching: true,
        eos_token_ids: Vec::new(),
        runner_type: crate::engine::RunnerType::Generate,
    };
    let cache = CacheConfig {
        block_size: BLOCK_TOKENS,
        num_blocks: BLOCKS,
    };
    let metrics = Metrics::new("fake", 256, cache, true);
    let clock = Arc::new(MonotonicClock::start());
    Engine::new(Box::new(OneToken), config, Some(clock), metrics)
}

fn request(random: &mut Random) -> GenerateRequest {
    let prompt: Vec<u32> = (0..random.between(1, 120)).map(|i| i as u32 % 4).collect();
    GenerateRequest {
        id: "churn".into(),
        prompt: prompt.into(),
        params: SamplingParams::greedy(random.between(1, 100)),
        branches: NonZeroUsize::new(random.between(1, 3)).unwrap(),
        cache_salt: None,
        stop: None,
        constraint: None,
        arrival: None,
    }
}

#[test]
fn ten_thousand_hang_ups_leave_nothing_behind_after_a_step() {
    check_cases(1, hang_ups);
}

fn hang_ups(random: &mut Random) {
    let mut engine = engine();
    let (mut gone, mut phases) = (0, [0usize; 3]);
    while gone < DISCONNECTS {
        let mut clients = Vec::new();
        // Clients come and go while the engine steps, so they go while waiting, in the middle of a
        // prompt, between tokens and after their end.
        for _ in 0..random.between(1, 24) {
            let request = request(random);
            let (listener, stream) = Listener::new();
            engine.count_waiting(request.branches.get());
            engine.queue(request, listener);
            clients.push(stream);
            for _ in 0..random.below(4) {
                engine.step().unwrap();
            }
            if random.chance(40) {
                drop(clients.swap_remove(random.below(clients.len())));
                gone += 1;
            }
        }
        while random.chance(95) && engine.load() != (0, 0) {
            engine.step().unwrap();
        }
        let (waiting, running) = engine.load();
        phases[0] += waiting;
        phases[1] += running;
        phases[2] += usize::from(waiting + running == 0);
        gone += clients.len();
        drop(clients);
        engine.step().unwrap();
        assert_eq!(engine.load(), (0, 0));
        assert_eq!(engine.scheduler.pool.holds(), 0);
        assert_eq!(engine.count_waiting(0), 0);
    }
    assert!(phases.iter().all(|&seen| seen > 0), "{phases:?}");
}

#[test]
fn a_pool_of_eight_blocks_serves_sixty_four_requests_and_the_oldest_always_moves() {
    check_cases(8, eight_blocks);
}

fn eight_blocks(random: &mut Random) {
    let config = EngineConfig {
        max_num_seqs: 64,
        max_num_batched_tokens: 64,
        max_queued_requests: 64,
        max_model_len: 256,
        kv_blocks: 8,
        prefix_caching: random.chance(50),
        eos_token_ids: Vec::new(),
        runner_type: crate::engine::RunnerType::Generate,
    };
    let cache = CacheConfig {
        block_size: BLOCK_TOKENS,
        num_blocks: 8,
    };
    let metrics = Metrics::new("fake", 256, cache, true);
    let mut engine = Engine::new(Box::new(OneToken), config, None, metrics);
    let mut streams = Vec::new();
    for _ in 0..64 {
        let request = GenerateRequest {
            branches: NonZeroUsize::MIN,
            ..request(random)
        };
        let (listener, stream) = Listener::new();
        engine.count_waiting(1);
        engine.queue(request, listener);
        streams.push(stream);
    }
    let mut oldest = None;
    while engine.load() != (0, 0) {
        engine.step().unwrap();
        let now = engine.oldest();
        // Nobody is left, the same sequence has put tokens through, or another is the oldest now.
        assert!(now.is_none() || now != oldest, "the oldest stood still");
        oldest = now;
    }
    for mut stream in streams {
        let mut finished = None;
        while let Some(event) = block_on(stream.next()) {
            finished = event.finished;
        }
        let reason = finished.map(|finished| finished.reason);
        assert_eq!(reason, Some(FinishReason::Length));
    }
}

impl Engine {
    /// Counts branches as submitted, as a handle does; returns how many wait for their first step.
    fn count_waiting(&self, branches: usize) -> usize {
        let waiting = &self.shared.waiting;
        waiting.fetch_add(branches, Ordering::AcqRel) + branches
    }

    /// Sequences that wait, and that run.
    fn load(&self) -> (usize, usize) {
        (self.scheduler.waiting.len(), self.scheduler.running.len())
    }

    /// The sequence that came first, and how far it is.
    fn oldest(&self) -> Option<(*const Request, usize)> {
        let first = self.scheduler.running.first()?;
        Some((Arc::as_ptr(&first.request), first.computed))
    }
}
