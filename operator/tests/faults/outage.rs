//! Long faults: an API server that is away, or that refuses everything in one way. The operator asks seldom, at times
//! that do not line up, and is back soon after.

use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;

use crate::{
    fake::{
        call::Call,
        faults::{Calm, Fate, Fault, Faults},
    },
    in_virtual_time,
    oracle::{RECOVERY, breaches, comes_to_rest},
    specs::STEP,
    world::{NAME, OPERATOR, REST, World, fresh},
};

/// How long the server is away.
const OUTAGE: Duration = Duration::from_secs(10 * 60);
/// Most calls in one minute of an outage, once it has lasted for one: eight watches that are told to come back in a second
/// make most of them.
const CALLS_PER_MINUTE_MAX: usize = 200;

/// Every call fails in the same way.
struct Always(Fault);

impl Faults for Always {
    fn of_call(&mut self, _call: &Call) -> Fate {
        Fate {
            fault: Some(self.0),
            ..Fate::default()
        }
    }
}

fn spec(step: u32) -> serde_json::Value {
    json!({"model": {"uri": "builtin://demo"}, "replicas": 2,
           "pod": {"annotations": {STEP: step.to_string()}}})
}

/// When the operator called since `from`.
fn calls(world: &World, from: Instant) -> Vec<Duration> {
    let calls = world.fake.calls();
    let ours = calls
        .iter()
        .filter(|call| call.by == OPERATOR && call.at >= from);
    ours.map(|call| call.at - from).collect()
}

/// The most calls in any minute after the first.
fn busiest(calls: &[Duration]) -> usize {
    let minute = Duration::from_secs(60);
    let late: Vec<Duration> = calls.iter().copied().filter(|at| *at >= minute).collect();
    (0..late.len())
        .map(|at| late[at..].partition_point(|later| *later < late[at] + minute))
        .max()
        .unwrap_or(0)
}

/// Begins an outage by `begin` in the midst of work, and says when the operator called in it.
async fn outage(world: &mut World, begin: impl FnOnce(&World)) -> Vec<Duration> {
    world.store(&spec(0));
    world.pass(REST).await;
    world.store(&spec(1));
    let from = Instant::now();
    begin(world);
    world.pass(Duration::from_secs(60)).await;
    world.store(&spec(2));
    // Watches may show what cannot be written, so there is something to try.
    world.pass(OUTAGE).await;
    calls(world, from)
}

async fn is_back(world: &mut World) {
    let wanted = fresh(&spec(2));
    comes_to_rest(world, &wanted, RECOVERY).await.unwrap();
    assert_eq!(breaches(world), [""; 0]);
}

#[test]
fn a_server_that_is_away_for_ten_minutes_is_asked_seldom_and_not_in_step() {
    let run = |seed| {
        in_virtual_time(seed, async {
            let mut world = World::start();
            let calls = outage(&mut world, |world| world.fake.set_down(true)).await;
            world.fake.set_down(false);
            is_back(&mut world).await;
            calls
        })
    };
    let (first, second) = (run(1), run(2));
    assert!(
        busiest(&first) <= CALLS_PER_MINUTE_MAX,
        "{}",
        busiest(&first)
    );
    assert!(first.len() > 10, "{}", first.len());
    assert_ne!(first, second, "waits are random");
}

#[test]
fn a_server_that_refuses_everything_is_asked_seldom() {
    for fault in Fault::PLAIN {
        in_virtual_time(1, async {
            let mut world = World::start();
            let calls = outage(&mut world, |world| world.fake.set_faults(Always(fault))).await;
            world.fake.set_faults(Calm);
            assert!(
                busiest(&calls) <= CALLS_PER_MINUTE_MAX,
                "{fault:?}: {}",
                busiest(&calls)
            );
            is_back(&mut world).await;
        });
    }
}

/// Writes of one resource fail, and nothing else.
struct Writes(&'static str, Fault);

impl Faults for Writes {
    fn of_call(&mut self, call: &Call) -> Fate {
        let fails = call.verb.is_write() && call.resource() == self.0;
        Fate {
            fault: fails.then_some(self.1),
            ..Fate::default()
        }
    }
}

#[test]
fn a_write_that_always_fails_is_tried_seldom_and_told_when_it_works_again() {
    let resources = [
        "deployments",
        "services",
        "serviceaccounts",
        "poddisruptionbudgets",
        "inferenceservices/status",
        "events",
    ];
    for resource in resources {
        for fault in [Fault::Conflict, Fault::Internal, Fault::Lose, Fault::Hang] {
            in_virtual_time(2, async {
                let mut world = World::start();
                world.fake.set_faults(Writes(resource, fault));
                let from = Instant::now();
                world.store(&spec(0));
                world.pass(OUTAGE).await;
                let busiest = busiest(&calls(&world, from));
                assert!(
                    busiest <= CALLS_PER_MINUTE_MAX,
                    "{resource} {fault:?}: {busiest}"
                );
                world.fake.set_faults(Calm);
                let wanted = fresh(&spec(0));
                let rested = comes_to_rest(&mut world, &wanted, RECOVERY).await;
                assert_eq!(rested, Ok(()), "{resource} {fault:?}");
                assert!(world.fake.get("Deployment", NAME).is_some());
            });
        }
    }
}
