//! Weights packed once, in tiles of 16 rows, and the products with them. A matrix `[N, K]` lies as
//! `[N / 16][K / GROUP][16][GROUP]`, with zeros where N or K are no whole tiles or groups.

use std::{borrow::Cow, cell::RefCell, marker::PhantomData, ops::Range};

use candle_core::{Result, bail};
use memmap2::MmapMut;

use super::{
    kernels::{
        Disjoint,
        simd::Simd,
        tile::{Packed, Product, TILE},
    },
    linear::Multiply,
    team::team,
};

/// Rows of activations up to which a task takes all of `K` at once: the weights are read once, from memory.
const FEW_ROWS: usize = 6;
/// Rows of activations of one block: their sums and their part of `K` stay in the second cache.
const BLOCK_ROWS: usize = 256;
/// Numbers of `K` that a block of rows meets at a time, so that the tiles stay in the first cache.
const BLOCK_COLUMNS: usize = 512;
/// Most tiles of a task.
const TASK_TILES: usize = 4;

/// A matrix `[N, K]` in tiles.
#[derive(Debug)]
pub(in crate::model) struct PackedMatrix<T> {
    /// Its numbers begin at a page.
    memory: MmapMut,
    tiles: usize,
    /// Rows, those of the padding aside.
    rows: usize,
    columns: usize,
    kind: PhantomData<T>,
}

/// Where the row of a tile comes from; `None`: zeros.
type Source = dyn Fn(usize) -> Option<usize> + Sync;

impl<T: Packed> PackedMatrix<T> {
    /// Packs `[N, K]`, row by row.
    pub(in crate::model) fn pack(weights: &[T], columns: usize) -> Result<Self> {
        let rows = weights.len() / columns.max(1);
        let source = move |row: usize| (row < rows).then_some(row);
        Self::pack_in_order((weights, rows, columns), rows.div_ceil(TILE), &source)
    }

    /// Packs `[2 F, K]`, gate above up, so that tiles of both take turns.
    pub(in crate::model) fn pack_gated(weights: &[T], columns: usize) -> Result<Self> {
        let half = weights.len() / columns.max(1) / 2;
        let source = move |row: usize| {
            let (tile, lane) = (row / TILE, row % TILE);
            let in_half = tile / 2 * TILE + lane;
            (in_half < half).then_some(tile % 2 * half + in_half)
        };
        Self::pack_in_order(
            (weights, 2 * half, columns),
            2 * half.div_ceil(TILE),
            &source,
        )
    }

    fn pack_in_order(
        (weights, rows, columns): (&[T], usize, usize),
        tiles: usize,
        source: &Source,
    ) -> Result<Self> {
        let groups = columns.div_ceil(T::GROUP);
        let tile_len = groups * TILE * T::GROUP;
        let mut matrix = Self {
            memory: memory(tiles * tile_len * size_of::<T>())?,
            tiles,
            rows,
            columns,
            kind: PhantomData,
        };
        let packed = Disjoint::new(matrix.numbers_mut());
        team().run(tiles, |tile| {
            #[expect(unsafe_code, reason = "each task packs a tile of its own")]
            // SAFETY: no two tasks have the same tile.
            let packed = unsafe { packed.part(tile * tile_len..(tile + 1) * tile_len) };
            for lane in 0..TILE {
                let Some(row) = source(tile * TILE + lane) else {
                    continue;
                };
                let row = &weights[row * columns..][..columns];
                let places = packed.chunks_exact_mut(TILE * T::GROUP);
                for (numbers, place) in row.chunks(T::GROUP).zip(places) {
                    place[lane * T::GROUP..][..numbers.len()].copy_from_slice(numbers);
                }
            }
        });
        Ok(matrix)
    }

    pub(in crate::model) fn rows(&self) -> usize {
        self.rows
    }

    /// Numbers of a row.
    pub(in crate::model) fn columns(&self) -> usize {
        self.columns
    }

    fn tile_len(&self) -> usize {
        self.columns.div_ceil(T::GROUP) * TILE * T::GROUP
    }

    fn len(&self) -> usize {
        self.tiles * self.tile_len()
    }

    #[expect(unsafe_code, reason = "numbers in memory that was mapped")]
    fn numbers(&self) -> &[T] {
        // SAFETY: the memory begins at a page and holds `len` numbers; every pattern of bits is a number.
        unsafe { std::slice::from_raw_parts(self.memory.as_ptr().cast(), self.len()) }
    }

    #[expect(unsafe_code, reason = "numbers in memory that was mapped")]
    fn numbers_mut(&mut self) -> &mut [T] {
        let len = self.len();
        // SAFETY: as above, and the memory is borrowed mutably.
        unsafe { std::slice::from_raw_parts_mut(self.memory.as_mut_ptr().cast(), len) }
    }

    /// Row `row` of a matrix packed by [`Self::pack`].
    pub(in crate::model) fn row(&self, row: usize, out: &mut Vec<T>) {
        let tile = &self.numbers()[row / TILE * self.tile_len()..][..self.tile_len()];
        let (from, lane) = (out.len(), row % TILE * T::GROUP);
        for group in tile.chunks_exact(TILE * T::GROUP) {
            out.extend_from_slice(&group[lane..lane + T::GROUP]);
        }
        out.truncate(from + self.columns);
    }
}

impl<T: Packed> Multiply<T> for PackedMatrix<T> {
    fn products(&self, x: &[T], finish: &(impl Fn(usize, usize, &[f32]) + Sync)) {
        let rows = x.len() / self.columns.max(1);
        let task = Task {
            matrix: self,
            simd: Simd::detect(),
            x: &Padded::new(x, self.columns),
            rows,
        };
        let width = task_tiles(self.tiles, rows);
        team().run(self.tiles.div_ceil(width), |index| {
            let tiles = index * width..self.tiles.min((index + 1) * width);
            if rows <= FEW_ROWS {
                task.few_rows(tiles, finish);
            } else {
                task.many_rows(tiles, finish);
            }
        });
    }
}

/// Tiles of a task: four where they are read from memory, as long as there are tasks for everyone.
fn task_tiles(tiles: usize, rows: usize) -> usize {
    if rows <= FEW_ROWS && tiles >= TASK_TILES * 4 * team().threads() {
        TASK_TILES
    } else {
        2
    }
}

/// Activations whose rows are whole groups.
struct Padded<'a, T: Clone> {
    numbers: Cow<'a, [T]>,
    stride: usize,
}

impl<'a, T: Packed> Padded<'a, T> {
    fn new(x: &'a [T], columns: usize) -> Self {
        let stride = columns.next_multiple_of(T::GROUP);
        if stride == columns {
            return Self {
                numbers: x.into(),
                stride,
            };
        }
        let mut numbers = Vec::with_capacity(x.len() / columns * stride);
        for row in x.chunks(columns) {
            numbers.extend_from_slice(row);
            numbers.push(T::round(0.0));
        }
        Self {
            numbers: numbers.into(),
            stride,
        }
    }
}

/// What the tasks of a product share.
struct Task<'a, T: Clone> {
    matrix: &'a PackedMatrix<T>,
    simd: Simd,
    x: &'a Padded<'a, T>,
    rows: usize,
}

thread_local! {
    /// Sums of a block of rows.
    static SUMS: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

impl<T: Packed> Task<'_, T> {
    /// These rows and tiles, and of `K` these numbers.
    fn accumulate(
        &self,
        rows: Range<usize>,
        tiles: Range<usize>,
        columns: Range<usize>,
        sums: &mut [f32],
    ) {
        let tile_stride = self.matrix.tile_len();
        let product = Product {
            x: &self.x.numbers[rows.start * self.x.stride + columns.start..],
            x_stride: self.x.stride,
            rows: rows.len(),
            w: &self.matrix.numbers()[tiles.start * tile_stride + columns.start * TILE..],
            tile_stride,
            tiles: tiles.len(),
            groups: columns.len() / T::GROUP,
        };
        T::accumulate(self.simd, &product, sums, tiles.len() * TILE);
    }

    fn few_rows(&self, tiles: Range<usize>, finish: &impl Fn(usize, usize, &[f32])) {
        let mut sums = [0f32; FEW_ROWS * TASK_TILES * TILE];
        let width = tiles.len() * TILE;
        self.accumulate(0..self.rows, tiles.clone(), 0..self.x.stride, &mut sums);
        for (row, sums) in sums.chunks_exact(width).take(self.rows).enumerate() {
            finish(row, tiles.start * TILE, sums);
        }
    }

    fn many_rows(&self, tiles: Range<usize>, finish: &impl Fn(usize, usize, &[f32])) {
        let width = tiles.len() * TILE;
        for first in (0..self.rows).step_by(BLOCK_ROWS) {
            let rows = first..self.rows.min(first + BLOCK_ROWS);
            SUMS.with_borrow_mut(|sums| {
                sums.clear();
                sums.resize(rows.len() * width, 0.0);
                for column in (0..self.x.stride).step_by(BLOCK_COLUMNS) {
                    let columns = column..self.x.stride.min(column + BLOCK_COLUMNS);
                    self.accumulate(rows.clone(), tiles.clone(), columns, sums);
                }
                for (row, sums) in rows.zip(sums.chunks_exact(width)) {
                    finish(row, tiles.start * TILE, sums);
                }
            });
        }
    }
}

/// Zeros, in large pages where the system has them.
pub(super) fn memory(bytes: usize) -> Result<MmapMut> {
    let memory = match MmapMut::map_anon(bytes.max(1)) {
        Ok(memory) => memory,
        Err(error) => bail!("{bytes} bytes for weights cannot be had: {error}"),
    };
    #[cfg(target_os = "linux")]
    if bytes >= LARGE_PAGE {
        // Without them it is slower, and nothing else.
        let _ = memory.advise(memmap2::Advice::HugePage);
    }
    Ok(memory)
}

/// Bytes of a large page.
#[cfg(target_os = "linux")]
const LARGE_PAGE: usize = 2 << 20;
