//! What must hold whatever goes wrong, on an API server in memory and in virtual time: once faults stop, the cluster reaches
//! what the specification says, as a fresh one would, and stays there.
//!
//! A failed random run prints its seed; `CANDELA_SEED=<seed>` runs that one alone. `CANDELA_FAULT_RUNS` and
//! `CANDELA_WALKS` say how many runs there are.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod exhaustive;
#[path = "../fake/mod.rs"]
mod fake;
mod fields;
mod leader;
mod oracle;
mod outage;
mod repair;
mod rights;
mod seeded;
mod specs;
mod walks;
mod world;

use std::{
    env,
    future::Future,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use tokio::runtime::Builder;

/// Runs `test` in virtual time, with every random number following from `seed`.
fn in_virtual_time<T>(seed: u64, test: impl Future<Output = T>) -> T {
    fastrand::seed(seed);
    let runtime = Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build();
    runtime.expect("a runtime of one thread").block_on(test)
}

/// A whole number from the environment.
fn number(variable: &str) -> Option<u64> {
    let text = env::var(variable).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{variable} is no whole number: {text}")),
    )
}

/// Runs every case on all cores, each in virtual time, and fails with the first few that do not hold. `CANDELA_SEED` singles
/// one out.
fn every_case<F>(what: &str, cases: u64, run: impl Fn(u64) -> F + Sync)
where
    F: Future<Output = Result<(), String>>,
{
    const SHOWN: usize = 5;
    let only = number("CANDELA_SEED");
    let next = AtomicU64::new(only.unwrap_or(0));
    let end = only.map_or(cases, |seed| seed + 1);
    let failed = Mutex::new(Vec::new());
    let cores = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= end {
                        return;
                    }
                    if let Err(why) = in_virtual_time(seed, run(seed)) {
                        failed.lock().unwrap().push((seed, why));
                    }
                }
            });
        }
    });
    let mut failed = failed.into_inner().unwrap();
    failed.sort();
    let seeds: Vec<u64> = failed.iter().map(|(seed, _)| *seed).collect();
    let shown: Vec<String> = failed
        .iter()
        .take(SHOWN)
        .map(|(seed, why)| {
            format!(
                "CANDELA_SEED={seed} cargo test -p candela-operator --test faults {what}\n  {why}"
            )
        })
        .collect();
    assert!(
        failed.is_empty(),
        "{} of {cases} {what}: {seeds:?}\n{}",
        failed.len(),
        shown.join("\n")
    );
}
