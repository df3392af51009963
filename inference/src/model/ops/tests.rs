//! Every operation against a plain reference, over random shapes, in f32 and bf16.

use candle_core::{DType, Device, Tensor};
use proptest::prelude::*;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::*;
use crate::model::{
    config::{Activation, NormConfig},
    mapped::MappedBytes,
    runner::{BLOCK_TOKENS, Batch},
};

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

pub(super) fn numbers(tensor: &Tensor) -> Vec<f32> {
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
            let linear = Linear::new(&w, Some(bias)).unwrap();
            assert_close(&linear.forward(&x).unwrap(), &expected, dtype, "linear");
            assert_close(&linear.forward_wide(&x).unwrap(), &expected, DType::F32, "wide linear");
        }
    }

    /// Numbers of rows on both sides of each way to deal them out, and columns that the kernels meet in parts.
    #[test]
    fn a_row_of_linear_does_not_depend_on_the_others(
        t in proptest::sample::select(vec![2usize, 6, 7, 13, 24, 25, 300]),
        k in prop_oneof![1usize..200, 1000usize..1300],
        seed: u64,
    ) {
        for dtype in DTYPES {
            let linear = Linear::new(&random(seed, &[48, k], dtype), None).unwrap();
            let x = random(seed ^ 1, &[t, k], dtype);
            let all = numbers(&linear.forward(&x).unwrap());
            let alone = linear.forward(&x.narrow(0, t - 1, 1).unwrap().contiguous().unwrap());
            prop_assert_eq!(&all[(t - 1) * 48..], numbers(&alone.unwrap()));
        }
    }

    #[test]
    fn a_matrix_packed_in_parts_or_before_is_the_same(
        n in 1usize..40, cut in 0usize..40, k in 1usize..80, gated: bool, seed: u64,
    ) {
        for dtype in DTYPES {
            let rows = 2 * n;
            let tensor = random(seed, &[rows, k], dtype);
            let whole = Matrix::new(&tensor, gated).unwrap();
            let numbers = tensor.flatten_all().unwrap();
            let bytes: Vec<u8> = match dtype {
                DType::F32 => numbers.to_vec1::<f32>().unwrap().iter().flat_map(|v| v.to_le_bytes()).collect(),
                _ => numbers.to_vec1::<bf16>().unwrap().iter().flat_map(|v| v.to_le_bytes()).collect(),
            };
            let (above, below) = bytes.split_at(bytes.len() / rows * cut.min(rows));
            let unpacked = Unpacked { parts: &[above, below], columns: k, gated };
            let packed = Matrix::pack(dtype, unpacked).unwrap();
            prop_assert_eq!(packed.bytes(), whole.bytes());

            let mut file = tempfile::tempfile().unwrap();
            std::io::Write::write_all(&mut file, whole.bytes()).unwrap();
            let map = std::sync::Arc::new(crate::model::mapped::map(&file).unwrap());
            let mapped = |length| MappedBytes { map: std::sync::Arc::clone(&map), place: 0..length };
            let length = whole.bytes().len();
            let before = |length, rows| Matrix::packed(dtype, mapped(length), (rows, k), gated);
            let packed = before(length, rows).unwrap();
            prop_assert_eq!(packed.bytes(), whole.bytes());
            prop_assert!(before(length - 4, rows).is_none());
            prop_assert!(before(length, rows + 64).is_none());
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
            for weight_in_f32 in [false, true] {
                let config = NormConfig { eps: 1e-6, unit_offset: false, weight_in_f32 };
                let seen = RmsNorm::new(&w, config).unwrap().forward(&x).unwrap();
                assert_close(&seen, &expected, dtype, "rms_norm");
            }
            let offset = NormConfig { eps: 1e-6, unit_offset: true, weight_in_f32: true };
            let seen = RmsNorm::new(&w, offset).unwrap().forward(&x).unwrap();
            let expected: Vec<f32> = expected.iter().zip(ws.iter().cycle())
                .map(|(product, w)| product / w * (1.0 + w)).collect();
            assert_close(&seen, &expected, dtype, "rms_norm with the offset");
        }
    }

    #[test]
    fn the_gate_opens_the_up_projection(t in 1usize..6, f in 1usize..80, seed: u64) {
        for dtype in DTYPES {
            let x = random(seed, &[t, 2 * f], dtype);
            let xs = numbers(&x);
            let gated = |function: fn(f32) -> f32| -> Vec<f32> {
                let row = |row: &[f32]| -> Vec<f32> {
                    (0..f).map(|i| function(row[i]) * row[f + i]).collect()
                };
                xs.chunks(2 * f).flat_map(row).collect()
            };
            let silu = gated(|x| x / (1.0 + (-x).exp()));
            let gelu = gated(|x| {
                let inner = (2.0 / std::f32::consts::PI).sqrt() * (x + 0.044715 * x.powi(3));
                0.5 * x * (1.0 + inner.tanh())
            });
            for (activation, expected) in [(Activation::Silu, silu), (Activation::GeluTanh, gelu)] {
                let seen = x.apply_op1_no_bwd(&GatedMul(activation)).unwrap();
                assert_close(&seen, &expected, dtype, "gated_mul");
            }
        }
    }

    #[test]
    fn paged_attention_is_softmax_over_the_own_past(
        lens in prop::collection::vec((1usize..80, 1usize..20), 1..4),
        kv_heads in 1usize..3, group in 1usize..4, dim in 1usize..40, seed: u64,
        window in prop::option::of(1usize..90), softcap in prop::option::of(0.2f32..3.0),
    ) {
        for dtype in DTYPES {
            let sizes = Sizes { kv_heads, group, dim, window, softcap, causal: true };
            check_attention(&lens, &sizes, seed, dtype);
        }
    }

    #[test]
    fn attention_that_is_not_causal_is_softmax_over_the_whole_sequence(
        lens in prop::collection::vec(1usize..90, 1..4), heads in 1usize..4, dim in 1usize..40,
        seed: u64,
    ) {
        let lens: Vec<(usize, usize)> = lens.into_iter().map(|len| (0, len)).collect();
        let (window, softcap) = (None, None);
        for dtype in DTYPES {
            let sizes =
                Sizes { kv_heads: heads, group: 1, dim, window, softcap, causal: false };
            check_attention(&lens, &sizes, seed, dtype);
        }
    }

    #[test]
    fn layer_norm_has_mean_bias_and_variance_weight(t in 1usize..6, d in 2usize..80, seed: u64) {
        for dtype in DTYPES {
            let (x, w) = (random(seed, &[t, d], dtype), random(seed ^ 1, &[d], dtype));
            let b = random(seed ^ 2, &[d], dtype);
            let (xs, ws, bs) = (numbers(&x), numbers(&w), numbers(&b));
            let expected: Vec<f32> = xs.chunks(d).flat_map(|row| {
                let mean = row.iter().sum::<f32>() / d as f32;
                let variance = row.iter().map(|v| (v - mean).powi(2)).sum::<f32>() / d as f32;
                let normed = move |v: &f32| (v - mean) / (variance + 1e-6).sqrt();
                row.iter().zip(ws.iter().zip(&bs)).map(move |(v, (w, b))| normed(v) * w + b)
                    .collect::<Vec<_>>()
            }).collect();
            let norm = LayerNorm::new(&w, &b, 1e-6).unwrap();
            assert_close(&norm.forward(&x).unwrap(), &expected, dtype, "layer_norm");
        }
    }

    #[test]
    fn activations_are_the_functions_of_their_names(t in 1usize..6, f in 1usize..80, seed: u64) {
        // Abramowitz & Stegun 7.1.26: within 1.5e-7.
        fn erf(x: f64) -> f64 {
            let t = 1.0 / (1.0 + 0.327_591_1 * x.abs());
            let tail = [1.061_405_429, -1.453_152_027, 1.421_413_741, -0.284_496_736, 0.254_829_592];
            let tail = tail.iter().fold(0.0, |sum, factor| (sum + factor) * t);
            (1.0 - tail * (-x * x).exp()).copysign(x)
        }
        for dtype in DTYPES {
            let x = random(seed, &[t, f], dtype);
            let check = |activation, function: fn(f64) -> f64| {
                let expected: Vec<f32> =
                    numbers(&x).iter().map(|&x| function(f64::from(x)) as f32).collect();
                let seen = x.apply_op1_no_bwd(&Activate(activation)).unwrap();
                assert_close(&seen, &expected, dtype, "activate");
            };
            check(Activation::Gelu, |x| 0.5 * x * (1.0 + erf(x / 2f64.sqrt())));
            check(Activation::Relu, |x| x.max(0.0));
            check(Activation::Silu, |x| x / (1.0 + (-x).exp()));
        }
    }
}

/// Writes keys and values, `[T, 2 · KV heads · D]`, as they are.
fn write_kv(cache: &Tensor, batch: &Batch, kv: &Tensor, (kv_heads, dim): (usize, usize)) {
    let keys = Heads {
        first: 0,
        count: kv_heads,
        dim,
        norm: HeadsNorm::None,
        turn: None,
        positions: &batch.positions,
    };
    let write = KvWrite {
        keys,
        first_value: kv_heads,
        slot_mapping: &batch.slot_mapping,
    };
    cache.inplace_op2(kv, &write).unwrap();
}

/// What an earlier token attends to, whether the last of its sequence is a number or not, and alone.
#[test]
fn what_a_token_does_not_see_does_not_matter_even_if_it_is_no_number() {
    let (kv_heads, group, dim) = (2, 3, 24);
    for (dtype, tokens) in DTYPES
        .into_iter()
        .flat_map(|dtype| [(dtype, 7), (dtype, 40)])
    {
        let q = random(1, &[tokens, kv_heads * group, dim], dtype);
        let sane = random(2, &[tokens, 2 * kv_heads * dim], dtype);
        let nan = Tensor::full(f32::NAN, (1, 2 * kv_heads * dim), &Device::Cpu).unwrap();
        let rest = sane.narrow(0, 0, tokens - 1).unwrap();
        let last = nan.to_dtype(dtype).unwrap();
        let failing = Tensor::cat(&[&rest, &last], 0).unwrap();
        let attended = |kv: &Tensor| {
            let shape = (2, kv_block_numbers(kv_heads, dim));
            let cache = Tensor::zeros(shape, dtype, &Device::Cpu).unwrap();
            let mut batch = Batch::default();
            batch.clear();
            batch.block_table_width = 2;
            batch.push(&vec![0; tokens], 0, &[1, 0], true);
            write_kv(&cache, &batch, kv, (kv_heads, dim));
            let op = PagedAttention {
                batch: &batch,
                kv_heads,
                causal: true,
                scale: 0.25,
                softcap: None,
                window: Some(9),
            };
            numbers(&q.apply_op2_no_bwd(&cache, &op).unwrap())
        };
        let (sane, failing) = (attended(&sane), attended(&failing));
        let earlier = (tokens - 1) * kv_heads * group * dim;
        assert_eq!(sane[..earlier], failing[..earlier]);
        assert!(failing[earlier..].iter().all(|number| number.is_nan()));
    }
}

/// What an attention is like.
struct Sizes {
    kv_heads: usize,
    group: usize,
    dim: usize,
    window: Option<usize>,
    softcap: Option<f32>,
    causal: bool,
}

/// Sequences of `past + new` tokens, of which `new` are in the batch, blocks dealt out in disorder.
fn check_attention(lens: &[(usize, usize)], sizes: &Sizes, seed: u64, dtype: DType) {
    let &Sizes {
        kv_heads,
        group,
        dim,
        window,
        softcap,
        causal,
    } = sizes;
    let heads = kv_heads * group;
    let blocks_of = |&(past, new): &(usize, usize)| (past + new).div_ceil(BLOCK_TOKENS);
    let total: usize = lens.iter().map(blocks_of).sum();
    let mut free: Vec<u32> = (0..total as u32).rev().collect();
    free.rotate_left(total / 2);
    let shape = (total, kv_block_numbers(kv_heads, dim));
    let cache = Tensor::zeros(shape, dtype, &Device::Cpu).unwrap();
    let write = |batch: &Batch, kv: &Tensor| write_kv(&cache, batch, kv, (kv_heads, dim));
    // What a request that failed may leave.
    let mut failed = Batch::default();
    failed.clear();
    failed.block_table_width = total;
    let all: Vec<u32> = (0..total as u32).collect();
    failed.push(&vec![0; total * BLOCK_TOKENS], 0, &all, false);
    let nan = Tensor::full(
        f32::NAN,
        (total * BLOCK_TOKENS, 2 * kv_heads * dim),
        &Device::Cpu,
    );
    write(&failed, &nan.unwrap().to_dtype(dtype).unwrap());
    let mut batch = Batch::default();
    batch.clear();
    batch.block_table_width = lens.iter().map(blocks_of).max().unwrap();
    for len in lens {
        let blocks = free.split_off(free.len() - blocks_of(len));
        batch.push(&vec![0; len.1], len.0, &blocks, true);
    }
    // What was computed in earlier steps, then this step: keys and values of every position.
    let mut past = batch.clone();
    past.clear();
    past.block_table_width = batch.block_table_width;
    let mut written = Vec::new();
    for (sequence, len) in lens.iter().enumerate() {
        let table = &batch.block_tables[sequence * batch.block_table_width..];
        past.push(&vec![0; len.0], 0, &table[..blocks_of(len)], false);
        written.push(random(
            seed ^ (3 + sequence as u64),
            &[len.0 + len.1, 2 * kv_heads * dim],
            dtype,
        ));
    }
    let tokens = batch.input_ids.len();
    let q = random(seed ^ 2, &[tokens, heads, dim], dtype);
    let rows = |from: &dyn Fn(&(usize, usize)) -> std::ops::Range<usize>| {
        let parts: Vec<Tensor> = lens
            .iter()
            .zip(&written)
            .map(|(len, written)| {
                let range = from(len);
                written.narrow(0, range.start, range.len()).unwrap()
            })
            .collect();
        Tensor::cat(&parts, 0).unwrap()
    };
    write(&past, &rows(&|len| 0..len.0));
    write(&batch, &rows(&|len| len.0..len.0 + len.1));
    let op = PagedAttention {
        batch: &batch,
        kv_heads,
        causal,
        scale: 0.25,
        softcap,
        window,
    };
    let seen = q.apply_op2_no_bwd(&cache, &op).unwrap();

    let qs = numbers(&q);
    let mut expected = Vec::new();
    for (sequence, &(past, new)) in lens.iter().enumerate() {
        let kv = numbers(&written[sequence]);
        let key =
            |position: usize, head: usize| &kv[(position * 2 * kv_heads + head) * dim..][..dim];
        let value = |position: usize, head: usize| key(position, kv_heads + head);
        for row in 0..new {
            let token = batch.cu_seqlens_q[sequence] as usize + row;
            for head in 0..heads {
                let q = &qs[(token * heads + head) * dim..][..dim];
                let score = |p: usize| -> f32 {
                    let products = q.iter().zip(key(p, head / group)).map(|(q, k)| q * k);
                    let score = products.sum::<f32>() * 0.25;
                    softcap.map_or(score, |cap| cap * (score / cap).tanh())
                };
                let seen = |p: usize| window.is_none_or(|window| p + window > past + row);
                let weight = |p: usize| if seen(p) { score(p).exp() } else { 0.0 };
                let last = if causal { past + row } else { past + new - 1 };
                let weights: Vec<f32> = (0..=last).map(weight).collect();
                let total: f32 = weights.iter().sum();
                expected.extend((0..dim).map(|d| {
                    let products = weights.iter().enumerate();
                    products
                        .map(|(p, w)| w * value(p, head / group)[d])
                        .sum::<f32>()
                        / total
                }));
            }
        }
    }
    assert_close(&seen, &expected, dtype, "paged attention");
}
