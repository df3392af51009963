//! Every set of instructions against plain sums, over random shapes, to the last bit.

use half::{bf16, f16};
use proptest::prelude::*;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::*;

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

/// A tile of up to 16 rows.
struct Packed {
    lines: Vec<Lines>,
    scales: Vec<Scales>,
}

impl Packed {
    fn of(rows: usize, columns: usize, set: impl Fn(&mut TileMut<'_>, usize)) -> Self {
        let blocks = columns / BLOCK;
        let mut packed = Self {
            lines: vec![[weights::Line([[0; QUAD]; TILE]); QUADS]; blocks],
            scales: vec![Scales([f16::ZERO; TILE]); blocks],
        };
        let (lines, scales) = (&mut packed.lines[..], &mut packed.scales[..]);
        let mut tile = TileMut { lines, scales };
        tile.clear();
        (0..rows).for_each(|row| set(&mut tile, row));
        packed
    }

    fn ggml(bytes: &[u8], columns: usize) -> Self {
        let row_bytes = columns / BLOCK * BLOCK_BYTES;
        let row = |row: usize| &bytes[row * row_bytes..][..row_bytes];
        Self::of(bytes.len() / row_bytes, columns, |tile, lane| {
            tile.set_ggml(lane, row(lane))
        })
    }

    fn tile(&self) -> Tile<'_> {
        let (lines, scales) = (&self.lines[..], &self.scales[..]);
        Tile { lines, scales }
    }
}

/// One token's product with one row, block by block.
fn product(row: &[u8], x: &[f32]) -> f32 {
    let mut sum = 0.0;
    for (w, x) in row.chunks(BLOCK_BYTES).zip(x.chunks(BLOCK)) {
        let greatest = x.iter().fold(0f32, |greatest, x| greatest.max(x.abs()));
        let inverse = if greatest == 0.0 {
            0.0
        } else {
            127.0 / greatest
        };
        let products = w[2..].iter().zip(x).map(|(&w, x)| {
            let rounded = (x * inverse).round_ties_even();
            i32::from(w as i8) * rounded as i32
        });
        let scale = f16::from_le_bytes([w[0], w[1]]).to_f32();
        sum += products.sum::<i32>() as f32 * (scale * (greatest / 127.0));
    }
    sum
}

/// The products `[T, 16 N]` of up to 16 tokens.
fn products<const N: usize>(
    instructions: Instructions,
    tiles: [&Packed; N],
    x: &[f32],
) -> Vec<f32> {
    let blocks = tiles[0].lines.len();
    let tokens = 0..x.len() / (blocks * BLOCK);
    // Quantized in two parts, as two threads do it.
    let mut quantized = vec![Block::ZERO; tokens.len() * blocks];
    let middle = blocks / 2;
    let (left, right) = quantized.split_at_mut(middle * tokens.len());
    quantize_blocks(instructions, (x, blocks * BLOCK), 0, left);
    quantize_blocks(instructions, (x, blocks * BLOCK), middle, right);
    let mut out = Vec::new();
    let group = Group {
        tokens,
        blocks: &quantized,
    };
    multiply(
        instructions,
        tiles.map(Packed::tile),
        group,
        |token, products| {
            assert_eq!(token * N * TILE, out.len());
            out.extend_from_slice(products.as_flattened());
        },
    );
    out
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn products_are_plain_sums_to_the_last_bit(
        t in 1usize..=GROUP, rows in 1usize..=TILE, blocks in 1usize..9, seed: u64,
    ) {
        let columns = blocks * BLOCK;
        let (bytes, x) = (ggml(seed, rows, columns), random(seed ^ 1, t * columns));
        let tile = Packed::ggml(&bytes, columns);
        let expected: Vec<f32> = x.chunks(columns).flat_map(|x| {
            let rows = bytes.chunks(blocks * BLOCK_BYTES).map(move |row| product(row, x));
            rows.chain(std::iter::repeat(0.0)).take(TILE)
        }).collect();
        for instructions in Instructions::available() {
            prop_assert_eq!(&products(instructions, [&tile], &x), &expected, "{:?}", instructions);
        }
    }

    #[test]
    fn tiles_are_multiplied_side_by_side(t in 1usize..=GROUP, seed: u64) {
        let columns = 2 * BLOCK;
        let tile = |seed| Packed::ggml(&ggml(seed, TILE, columns), columns);
        let (left, right) = (tile(seed), tile(seed ^ 1));
        let x = random(seed ^ 2, t * columns);
        for instructions in Instructions::available() {
            let apart = [&left, &right].map(|tile| products(instructions, [tile], &x));
            let rows = apart[0].chunks(TILE).zip(apart[1].chunks(TILE));
            let expected: Vec<f32> = rows.flat_map(|(left, right)| [left, right].concat()).collect();
            prop_assert_eq!(products(instructions, [&left, &right], &x), expected);
        }
    }

    #[test]
    fn a_token_does_not_depend_on_the_others(t in 2usize..=GROUP, blocks in 1usize..9, seed: u64) {
        let columns = blocks * BLOCK;
        let tile = Packed::ggml(&ggml(seed, TILE, columns), columns);
        let x = random(seed ^ 1, t * columns);
        for instructions in Instructions::available() {
            let all = products(instructions, [&tile], &x);
            for (x, all) in x.chunks(columns).zip(all.chunks(TILE)) {
                prop_assert_eq!(&products(instructions, [&tile], x), all);
            }
        }
    }

    #[test]
    fn blocks_are_the_same_bits_whatever_the_instructions(
        t in 1usize..4, blocks in 1usize..4, scale in 1e-3f32..1e3, seed: u64,
    ) {
        let columns = blocks * BLOCK;
        let x: Vec<f32> = random(seed, t * columns).iter().map(|x| x * scale).collect();
        let narrow: Vec<bf16> = x.iter().map(|&x| bf16::from_f32(x)).collect();
        let bits = |blocks: &[Block]| -> Vec<_> {
            blocks.iter().map(|b| (b.quads, b.scale.to_bits(), b.correction)).collect()
        };
        let mut expected = vec![Block::ZERO; t * blocks];
        for instructions in Instructions::available() {
            let mut seen = expected.clone();
            quantize_blocks(Instructions::Portable, (&x, columns), 0, &mut expected);
            quantize_blocks(instructions, (&x, columns), 0, &mut seen);
            prop_assert_eq!(bits(&seen), bits(&expected), "{:?}", instructions);
            quantize_blocks(Instructions::Portable, (&narrow, columns), 0, &mut expected);
            quantize_blocks(instructions, (&narrow, columns), 0, &mut seen);
            prop_assert_eq!(bits(&seen), bits(&expected), "{:?} of bf16", instructions);
        }
    }

    #[test]
    fn a_row_comes_out_of_the_tile_as_it_went_in(rows in 1usize..=TILE, blocks in 1usize..5, seed: u64) {
        let columns = blocks * BLOCK;
        let bytes = ggml(seed, rows, columns);
        let tile = Packed::ggml(&bytes, columns);
        let mut row = vec![0.0; columns];
        for (lane, bytes) in bytes.chunks(blocks * BLOCK_BYTES).enumerate() {
            tile.tile().row(lane, &mut row);
            for (block, row) in bytes.chunks(BLOCK_BYTES).zip(row.chunks(BLOCK)) {
                let scale = f16::from_le_bytes([block[0], block[1]]).to_f32();
                for (weight, number) in block[2..].iter().zip(row) {
                    prop_assert_eq!(*number, f32::from(*weight as i8) * scale);
                }
            }
        }
    }

    #[test]
    fn weights_lose_half_a_step_at_most(rows in 1usize..=TILE, seed: u64) {
        let columns = 2 * BLOCK;
        let numbers = random(seed, rows * columns);
        let row = |lane: usize| &numbers[lane * columns..][..columns];
        let tile = Packed::of(rows, columns, |tile, lane| tile.set_numbers(Instructions::detect(), lane, row(lane)));
        let mut after = vec![0.0; columns];
        for lane in 0..rows {
            tile.tile().row(lane, &mut after);
            // The scale is rounded to 11 bits.
            let most = 0.5 / 127.0 + 1.0 / 2048.0;
            for (after, before) in after.iter().zip(row(lane)) {
                prop_assert!((after - before).abs() <= most, "{} became {}", before, after);
            }
        }
    }

    #[test]
    fn what_is_not_finite_stays_in_its_row(t in 2usize..=GROUP, at in 0usize..64, seed: u64) {
        let columns = 2 * BLOCK;
        let tile = Packed::ggml(&ggml(seed, TILE, columns), columns);
        let (x, row) = (random(seed ^ 1, t * columns), at % t);
        for instructions in Instructions::available() {
            let expected = products(instructions, [&tile], &x);
            for broken in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                let mut x = x.clone();
                x[row * columns + at] = broken;
                let seen = products(instructions, [&tile], &x);
                for (token, (seen, expected)) in seen.chunks(TILE).zip(expected.chunks(TILE)).enumerate() {
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
    let block_of = |instructions, number: f32| {
        let mut blocks = [Block::ZERO];
        quantize_blocks(instructions, (&[number; BLOCK], BLOCK), 0, &mut blocks);
        blocks[0]
    };
    let tiny = f32::MIN_POSITIVE;
    for instructions in Instructions::available() {
        for number in [0.0, -0.0, tiny / 2.0, tiny, -1e-37] {
            let block = block_of(instructions, number);
            let seen = (block.quads, block.scale, block.correction);
            assert_eq!(seen, ([[0; QUAD]; QUADS], 0.0, 0));
        }
    }
    let block = block_of(Instructions::detect(), 1e-35);
    assert_eq!(block.quads, [[127; QUAD]; QUADS]);
    assert_eq!(block.correction, -128 * 127 * BLOCK as i32);
}

#[test]
fn the_largest_numbers_do_not_wrap() {
    let bytes: Vec<u8> = [0, 0x3c].into_iter().chain([0x80; BLOCK]).collect();
    let tile = Packed::ggml(&bytes, BLOCK);
    for instructions in Instructions::available() {
        for sign in [1.0, -1.0] {
            let seen = products(instructions, [&tile], &[127.0 * sign; BLOCK]);
            assert_eq!(seen[0], -128.0 * 127.0 * sign * BLOCK as f32);
        }
    }
}
