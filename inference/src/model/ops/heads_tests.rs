//! Norm, rotary and the cache's layout against plain references.

use candle_core::{DType, Device, Tensor};
use half::bf16;
use proptest::prelude::*;

use super::*;
use crate::model::{
    config::NormConfig,
    ops::tests::numbers as read,
    rope::{RopeKind, RopeParameters},
};

fn numbers(count: usize, seed: u64) -> Vec<f32> {
    let number = |index: usize| ((index as f64 * 0.7 + seed as f64 * 0.013).sin() * 1.5) as f32;
    (0..count).map(number).collect()
}

fn tensor(numbers: &[f32], shape: (usize, usize), dtype: DType) -> Tensor {
    Tensor::from_slice(numbers, shape, &Device::Cpu)
        .unwrap()
        .to_dtype(dtype)
        .unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn heads_are_normed_and_turned_by_the_angle_of_their_position(
        tokens in 1usize..6, heads in 1usize..4, seed in 0u64..1000, norm in 0usize..3,
    ) {
        let (turning, still) = (8, 3);
        let dim = turning + still;
        let rope = RopeParameters { theta: 10_000.0, dim: turning, kind: RopeKind::Default };
        let table = rope.table(32, 32);
        let positions: Vec<u32> = (0..tokens as u32).map(|i| (i * 7 + seed as u32 % 5) % 32).collect();
        let width = (heads + 2) * dim;
        for dtype in [DType::F32, DType::BF16] {
            let x = tensor(&numbers(tokens * width, seed), (tokens, width), dtype);
            let config = NormConfig { eps: 1e-6, unit_offset: false, weight_in_f32: true };
            let normed = if norm == 2 { heads * dim } else { dim };
            let weight = tensor(&numbers(normed, seed ^ 1), (1, normed), dtype).flatten_all().unwrap();
            let rms = RmsNorm::new(&weight, config).unwrap();
            let op = Queries(Heads {
                first: 1,
                count: heads,
                dim,
                norm: [HeadsNorm::None, HeadsNorm::PerHead(&rms), HeadsNorm::FullWidth(&rms)][norm],
                turn: Some(Turn { table: &table, dim: turning }),
                positions: &positions,
            });
            let seen = read(&x.apply_op1_no_bwd(&op).unwrap());
            let (xs, ws) = (read(&x), read(&weight));
            for (token, row) in xs.chunks(width).enumerate() {
                let mut row: Vec<f64> = row[dim..(heads + 1) * dim].iter().map(|x| f64::from(*x)).collect();
                if norm > 0 {
                    for part in row.chunks_mut(normed) {
                        let mean = part.iter().map(|x| x * x).sum::<f64>() / normed as f64;
                        part.iter_mut().zip(&ws).for_each(|(x, w)| *x *= f64::from(*w) / (mean + 1e-6).sqrt());
                    }
                }
                for head in row.chunks_mut(dim) {
                    for i in 0..turning / 2 {
                        let frequency = 10_000f64.powf(-2.0 * i as f64 / turning as f64);
                        let angle = f64::from(positions[token]) * frequency;
                        let (a, b) = (head[i], head[i + turning / 2]);
                        head[i] = a * angle.cos() - b * angle.sin();
                        head[i + turning / 2] = b * angle.cos() + a * angle.sin();
                    }
                }
                let tolerance = if dtype == DType::F32 { 2e-5 } else { 4e-2 };
                for (seen, exact) in seen[token * heads * dim..].iter().zip(&row) {
                    prop_assert!((f64::from(*seen) - exact).abs() <= tolerance * exact.abs().max(1.0));
                }
            }
        }
    }
}

/// A cache of two blocks with two heads of four numbers, and one token with key and value written to a slot.
fn written(slot: u32, dtype: DType) -> candle_core::Result<Tensor> {
    let (heads, dim) = (2, 4);
    let cache = Tensor::zeros((2, kv_block_numbers(heads, dim)), dtype, &Device::Cpu)?;
    let kv = tensor(
        &(1..=16).map(|x| x as f32).collect::<Vec<_>>(),
        (1, 16),
        dtype,
    );
    let keys = Heads {
        first: 0,
        count: heads,
        dim,
        norm: HeadsNorm::None,
        turn: None,
        positions: &[0],
    };
    let write = KvWrite {
        keys,
        first_value: heads,
        slot_mapping: &[slot],
    };
    cache.inplace_op2(&kv, &write)?;
    Ok(cache)
}

#[test]
fn keys_and_values_lie_in_tiles() {
    for (dtype, group) in [(DType::F32, f32::GROUP), (DType::BF16, bf16::GROUP)] {
        let cache = read(&written(32 + 19, dtype).unwrap());
        let (offset, side) = (19, side_numbers(4));
        for head in 0..2 {
            let block = 2 * (2 + head) * side;
            for number in 0..4 {
                let key = offset / TILE * 16 * TILE
                    + number / group * TILE * group
                    + offset % TILE * group
                    + number % group;
                assert_eq!(cache[block + key], (head * 4 + number + 1) as f32);
                let value = offset / group * TILE * group + number * group + offset % group;
                assert_eq!(cache[block + side + value], (head * 4 + number + 9) as f32);
            }
        }
        assert_eq!(cache.iter().filter(|x| **x != 0.0).count(), 16);
    }
}

#[test]
fn a_slot_outside_the_cache_is_an_error_and_nothing_is_written() {
    for slot in [64, u32::MAX] {
        assert!(
            written(slot, DType::BF16)
                .unwrap_err()
                .to_string()
                .contains("outside the cache")
        );
    }
    written(63, DType::BF16).unwrap();
}
