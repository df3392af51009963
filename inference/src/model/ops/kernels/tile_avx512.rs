//! Products of tiles of bf16 with AVX-512's bf16 instructions: 16 columns of two products each at once.
#![expect(unsafe_code, reason = "vector instructions")]

use std::arch::x86_64::{
    __m512bh, __m512i, _MM_HINT_T0, _MM_HINT_T1, _mm_prefetch, _mm512_dpbf16_ps, _mm512_loadu_ps,
    _mm512_loadu_si512, _mm512_set1_epi32, _mm512_setzero_ps, _mm512_setzero_si512,
    _mm512_storeu_ps,
};

use half::bf16;

use super::tile::{Product, RowLayout, TILE};

/// Rows whose sums over two tiles the registers hold.
const MOST_ROWS: usize = 12;
/// Rows whose sums over one tile the registers hold.
const MOST_INTERLEAVED_ROWS: usize = 24;
/// Rows so few that the sums over one tile alone would wait for each other.
const FEWEST_ROWS: usize = 4;
/// Tiles that so few rows meet at once.
const MOST_TILES: usize = 4;

/// See `Packed::accumulate`. Only where avx512f and avx512bf16 are.
pub(super) fn accumulate(product: &Product<'_, bf16>, sums: &mut [f32], sums_stride: usize) {
    product.check(sums, sums_stride);
    if product.groups == 0 {
        return;
    }
    let most = match product.layout {
        RowLayout::Apart(_) => MOST_ROWS,
        RowLayout::Interleaved => MOST_INTERLEAVED_ROWS,
    };
    let parts = product.rows.div_ceil(most).max(1);
    let rows = product.rows.div_ceil(parts).max(1);
    let (row_stride, group_stride) = product.strides();
    let mut tile = 0;
    while tile < product.tiles {
        let left = product.tiles - tile;
        let tiles = match product.layout {
            RowLayout::Interleaved if rows <= FEWEST_ROWS && left >= MOST_TILES => MOST_TILES,
            // One stream from memory for a thread is as fast as several, and the sums of many rows fit.
            RowLayout::Interleaved => 1,
            RowLayout::Apart(_) if left >= 2 => 2,
            RowLayout::Apart(_) => 1,
        };
        for row in (0..product.rows).step_by(rows) {
            let part = Part {
                // SAFETY: `check` has seen that these are inside of the slices.
                x: unsafe { product.x.as_ptr().add(row * row_stride) },
                row_stride,
                group_stride,
                w: unsafe { product.w.as_ptr().add(tile * product.tile_stride) },
                tile_stride: product.tile_stride,
                pairs: product.groups,
                ahead: product.ahead,
                sums: unsafe { sums.as_mut_ptr().add(row * sums_stride + tile * TILE) },
                sums_stride,
            };
            let rows = rows.min(product.rows - row);
            // SAFETY: the caller's processor has the instructions; `check` has seen that rows, tiles and sums are inside of
            // the slices.
            unsafe {
                match product.layout {
                    RowLayout::Apart(_) => dispatch(&part, rows, tiles),
                    RowLayout::Interleaved => dispatch_interleaved(&part, rows, tiles),
                }
            }
        }
        tile += tiles;
    }
}

/// Some rows and tiles, whose sums the registers hold.
struct Part {
    x: *const bf16,
    row_stride: usize,
    group_stride: usize,
    w: *const bf16,
    tile_stride: usize,
    pairs: usize,
    ahead: isize,
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
        row_stride,
        w,
        tile_stride,
        pairs,
        ahead,
        sums,
        sums_stride,
        ..
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
                _mm_prefetch::<_MM_HINT_T0>(at.cast::<i8>().wrapping_offset(ahead));
            }
        }
        for (row, held) in held.iter_mut().enumerate() {
            // SAFETY: the caller's promise.
            let both = unsafe {
                x.add(row * row_stride + 2 * pair)
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

/// # Safety
/// As for [`held_interleaved`], with so many rows and tiles.
#[target_feature(enable = "avx512f,avx512bf16")]
unsafe fn dispatch_interleaved(part: &Part, rows: usize, tiles: usize) {
    macro_rules! by_rows {
        ($tiles:literal: $($rows:literal)*) => {
            match rows {
                // SAFETY: the caller's promise.
                $($rows => unsafe { held_interleaved::<$rows, $tiles>(part) },)*
                _ => unreachable!("rows are dealt out in parts of at most MOST_INTERLEAVED_ROWS"),
            }
        };
    }
    match tiles {
        MOST_TILES => by_rows!(4: 1 2 3 4),
        _ => by_rows!(1: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24),
    }
}

/// With rows that lie side by side: what they have for a pair of `K` is in a line of the cache or two.
///
/// # Safety
/// The processor has avx512f and avx512bf16; `R` numbers of two can be read at `x`, `pairs` times, and so many pairs of `N` tiles at `w`;
/// `R` rows of `N · 16` sums can be written at `sums`; each with its stride.
#[target_feature(enable = "avx512f,avx512bf16")]
unsafe fn held_interleaved<const R: usize, const N: usize>(part: &Part) {
    let &Part {
        x,
        group_stride,
        w,
        tile_stride,
        pairs,
        ahead,
        sums,
        sums_stride,
        ..
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
                // To the second cache: so far ahead that the first would lose it again.
                _mm_prefetch::<_MM_HINT_T1>(at.cast::<i8>().wrapping_offset(ahead));
                *value = pairs_of(_mm512_loadu_si512(at.cast()));
            }
        }
        // SAFETY: the caller's promise.
        let x = unsafe { x.add(pair * group_stride).cast::<i32>() };
        for (row, held) in held.iter_mut().enumerate() {
            // SAFETY: the caller's promise.
            let both = unsafe { x.add(row).read_unaligned() };
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
