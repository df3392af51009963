//! Random walks through specifications, without faults: every way to one leads to what a fresh cluster makes of it.

use fastrand::Rng;
use serde_json::Value;

use crate::{
    every_case, number,
    oracle::{breaches, difference},
    specs,
    world::{REST, World, fresh},
};

/// Walks if `CANDELA_WALKS` does not say.
const WALKS: u64 = 1000;

#[test]
fn any_walk_to_a_specification_equals_a_fresh_start() {
    let walks = number("CANDELA_WALKS").unwrap_or(WALKS);
    every_case(
        "any_walk_to_a_specification_equals_a_fresh_start",
        walks,
        |seed| async move {
            let mut random = Rng::with_seed(seed);
            let mut world = World::start();
            let mut cache = Value::Null;
            for step in 0..random.usize(2..6) {
                if random.u8(0..4) == 0 {
                    world.store(&specs::invalid(&mut random));
                    world.pass(REST).await;
                    let (accepted, reason) = world.condition("Accepted");
                    if accepted != "False" {
                        return Err(format!(
                            "step {step}: Accepted is {accepted} ({reason}) for an invalid specification"
                        ));
                    }
                    continue;
                }
                if random.u8(0..6) == 0 {
                    world.store(&specs::stuck(&mut random, step));
                    world.pass(REST).await;
                    cache = Value::Null;
                    continue;
                }
                let spec = next(&mut random, step, &cache);
                cache = spec["cache"].clone();
                world.store(&spec);
                world.pass(REST).await;
                let (now, wanted) = (world.snapshot(), fresh(&spec));
                if now != *wanted {
                    return Err(format!("step {step}: {}", difference(&now, &wanted)));
                }
            }
            match breaches(&world).as_slice() {
                [] => Ok(()),
                breaches => Err(breaches.join("; ")),
            }
        },
    );
}

/// A claim cannot become another without going away in between; the API server refuses that.
fn next(random: &mut Rng, step: usize, cache: &Value) -> Value {
    loop {
        let spec = specs::valid(random, step, true);
        let changes = spec["cache"] != *cache && spec["cache"]["size"].is_string();
        if !(changes && cache["size"].is_string()) {
            return spec;
        }
    }
}

#[test]
fn there_and_back_is_where_it_was() {
    every_case("there_and_back_is_where_it_was", 200, |seed| async move {
        let mut random = Rng::with_seed(seed);
        let here = specs::valid(&mut random, 0, false);
        let there = match random.u8(0..4) {
            0 => specs::invalid(&mut random),
            1 => specs::stuck(&mut random, 1),
            _ => specs::valid(&mut random, 1, false),
        };
        let mut world = World::start();
        world.store(&here);
        world.pass(REST).await;
        let before = world.snapshot();
        world.store(&there);
        world.pass(REST).await;
        world.store(&here);
        world.pass(REST).await;
        let after = world.snapshot();
        if after == before {
            Ok(())
        } else {
            Err(difference(&after, &before))
        }
    });
}
