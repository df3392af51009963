//! Products of tiles of bf16 with AVX-512's bf16 instructions: 16 columns of two products each at once.
#![expect(unsafe_code, reason = "vector instructions")]

use std::arch::x86_64::{
    __m512bh, __m512i, _MM_HINT_T0, _mm_prefetch, _mm512_dpbf16_ps, _mm512_loadu_ps,
    _mm512_loadu_si512, _mm512_set1_epi32, _mm512_setzero_ps, _mm512_setzero_si512,
    _mm512_storeu_ps,
};

use half::bf16;

use super::tile::{Product, TILE};

/// Rows up to which four tiles are read at a time, to have more of the memory under way.
const FEW_ROWS: usize = 6;
/// Rows whose sums over two tiles the registers hold.
const MOST_ROWS: usize = 12;
/// How far ahead of the products weights are fetched, in bytes of each tile.
const PREFETCH: usize = 1024;

/// See `Packed::accumulate`. Only where avx512f and avx512bf16 are.
pub(super) fn accumulate(product: &Product<'_, bf16>, sums: &mut [f32], sums_stride: usize) {
    product.check(sums, sums_stride);
    let parts = product.rows.div_ceil(MOST_ROWS).max(1);
    let rows = product.rows.div_ceil(parts).max(1);
    let mut tile = 0;
    while tile < product.tiles {
        let left = product.tiles - tile;
        let tiles = match product.rows {
            ..=FEW_ROWS if left >= 4 => 4,
            _ if left >= 2 => 2,
            _ => 1,
        };
        for row in (0..product.rows).step_by(rows) {
            let part = Part {
                // SAFETY: `check` has seen that these are inside of the slices.
                x: unsafe { product.x.as_ptr().add(row * product.x_stride) },
                x_stride: product.x_stride,
                w: unsafe { product.w.as_ptr().add(tile * product.tile_stride) },
                tile_stride: product.tile_stride,
                pairs: product.groups,
                sums: unsafe { sums.as_mut_ptr().add(row * sums_stride + tile * TILE) },
                sums_stride,
            };
            // SAFETY: the caller's processor has the instructions; `check` has seen that rows, tiles and sums are inside of
            // the slices.
            unsafe { dispatch(&part, rows.min(product.rows - row), tiles) };
        }
        tile += tiles;
    }
}

/// Some rows and tiles, whose sums the registers hold.
struct Part {
    x: *const bf16,
    x_stride: usize,
    w: *const bf16,
    tile_stride: usize,
    pairs: usize,
    sums: *mut f32,
    sums_stride: usize,
}

/// # Safety
/// As for [`held`], with so many rows and tiles.
#[target_feature(enable = "avx512f,avx512bf16")]
unsafe fn dispatch(part: &Part, rows: usize, tiles: usize) {
    macro_rules! by_rows {
        ($tiles:literal: $($rows:literal)*) => {
            match rows {
                // SAFETY: the caller's promise.
                $($rows => unsafe { held::<$rows, $tiles>(part) },)*
                _ => unreachable!("rows are dealt out in parts of at most MOST_ROWS"),
            }
        };
    }
    match tiles {
        4 => by_rows!(4: 1 2 3 4 5 6),
        2 => by_rows!(2: 1 2 3 4 5 6 7 8 9 10 11 12),
        _ => by_rows!(1: 1 2 3 4 5 6 7 8 9 10 11 12),
    }
}

/// # Safety
/// The processor has avx512f and avx512bf16; `R` rows of `pairs` pairs can be read at `x`, `N` tiles of as many at `w`, and `R`
/// rows of `N · 16` sums can be written at `sums`, each with its stride.
#[target_feature(enable = "avx512f,avx512bf16")]
unsafe fn held<const R: usize, const N: usize>(part: &Part) {
    let &Part {
        x,
        x_stride,
        w,
        tile_stride,
        pairs,
        sums,
        sums_stride,
    } = part;
    let mut held = [[_mm512_setzero_ps(); N]; R];
    for (row, held) in held.iter_mut().enumerate() {
        for (tile, held) in held.iter_mut().enumerate() {
            // SAFETY: the caller's promise.
            *held = unsafe { _mm512_loadu_ps(sums.add(row * sums_stride + tile * TILE)) };
        }
    }
    for pair in 0..pairs {
        let mut tiles = [pairs_of(_mm512_setzero_si512()); N];
        for (tile, value) in tiles.iter_mut().enumerate() {
            // SAFETY: the caller's promise; prefetching may look anywhere.
            unsafe {
                let at = w.add(tile * tile_stride + pair * 2 * TILE);
                *value = pairs_of(_mm512_loadu_si512(at.cast()));
                if N == 4 || R > 8 {
                    _mm_prefetch::<_MM_HINT_T0>(at.cast::<i8>().wrapping_add(PREFETCH));
                }
            }
        }
        for (row, held) in held.iter_mut().enumerate() {
            // SAFETY: the caller's promise.
            let both = unsafe {
                x.add(row * x_stride + 2 * pair)
                    .cast::<i32>()
                    .read_unaligned()
            };
            let both = pairs_of(_mm512_set1_epi32(both));
            for (held, tile) in held.iter_mut().zip(&tiles) {
                *held = _mm512_dpbf16_ps(*held, *tile, both);
            }
        }
    }
    for (row, held) in held.iter().enumerate() {
        for (tile, held) in held.iter().enumerate() {
            // SAFETY: the caller's promise.
            unsafe { _mm512_storeu_ps(sums.add(row * sums_stride + tile * TILE), *held) };
        }
    }
}

/// The same bits.
#[inline(always)]
fn pairs_of(bits: __m512i) -> __m512bh {
    // SAFETY: both types are 512 bits of anything.
    unsafe { std::mem::transmute::<__m512i, __m512bh>(bits) }
}
