//! What the cores could do at most beside what a benchmark does: criterion says how long it took, and a line below it how much
//! of the roofline that is. A roofline counts the bytes that have to be moved, at the most that all cores together read from
//! memory, and the operations that have to be done, at the most that they do; the longer of the two is the limit. What lies in
//! a processor's cache is read faster than that, and more than 100 % are then no error.

use std::{cell::RefCell, hint::black_box, process::Command, sync::OnceLock, time::Duration};

use candela_engine::engine::{Clock, MonotonicClock};
use criterion::{BenchmarkGroup, BenchmarkId, Throughput, measurement::WallTime};
use serde::Deserialize;

/// What one iteration cannot do without.
#[derive(Clone, Copy)]
pub(crate) struct Work {
    /// What an iteration brings, for criterion's rate.
    pub(crate) elements: u64,
    /// Bytes that it reads and writes.
    pub(crate) bytes: usize,
    /// Multiplications and additions.
    pub(crate) operations: u64,
    /// They are of integers of 8 bits.
    pub(crate) integer: bool,
}

impl Work {
    /// Bytes to be moved, and nothing to be computed.
    pub(crate) fn moving(elements: u64, bytes: usize) -> Self {
        Self {
            elements,
            bytes,
            operations: 0,
            integer: false,
        }
    }
}

/// What all cores together do at most in a second, as the example `roofline` measures it for `make bench` too.
#[derive(Deserialize)]
struct Roofs {
    bf16_gflops: f64,
    int8_gops: f64,
    read_gb_per_second: f64,
}

/// Runs a benchmark and prints its roofline. `run` does so many iterations and says how long they took.
pub(crate) fn bench(
    group: &mut BenchmarkGroup<'_, WallTime>,
    id: BenchmarkId,
    work: Work,
    mut run: impl FnMut(u64) -> Duration,
) {
    let seconds = RefCell::new(Vec::new());
    group.throughput(Throughput::Elements(work.elements));
    group.bench_function(id, |bencher| {
        bencher.iter_custom(|iterations| {
            let took = run(iterations);
            let each = took.as_secs_f64() / iterations as f64;
            seconds.borrow_mut().push(each);
            took
        });
    });
    let mut seconds = seconds.into_inner();
    // Nothing was run: the name was filtered out.
    if !seconds.is_empty() {
        seconds.sort_by(f64::total_cmp);
        print(work, seconds[seconds.len() / 2]);
    }
}

/// The same for what can be repeated at will.
pub(crate) fn bench_repeated<T>(
    group: &mut BenchmarkGroup<'_, WallTime>,
    id: BenchmarkId,
    work: Work,
    mut once: impl FnMut() -> T,
) {
    bench(group, id, work, |iterations| {
        let clock = MonotonicClock::start();
        for _ in 0..iterations {
            black_box(once());
        }
        clock.now().since_start()
    });
}

#[expect(
    clippy::print_stdout,
    reason = "figures beside those that criterion prints"
)]
fn print(work: Work, median_seconds: f64) {
    let roofs = roofs();
    let peak = if work.integer {
        roofs.int8_gops
    } else {
        roofs.bf16_gflops
    };
    let moving = work.bytes as f64 / (roofs.read_gb_per_second * 1e9);
    let computing = work.operations as f64 / (peak * 1e9);
    let (least, by) = if computing > moving {
        (computing, format!("{peak:.0} G operations/s"))
    } else {
        (moving, format!("{:.1} GB/s", roofs.read_gb_per_second))
    };
    println!(
        "                        {:.1} % of roofline: {:.3} µs ({} bytes, {} operations; {by} is the limit)",
        100.0 * least / median_seconds,
        1e6 * least,
        work.bytes,
        work.operations
    );
}

fn roofs() -> &'static Roofs {
    static ROOFS: OnceLock<Roofs> = OnceLock::new();
    ROOFS.get_or_init(|| {
        let example = [
            "run",
            "--quiet",
            "--profile",
            "bench",
            "--example",
            "roofline",
        ];
        let output = Command::new(env!("CARGO"))
            .args(example)
            .args(["--package", "candela-engine"])
            .output()
            .expect("cargo is where it was when this was built");
        let measured = serde_json::from_slice(&output.stdout);
        measured.unwrap_or_else(|error| {
            let said = String::from_utf8_lossy(&output.stderr);
            panic!("the example roofline measured nothing ({error}): {said}")
        })
    })
}
