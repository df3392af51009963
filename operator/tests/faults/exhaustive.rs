//! Every call and every event of one story, each hit once by each fault.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use serde_json::{Value, json};

use crate::{
    every_case,
    fake::{
        call::{Call, Key},
        faults::{Calm, Fate, Fault, Faults, Hitch, Once},
    },
    in_virtual_time,
    oracle::{RECOVERY, RECOVERY_UNTOLD, breaches, comes_to_rest},
    specs::STEP,
    world::{REST, World, fresh},
};

const FAULTS: [Fault; 9] = [
    Fault::Refuse,
    Fault::Lose,
    Fault::Conflict,
    Fault::TooMany,
    Fault::Internal,
    Fault::Hang,
    Fault::HangAfter,
    Fault::CrashBefore,
    Fault::CrashAfter,
];
const HITCHES: [Hitch; 4] = [
    Hitch::Drop,
    Hitch::Close,
    Hitch::Expire,
    Hitch::Delay(Duration::from_secs(15)),
];

/// Specifications that come one after another: children come, change and go.
fn story() -> [Value; 3] {
    let spec = |step: u32, replicas: u32, headers: bool| {
        json!({"model": {"uri": "hf://org/repo"}, "replicas": replicas,
               "stats": {"logging": true, "headers": headers, "perRequestMetrics": "Never"},
               "pod": {"annotations": {STEP: step.to_string()}}})
    };
    let mut cached = spec(1, 2, true);
    cached["cache"] = json!({"size": "10Gi", "accessModes": ["ReadWriteMany"]});
    let mut last = spec(2, 1, true);
    last["pod"]["serviceAccountName"] = json!("mine");
    [spec(0, 1, false), cached, last]
}

async fn tell(world: &mut World) {
    for spec in story() {
        world.store(&spec);
        world.pass(REST).await;
    }
}

/// Counts calls and events of the story when nothing goes wrong.
struct Counting(Arc<(AtomicUsize, AtomicUsize)>);

impl Faults for Counting {
    fn of_call(&mut self, _call: &Call) -> Fate {
        self.0.0.fetch_add(1, Ordering::Relaxed);
        Fate::default()
    }

    fn of_event(&mut self, _key: &Key) -> Option<Hitch> {
        self.0.1.fetch_add(1, Ordering::Relaxed);
        None
    }
}

fn length() -> (usize, usize) {
    let counts = Arc::new((AtomicUsize::new(0), AtomicUsize::new(0)));
    in_virtual_time(0, async {
        let mut world = World::start();
        world.fake.set_faults(Counting(Arc::clone(&counts)));
        tell(&mut world).await;
    });
    (
        counts.0.load(Ordering::Relaxed),
        counts.1.load(Ordering::Relaxed),
    )
}

async fn holds(faults: Once, bound: Duration) -> Result<(), String> {
    let shown = format!("{:?} {:?}", faults.call, faults.event);
    let mut world = World::start();
    world.fake.set_faults(faults);
    tell(&mut world).await;
    world.fake.set_faults(Calm);
    let [.., last] = story();
    let wanted = fresh(&last);
    let rested = comes_to_rest(&mut world, &wanted, bound).await;
    rested.map_err(|why| format!("{shown}: {why}"))?;
    match breaches(&world).as_slice() {
        [] => Ok(()),
        breaches => Err(format!("{shown}: {}", breaches.join("; "))),
    }
}

#[test]
fn every_call_may_fail_once_in_every_way() {
    let (calls, _) = length();
    assert!(calls > 30, "{calls}");
    let cases = calls * FAULTS.len();
    every_case(
        "every_call_may_fail_once_in_every_way",
        cases as u64,
        |case| {
            let case = usize::try_from(case).unwrap();
            let fault = FAULTS[case % FAULTS.len()];
            holds(Once::call(case / FAULTS.len(), fault), RECOVERY)
        },
    );
}

#[test]
fn every_event_of_a_watch_may_be_lost_once() {
    let (_, events) = length();
    assert!(events > 20, "{events}");
    let cases = events * HITCHES.len();
    every_case(
        "every_event_of_a_watch_may_be_lost_once",
        cases as u64,
        |case| {
            let case = usize::try_from(case).unwrap();
            let hitch = HITCHES[case % HITCHES.len()];
            let bound = if hitch == Hitch::Drop {
                RECOVERY_UNTOLD
            } else {
                RECOVERY
            };
            holds(Once::event(case / HITCHES.len(), hitch), bound)
        },
    );
}
