//! Every operation against a plain reference, over random shapes, in f32 and bf16.

use candle_core::{DType, Device, Tensor};
use proptest::prelude::*;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::*;
use crate::model::runner::{BLOCK_TOKENS, Batch};

const DTYPES: [DType; 2] = [DType::F32, DType::BF16];

/// Random numbers in ±1, the same for a seed.
fn random(seed: u64, shape: &[usize], dtype: DType) -> Tensor {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut number = || (rng.next_u32() as f32 / u32::MAX as f32).mul_add(2.0, -1.0);
    let data: Vec<f32> = (0..shape.iter().product()).map(|_| number()).collect();
    Tensor::from_vec(data, shape, &Device::Cpu)
        .unwrap()
        .to_dtype(dtype)
        .unwrap()
}

fn numbers(tensor: &Tensor) -> Vec<f32> {
    tensor
        .to_dtype(DType::F32)
        .unwrap()
        .flatten_all()
        .unwrap()
        .to_vec1()
        .unwrap()
}

/// Within 1e-5 in f32; in bf16 within two units in the last place of the result.
fn assert_close(seen: &Tensor, expected: &[f32], dtype: DType, what: &str) {
    assert_eq!(seen.elem_count(), expected.len(), "{what}");
    for (index, (seen, expected)) in numbers(seen).iter().zip(expected).enumerate() {
        let scale = expected.abs().max(1.0);
        let tolerance = if dtype == DType::F32 {
            1e-5
        } else {
            1.0 / 64.0
        } * scale;
        assert!(
            (seen - expected).abs() <= tolerance,
            "{what}[{index}]: {seen} is not {expected}"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn linear_is_the_matrix_product(t in 1usize..9, n in 1usize..70, k in 1usize..200, seed: u64) {
        for dtype in DTYPES {
            let (x, w) = (random(seed, &[t, k], dtype), random(seed ^ 1, &[n, k], dtype));
            let bias = random(seed ^ 2, &[n], dtype);
            let (xs, ws, bs) = (numbers(&x), numbers(&w), numbers(&bias));
            let dot = |i: usize, j: usize| -> f32 {
                (0..k).map(|c| xs[i * k + c] * ws[j * k + c]).sum::<f32>() + bs[j]
            };
            let expected: Vec<f32> = (0..t * n).map(|at| dot(at / n, at % n)).collect();
            let linear = Linear::new(w, Some(bias));
            assert_close(&linear.forward(&x).unwrap(), &expected, dtype, "linear");
            assert_close(&linear.forward_wide(&x).unwrap(), &expected, DType::F32, "wide linear");
        }
    }

    #[test]
    fn a_row_of_linear_does_not_depend_on_the_others(t in 2usize..9, k in 1usize..200, seed: u64) {
        for dtype in DTYPES {
            let linear = Linear::new(random(seed, &[48, k], dtype), None);
            let x = random(seed ^ 1, &[t, k], dtype);
            let all = numbers(&linear.forward(&x).unwrap());
            let alone = linear.forward(&x.narrow(0, t - 1, 1).unwrap().contiguous().unwrap());
            prop_assert_eq!(&all[(t - 1) * 48..], numbers(&alone.unwrap()));
        }
    }

    #[test]
    fn rms_norm_divides_by_the_root_mean_square(t in 1usize..6, d in 1usize..80, seed: u64) {
        for dtype in DTYPES {
            let (x, w) = (random(seed, &[t, d], dtype), random(seed ^ 1, &[d], dtype));
            let (xs, ws) = (numbers(&x), numbers(&w));
            let expected: Vec<f32> = xs.chunks(d).flat_map(|row| {
                let mean = row.iter().map(|v| v * v).sum::<f32>() / d as f32;
                row.iter().zip(&ws).map(move |(v, w)| v / (mean + 1e-6).sqrt() * w).collect::<Vec<_>>()
            }).collect();
            let seen = x.apply_op2_no_bwd(&w, &RmsNorm { eps: 1e-6 }).unwrap();
            assert_close(&seen, &expected, dtype, "rms_norm");
        }
    }

    #[test]
    fn silu_mul_gates_the_up_projection(t in 1usize..6, f in 1usize..80, seed: u64) {
        for dtype in DTYPES {
            let x = random(seed, &[t, 2 * f], dtype);
            let expected: Vec<f32> = numbers(&x).chunks(2 * f).flat_map(|row| {
                (0..f).map(|i| row[i] / (1.0 + (-row[i]).exp()) * row[f + i]).collect::<Vec<_>>()
            }).collect();
            assert_close(&x.apply_op1_no_bwd(&SiluMul).unwrap(), &expected, dtype, "silu_mul");
        }
    }

    #[test]
    fn rotary_turns_pairs_by_the_angle_of_their_position(t in 1usize..6, heads in 1usize..4, seed: u64) {
        let dim = 8;
        let rope = crate::model::rope::RopeParameters {
            theta: 10_000.0,
            kind: crate::model::rope::RopeKind::Default,
        };
        let table = std::sync::Arc::new(rope.table(dim, 32));
        let positions: Vec<u32> = (0..t as u32).map(|i| (i * 7 + seed as u32 % 5) % 32).collect();
        for dtype in DTYPES {
            let x = random(seed, &[t, heads, dim], dtype);
            let xs = numbers(&x);
            let mut expected = xs.clone();
            for (row, x) in xs.chunks(dim).enumerate() {
                for i in 0..dim / 2 {
                    let frequency = 10_000f64.powf(-2.0 * i as f64 / dim as f64);
                    let angle = f64::from(positions[row / heads]) * frequency;
                    let (a, b) = (f64::from(x[i]), f64::from(x[i + dim / 2]));
                    expected[row * dim + i] = (a * angle.cos() - b * angle.sin()) as f32;
                    expected[row * dim + i + dim / 2] = (b * angle.cos() + a * angle.sin()) as f32;
                }
            }
            let op = Rotary { table: table.clone(), positions: &positions };
            assert_close(&x.apply_op1_no_bwd(&op).unwrap(), &expected, dtype, "rotary");
        }
    }

    #[test]
    fn paged_attention_is_softmax_over_the_own_past(
        lens in prop::collection::vec((1usize..80, 1usize..20), 1..4),
        kv_heads in 1usize..3, group in 1usize..4, seed: u64,
    ) {
        for dtype in DTYPES {
            check_attention(&lens, kv_heads, group, seed, dtype);
        }
    }
}

/// Sequences of `past + new` tokens, of which `new` are in the batch, blocks dealt out in disorder.
fn check_attention(
    lens: &[(usize, usize)],
    kv_heads: usize,
    group: usize,
    seed: u64,
    dtype: DType,
) {
    let (dim, heads) = (16, kv_heads * group);
    let blocks_of = |&(past, new): &(usize, usize)| (past + new).div_ceil(BLOCK_TOKENS);
    let total: usize = lens.iter().map(blocks_of).sum();
    let mut free: Vec<u32> = (0..total as u32).rev().collect();
    free.rotate_left(total / 2);
    let shape = [total, BLOCK_TOKENS, kv_heads, dim];
    let (keys, values) = (random(seed, &shape, dtype), random(seed ^ 1, &shape, dtype));
    let mut batch = Batch::default();
    batch.clear();
    batch.block_table_width = lens.iter().map(blocks_of).max().unwrap();
    for len in lens {
        let blocks = free.split_off(free.len() - blocks_of(len));
        batch.push(&vec![0; len.1], len.0, &blocks, true);
    }
    let tokens = batch.input_ids.len();
    let (q, k, v) = (
        random(seed ^ 2, &[tokens, heads, dim], dtype),
        random(seed ^ 3, &[tokens, kv_heads, dim], dtype),
        random(seed ^ 4, &[tokens, kv_heads, dim], dtype),
    );
    let write = CacheWrite {
        slot_mapping: &batch.slot_mapping,
    };
    keys.inplace_op2(&k, &write).unwrap();
    values.inplace_op2(&v, &write).unwrap();
    let op = PagedAttention {
        batch: &batch,
        scale: 0.25,
    };
    let seen = q.apply_op3_no_bwd(&keys, &values, &op).unwrap();

    let (qs, ks, vs) = (numbers(&q), numbers(&keys), numbers(&values));
    let mut expected = Vec::new();
    for (sequence, &(past, new)) in lens.iter().enumerate() {
        let table = &batch.block_tables[sequence * batch.block_table_width..];
        let at = |position: usize, head: usize| {
            let slot =
                table[position / BLOCK_TOKENS] as usize * BLOCK_TOKENS + position % BLOCK_TOKENS;
            (slot * kv_heads + head) * dim
        };
        for row in 0..new {
            let token = batch.cu_seqlens_q[sequence] as usize + row;
            for head in 0..heads {
                let q = &qs[(token * heads + head) * dim..][..dim];
                let score = |p: usize| -> f32 {
                    (0..dim)
                        .map(|d| q[d] * ks[at(p, head / group) + d])
                        .sum::<f32>()
                        * 0.25
                };
                let weights: Vec<f32> = (0..=past + row).map(|p| score(p).exp()).collect();
                let total: f32 = weights.iter().sum();
                expected.extend((0..dim).map(|d| {
                    let products = weights.iter().enumerate();
                    products
                        .map(|(p, w)| w * vs[at(p, head / group) + d])
                        .sum::<f32>()
                        / total
                }));
            }
        }
    }
    assert_close(&seen, &expected, dtype, "paged attention");
}
