//! With stats off, the token path reads no clock and allocates nothing for them; with stats on, a step reads the clock twice
//! and still allocates nothing. A program of its own, since it counts every allocation of the process.

#[path = "../benches/micro/steady.rs"]
mod steady;

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering},
};

use candela_engine::{
    engine::{Clock, MonotonicClock},
    stats::Timestamp,
};

use steady::Load;

#[global_allocator]
static ALLOCATOR: dhat::Alloc = dhat::Alloc;

const TOKENS: usize = 300;
/// Where sequences choose side by side, the queue of jobs takes a block for every 63 steps: one more or less, by where it
/// was when a run began.
const QUEUE_BLOCKS: u64 = 2;
/// Events wait in blocks of 32: in one after the other where their reader is late, in the same again where it is not. What stats
/// allocated in every step, or in every tenth, would be more.
const CHANNEL_BLOCKS: u64 = TOKENS as u64 / 32 + 1;

struct CountingClock {
    clock: MonotonicClock,
    readings: AtomicUsize,
}

impl Clock for CountingClock {
    fn now(&self) -> Timestamp {
        self.readings.fetch_add(1, Ordering::Relaxed);
        self.clock.now()
    }
}

/// What the process had done when a step's model ran.
#[derive(Clone, Copy)]
struct Reading {
    allocations: u64,
    clock: usize,
}

/// What each step did in which every sequence decodes a token: from one run of the model to the next.
fn decode_steps(sequences: usize, stats: bool) -> Vec<Reading> {
    let clock = stats.then(|| {
        Arc::new(CountingClock {
            clock: MonotonicClock::start(),
            readings: AtomicUsize::new(0),
        })
    });
    let readings = Arc::new(Mutex::new(Vec::with_capacity(2 * TOKENS)));
    let (seen, counted) = (Arc::clone(&readings), clock.clone());
    let load = Load {
        sequences,
        tokens: TOKENS,
    };
    steady::run(
        load,
        clock.map(|clock| clock as Arc<dyn Clock>),
        move |batch| {
            if batch.input_ids.len() == sequences {
                seen.lock().expect("no reader panics").push(Reading {
                    allocations: dhat::HeapStats::get().total_blocks,
                    clock: counted
                        .as_ref()
                        .map_or(0, |c| c.readings.load(Ordering::Relaxed)),
                });
            }
        },
    );
    let readings = readings.lock().expect("no reader panics");
    let step = |pair: &[Reading]| Reading {
        allocations: pair[1].allocations - pair[0].allocations,
        clock: pair[1].clock - pair[0].clock,
    };
    readings.windows(2).map(step).collect()
}

fn total(steps: &[Reading]) -> u64 {
    steps.iter().map(|step| step.allocations).sum()
}

/// Of a step in the middle, since lists grow once in a while: tables every 32 tokens, and the channels of events.
fn typical(steps: &[Reading]) -> u64 {
    let mut allocations: Vec<u64> = steps.iter().map(|step| step.allocations).collect();
    allocations.sort_unstable();
    allocations[allocations.len() / 2]
}

#[test]
fn stats_cost_no_allocation_and_when_off_no_reading_of_a_clock() {
    let _profiler = dhat::Profiler::builder().testing().build();
    for sequences in [1, 8, 64] {
        let [off, on] = [false, true].map(|stats| decode_steps(sequences, stats));
        println!(
            "{sequences} sequences, {} steps: {} allocations without stats, {} with them; a typical step {} and {}",
            off.len(),
            total(&off),
            total(&on),
            typical(&off),
            typical(&on)
        );
        assert_eq!((off.len(), on.len()), (TOKENS - 2, TOKENS - 2));
        assert!(off.iter().all(|step| step.clock == 0), "no clock");
        assert!(
            on.iter().all(|step| step.clock == 2),
            "a step's begin and end"
        );
        let (off_total, on_total) = (total(&off), total(&on));
        assert!(
            on_total.abs_diff(off_total) <= QUEUE_BLOCKS + sequences as u64 * CHANNEL_BLOCKS,
            "{sequences} sequences: {on_total} allocations with stats, {off_total} without"
        );
        let side_by_side = u64::from(sequences > 1);
        assert!(typical(&on) <= side_by_side && typical(&off) <= side_by_side);
    }
}
