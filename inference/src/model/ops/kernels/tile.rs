//! Products of rows and tiles. A tile is 16 columns of a matrix; the numbers of a column lie in groups, and those of the 16
//! columns side by side: `[K / GROUP][16][GROUP]`. Weights, keys and values all lie so.

use half::bf16;

use super::simd::{Simd, multiply_add, vectorized};
use crate::model::ops::Element;

/// Columns of a tile.
pub(in crate::model::ops) const TILE: usize = 16;

/// A number that tiles are made of.
pub(in crate::model) trait Packed: Element + Send + Sync {
    /// Numbers of a column that lie side by side.
    const GROUP: usize;

    /// Writes numbers in groups, every `of`-th group from number `first` on: a column to its place in a tile, `(column, TILE)`, or
    /// a row to its place among others, `(row, rows)`.
    fn put(numbers: &[Self], to: &mut [Self], place: (usize, usize));

    /// `sums[r][c] += Σ x[r][k] · w[k][c]`. The order of the sum is that of `k`, so that a row's does not depend on how many
    /// there are.
    ///
    /// # Panics
    /// When a slice is too short.
    fn accumulate(simd: Simd, product: &Product<'_, Self>, sums: &mut [f32], sums_stride: usize);
}

/// How rows of activations lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::model) enum RowLayout {
    /// `[rows, groups · GROUP]`, each row so many numbers behind the one before.
    Apart(usize),
    /// `[groups][rows][GROUP]`: what all rows have for a group lies side by side.
    Interleaved,
}

/// What is multiplied: some rows by some tiles.
#[derive(Clone, Copy)]
pub(in crate::model) struct Product<'a, T> {
    pub(in crate::model) x: &'a [T],
    pub(in crate::model) layout: RowLayout,
    pub(in crate::model) rows: usize,
    /// `[tiles][groups][16][GROUP]`, each tile `tile_stride` behind the one before.
    pub(in crate::model) w: &'a [T],
    pub(in crate::model) tile_stride: usize,
    pub(in crate::model) tiles: usize,
    pub(in crate::model) groups: usize,
    /// How many bytes behind each number of a tile lies what is read after it: it is fetched meanwhile.
    pub(in crate::model) ahead: isize,
}

impl<T: Packed> Product<'_, T> {
    /// How far apart rows are, and the groups of a row.
    pub(super) fn strides(&self) -> (usize, usize) {
        match self.layout {
            RowLayout::Apart(stride) => (stride, T::GROUP),
            RowLayout::Interleaved => (T::GROUP, self.rows * T::GROUP),
        }
    }

    /// That every number is inside the slices.
    pub(super) fn check(&self, sums: &[f32], sums_stride: usize) {
        let (row_stride, group_stride) = self.strides();
        let &Self {
            x,
            rows,
            w,
            tile_stride,
            tiles,
            groups,
            ..
        } = self;
        let last = |count: usize, stride: usize| count.saturating_sub(1) * stride;
        let end = last(rows, row_stride) + last(groups, group_stride) + T::GROUP;
        assert!(rows == 0 || groups == 0 || end <= x.len());
        assert!(last(tiles, tile_stride) + groups * T::GROUP * TILE <= w.len());
        assert!(last(rows, sums_stride) + tiles * TILE <= sums.len());
    }
}

impl Packed for f32 {
    const GROUP: usize = 1;

    fn put(numbers: &[Self], to: &mut [Self], place: (usize, usize)) {
        put_groups::<1, _>(numbers, to, place);
    }

    fn accumulate(simd: Simd, product: &Product<'_, Self>, sums: &mut [f32], sums_stride: usize) {
        accumulate_plainly(simd, product, sums, sums_stride);
    }
}

impl Packed for bf16 {
    const GROUP: usize = 2;

    fn put(numbers: &[Self], to: &mut [Self], place: (usize, usize)) {
        put_groups::<2, _>(numbers, to, place);
    }

    fn accumulate(simd: Simd, product: &Product<'_, Self>, sums: &mut [f32], sums_stride: usize) {
        match simd {
            #[cfg(target_arch = "x86_64")]
            Simd::Avx512Bf16 => super::tile_avx512::accumulate(product, sums, sums_stride),
            _ => accumulate_plainly(simd, product, sums, sums_stride),
        }
    }
}

/// See [`Packed::put`], with groups of `G`: of numbers, or of the bytes they are made of. A last group that is not whole is left as
/// it is behind them.
pub(in crate::model::ops) fn put_groups<const G: usize, T: Copy>(
    numbers: &[T],
    to: &mut [T],
    (first, of): (usize, usize),
) {
    let (groups, rest) = numbers.as_chunks::<G>();
    let places = to.as_chunks_mut::<G>().0;
    let mut places = places.iter_mut().skip(first).step_by(of);
    // The groups first, so that no place is taken for one that is not there.
    for (group, place) in groups.iter().zip(places.by_ref()) {
        *place = *group;
    }
    if !rest.is_empty()
        && let Some(place) = places.next()
    {
        place[..rest.len()].copy_from_slice(rest);
    }
}

/// Rows that share the reading of a tile.
const ROWS: usize = 4;

vectorized! {
    /// For every type and processor.
    fn accumulate_plainly<T: Packed>(
        fused; product: &Product<'_, T>, sums: &mut [f32], sums_stride: usize,
    ) {
        product.check(sums, sums_stride);
        if product.groups == 0 {
            return;
        }
        let mut row = 0;
        while row + ROWS <= product.rows {
            rows_plainly::<T, ROWS>(fused, product, row, &mut sums[row * sums_stride..], sums_stride);
            row += ROWS;
        }
        while row < product.rows {
            rows_plainly::<T, 1>(fused, product, row, &mut sums[row * sums_stride..], sums_stride);
            row += 1;
        }
    }
}

#[inline(always)]
fn rows_plainly<T: Packed, const R: usize>(
    fused: bool,
    product: &Product<'_, T>,
    first: usize,
    sums: &mut [f32],
    sums_stride: usize,
) {
    let numbers = product.groups * T::GROUP;
    let (row_stride, group_stride) = product.strides();
    let rows: [&[T]; R] = std::array::from_fn(|row| &product.x[(first + row) * row_stride..]);
    for tile in 0..product.tiles {
        let w = &product.w[tile * product.tile_stride..][..numbers * TILE];
        let mut held = [[0f32; TILE]; R];
        for (row, held) in held.iter_mut().enumerate() {
            held.copy_from_slice(&sums[row * sums_stride + tile * TILE..][..TILE]);
        }
        for (group, w) in w.chunks_exact(TILE * T::GROUP).enumerate() {
            for part in 0..T::GROUP {
                let mut wide = [0f32; TILE];
                for (column, wide) in wide.iter_mut().enumerate() {
                    *wide = w[column * T::GROUP + part].widen();
                }
                for (row, held) in rows.iter().zip(&mut held) {
                    let x = row[group * group_stride + part].widen();
                    for (held, wide) in held.iter_mut().zip(&wide) {
                        *held = multiply_add(fused, x, *wide, *held);
                    }
                }
            }
        }
        for (row, held) in held.iter().enumerate() {
            sums[row * sums_stride + tile * TILE..][..TILE].copy_from_slice(held);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    fn numbers<T: Packed>(rng: &mut ChaCha8Rng, count: usize) -> Vec<T> {
        let number = || T::round((rng.next_u32() as f32 / u32::MAX as f32).mul_add(2.0, -1.0));
        std::iter::repeat_with(number).take(count).collect()
    }

    /// Against sums in f64; and every row alone.
    fn check<T: Packed>(rows: usize, tiles: usize, groups: usize, seed: u64) {
        let rng = &mut ChaCha8Rng::seed_from_u64(seed);
        let (x_stride, tile_stride) = (groups * T::GROUP + 3, groups * T::GROUP * TILE + 5);
        let (x, w) = (
            numbers::<T>(rng, rows * x_stride),
            numbers::<T>(rng, tiles * tile_stride),
        );
        let sums_stride = tiles * TILE + 2;
        let before: Vec<f32> = numbers(rng, rows * sums_stride);
        let mut interleaved = Vec::new();
        for group in 0..groups {
            for row in 0..rows {
                interleaved.extend_from_slice(&x[row * x_stride + group * T::GROUP..][..T::GROUP]);
            }
        }
        for simd in Simd::available() {
            let product = Product {
                x: &x,
                layout: RowLayout::Apart(x_stride),
                rows,
                w: &w,
                tile_stride,
                tiles,
                groups,
                ahead: 0,
            };
            let mut sums = before.clone();
            T::accumulate(simd, &product, &mut sums, sums_stride);
            let mut of_interleaved = before.clone();
            let product_of_interleaved = Product {
                x: &interleaved,
                layout: RowLayout::Interleaved,
                ..product
            };
            T::accumulate(
                simd,
                &product_of_interleaved,
                &mut of_interleaved,
                sums_stride,
            );
            assert_eq!(of_interleaved, sums, "{simd:?}, interleaved");
            for row in 0..rows {
                for column in 0..tiles * TILE {
                    let at = |k: usize| {
                        let in_tile =
                            (k / T::GROUP * TILE + column % TILE) * T::GROUP + k % T::GROUP;
                        f64::from(w[column / TILE * tile_stride + in_tile].widen())
                    };
                    let products = (0..groups * T::GROUP)
                        .map(|k| f64::from(x[row * x_stride + k].widen()) * at(k));
                    let place = row * sums_stride + column;
                    let exact = f64::from(before[place]) + products.sum::<f64>();
                    let seen = f64::from(sums[place]);
                    assert!(
                        (seen - exact).abs() < 1e-4,
                        "{simd:?} [{row}][{column}]: {seen}, not {exact}"
                    );
                }
                let mut alone = before[row * sums_stride..][..sums_stride].to_vec();
                let product = Product {
                    x: &x[row * x_stride..],
                    rows: 1,
                    ..product
                };
                T::accumulate(simd, &product, &mut alone, sums_stride);
                assert_eq!(
                    alone,
                    sums[row * sums_stride..][..sums_stride],
                    "{simd:?} row {row} alone"
                );
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn sums_are_those_of_the_products(
            rows in 1usize..60, tiles in 1usize..8, groups in 0usize..70, seed: u64,
        ) {
            check::<f32>(rows, tiles, groups, seed);
            check::<bf16>(rows, tiles, groups, seed);
        }
    }
}
