//! One step of the engine with 256 sequences that decode: scheduling, batch, sampling, events and stats, and a model that
//! takes next to no time. Its roofline counts the bytes that such a step has to move.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use candela_engine::{
    engine::{Clock, Event, MonotonicClock},
    stats::Timestamp,
};
use criterion::{BenchmarkId, Criterion};

use crate::{
    roofline::{self, Work},
    steady::{self, Load, VOCAB},
};

const SEQUENCES: usize = 256;
/// Of each sequence, in a run.
const TOKENS: usize = 256;

pub(crate) fn step(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("engine step");
    group.sample_size(10);
    for stats in [true, false] {
        // A row of logits, its token, position, slot and length, and the event that says it.
        let each = VOCAB * size_of::<f32>() + 4 * size_of::<u32>() + size_of::<Event>();
        let work = Work::moving(SEQUENCES as u64, SEQUENCES * each);
        let name = if stats { "stats on" } else { "stats off" };
        let id = BenchmarkId::new(format!("{SEQUENCES} sequences"), name);
        roofline::bench(&mut group, id, work, |iterations| {
            mean_step(stats).mul_f64(iterations as f64)
        });
    }
    group.finish();
}

/// Of the steps of a run in which every sequence decodes a token.
fn mean_step(stats: bool) -> Duration {
    let times = Arc::new(Mutex::new(Vec::<Timestamp>::with_capacity(2 * TOKENS)));
    let (seen, stopwatch) = (Arc::clone(&times), MonotonicClock::start());
    let load = Load {
        sequences: SEQUENCES,
        tokens: TOKENS,
    };
    let clock = stats.then(|| Arc::new(MonotonicClock::start()) as Arc<dyn Clock>);
    steady::run(load, clock, move |batch| {
        if batch.input_ids.len() == SEQUENCES {
            let mut seen = seen.lock().expect("nobody panics who holds it");
            seen.push(stopwatch.now());
        }
    });
    let times = times.lock().expect("nobody panics who holds it");
    let (first, last) = (times[0], times[times.len() - 1]);
    last.since(first) / (times.len() - 1) as u32
}
