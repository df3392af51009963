//! Weights packed once, in tiles of 16 rows, and the products with them. A matrix `[N, K]` lies as
//! `[N / 16][K / GROUP][16][GROUP]`, with zeros where N or K are no whole tiles or groups.

use std::{borrow::Cow, cell::RefCell, marker::PhantomData, ops::Range};

use candle_core::{Result, bail};
use memmap2::MmapMut;

use super::{
    kernels::{
        Disjoint,
        simd::Simd,
        tile::{Packed, Product, RowLayout, TILE, put_groups},
    },
    linear::{Multiply, Sink},
    memory::memory,
    team::team,
};
use crate::model::mapped::MappedBytes;

/// Counts the ways in which matrices were ever packed: what another way made is of no use.
pub(in crate::model) const PACKING: u32 = 1;

/// Rows of activations up to which a task takes all of `K` at once: the weights are read once, from memory.
const FEW_ROWS: usize = 24;
/// How far ahead weights are fetched, in bytes: far with few rows, which wait for memory; little with many, which work with what
/// the caches hold.
const AHEAD_OF_FEW_ROWS: isize = 8 << 10;
const AHEAD_OF_MANY_ROWS: isize = 1 << 10;
/// Rows of activations of one block: their sums and their part of `K` stay in the second cache.
const BLOCK_ROWS: usize = 256;
/// Groups of `K` that a block of rows meets at a time, so that the tiles stay in the first cache.
const BLOCK_GROUPS: usize = 256;
/// By how many rows of a block what their sums meet is fetched ahead.
const EXPECTED_ROWS: usize = 12;
/// Most tiles of a task.
const TASK_TILES: usize = 4;

/// A matrix `[N, K]` in tiles.
#[derive(Debug)]
pub(in crate::model) struct PackedMatrix<T> {
    memory: Memory,
    tiles: usize,
    /// Rows, those of the padding aside.
    rows: usize,
    columns: usize,
    kind: PhantomData<T>,
}

/// Where the numbers are; they begin at a page.
#[derive(Debug)]
enum Memory {
    Own(MmapMut),
    /// As they were packed before, in a file.
    Mapped(MappedBytes),
}

/// Bytes of the numbers of a group: those that stay together.
const GROUP_BYTES: usize = 4;

/// A matrix `[N, K]` as files have it: the bytes of its rows, in parts one below the other.
#[derive(Debug, Clone, Copy)]
pub(in crate::model) struct Unpacked<'a> {
    pub(in crate::model) parts: &'a [&'a [u8]],
    /// Numbers of a row.
    pub(in crate::model) columns: usize,
    /// Its upper half and its lower, gate and up, take turns by the tile.
    pub(in crate::model) gated: bool,
}

impl Unpacked<'_> {
    /// The bytes of a row.
    fn row(&self, row: usize, row_bytes: usize) -> &[u8] {
        let mut at = row * row_bytes;
        for part in self.parts {
            match part.get(at..at + row_bytes) {
                Some(bytes) => return bytes,
                None => at -= part.len(),
            }
        }
        unreachable!("parts hold whole rows, and the row is one of them")
    }
}

/// Tiles of a matrix of `rows` rows.
fn tile_count(rows: usize, gated: bool) -> usize {
    if gated {
        2 * (rows / 2).div_ceil(TILE)
    } else {
        rows.div_ceil(TILE)
    }
}

/// Which row is in this place of the tiles; `None`: zeros.
fn row_at(place: usize, rows: usize, gated: bool) -> Option<usize> {
    if !gated {
        return (place < rows).then_some(place);
    }
    let (tile, lane, half) = (place / TILE, place % TILE, rows / 2);
    let in_half = tile / 2 * TILE + lane;
    (in_half < half).then_some(tile % 2 * half + in_half)
}

impl<T: Packed> PackedMatrix<T> {
    /// Packs a matrix.
    pub(in crate::model) fn pack(unpacked: Unpacked<'_>) -> Result<Self> {
        let Unpacked {
            parts,
            columns,
            gated,
        } = unpacked;
        const { assert!(T::GROUP * size_of::<T>() == GROUP_BYTES) };
        let row_bytes = columns * size_of::<T>();
        if row_bytes == 0 || parts.iter().any(|part| part.len() % row_bytes != 0) {
            bail!("a matrix of {columns} columns whose parts are no whole rows");
        }
        let rows = parts.iter().map(|part| part.len()).sum::<usize>() / row_bytes;
        let tiles = tile_count(rows, gated);
        let tile_bytes = columns.div_ceil(T::GROUP) * TILE * GROUP_BYTES;
        let mut memory = memory(tiles * tile_bytes)?;
        let packed = Disjoint::new(&mut memory[..]);
        team().run(tiles, |tile| {
            #[expect(unsafe_code, reason = "each task packs a tile of its own")]
            // SAFETY: no two tasks have the same tile.
            let packed = unsafe { packed.part(tile * tile_bytes..(tile + 1) * tile_bytes) };
            for lane in 0..TILE {
                if let Some(row) = row_at(tile * TILE + lane, rows, gated) {
                    put_groups::<GROUP_BYTES, _>(
                        unpacked.row(row, row_bytes),
                        packed,
                        (lane, TILE),
                    );
                }
            }
        });
        Ok(Self {
            memory: Memory::Own(memory),
            tiles,
            rows,
            columns,
            kind: PhantomData,
        })
    }

    /// A matrix of which [`Self::bytes`] is known; `None` if that is not one of this size.
    pub(in crate::model) fn packed(
        bytes: MappedBytes,
        (rows, columns): (usize, usize),
        gated: bool,
    ) -> Option<Self> {
        let matrix = Self {
            memory: Memory::Mapped(bytes),
            tiles: tile_count(rows, gated),
            rows,
            columns,
            kind: PhantomData,
        };
        let bytes = matrix.bytes();
        let aligned = bytes.as_ptr().align_offset(align_of::<T>()) == 0;
        (aligned && bytes.len() == matrix.len() * size_of::<T>()).then_some(matrix)
    }

    /// All of it, as it lies in memory.
    pub(in crate::model) fn bytes(&self) -> &[u8] {
        match &self.memory {
            Memory::Own(memory) => memory,
            Memory::Mapped(bytes) => bytes.as_ref(),
        }
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
        let bytes = self.bytes();
        // SAFETY: the bytes are aligned and hold `len` numbers, by `pack` or as `packed` found; every pattern of bits is a number.
        unsafe { std::slice::from_raw_parts(bytes.as_ptr().cast(), self.len()) }
    }

    /// Row `row` of a matrix that is not gated.
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
    fn products(&self, x: &[T], sink: &impl Sink) {
        let rows = x.len() / self.columns.max(1);
        if rows == 0 {
            return;
        }
        let task = Task {
            matrix: self,
            simd: Simd::detect(),
            x: &Activations::new(x, self.columns),
            rows,
        };
        let width = task_tiles(self.tiles, rows);
        team().run(self.tiles.div_ceil(width), |index| {
            let tiles = index * width..self.tiles.min((index + 1) * width);
            if rows <= FEW_ROWS {
                task.few_rows(tiles, sink);
            } else {
                task.many_rows(tiles, sink);
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
struct Activations<'a, T: Clone> {
    numbers: Cow<'a, [T]>,
    layout: RowLayout,
    /// Of a row.
    groups: usize,
}

impl<'a, T: Packed> Activations<'a, T> {
    /// Few rows are laid side by side: one below the other, a power of two apart, they would push each other out of the caches.
    fn new(x: &'a [T], columns: usize) -> Self {
        let (rows, groups) = (x.len() / columns, columns.div_ceil(T::GROUP));
        if rows > 1 && rows <= FEW_ROWS {
            return Self {
                numbers: interleaved(x, columns).into(),
                layout: RowLayout::Interleaved,
                groups,
            };
        }
        let stride = groups * T::GROUP;
        let numbers = if stride == columns {
            x.into()
        } else {
            let mut numbers = Vec::with_capacity(rows * stride);
            for row in x.chunks(columns) {
                numbers.extend_from_slice(row);
                numbers.push(T::round(0.0));
            }
            numbers.into()
        };
        Self {
            numbers,
            // One row lies side by side with itself.
            layout: match rows {
                1 => RowLayout::Interleaved,
                _ => RowLayout::Apart(stride),
            },
            groups,
        }
    }

    /// From this group of this row on.
    fn from(&self, row: usize, group: usize) -> &[T] {
        match self.layout {
            RowLayout::Apart(stride) => &self.numbers[row * stride + group * T::GROUP..],
            RowLayout::Interleaved => {
                debug_assert_eq!((row, group), (0, 0), "few rows are not dealt out");
                &self.numbers
            }
        }
    }
}

/// Rows in groups, `[groups][rows][GROUP]`, with zeros where the last is no whole group.
fn interleaved<T: Packed>(x: &[T], columns: usize) -> Vec<T> {
    let (rows, groups) = (x.len() / columns, columns.div_ceil(T::GROUP));
    let mut numbers = vec![T::round(0.0); rows * groups * T::GROUP];
    for (row, x) in x.chunks_exact(columns).enumerate() {
        T::put(x, &mut numbers, (row, rows));
    }
    numbers
}

/// What the tasks of a product share.
struct Task<'a, T: Clone> {
    matrix: &'a PackedMatrix<T>,
    simd: Simd,
    x: &'a Activations<'a, T>,
    rows: usize,
}

thread_local! {
    /// Sums of a block of rows.
    static SUMS: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

impl<T: Packed> Task<'_, T> {
    /// These rows and tiles, and of `K` these groups.
    fn accumulate(
        &self,
        rows: Range<usize>,
        tiles: Range<usize>,
        groups: Range<usize>,
        sums: &mut [f32],
    ) {
        let tile_stride = self.matrix.tile_len();
        let product = Product {
            x: self.x.from(rows.start, groups.start),
            layout: self.x.layout,
            rows: rows.len(),
            w: &self.matrix.numbers()[tiles.start * tile_stride + groups.start * T::GROUP * TILE..],
            tile_stride,
            tiles: tiles.len(),
            groups: groups.len(),
            ahead: match self.x.layout {
                RowLayout::Interleaved => AHEAD_OF_FEW_ROWS,
                RowLayout::Apart(_) => AHEAD_OF_MANY_ROWS,
            },
        };
        T::accumulate(self.simd, &product, sums, tiles.len() * TILE);
    }

    fn few_rows(&self, tiles: Range<usize>, sink: &impl Sink) {
        let mut sums = [0f32; FEW_ROWS * TASK_TILES * TILE];
        let width = tiles.len() * TILE;
        self.accumulate(0..self.rows, tiles.clone(), 0..self.x.groups, &mut sums);
        for (row, sums) in sums.chunks_exact(width).take(self.rows).enumerate() {
            sink.take(row, tiles.start * TILE, sums);
        }
    }

    fn many_rows(&self, tiles: Range<usize>, sink: &impl Sink) {
        let width = tiles.len() * TILE;
        for first in (0..self.rows).step_by(BLOCK_ROWS) {
            let rows = first..self.rows.min(first + BLOCK_ROWS);
            SUMS.with_borrow_mut(|sums| {
                sums.clear();
                sums.resize(rows.len() * width, 0.0);
                for group in (0..self.x.groups).step_by(BLOCK_GROUPS) {
                    let groups = group..self.x.groups.min(group + BLOCK_GROUPS);
                    self.accumulate(rows.clone(), tiles.clone(), groups, sums);
                }
                let expect = |row| sink.expect(row, tiles.start * TILE, width);
                rows.clone().take(EXPECTED_ROWS).for_each(expect);
                for (row, sums) in rows.clone().zip(sums.chunks_exact(width)) {
                    if row + EXPECTED_ROWS < rows.end {
                        expect(row + EXPECTED_ROWS);
                    }
                    sink.take(row, tiles.start * TILE, sums);
                }
            });
        }
    }
}
