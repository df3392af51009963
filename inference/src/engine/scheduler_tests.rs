//! The scheduler, with its pool and its prefix cache, beside the reference model: after every plan and
//! every step both have the same sequences in the same states, the same tables, and the same free blocks
//! in the same order, which is the order of eviction. Hashes collide most of the time.

use std::{
    num::NonZeroUsize,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use super::{
    handle::Listener,
    kv::{BlockPool, ChainHasher},
    reference::{Branch, Reference},
    request::GenerateRequest,
    scheduler::Scheduler,
    sequence::{Sequence, branches},
    test_random::{Colliding, Random, check_cases, texts},
};
use crate::{model::runner::blocks_for, sampling::SamplingParams};

const CASES: u64 = 100_000;

/// Both, and what is to come.
struct Pair {
    real: Scheduler<Colliding>,
    reference: Reference,
    texts: Vec<Vec<u32>>,
    /// Tokens at which the sequences of a request end.
    ends: Vec<usize>,
    /// Tokens of all sequences at their ends: with a token a step these are enough steps.
    steps_max: usize,
}

/// How often what makes the cases interesting happened in them all.
#[derive(Default)]
struct Seen {
    preemptions: AtomicUsize,
    cached_tokens: AtomicUsize,
    shared_blocks: AtomicUsize,
}

impl Pair {
    fn new(random: &mut Random) -> Self {
        let (blocks, places) = (random.between(2, 12), random.between(1, 5));
        let budget = places.max(random.between(1, 90));
        let caching = random.chance(90);
        let hasher = caching.then(|| ChainHasher::with_hasher(Colliding));
        Self {
            real: Scheduler::new(blocks, places, budget, hasher),
            reference: Reference::new(blocks, places, budget, caching),
            texts: texts(random, blocks.min(6)),
            ends: Vec::new(),
            steps_max: 0,
        }
    }

    fn submit(&mut self, random: &mut Random) {
        let text = &self.texts[random.below(self.texts.len())];
        let prompt = &text[..random.between(1, text.len() - 1)];
        let end = text.len().min(prompt.len() + random.between(1, 90));
        let salt = [None, None, None, Some("a"), Some("b")][random.below(5)];
        let count = [1, 1, 1, 2, 3][random.below(5)];
        let request = self.ends.len();
        self.ends.push(end);
        self.steps_max += count * end;
        let generate = GenerateRequest {
            id: request.to_string().into(),
            prompt: prompt.into(),
            params: SamplingParams::greedy(end),
            branches: NonZeroUsize::new(count).unwrap(),
            cache_salt: salt.map(Arc::from),
            stop: None,
            constraint: None,
            arrival: None,
        };
        let (listener, _) = Listener::new();
        self.real
            .enqueue(branches(generate, listener, &[], 0, None));
        let branch = |number| Branch {
            request,
            number,
            salt,
            prompt: prompt.len(),
            tokens: prompt.to_vec(),
            ..Branch::default()
        };
        self.reference.waiting.extend((0..count).map(branch));
    }

    fn cancel(&mut self, random: &mut Random) {
        let request = random.below(self.ends.len().max(1));
        self.real.take_where(|s| request_of(s) == request);
        self.reference.cancel(request);
    }

    /// A step, up to where each sequence has its next token or its end.
    fn step(&mut self, random: &mut Random, seen: &Seen) {
        let preempted = self.real.schedule();
        assert_eq!(preempted, self.reference.schedule(), "preempted");
        seen.preemptions.fetch_add(preempted, Ordering::Relaxed);
        self.compare();
        let mut at = 0;
        while at < self.real.running.len() {
            let samples = self.real.running[at].samples();
            let failed = samples && random.chance(1);
            if !failed {
                self.real.advance(at);
                self.reference.advance(at);
            }
            if failed || samples && self.take_token(random, at) {
                let sequence = self.real.take_running(at, failed);
                seen.cached_tokens
                    .fetch_add(sequence.cached_tokens, Ordering::Relaxed);
                self.reference.finish(at, failed);
            } else {
                at += 1;
            }
        }
        self.compare();
        let held: usize = self.real.pool.holds();
        let used = self.reference.running.iter().flat_map(|b| &b.blocks);
        let distinct: std::collections::BTreeSet<_> = used.collect();
        seen.shared_blocks
            .fetch_add(held - distinct.len(), Ordering::Relaxed);
    }

    /// Gives a sequence the text's next token, or another one; true: it is done.
    fn take_token(&mut self, random: &mut Random, at: usize) -> bool {
        let sequence = &mut self.real.running[at];
        let text = &self.texts[random.below(self.texts.len())];
        sequence.tokens.push(text[sequence.tokens.len()]);
        self.reference.running[at].tokens = sequence.tokens.clone();
        sequence.tokens.len() >= self.ends[request_of(sequence)]
    }

    fn compare(&self) {
        for (real, expected) in [
            (
                self.real.running.iter().collect::<Vec<_>>(),
                &self.reference.running,
            ),
            (self.real.waiting.iter().collect(), &self.reference.waiting),
        ] {
            assert_eq!(real.len(), expected.len());
            for (real, expected) in real.into_iter().zip(expected) {
                compare_sequence(real, expected);
            }
        }
        assert_eq!(
            self.real.pool.free_blocks(),
            self.reference.free,
            "eviction"
        );
    }
}

fn request_of(sequence: &Sequence) -> usize {
    sequence.request.id.parse().unwrap()
}

fn compare_sequence(real: &Sequence, expected: &Branch) {
    let Branch {
        request,
        number,
        salt: _,
        prompt: _,
        tokens,
        computed,
        scheduled,
        blocks,
        cached_tokens,
        preemptions,
    } = expected;
    assert_eq!(
        (request_of(real), real.branch),
        (*request, *number),
        "order"
    );
    assert_eq!(
        (
            real.scheduled,
            real.computed,
            real.cached_tokens,
            real.preemptions as usize
        ),
        (*scheduled, *computed, *cached_tokens, *preemptions),
        "tokens scheduled, computed and cached, and preemptions of {request}/{number}"
    );
    assert_eq!(&real.tokens, tokens);
    assert_eq!(real.table.blocks(), blocks, "blocks of {request}/{number}");
}

#[test]
fn scheduler_pool_and_prefix_cache_do_what_the_reference_does_and_nobody_starves() {
    let seen = Seen::default();
    check_cases(CASES, |random| {
        let mut pair = Pair::new(random);
        let requests = random.between(1, 6);
        let mut busy_steps = 0;
        while pair.ends.len() < requests || !pair.real.is_idle() {
            if pair.ends.len() < requests && random.chance(40) {
                pair.submit(random);
            }
            if random.chance(2) {
                pair.cancel(random);
            }
            busy_steps += usize::from(!pair.real.is_idle());
            pair.step(random, &seen);
            assert!(busy_steps <= pair.steps_max, "somebody starves");
        }
        pair.real.pool.check(&[]);
        assert_eq!(pair.real.pool.usage(), 0.0);
    });
    let seen = [seen.preemptions, seen.cached_tokens, seen.shared_blocks];
    println!("preemptions, cached tokens, shared blocks: {seen:?}");
    if std::env::var_os("CANDELA_TEST_SEED").is_none() {
        seen.iter()
            .for_each(|seen| assert!(seen.load(Ordering::Relaxed) > 1_000));
    }
}

/// A scheduler of so many blocks, with two branches of a request of 95 tokens.
fn with_two_branches(blocks: usize) -> Scheduler<Colliding> {
    let hasher = Some(ChainHasher::with_hasher(Colliding));
    let mut scheduler = Scheduler::new(blocks, 2, 2, hasher);
    let generate = GenerateRequest {
        id: "0".into(),
        prompt: (0..95).collect(),
        params: SamplingParams::greedy(1),
        branches: NonZeroUsize::new(2).unwrap(),
        cache_salt: None,
        stop: None,
        constraint: None,
        arrival: None,
    };
    let (listener, _) = Listener::new();
    scheduler.enqueue(branches(generate, listener, &[], 0, None));
    scheduler
}

#[test]
fn the_longest_sequence_that_the_pool_holds_is_served() {
    let mut scheduler = with_two_branches(3);
    let mut ended = 0;
    for _ in 0..200 {
        scheduler.schedule();
        for at in (0..scheduler.running.len()).rev() {
            let samples = scheduler.running[at].samples();
            scheduler.advance(at);
            let sequence = &mut scheduler.running[at];
            if samples {
                sequence.tokens.push(1);
            }
            if sequence.tokens.len() == 97 {
                assert_eq!(sequence.table.blocks().len(), blocks_for(96));
                scheduler.take_running(at, false);
                ended += 1;
            }
        }
    }
    assert!(ended == 2 && scheduler.is_idle());
}

/// Branches of a request of 200 tokens, scored or not.
fn of_200_tokens(id: &str, first: u32, count: usize, scored: bool) -> Vec<Sequence> {
    let generate = GenerateRequest {
        id: id.into(),
        prompt: (first..first + 200).collect(),
        params: SamplingParams {
            prompt_logprobs: scored.then_some(0),
            ..SamplingParams::greedy(9)
        },
        branches: NonZeroUsize::new(count).unwrap(),
        cache_salt: None,
        stop: None,
        constraint: None,
        arrival: None,
    };
    let (listener, _) = Listener::new();
    branches(generate, listener, &[], 0, None)
}

#[test]
fn who_waits_for_rows_or_scores_holds_up_nobody_behind_it() {
    let hasher = Some(ChainHasher::with_hasher(Colliding));
    let mut scheduler = Scheduler::new(100, 8, 512, hasher);
    scheduler.enqueue(of_200_tokens("0", 0, 2, true));
    scheduler.enqueue(of_200_tokens("1", 1_000, 1, true));
    scheduler.enqueue(of_200_tokens("2", 2_000, 1, false));
    let scheduled = |scheduler: &mut Scheduler<Colliding>| -> Vec<usize> {
        scheduler.schedule();
        let scheduled = scheduler.running.iter().map(|s| s.scheduled).collect();
        (0..scheduler.running.len()).for_each(|at| scheduler.advance(at));
        scheduled
    };
    assert_eq!(scheduled(&mut scheduler), [64, 0, 0, 200]);
    assert_eq!(scheduled(&mut scheduler)[..3], [64, 0, 0]);
    assert_eq!(scheduled(&mut scheduler)[..3], [64, 0, 0]);
    // What is left needs 7 rows, and as many as there are go to the next prompt.
    assert_eq!(scheduled(&mut scheduler)[..3], [8, 0, 57]);
    scheduler.running[0].prompt_scores = None;
    scheduler.running[0].tokens.push(1);
    assert_eq!(scheduled(&mut scheduler)[..3], [1, 8, 64]);
    assert_eq!(scheduler.running[1].cached_tokens, 192);
}

#[test]
fn sequences_can_be_taken_out_after_a_panic_whatever_the_pool_says() {
    let mut scheduler = with_two_branches(4);
    scheduler.schedule();
    scheduler.pool = BlockPool::new(4);
    scheduler.abandon_blocks();
    assert_eq!(scheduler.take_where(|_| true).len(), 2);
    assert_eq!(scheduler.pool.usage(), 0.0);
}
