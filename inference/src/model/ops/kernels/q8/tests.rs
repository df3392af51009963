//! Every set of instructions against plain sums, over random shapes, to the last bit.

use half::f16;
use proptest::prelude::*;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{weights::BLOCK_BYTES, *};

/// Random numbers in ±1, the same for a seed.
fn random(seed: u64, count: usize) -> Vec<f32> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut number = || (rng.next_u32() as f32 / u32::MAX as f32).mul_add(2.0, -1.0);
    (0..count).map(|_| number()).collect()
}

/// A matrix in GGML's blocks: any byte as weight, scales around 1/100.
fn ggml(seed: u64, rows: usize, columns: usize) -> Vec<u8> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut bytes = vec![0; rows * columns / BLOCK * BLOCK_BYTES];
    rng.fill_bytes(&mut bytes);
    for block in bytes.as_chunks_mut::<BLOCK_BYTES>().0 {
        let scale = f16::from_f32(0.01 + f32::from(block[0]) / 25_000.0);
        block[..2].copy_from_slice(&scale.to_le_bytes());
    }
    bytes
}

fn packed(bytes: &[u8], (rows, columns): (usize, usize)) -> PackedQ8 {
    let row_bytes = columns / BLOCK * BLOCK_BYTES;
    PackedQ8::from_ggml((rows, columns), |row| &bytes[row * row_bytes..][..row_bytes])
}

/// One token's product with one row, block by block.
fn product(row: &[u8], x: &[f32]) -> f32 {
    let mut sum = 0.0;
    for (w, x) in row.chunks(BLOCK_BYTES).zip(x.chunks(BLOCK)) {
        let greatest = x.iter().fold(0f32, |greatest, x| greatest.max(x.abs()));
        let inverse = if greatest == 0.0 { 0.0 } else { 127.0 / greatest };
        let products = w[2..].iter().zip(x).map(|(&w, x)| {
            let rounded = (x * inverse).round_ties_even();
            i32::from(w as i8) * rounded as i32
        });
        let scale = f16::from_le_bytes([w[0], w[1]]).to_f32();
        sum += products.sum::<i32>() as f32 * (scale * (greatest / 127.0));
    }
    sum
}

/// The products `[T, N]`.
fn products(instructions: Instructions, weights: &PackedQ8, x: &[f32]) -> Vec<f32> {
    let (rows, columns) = (weights.rows(), weights.columns());
    let x = QuantizedRows::new(instructions, x, columns);
    let mut out = vec![0.0; x.rows() * rows];
    for tile in 0..weights.tiles() {
        let first = tile * TILE;
        let count = TILE.min(rows - first);
        multiply(instructions, [weights.tile(tile)], &x, |token, [products]| {
            out[token * rows + first..][..count].copy_from_slice(&products[..count]);
        });
    }
    out
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn products_are_plain_sums_to_the_last_bit(
        t in 1usize..40, rows in 1usize..60, blocks in 1usize..6, seed: u64,
    ) {
        let columns = blocks * BLOCK;
        let (bytes, x) = (ggml(seed, rows, columns), random(seed ^ 1, t * columns));
        let weights = packed(&bytes, (rows, columns));
        let expected: Vec<f32> = x.chunks(columns).flat_map(|x| {
            bytes.chunks(columns / BLOCK * BLOCK_BYTES).map(move |row| product(row, x))
        }).collect();
        for instructions in Instructions::all() {
            let seen = products(instructions, &weights, &x);
            prop_assert_eq!(&seen, &expected, "{:?}", instructions);
        }
    }

    #[test]
    fn tiles_are_multiplied_side_by_side(t in 1usize..20, seed: u64) {
        let (rows, columns) = (2 * TILE, 2 * BLOCK);
        let weights = packed(&ggml(seed, rows, columns), (rows, columns));
        let x = random(seed ^ 1, t * columns);
        for instructions in Instructions::all() {
            let expected = products(instructions, &weights, &x);
            let x = QuantizedRows::new(instructions, &x, columns);
            let mut seen = Vec::new();
            let tiles = [weights.tile(0), weights.tile(1)];
            multiply(instructions, tiles, &x, |_, both| seen.extend_from_slice(both.as_flattened()));
            prop_assert_eq!(seen, expected);
        }
    }

    #[test]
    fn a_row_comes_out_of_the_tiles_as_it_went_in(rows in 1usize..40, blocks in 1usize..5, seed: u64) {
        let columns = blocks * BLOCK;
        let bytes = ggml(seed, rows, columns);
        let weights = packed(&bytes, (rows, columns));
        let mut row = vec![0.0; columns];
        for (index, bytes) in bytes.chunks(blocks * BLOCK_BYTES).enumerate() {
            weights.row(index, &mut row);
            for (block, row) in bytes.chunks(BLOCK_BYTES).zip(row.chunks(BLOCK)) {
                let scale = f16::from_le_bytes([block[0], block[1]]).to_f32();
                for (weight, number) in block[2..].iter().zip(row) {
                    prop_assert_eq!(*number, f32::from(*weight as i8) * scale);
                }
            }
        }
    }

    #[test]
    fn weights_lose_half_a_step_at_most(rows in 1usize..150, seed: u64) {
        let columns = 2 * BLOCK;
        let numbers = random(seed, rows * columns);
        let weights = PackedQ8::quantize((rows, columns), |rows| {
            Ok::<_, ()>(numbers[rows.start * columns..rows.end * columns].to_vec())
        }).unwrap();
        let mut row = vec![0.0; columns];
        for (index, numbers) in numbers.chunks(columns).enumerate() {
            weights.row(index, &mut row);
            // The scale is rounded to 11 bits.
            let step = 1.0 / 127.0;
            for (after, before) in row.iter().zip(numbers) {
                prop_assert!((after - before).abs() <= step / 2.0 + 1.0 / 2048.0, "{} {}", after, before);
            }
        }
    }

    #[test]
    fn what_is_not_finite_stays_in_its_row(t in 2usize..20, at in 0usize..64, seed: u64) {
        let (rows, columns) = (20, 2 * BLOCK);
        let weights = packed(&ggml(seed, rows, columns), (rows, columns));
        let x = random(seed ^ 1, t * columns);
        let row = at % t;
        for instructions in Instructions::all() {
            let expected = products(instructions, &weights, &x);
            for broken in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                let mut x = x.clone();
                x[row * columns + at] = broken;
                let seen = products(instructions, &weights, &x);
                for (token, (seen, expected)) in seen.chunks(rows).zip(expected.chunks(rows)).enumerate() {
                    if token == row {
                        prop_assert!(seen.iter().all(|number| !number.is_finite()));
                    } else {
                        prop_assert_eq!(seen, expected);
                    }
                }
            }
        }
    }
}

#[test]
fn numbers_too_small_for_a_scale_are_zeros() {
    for number in [0.0, -0.0, f32::MIN_POSITIVE / 2.0, f32::MIN_POSITIVE, -1e-37] {
        let block = activations::quantize(&[number; BLOCK]);
        assert_eq!((block.quads, block.scale, block.correction), ([[0; QUAD]; QUADS], 0.0, 0));
    }
    let block = activations::quantize(&[1e-35f32; BLOCK]);
    assert_eq!(block.quads, [[127; QUAD]; QUADS]);
    assert_eq!(block.correction, -128 * 127 * BLOCK as i32);
}

#[test]
fn the_largest_numbers_do_not_wrap() {
    for instructions in Instructions::all() {
        let bytes: Vec<u8> = [0, 0x3c].into_iter().chain([0x80; BLOCK]).collect();
        let weights = packed(&bytes, (1, BLOCK));
        for sign in [1.0, -1.0] {
            let seen = products(instructions, &weights, &[127.0 * sign; BLOCK]);
            assert_eq!(seen, [-128.0 * 127.0 * sign * BLOCK as f32]);
        }
    }
}
