//! Products of quantized matrices against those of the same numbers dequantized, and that a token's
//! does not depend on the others.

use proptest::prelude::*;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::*;
use crate::model::ops::{Linear, Part, stacked};
use candle_core::{DType, Device, Tensor};
use std::sync::Arc;

const TYPES: [BlockType; 5] = [
    BlockType::Q4_0,
    BlockType::Q8_0,
    BlockType::Q4K,
    BlockType::Q5K,
    BlockType::Q6K,
];

fn random(seed: u64, count: usize) -> Vec<f32> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    (0..count)
        .map(|_| (rng.next_u32() as f32 / u32::MAX as f32).mul_add(2.0, -1.0))
        .collect()
}

fn matrix(kind: BlockType, rows: usize, columns: usize, seed: u64) -> BlockMatrix {
    let weights = random(seed, rows * columns);
    let part = |rows: Range<usize>| Ok(weights[rows.start * columns..rows.end * columns].to_vec());
    BlockMatrix::quantize(kind, (rows, columns), part).unwrap()
}

fn numbers(matrix: &BlockMatrix) -> Vec<f32> {
    matrix.dequantized(0..matrix.rows()).unwrap()
}

/// Of numbers in ±1: half a step of the coarsest scale, with room for how K-quants round the scales.
fn tolerance(kind: BlockType) -> f32 {
    match kind {
        BlockType::Q4_0 => 0.15,
        BlockType::Q8_0 => 0.005,
        BlockType::Q4K => 0.12,
        BlockType::Q5K => 0.06,
        BlockType::Q6K => 0.05,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn quantizing_loses_what_the_type_says(rows in 1usize..5, blocks in 1usize..4, seed: u64) {
        for kind in TYPES {
            let columns = blocks * kind.block_len();
            let before = random(seed, rows * columns);
            let after = numbers(&matrix(kind, rows, columns, seed));
            for (before, after) in before.iter().zip(&after) {
                let loss = (before - after).abs();
                prop_assert!(loss <= tolerance(kind), "{kind}: {before} became {after}");
            }
        }
    }

    #[test]
    fn products_are_those_of_the_dequantized_matrix(
        t in 1usize..7, rows in 1usize..70, blocks in 1usize..4, seed: u64,
    ) {
        for kind in TYPES {
            let columns = blocks * kind.block_len();
            let weight = matrix(kind, rows, columns, seed);
            let (x, wide) = (random(seed ^ 1, t * columns), numbers(&weight));
            let mut seen = vec![0f32; rows * t];
            weight.products(&Activations::new(&x, columns), &mut seen);
            for (at, seen) in seen.iter().enumerate() {
                let (w, x) = (&wide[at / t * columns..][..columns], &x[at % t * columns..][..columns]);
                let expected: f32 = w.iter().zip(x).map(|(w, x)| w * x).sum();
                // Activations are rounded to 8 bits: 1/254 of their largest each, signs at random.
                let bound = 4.0 / 254.0 * (columns as f32).sqrt();
                prop_assert!((seen - expected).abs() <= bound, "{kind}: {seen}, not {expected}");
            }
        }
    }

    #[test]
    fn vector_instructions_give_what_plain_code_gives(blocks in 1usize..5, seed: u64) {
        fn check<T: GgmlType>(columns: usize, seed: u64) -> (f32, f32) {
            let w: Vec<T> = quantized(&random(seed, columns), columns);
            let x: Vec<T::VecDotType> = quantized(&random(seed ^ 1, columns), columns);
            (T::vec_dot(columns, &w, &x), T::vec_dot_unopt(columns, &w, &x))
        }
        for kind in TYPES {
            let columns = blocks * kind.block_len();
            let (fast, plain) = match kind {
                BlockType::Q4_0 => check::<BlockQ4_0>(columns, seed),
                BlockType::Q8_0 => check::<BlockQ8_0>(columns, seed),
                BlockType::Q4K => check::<BlockQ4K>(columns, seed),
                BlockType::Q5K => check::<BlockQ5K>(columns, seed),
                BlockType::Q6K => check::<BlockQ6K>(columns, seed),
            };
            prop_assert!((fast - plain).abs() <= 1e-4 * plain.abs().max(1.0), "{kind}: {fast}, {plain}");
        }
    }

    #[test]
    fn a_row_of_a_mixed_linear_does_not_depend_on_the_others(t in 2usize..9, seed: u64) {
        let columns = 512;
        for dtype in [DType::F32, DType::BF16] {
            let dense = Tensor::from_vec(random(seed, 5 * columns), (5, columns), &Device::Cpu);
            let mut parts: Vec<stacked::Part> = TYPES
                .iter()
                .map(|&kind| Part::Quantized(Arc::new(matrix(kind, 40, columns, seed))))
                .collect();
            parts.push(Part::Dense(dense.unwrap().to_dtype(dtype).unwrap()));
            let n = 5 * 40 + 5;
            let bias = Tensor::from_vec(random(seed ^ 2, n), n, &Device::Cpu).unwrap();
            let linear = Linear::stacked(parts, Some(bias.to_dtype(dtype).unwrap())).unwrap();
            let x = Tensor::from_vec(random(seed ^ 1, t * columns), (t, columns), &Device::Cpu);
            let x = x.unwrap().to_dtype(dtype).unwrap();
            let rows = |x: &Tensor| -> Vec<Vec<f32>> {
                linear.forward(x).unwrap().to_dtype(DType::F32).unwrap().to_vec2().unwrap()
            };
            let all = rows(&x);
            prop_assert_eq!(all.len(), t);
            for (row, all) in all.iter().enumerate() {
                let alone = rows(&x.narrow(0, row, 1).unwrap().contiguous().unwrap());
                prop_assert_eq!(&alone[0], all, "row {}", row);
            }
        }
    }
}

#[test]
fn bytes_that_are_no_whole_rows_are_refused() {
    let from = |bytes: usize, columns: usize| {
        BlockMatrix::from_bytes(BlockType::Q8_0, &vec![0; bytes], (2, columns), |row| row)
    };
    assert!(from(2 * 34, 32).is_ok());
    assert!(from(2 * 34 - 1, 32).is_err());
    assert!(from(2 * 34, 33).is_err());
    assert!(
        from(2 * 34, 32)
            .unwrap()
            .dequantized([2].into_iter())
            .is_err()
    );
}

#[test]
fn rows_quantized_in_parts_are_those_quantized_at_once() {
    let (rows, columns) = (2 * QUANTIZED_ROWS + 3, 32);
    let weights = random(5, rows * columns);
    let parts = matrix(BlockType::Q4_0, rows, columns, 5);
    let at_once = Blocks::Q4_0(quantized(&weights, columns));
    let at_once = BlockMatrix {
        blocks: at_once,
        rows,
        columns,
    };
    assert_eq!(numbers(&parts), numbers(&at_once));
}
