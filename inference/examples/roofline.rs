//! Measures what the cores of this machine can do at most, as one line of JSON: the two numbers that limit any
//! engine, which `make bench` prints beside what was reached.
//!
//! - Operations a second: loops that touch nothing but registers, with the instruction that the engine's kernels use
//!   on this processor, for products of bf16 and of 8-bit integers; and the engine's own products of 512 rows with packed
//!   weights in bf16 and in q8_0. A multiplication and an addition are two.
//! - Bytes read a second: sums over a buffer many times as large as the caches.
//! - Bytes of weights read a second by the engine's product of one row, and by sums over the same weights, taking turns: which
//!   memory a process is given decides how fast it can be read, so that only these two are alike.
//!
//! All threads that `available_parallelism` allows run at once; of several runs the best counts, and of the last the middle one.

use std::{
    hint::black_box,
    sync::{Barrier, Mutex},
    thread,
    time::Instant,
};

use anyhow::{Context, ensure};
use candela_engine::model::measure::{Operation, WeightFormat, Workload};
use clap::Parser;
use memmap2::MmapMut;

/// Measure peak operations and read bandwidth of this machine's cores, as JSON.
#[derive(Parser)]
struct Arguments {
    /// Runs of each measurement; the best counts
    #[arg(long, default_value_t = 8)]
    repeats: u32,
    /// MiB that all threads read together; many times the caches
    #[arg(long, default_value_t = 1024)]
    read_mib: usize,
}

/// A loop over registers.
struct RegisterLoop {
    instruction: &'static str,
    operations_per_iteration: u64,
    run: fn(u64),
}

const ITERATIONS: u64 = 8 << 20;
/// Enough sums that none waits for the one before: latency 4 to 6, two units.
const SUMS: usize = 12;

fn main() -> anyhow::Result<()> {
    let Arguments { repeats, read_mib } = Arguments::parse();
    ensure!(repeats > 0, "--repeats must be at least 1");
    ensure!(
        (64..=1 << 20).contains(&read_mib),
        "--read-mib must be 64 to 1048576"
    );
    let threads = thread::available_parallelism()
        .context("how many threads may run")?
        .get();
    let (bf16, int8) = (bf16_loop(), int8_loop());
    let weights = weights_read(threads, repeats)?;
    let report = serde_json::json!({
        "threads": threads,
        "bf16_instruction": bf16.instruction,
        "bf16_gflops": giga_operations(&bf16, threads, repeats),
        "bf16_packed_gflops": packed_giga_operations(WeightFormat::Bf16, repeats)?,
        "int8_instruction": int8.instruction,
        "int8_gops": giga_operations(&int8, threads, repeats),
        "int8_packed_gops": packed_giga_operations(WeightFormat::Q8_0, repeats)?,
        "read_gb_per_second": giga_bytes_read(threads, read_mib << 20, repeats)?,
        "weights_gb_per_second": weights.by_products,
        "weights_plain_gb_per_second": weights.plainly,
    });
    emit(&report);
    Ok(())
}

#[expect(
    clippy::print_stdout,
    reason = "the report is what this program is for"
)]
fn emit(report: &serde_json::Value) {
    println!("{report}");
}

/// Giga-operations a second of all threads together.
fn giga_operations(of: &RegisterLoop, threads: usize, repeats: u32) -> f64 {
    let seconds = best_seconds(threads, repeats, |_| (of.run)(ITERATIONS));
    (of.operations_per_iteration * ITERATIONS * threads as u64) as f64 / seconds / 1e9
}

/// Rows of activations of the packed product: a whole step of prompts.
const ROWS: usize = 512;
/// Layers `(inputs, outputs)` as the benchmark's model has them; the one that runs best counts.
const LAYERS: [(usize, usize); 3] = [(1024, 4096), (1024, 6144), (3072, 1024)];

/// Giga-operations a second of the engine's linear layers, on its own threads.
fn packed_giga_operations(format: WeightFormat, repeats: u32) -> anyhow::Result<f64> {
    let mut best = 0.0_f64;
    for (inputs, outputs) in LAYERS {
        let operation = Operation::Linear {
            rows: ROWS,
            columns: inputs,
            outputs,
            format,
        };
        let layer = Workload::in_cache(operation)?;
        layer.run()?;
        let seconds = best_seconds(1, repeats, |_| {
            layer.run().expect("it ran before, with the same memory");
        });
        best = best.max(operation.operations() as f64 / seconds / 1e9);
    }
    Ok(best)
}

/// Giga-bytes a second.
struct WeightsRead {
    by_products: f64,
    plainly: f64,
}

/// Reads the same weights by products of one row and plainly, taking turns; each in the middle of `repeats`, and plainly in the
/// way that is fastest so.
fn weights_read(threads: usize, repeats: u32) -> anyhow::Result<WeightsRead> {
    let operation = Operation::Linear {
        rows: 1,
        columns: LAYERS[0].0,
        outputs: LAYERS[0].1,
        format: WeightFormat::Bf16,
    };
    let layers = Workload::new(operation)?;
    let matrices: Vec<&[u8]> = layers.weights().collect();
    let bytes: usize = matrices.iter().map(|matrix| matrix.len()).sum();
    let products = || {
        best_seconds(1, 1, |_| {
            for _ in &matrices {
                layers.run().expect("it ran before, with the same memory");
            }
        })
    };
    let sums = |streams, ahead| {
        best_seconds(threads, 1, |thread| {
            for matrix in &matrices {
                let part = matrix.len() / threads;
                read(&matrix[thread * part..][..part], streams, ahead);
            }
        })
    };
    let middle = |mut seconds: Vec<f64>| {
        seconds.sort_by(f64::total_cmp);
        bytes as f64 / seconds[seconds.len() / 2] / 1e9
    };
    products();
    let (mut by_products, mut plainly) = (Vec::new(), 0.0_f64);
    for streams in [1, 2, 4, 8] {
        for ahead in [false, true] {
            let turns = (0..repeats).map(|_| (products(), sums(streams, ahead)));
            let (of_products, of_sums): (Vec<f64>, Vec<f64>) = turns.unzip();
            by_products.extend(of_products);
            plainly = plainly.max(middle(of_sums));
        }
    }
    Ok(WeightsRead {
        by_products: middle(by_products),
        plainly,
    })
}

/// The shortest time, of `repeats`, from when all threads stand ready until the last has done `work`.
#[expect(
    clippy::disallowed_methods,
    reason = "a measurement of the machine, not of a request"
)]
fn best_seconds(threads: usize, repeats: u32, work: impl Fn(usize) + Sync) -> f64 {
    let mut best = f64::INFINITY;
    for _ in 0..repeats {
        let ready = Barrier::new(threads);
        let span = Mutex::new(None::<(Instant, Instant)>);
        thread::scope(|scope| {
            for thread in 0..threads {
                let (ready, span, work) = (&ready, &span, &work);
                scope.spawn(move || {
                    ready.wait();
                    let begun = Instant::now();
                    work(thread);
                    let ended = Instant::now();
                    let mut span = span.lock().expect("no thread panics while it holds this");
                    let (first, last) = span.unwrap_or((begun, ended));
                    *span = Some((first.min(begun), last.max(ended)));
                });
            }
        });
        let (first, last) = span
            .into_inner()
            .ok()
            .flatten()
            .expect("at least one thread ran to its end");
        best = best.min((last - first).as_secs_f64());
    }
    best
}

/// Giga-bytes a second that all threads read together, each its own part of a buffer. The best way counts: with pages
/// small and large, with one to eight places read at a time, as kernels do with rows of weights, and with lines asked for
/// before they are read or not.
fn giga_bytes_read(threads: usize, bytes: usize, repeats: u32) -> anyhow::Result<f64> {
    let mut best = 0.0_f64;
    for large_pages in [false, true] {
        let mut buffer = MmapMut::map_anon(bytes).context("memory for the buffer")?;
        #[cfg(target_os = "linux")]
        if large_pages {
            // Where the system has none, small ones are measured twice.
            let _ = buffer.advise(memmap2::Advice::HugePage);
        }
        buffer.fill(1);
        let part = bytes / threads;
        for streams in [1, 2, 4, 8] {
            for ahead in [false, true] {
                let seconds = best_seconds(threads, repeats, |thread| {
                    read(&buffer[thread * part..][..part], streams, ahead);
                });
                best = best.max((part * threads) as f64 / seconds / 1e9);
            }
        }
    }
    Ok(best)
}

/// Bytes that are read in one place before the next has its turn: four cache lines.
const TURN: usize = 4 * 64;

/// Reads `bytes` at `streams` places at a time; `ahead` asks for lines before they are read, where that can be said.
fn read(bytes: &[u8], streams: usize, ahead: bool) {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx512f") {
        #[expect(unsafe_code, reason = "the processor's features were detected")]
        // SAFETY: the processor has AVX-512.
        match ahead {
            false => unsafe { x86::read_avx512::<0>(bytes, streams) },
            true => unsafe { x86::read_avx512::<1024>(bytes, streams) },
        }
        return;
    }
    let _ = ahead;
    let length = bytes.len() / streams / TURN * TURN;
    let mut sums = [0_u64; TURN / 8];
    for at in (0..length).step_by(TURN) {
        for stream in 0..streams {
            let lines = &bytes[stream * length + at..][..TURN];
            for (sum, word) in sums.iter_mut().zip(lines.chunks_exact(8)) {
                *sum ^= u64::from_le_bytes(word.try_into().expect("chunks of eight bytes"));
            }
        }
    }
    black_box(sums);
}

fn bf16_loop() -> RegisterLoop {
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("avx512bf16") {
            return RegisterLoop {
                instruction: "avx512_bf16 vdpbf16ps",
                operations_per_iteration: 16 * 4 * SUMS as u64,
                #[expect(unsafe_code, reason = "the processor's features were detected")]
                // SAFETY: chosen where the processor has AVX-512 bf16.
                run: |iterations| unsafe { x86::bf16_avx512(iterations) },
            };
        }
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            return RegisterLoop {
                instruction: "fma vfmadd (f32)",
                operations_per_iteration: 8 * 2 * SUMS as u64,
                #[expect(unsafe_code, reason = "the processor's features were detected")]
                // SAFETY: chosen where the processor has AVX2 and FMA.
                run: |iterations| unsafe { x86::bf16_avx2(iterations) },
            };
        }
    }
    RegisterLoop {
        instruction: "portable (f32)",
        operations_per_iteration: LANES as u64 * 2 * SUMS as u64,
        run: portable_f32,
    }
}

fn int8_loop() -> RegisterLoop {
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("avx512vnni") {
            return RegisterLoop {
                instruction: "avx512_vnni vpdpbusd",
                operations_per_iteration: 16 * 8 * SUMS as u64,
                #[expect(unsafe_code, reason = "the processor's features were detected")]
                // SAFETY: chosen where the processor has AVX-512 VNNI.
                run: |iterations| unsafe { x86::int8_avx512(iterations) },
            };
        }
        if is_x86_feature_detected!("avx2") {
            return RegisterLoop {
                instruction: "avx2 vpmaddwd (16 bits)",
                operations_per_iteration: 8 * 4 * SUMS as u64,
                #[expect(unsafe_code, reason = "the processor's features were detected")]
                // SAFETY: chosen where the processor has AVX2.
                run: |iterations| unsafe { x86::int8_avx2(iterations) },
            };
        }
    }
    RegisterLoop {
        instruction: "portable (32 bits)",
        operations_per_iteration: LANES as u64 * 2 * SUMS as u64,
        run: portable_i32,
    }
}

const LANES: usize = 4;

/// What every architecture can do: the compiler makes the best of it that its default target has. Each product is made
/// of the sum before it, or it would be taken out of the loop.
fn portable_f32(iterations: u64) {
    let (x, y) = black_box(([1.0_f32; LANES], [0.5_f32; LANES]));
    let mut sums = [[0.0_f32; LANES]; SUMS];
    for _ in 0..iterations {
        for sum in &mut sums {
            for lane in 0..LANES {
                sum[lane] = sum[lane] * y[lane] + x[lane];
            }
        }
    }
    black_box(sums);
}

fn portable_i32(iterations: u64) {
    let (x, y) = black_box(([3_i8; LANES], [5_i8; LANES]));
    let mut sums = [[0_i32; LANES]; SUMS];
    for _ in 0..iterations {
        for sum in &mut sums {
            for lane in 0..LANES {
                let product = i32::from(x[lane] ^ sum[lane] as i8) * i32::from(y[lane]);
                sum[lane] = sum[lane].wrapping_add(product);
            }
        }
    }
    black_box(sums);
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    //! The loops over registers of x86-64. The factors come from a black box, so that no product is known beforehand.

    use std::{arch::x86_64::*, hint::black_box};

    use super::{SUMS, TURN};

    /// Reads `bytes` at `streams` places at a time, asking for lines `AHEAD` bytes before they are read.
    #[target_feature(enable = "avx512f")]
    pub(super) fn read_avx512<const AHEAD: usize>(bytes: &[u8], streams: usize) {
        let length = bytes.len() / streams / TURN * TURN;
        let mut sums = [_mm512_setzero_si512(); TURN / 64];
        for at in (0..length).step_by(TURN) {
            for stream in 0..streams {
                let lines = bytes[stream * length + at..][..TURN].as_ptr();
                for (index, sum) in sums.iter_mut().enumerate() {
                    let line = lines.wrapping_add(index * 64);
                    if AHEAD > 0 {
                        _mm_prefetch::<_MM_HINT_T0>(line.wrapping_add(AHEAD).cast());
                    }
                    #[expect(unsafe_code, reason = "a load")]
                    // SAFETY: the slice of TURN bytes holds this line of 64.
                    let words = unsafe { _mm512_loadu_si512(line.cast()) };
                    *sum = _mm512_xor_si512(*sum, words);
                }
            }
        }
        black_box(sums);
    }

    #[target_feature(enable = "avx512f,avx512bf16")]
    pub(super) fn bf16_avx512(iterations: u64) {
        let ones = _mm512_set1_ps(black_box(1.0));
        let (x, y) = (
            _mm512_cvtne2ps_pbh(ones, ones),
            _mm512_cvtne2ps_pbh(ones, ones),
        );
        let mut sums = [_mm512_setzero_ps(); SUMS];
        for _ in 0..iterations {
            for sum in &mut sums {
                *sum = _mm512_dpbf16_ps(*sum, x, y);
            }
        }
        black_box(sums);
    }

    #[target_feature(enable = "avx512f,avx512vnni")]
    pub(super) fn int8_avx512(iterations: u64) {
        let (x, y) = (
            _mm512_set1_epi8(black_box(3)),
            _mm512_set1_epi8(black_box(5)),
        );
        let mut sums = [_mm512_setzero_si512(); SUMS];
        for _ in 0..iterations {
            for sum in &mut sums {
                *sum = _mm512_dpbusd_epi32(*sum, x, y);
            }
        }
        black_box(sums);
    }

    #[target_feature(enable = "avx2,fma")]
    pub(super) fn bf16_avx2(iterations: u64) {
        let (x, y) = (
            _mm256_set1_ps(black_box(1.0)),
            _mm256_set1_ps(black_box(0.5)),
        );
        let mut sums = [_mm256_setzero_ps(); SUMS];
        for _ in 0..iterations {
            for sum in &mut sums {
                *sum = _mm256_fmadd_ps(x, y, *sum);
            }
        }
        black_box(sums);
    }

    #[target_feature(enable = "avx2")]
    pub(super) fn int8_avx2(iterations: u64) {
        let (x, y) = (
            _mm256_set1_epi16(black_box(3)),
            _mm256_set1_epi16(black_box(5)),
        );
        let mut sums = [_mm256_setzero_si256(); SUMS];
        for _ in 0..iterations {
            for sum in &mut sums {
                // Products that change from one iteration to the next, or the compiler takes them out of the loop.
                let products = _mm256_madd_epi16(_mm256_xor_si256(x, *sum), y);
                *sum = _mm256_add_epi32(*sum, products);
            }
        }
        black_box(sums);
    }
}
