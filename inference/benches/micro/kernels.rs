//! The operations of a decoder of 1024 numbers a token, an MLP of 3072, 16 heads of 128 over 8 of keys and values: as many
//! tokens at once as a decode step or a prompt has.

use candela_engine::model::workload::{HeadSizes, Operation, WeightFormat, Workload};
use criterion::{BenchmarkId, Criterion};

use crate::roofline::{self, Work};

const HIDDEN: usize = 1024;
const FFN: usize = 3072;
const ROWS: [usize; 6] = [1, 4, 8, 16, 64, 512];
const HEADS: HeadSizes = HeadSizes {
    heads: 16,
    kv_heads: 8,
    head_dim: 128,
};

pub(crate) fn linear(criterion: &mut Criterion) {
    for (name, format) in [
        ("linear bf16", WeightFormat::Bf16),
        ("linear q8_0", WeightFormat::Q8_0),
    ] {
        let operation = |rows| Operation::Linear {
            rows,
            columns: HIDDEN,
            outputs: FFN,
            format,
        };
        let id = |rows| BenchmarkId::new(format!("{HIDDEN} by {FFN}"), format!("{rows} rows"));
        bench(
            criterion,
            name,
            ROWS.map(|rows| (id(rows), operation(rows))),
        );
    }
    let operation = |rows| Operation::GatedLinear {
        rows,
        columns: HIDDEN,
        outputs: FFN,
    };
    let id = |rows| BenchmarkId::new(format!("{HIDDEN} by 2 · {FFN}"), format!("{rows} rows"));
    let cases = ROWS.map(|rows| (id(rows), operation(rows)));
    bench(criterion, "gate · up", cases);
}

pub(crate) fn attention(criterion: &mut Criterion) {
    let operation = |sequences, tokens, context| Operation::Attention {
        sequences,
        tokens,
        context,
        heads: HEADS,
    };
    let decode = [(1, 128), (1, 512), (16, 128), (16, 512)].map(|(sequences, context)| {
        let id = BenchmarkId::new(
            format!("{sequences} sequences"),
            format!("{context} tokens"),
        );
        (id, operation(sequences, 1, context))
    });
    bench(criterion, "attention decode", decode);
    let prefill = [128, 512, 2048].map(|tokens| {
        let id = BenchmarkId::new("1 sequence", format!("{tokens} tokens"));
        (id, operation(1, tokens, tokens))
    });
    bench(criterion, "attention prefill", prefill);
}

pub(crate) fn rows(criterion: &mut Criterion) {
    let norm = |rows| Operation::RmsNorm {
        rows,
        width: HIDDEN,
    };
    let id = |rows| BenchmarkId::from_parameter(format!("{rows} rows"));
    let cases = [1, 16, 512].map(|rows| (id(rows), norm(rows)));
    bench(criterion, "rms norm", cases);
    let heads = |rows| Operation::Heads { rows, heads: HEADS };
    let cases = [1, 16, 512].map(|rows| (id(rows), heads(rows)));
    bench(criterion, "norm, rotary, cache write", cases);
}

fn bench<const N: usize>(
    criterion: &mut Criterion,
    name: &str,
    cases: [(BenchmarkId, Operation); N],
) {
    let mut group = criterion.benchmark_group(name);
    group.sample_size(20);
    for (id, operation) in cases {
        let work = Work {
            elements: 1,
            bytes: operation.bytes(),
            operations: operation.operations(),
            integer: operation.is_integer(),
        };
        // Made when it is first run, since most names may be filtered out.
        let mut workload = None;
        roofline::bench_repeated(&mut group, id, work, || {
            let workload = workload
                .get_or_insert_with(|| Workload::new(operation).expect("the sizes fit each other"));
            workload.run().expect("an operation that was made runs");
        });
    }
    group.finish();
}
