//! Linear layers of 8-bit matrices against the same numbers dequantized, and token by token.

use candle_core::{DType, Device, Tensor};
use half::f16;
use proptest::prelude::*;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::*;
use crate::model::{
    config::Activation,
    ops::{BlockMatrix, BlockType, GatedLinear, Linear, Part},
};

const DTYPES: [DType; 2] = [DType::F32, DType::BF16];

/// Random numbers in ±1, the same for a seed.
fn random(seed: u64, shape: &[usize]) -> Tensor {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut number = || (rng.next_u32() as f32 / u32::MAX as f32).mul_add(2.0, -1.0);
    let data: Vec<f32> = (0..shape.iter().product()).map(|_| number()).collect();
    Tensor::from_vec(data, shape, &Device::Cpu).unwrap()
}

fn part(kind: BlockType, rows: usize, columns: usize, seed: u64) -> Part {
    let weights: Vec<f32> = random(seed, &[rows * columns]).to_vec1().unwrap();
    let part = |rows: Range<usize>| Ok(weights[rows.start * columns..rows.end * columns].to_vec());
    Part::Quantized(Arc::new(
        BlockMatrix::quantize(kind, (rows, columns), part).unwrap(),
    ))
}

/// The numbers of 8-bit matrices of these rows, one below the other, `[N, K]`, and the matrices.
fn parts(rows: &[usize], columns: usize, seed: u64) -> (Tensor, Vec<Part>) {
    let parts: Vec<Part> = rows
        .iter()
        .zip(seed..)
        .map(|(&rows, seed)| part(BlockType::Q8_0, rows, columns, seed))
        .collect();
    let numbers = |part: &Part| match part {
        Part::Dense(_) => panic!("no dense part was made"),
        Part::Quantized(matrix) => matrix.dequantized(0..matrix.rows()).unwrap(),
    };
    let wide: Vec<f32> = parts.iter().flat_map(numbers).collect();
    let size = (rows.iter().sum::<usize>(), columns);
    (Tensor::from_vec(wide, size, &Device::Cpu).unwrap(), parts)
}

fn rows_of(x: &Tensor) -> Vec<Vec<f32>> {
    x.to_dtype(DType::F32).unwrap().to_vec2().unwrap()
}

/// That no number is further off than rounding the activations makes it: half a step of 1/127 each, their signs at random.
fn check_close(seen: &Tensor, expected: &Tensor, columns: usize) {
    let bound = 4.0 / 254.0 * (columns as f32).sqrt();
    for (seen, expected) in rows_of(seen).iter().zip(&rows_of(expected)) {
        for (seen, expected) in seen.iter().zip(expected) {
            let bound = bound + expected.abs() / 128.0;
            assert!((seen - expected).abs() <= bound, "{seen}, not {expected}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn a_stacked_layer_is_the_product_with_the_dequantized_matrices(
        t in 1usize..40, rows in prop::collection::vec(1usize..70, 1..4), blocks in 1usize..5, seed: u64,
    ) {
        let columns = blocks * BLOCK;
        let (wide, parts) = parts(&rows, columns, seed);
        let bias = random(seed ^ 1, &[rows.iter().sum()]);
        let linear = Linear::stacked(parts, Some(bias.clone())).unwrap();
        for dtype in DTYPES {
            let x = random(seed ^ 2, &[t, columns]).to_dtype(dtype).unwrap();
            let product = x.to_dtype(DType::F32).unwrap().matmul(&wide.t().unwrap()).unwrap();
            let expected = product.broadcast_add(&bias).unwrap();
            let seen = linear.forward(&x).unwrap();
            prop_assert_eq!(seen.dtype(), dtype);
            check_close(&seen, &expected, columns);
            let wide = linear.forward_wide(&x).unwrap();
            prop_assert_eq!(rows_of(&wide.to_dtype(dtype).unwrap()), rows_of(&seen));
        }
    }

    #[test]
    fn a_token_of_a_layer_does_not_depend_on_the_others(
        t in 2usize..40, rows in 1usize..70, blocks in 1usize..5, seed: u64,
    ) {
        let columns = blocks * BLOCK;
        let linear = Linear::stacked(parts(&[rows, 20], columns, seed).1, None).unwrap();
        for dtype in DTYPES {
            let x = random(seed ^ 2, &[t, columns]).to_dtype(dtype).unwrap();
            let all = rows_of(&linear.forward(&x).unwrap());
            for (token, all) in all.iter().enumerate() {
                let alone = x.narrow(0, token, 1).unwrap().contiguous().unwrap();
                prop_assert_eq!(&rows_of(&linear.forward(&alone).unwrap())[0], all, "token {}", token);
            }
        }
    }

    #[test]
    fn gate_and_up_side_by_side_are_gate_and_up_apart(
        t in 1usize..20, half in 1usize..70, seed: u64, joined: bool, biased: bool,
    ) {
        let columns = 2 * BLOCK;
        let rows = if joined { vec![2 * half] } else { vec![half; 2] };
        let (_, parts) = parts(&rows, columns, seed);
        let bias = biased.then(|| random(seed ^ 1, &[2 * half]));
        let linear = Linear::stacked(parts.clone(), bias.clone()).unwrap();
        let gated = GatedLinear::stacked(parts, bias).unwrap();
        for dtype in DTYPES {
            let x = random(seed ^ 2, &[t, columns]).to_dtype(dtype).unwrap();
            for activation in [Activation::Silu, Activation::GeluTanh] {
                let apart = linear.forward(&x).unwrap();
                let apart = apart.apply_op1_no_bwd(&crate::model::ops::GatedMul(activation)).unwrap();
                let seen = gated.forward(&x, activation).unwrap();
                prop_assert_eq!(rows_of(&seen), rows_of(&apart));
            }
        }
    }

    #[test]
    fn a_packed_matrix_is_that_of_the_file_in_the_order_asked_for(
        rows in 1usize..50, blocks in 1usize..4, seed: u64,
    ) {
        let columns = blocks * BLOCK;
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut bytes = vec![0; rows * blocks * BLOCK_BYTES];
        rng.fill_bytes(&mut bytes);
        for block in bytes.as_chunks_mut::<BLOCK_BYTES>().0 {
            let scale = f16::from_f32(f32::from(block[0]) / 256.0);
            block[..2].copy_from_slice(&scale.to_le_bytes());
        }
        let packed = PackedQ8::from_ggml(&bytes, (rows, columns), |row| rows - 1 - row).unwrap();
        let mut row = vec![0.0; columns];
        for (index, bytes) in bytes.chunks(blocks * BLOCK_BYTES).rev().enumerate() {
            packed.row(index, &mut row);
            for (block, row) in bytes.chunks(BLOCK_BYTES).zip(row.chunks(BLOCK)) {
                let scale = f16::from_le_bytes([block[0], block[1]]).to_f32();
                let weights = block[2..].iter().map(|weight| f32::from(*weight as i8) * scale);
                prop_assert!(weights.eq(row.iter().copied()));
            }
        }
    }
}

#[test]
fn an_error_about_the_numbers_reaches_the_caller() {
    let numbers = |rows: Range<usize>| match rows.start {
        0 => Ok(vec![0.0; rows.len() * BLOCK]),
        start => bail!("no row {start}"),
    };
    let error = PackedQ8::quantize((1000, BLOCK), numbers).unwrap_err();
    assert!(error.to_string().contains("no row"), "{error}");
}

#[test]
fn parts_with_rows_of_different_lengths_are_refused() {
    let parts = [1, 2].map(|blocks| part(BlockType::Q8_0, 4, blocks * BLOCK, 1));
    assert!(Linear::stacked(parts.to_vec(), None).is_err());
}
