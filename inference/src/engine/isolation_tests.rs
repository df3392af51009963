//! What one request makes fail ends that request and no other: not those of its batch, not the engine.

use std::{sync::atomic::Ordering, time::Duration};

use super::{
    isolation::BARREN_STEPS_MAX,
    tests::{BREAK, PANIC, POISON, Setup, collect, expected, metric, prompt},
    *,
};
use crate::{
    finish_reason::FinishReason,
    sampling::{ConstraintError, SamplingParams, TokenConstraint},
};

/// Runs eight good requests beside what `bad` submits, in batches with them, and checks the good
/// ones, the books, and that the engine lives. `bad`'s own requests must fail.
fn check(name: &str, bad: impl Fn(&tests::Running) -> Vec<EventStream>) {
    for device_draws in [false, true] {
        check_on(device_draws, &format!("{name}, {device_draws}"), &bad);
    }
}

fn check_on(device_draws: bool, name: &str, bad: impl Fn(&tests::Running) -> Vec<EventStream>) {
    let setup = Setup {
        device_draws,
        ..Setup::default()
    };
    let engine = setup.start();
    let held = engine.gate.lock().unwrap();
    let good: Vec<(Vec<u32>, EventStream)> = (0..8)
        .map(|i| {
            let prompt = prompt(i, 3 + 9 * i as usize);
            let stream = engine.submit(&prompt, SamplingParams::greedy(20), 1);
            (prompt, stream)
        })
        .collect();
    let bad = bad(&engine);
    drop(held);
    let mut compute_time = Duration::ZERO;
    for stream in bad {
        for (_, finished) in collect(stream) {
            assert_eq!(finished.reason, FinishReason::Error, "{name}");
            compute_time += finished.stats.unwrap().compute_time;
        }
    }
    for (prompt, stream) in good {
        let [(tokens, finished)] = collect(stream).try_into().unwrap();
        assert_eq!(tokens, expected(&prompt, 20), "{name}");
        compute_time += finished.stats.unwrap().compute_time;
    }
    let after = engine.submit(&[1, 2], SamplingParams::greedy(3), 1);
    let [(tokens, finished)] = collect(after).try_into().unwrap();
    assert_eq!(tokens, expected(&[1, 2], 3), "{name}");
    compute_time += finished.stats.unwrap().compute_time;
    assert!(!engine.handle.is_stopped(), "{name}");
    let text = engine.stop();
    let busy = metric(&text, "candela:engine_busy_seconds_total");
    let billed = metric(&text, "candela:request_compute_seconds_total");
    assert!((busy - billed).abs() < 1e-6, "{name}: {busy}, {billed}");
    assert!((busy - compute_time.as_secs_f64()).abs() < 1e-6, "{name}");
}

#[test]
fn a_forward_pass_that_fails_ends_the_sequence_that_fails_alone() {
    for (name, token) in [("error", BREAK), ("panic", PANIC), ("NaN", POISON)] {
        check(name, |engine| {
            // In the first chunk of a prompt, in a later one, and in branches of one request.
            let long = [prompt(3, 150), vec![token]].concat();
            vec![
                engine.submit(&[1, token], SamplingParams::greedy(5), 1),
                engine.submit(&long, SamplingParams::greedy(5), 1),
                engine.submit(&[token, 7, 8], SamplingParams::greedy(5), 3),
            ]
        });
    }
}

struct Panics(&'static str);

impl StopCheck for Panics {
    fn push(&mut self, _: u32) -> Option<StopMatch> {
        panic!("a stop check panics")
    }
}

impl TokenConstraint for Panics {
    fn allowed(&mut self) -> Result<&[u32], ConstraintError> {
        assert!(self.0 != "mask", "a mask panics");
        Ok(&[u32::MAX; 4])
    }

    fn accept(&mut self, _: u32) -> Result<(), ConstraintError> {
        assert!(self.0 != "accept", "accepting panics");
        Err(ConstraintError("no token may follow".to_owned()))
    }
}

#[test]
fn what_runs_for_one_request_may_panic_without_harm() {
    check("stop check", |engine| {
        let mut request = engine.request(&[1], SamplingParams::greedy(5), 2);
        request.stop = Some(Box::new(|| Box::new(Panics(""))));
        vec![engine.handle.submit(request).unwrap()]
    });
    check("making a stop check", |engine| {
        let mut request = engine.request(&[1], SamplingParams::greedy(5), 2);
        request.stop = Some(Box::new(|| panic!("making a stop check panics")));
        vec![engine.handle.submit(request).unwrap()]
    });
    check("making a constraint", |engine| {
        let mut request = engine.request(&[1], SamplingParams::greedy(5), 2);
        request.constraint = Some(Box::new(|| panic!("making a constraint panics")));
        vec![engine.handle.submit(request).unwrap()]
    });
    for what in ["mask", "accept", "an error"] {
        check(what, |engine| {
            let mut request = engine.request(&[1], SamplingParams::greedy(5), 2);
            request.constraint = Some(Box::new(move || Box::new(Panics(what))));
            vec![engine.handle.submit(request).unwrap()]
        });
    }
}

#[test]
fn blocks_of_a_failed_prompt_are_not_kept_for_others() {
    let engine = Setup::default().start();
    // Its first two blocks are computed before the third makes it fail.
    let bad = [prompt(5, 64), vec![BREAK]].concat();
    let [(_, finished)] = collect(engine.submit(&bad, SamplingParams::greedy(1), 1))
        .try_into()
        .unwrap();
    assert_eq!(finished.reason, FinishReason::Error);
    let good = prompt(5, 70);
    let [(tokens, finished)] = collect(engine.submit(&good, SamplingParams::greedy(5), 1))
        .try_into()
        .unwrap();
    assert_eq!(tokens, expected(&good, 5));
    assert_eq!(finished.tokens.cached, 0);
    engine.stop();
}

#[test]
fn poison_alone_does_not_stop_the_engine_until_nothing_else_gets_through() {
    let engine = Setup::default().start();
    let poison = |engine: &tests::Running| {
        let stream = engine.submit(&[PANIC], SamplingParams::greedy(1), 1);
        assert_eq!(collect(stream)[0].1.reason, FinishReason::Error);
    };
    for _ in 0..3 {
        (1..BARREN_STEPS_MAX).for_each(|_| poison(&engine));
        let good = engine.submit(&[1], SamplingParams::greedy(1), 1);
        assert_eq!(collect(good)[0].0, expected(&[1], 1));
    }
    (0..BARREN_STEPS_MAX).for_each(|_| poison(&engine));
    while !engine.handle.is_stopped() {
        std::thread::yield_now();
    }
    engine.stop();
}

#[test]
fn a_device_that_fails_its_probe_stops_the_engine_at_once() {
    let engine = Setup::default().start();
    engine.fails.store(true, Ordering::Relaxed);
    let streams: Vec<EventStream> = (0..4)
        .filter_map(|_| {
            let request = engine.request(&[1, 2], SamplingParams::greedy(9), 1);
            engine.handle.submit(request).ok()
        })
        .collect();
    for stream in streams {
        assert_eq!(collect(stream)[0].1.reason, FinishReason::Error);
    }
    assert!(engine.handle.is_stopped());
    engine.stop();
}
