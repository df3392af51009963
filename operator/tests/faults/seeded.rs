//! Random runs: specifications, disturbances and faults all follow from one seed.

use std::time::Duration;

use fastrand::Rng;
use serde_json::json;

use crate::{
    every_case,
    fake::faults::{Calm, Seeded},
    in_virtual_time, number,
    oracle::{RECOVERY_UNTOLD, breaches, comes_to_rest},
    specs,
    world::{IMAGE, NAME, World, fresh},
};

/// Runs if `CANDELA_FAULT_RUNS` does not say.
const RUNS: u64 = 400;

#[test]
fn random_faults_are_recovered_from() {
    let runs = number("CANDELA_FAULT_RUNS").unwrap_or(RUNS);
    every_case(
        "random_faults_are_recovered_from",
        runs,
        |seed| async move {
            let mut world = run(seed).await;
            judge(&mut world, seed).await
        },
    );
}

#[test]
fn a_seed_decides_a_run_entirely() {
    for seed in [3, 14, 15] {
        let log = |seed| {
            in_virtual_time(seed, async move {
                let start = tokio::time::Instant::now();
                let world = run(seed).await;
                let calls = world.fake.calls();
                let line = |call: &crate::fake::Seen| {
                    let name = if call.resource == "events" {
                        ""
                    } else {
                        &call.name
                    };
                    format!(
                        "{:?} {} {} {name}",
                        call.at - start,
                        call.verb.as_str(),
                        call.resource
                    )
                };
                calls.iter().map(line).collect::<Vec<_>>()
            })
        };
        let (first, second) = (log(seed), log(seed));
        let differs = first.iter().zip(&second).position(|(a, b)| a != b);
        if let Some(at) = differs {
            let around = |log: &[String]| log[at.saturating_sub(12)..=at].join("\n");
            panic!("seed {seed}:\n{}\nand\n{}", around(&first), around(&second));
        }
        assert_eq!(first.len(), second.len(), "seed {seed}");
    }
}

/// Everything up to the last fault. The last specification can be carried out.
async fn run(seed: u64) -> World {
    let mut random = Rng::with_seed(seed);
    let mut world = World::start();
    world.fake.set_faults(Seeded::new(random.u64(..)));
    for step in 0..random.usize(1..5) {
        let spec = match random.u8(0..8) {
            0 => specs::invalid(&mut random),
            1 => specs::stuck(&mut random, step),
            _ => specs::valid(&mut random, step, false),
        };
        world.store(&spec);
        let pause = pause(&mut random);
        world.pass(pause).await;
        disturb(&mut world, &mut random).await;
    }
    world.store(&last(seed));
    let pause = pause(&mut random);
    world.pass(pause).await;
    world.fake.set_faults(Calm);
    world
}

/// The specification that a run ends with.
fn last(seed: u64) -> serde_json::Value {
    specs::valid(&mut Rng::with_seed(!seed), 100, false)
}

async fn judge(world: &mut World, seed: u64) -> Result<(), String> {
    let wanted = fresh(&last(seed));
    comes_to_rest(world, &wanted, RECOVERY_UNTOLD).await?;
    match breaches(world).as_slice() {
        [] => Ok(()),
        breaches => Err(breaches
            .iter()
            .take(4)
            .cloned()
            .collect::<Vec<_>>()
            .join("; ")),
    }
}

/// From quick edits to long rests.
fn pause(random: &mut Rng) -> Duration {
    let longest = [200, 5_000, 60_000][random.usize(0..3)];
    Duration::from_millis(random.u64(0..longest))
}

/// Something that somebody does, or that happens to the cluster.
async fn disturb(world: &mut World, random: &mut Rng) {
    const CHILDREN: [&str; 4] = [
        "Deployment",
        "Service",
        "ServiceAccount",
        "PodDisruptionBudget",
    ];
    let fake = world.fake.clone();
    match random.u8(0..10) {
        0 => fake.remove(CHILDREN[random.usize(0..CHILDREN.len())], NAME, "somebody"),
        1 => fake.edit("Deployment", NAME, "somebody", |child| {
            child["spec"]["replicas"] = json!(9)
        }),
        2 => fake.edit("Service", NAME, "somebody", |child| {
            child["spec"]["ports"][0]["targetPort"] = json!("elsewhere");
        }),
        3 => world.restart(IMAGE),
        4 => fake.compact(),
        5 => {
            fake.set_down(true);
            let outage = Duration::from_secs(random.u64(1..600));
            world.pass(outage).await;
            fake.set_down(false);
        }
        6 if fake.get("PodDisruptionBudget", NAME).is_none() => {
            let theirs = json!({"metadata": {"name": NAME}, "spec": {"maxUnavailable": 0}});
            fake.put("PodDisruptionBudget", theirs, "somebody");
            let while_there = pause(random);
            world.pass(while_there).await;
            fake.remove("PodDisruptionBudget", NAME, "somebody");
        }
        _ => {}
    }
}
