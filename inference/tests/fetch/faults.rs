//! A hub and processes that fail in the middle of it.

use crate::{
    hub::{Fault, Hub},
    hub_pull::{MODEL, WEIGHTS, hub},
    program::{Machine, Running, length, until},
};

const SIZE: u64 = 400_000;
const HALF: usize = 200_000;

#[test]
fn a_failing_hub_is_asked_again_for_what_is_missing() {
    let hub = hub();
    hub.fail(
        WEIGHTS,
        &[Fault::Cut(HALF), Fault::Status(503), Fault::Cut(0)],
    );
    hub.fail("config.json", &[Fault::Status(500)]);
    hub.fail("tokenizer.json", &[Fault::Flip(7)]);
    let machine = Machine::with_hub(&hub);
    let outcome = machine.pull(MODEL, &[]);
    assert!(outcome.status.success(), "{}", outcome.log);
    let log = outcome.log;
    assert!(
        log.contains("tokenizer.json: arrived damaged 1 times: its SHA-256"),
        "{log}"
    );
    assert!(log.contains("503"), "{log}");
    // A byte may be on its way when the connection breaks, but no part comes twice.
    let served = hub.served(WEIGHTS);
    assert!((SIZE..SIZE + HALF as u64 / 2).contains(&served), "{served}");
    assert_eq!(hub.served("tokenizer.json"), 2 * 20_000);
    let folder = machine.pulled(MODEL);
    for name in [WEIGHTS, "tokenizer.json", "config.json"] {
        assert_eq!(
            std::fs::read(folder.join(name)).unwrap(),
            hub.file(name),
            "{name}"
        );
    }
}

#[test]
fn a_hub_that_falls_silent_is_given_up_in_time() {
    let hub = hub();
    hub.fail(WEIGHTS, &[Fault::Stall(HALF)]);
    let machine = Machine::with_hub(&hub).set("HF_HUB_DOWNLOAD_TIMEOUT", "1");
    let outcome = machine.pull(MODEL, &[]);
    assert!(outcome.status.success(), "{}", outcome.log);
    assert!(outcome.log.contains("timed out"), "{}", outcome.log);
    assert_eq!(hub.served(WEIGHTS), SIZE);
}

/// A download that has half of the weights, and waits for the rest.
fn half_pulled() -> (Hub, Machine, Running) {
    let hub = hub();
    hub.fail(WEIGHTS, &[Fault::Stall(HALF)]);
    let machine = Machine::with_hub(&hub);
    let running = machine.start(&["pull", MODEL]);
    let partial = machine.partial(&hub, WEIGHTS);
    until("half of it is here", || length(&partial) == HALF as u64);
    (hub, machine, running)
}

#[test]
fn a_killed_download_goes_on_where_it_stopped() {
    let (hub, machine, first) = half_pulled();
    first.kill();
    // What is unfinished is no model.
    assert!(
        !machine
            .cache()
            .join("hf/org/model")
            .join(hub.commit())
            .exists()
    );
    hub.seen();
    let folder = machine.pulled(MODEL);
    assert_eq!(
        std::fs::read(folder.join(WEIGHTS)).unwrap(),
        hub.file(WEIGHTS)
    );
    assert_eq!(hub.served(WEIGHTS), SIZE);
    let ranges: Vec<_> = hub
        .seen()
        .into_iter()
        .filter_map(|seen| seen.range)
        .collect();
    assert!(ranges.iter().all(|range| range == "bytes=200000-") && !ranges.is_empty());
    assert_eq!(hub.served("tokenizer.json"), 20_000);
}

#[test]
fn of_two_that_want_the_same_one_downloads() {
    let (hub, machine, first) = half_pulled();
    let second = machine.start(&["pull", MODEL]);
    until("the second has asked what main is", || {
        hub.seen().iter().any(|seen| seen.line.contains("revision"))
    });
    hub.release();
    let outcomes = [first.end(), second.end()];
    for outcome in &outcomes {
        assert!(outcome.status.success(), "{}", outcome.log);
    }
    assert_eq!(outcomes[0].stdout, outcomes[1].stdout);
    assert!(
        outcomes[1].log.contains("another process downloads it")
            || outcomes[1].log.contains("found in the cache"),
        "{}",
        outcomes[1].log
    );
    assert_eq!(hub.served(WEIGHTS), SIZE);
}

#[test]
fn one_that_waits_takes_over_when_the_other_is_killed() {
    let (hub, machine, first) = half_pulled();
    hub.seen();
    let second = machine.start(&["pull", MODEL]);
    until("the second has asked what main is", || {
        hub.seen().iter().any(|seen| seen.line.contains("revision"))
    });
    first.kill();
    let outcome = second.end();
    assert!(outcome.status.success(), "{}", outcome.log);
    assert!(
        outcome.log.contains("continuing a download"),
        "{}",
        outcome.log
    );
    assert_eq!(hub.served(WEIGHTS), SIZE);
}
