//! Weights in 8 bits (GGML's `q8_0`), packed once, and the products with them. Activations are rounded to 8 bits likewise, in
//! blocks of 32 with a scale in f32, when they meet the weights.

use std::{
    ops::Range,
    sync::{Arc, Mutex},
};

use candle_core::{Result, bail};
use memmap2::MmapMut;

use super::{
    Element,
    kernels::{
        Disjoint,
        q8::{
            BLOCK, BLOCK_BYTES, Block, GROUP, Group, Instructions, Lines, Scales, TILE, Tile,
            TileMut, multiply, quantize_blocks,
        },
    },
    linear::{Multiply, Sink},
    memory::memory,
    team::team,
};

/// Most units of a task.
const TASK_UNITS: usize = 2;
/// Tiles that are quantized at a time: few numbers in f32, and few calls for them.
const QUANTIZED_TILES: usize = 4;
/// Blocks of activations that are quantized in a task.
const QUANTIZED_BLOCKS: usize = 256;

/// A matrix `[N, K]` in 8 bits, in tiles of 16 rows. Rows up to the next multiple of 16 are zeros.
#[derive(Debug)]
pub(in crate::model) struct PackedQ8 {
    /// The lines of all tiles, `[N / 16][K / 32]`, from the beginning of a page; then their scales.
    memory: MmapMut,
    rows: usize,
    columns: usize,
}

impl PackedQ8 {
    /// Of blocks as GGML writes them, row by row, row `order(i)` of which becomes row `i`.
    pub(in crate::model) fn from_ggml(
        bytes: &[u8],
        (rows, columns): (usize, usize),
        order: impl Fn(usize) -> usize + Sync,
    ) -> Result<Self> {
        let row_bytes = columns / BLOCK * BLOCK_BYTES;
        if !columns.is_multiple_of(BLOCK) || bytes.len() != rows * row_bytes {
            bail!(
                "{} bytes are no {rows} rows of {columns} weights in q8_0",
                bytes.len()
            );
        }
        Self::pack((rows, columns), 1, |rows, tiles| {
            for (row, lane) in rows.zip(0..) {
                tiles[0].set_ggml(lane, &bytes[order(row) * row_bytes..][..row_bytes]);
            }
            Ok(())
        })
    }

    /// Quantizes a matrix, asking for the numbers of some rows at a time, on any thread.
    pub(in crate::model) fn quantize(
        (rows, columns): (usize, usize),
        numbers: impl Fn(Range<usize>) -> Result<Vec<f32>> + Sync,
    ) -> Result<Self> {
        if !columns.is_multiple_of(BLOCK) {
            bail!("rows of {columns} weights are no whole blocks of q8_0");
        }
        let instructions = Instructions::detect();
        Self::pack((rows, columns), QUANTIZED_TILES, |rows, tiles| {
            let numbers = numbers(rows)?;
            for (index, numbers) in numbers.chunks_exact(columns.max(1)).enumerate() {
                tiles[index / TILE].set_numbers(instructions, index % TILE, numbers);
            }
            Ok(())
        })
    }

    /// Has `count` tiles at a time written, on all threads; `write` gets the rows that are in them.
    fn pack(
        (rows, columns): (usize, usize),
        count: usize,
        write: impl Fn(Range<usize>, &mut [TileMut<'_>]) -> Result<()> + Sync,
    ) -> Result<Self> {
        let (tiles, blocks) = (rows.div_ceil(TILE), columns / BLOCK);
        let bytes = tiles * blocks * (size_of::<Lines>() + size_of::<Scales>());
        let mut packed = Self {
            memory: memory(bytes)?,
            rows,
            columns,
        };
        let failed = Mutex::new(None);
        let (lines, scales) = packed.parts_mut();
        let (lines, scales) = (Disjoint::new(lines), Disjoint::new(scales));
        team().run(tiles.div_ceil(count), |task| {
            let tile = |index: usize| {
                let blocks = index * blocks..(index + 1) * blocks;
                #[expect(unsafe_code, reason = "each task writes tiles of its own")]
                // SAFETY: each tile is in one task, which asks for it once.
                let (lines, scales) = unsafe { (lines.part(blocks.clone()), scales.part(blocks)) };
                let mut tile = TileMut { lines, scales };
                tile.clear();
                tile
            };
            let these = task * count..tiles.min((task + 1) * count);
            let in_rows = these.start * TILE..rows.min(these.end * TILE);
            let mut tiles: Vec<TileMut<'_>> = these.map(tile).collect();
            if let Err(error) = write(in_rows, &mut tiles) {
                *failed.lock().unwrap_or_else(|e| e.into_inner()) = Some(error);
            }
        });
        match failed.into_inner().unwrap_or_else(|e| e.into_inner()) {
            None => Ok(packed),
            Some(error) => Err(error),
        }
    }

    pub(in crate::model) fn rows(&self) -> usize {
        self.rows
    }

    /// Numbers of a row.
    pub(in crate::model) fn columns(&self) -> usize {
        self.columns
    }

    pub(super) fn tiles(&self) -> usize {
        self.rows.div_ceil(TILE)
    }

    fn blocks(&self) -> usize {
        self.tiles() * (self.columns / BLOCK)
    }

    #[expect(unsafe_code, reason = "lines and scales in memory that was mapped")]
    fn parts_mut(&mut self) -> (&mut [Lines], &mut [Scales]) {
        let blocks = self.blocks();
        let (lines, scales) = self.memory.split_at_mut(blocks * size_of::<Lines>());
        assert!(scales.len() >= blocks * size_of::<Scales>());
        // SAFETY: the memory begins at a page, so that lines and the scales behind them are aligned; it is as long as asserted,
        // and borrowed mutably; every pattern of bits is a line, and scales.
        unsafe {
            (
                std::slice::from_raw_parts_mut(lines.as_mut_ptr().cast(), blocks),
                std::slice::from_raw_parts_mut(scales.as_mut_ptr().cast(), blocks),
            )
        }
    }

    #[expect(unsafe_code, reason = "lines and scales in memory that was mapped")]
    fn parts(&self) -> (&[Lines], &[Scales]) {
        let blocks = self.blocks();
        let (lines, scales) = self.memory.split_at(blocks * size_of::<Lines>());
        assert!(scales.len() >= blocks * size_of::<Scales>());
        // SAFETY: as above.
        unsafe {
            (
                std::slice::from_raw_parts(lines.as_ptr().cast(), blocks),
                std::slice::from_raw_parts(scales.as_ptr().cast(), blocks),
            )
        }
    }

    pub(super) fn tile(&self, index: usize) -> Tile<'_> {
        let blocks = self.columns / BLOCK;
        let (lines, scales) = self.parts();
        Tile {
            lines: &lines[index * blocks..][..blocks],
            scales: &scales[index * blocks..][..blocks],
        }
    }

    /// Writes the blocks of a row to `out` as GGML writes them; it has just room for them.
    #[cfg(feature = "cuda")]
    pub(super) fn ggml_row(&self, row: usize, out: &mut [u8]) {
        self.tile(row / TILE).ggml_row(row % TILE, out);
    }

    /// Writes the numbers of a row to `out`, which has room for all of them.
    pub(super) fn row(&self, row: usize, out: &mut [f32]) {
        self.tile(row / TILE).row(row % TILE, out);
    }
}

/// Packed matrices that a layer multiplies with at once.
#[derive(Debug, Clone)]
pub(super) struct Q8Rows {
    /// Pairs of tiles, and tiles without another.
    units: Arc<[Unit]>,
    parts: Vec<Arc<PackedQ8>>,
    columns: usize,
    rows: usize,
}

/// Tiles whose products are handed on together.
#[derive(Debug, Clone, Copy)]
struct Unit {
    /// Where their products begin in a row of the result.
    first: usize,
    /// Products that count.
    width: usize,
    /// Each by its part, and its number there.
    tiles: (TileAt, Option<TileAt>),
}

type TileAt = (usize, usize);

impl Q8Rows {
    /// Of matrices one below the other.
    pub(super) fn stacked(parts: Vec<Arc<PackedQ8>>) -> Result<Self> {
        let mut units = Vec::new();
        let mut above = 0;
        for (part, matrix) in parts.iter().enumerate() {
            for tile in (0..matrix.tiles()).step_by(2) {
                let other = (tile + 1 < matrix.tiles()).then_some((part, tile + 1));
                units.push(Unit {
                    first: above + tile * TILE,
                    width: (2 * TILE).min(matrix.rows() - tile * TILE),
                    tiles: ((part, tile), other),
                });
            }
            above += matrix.rows();
        }
        Self::of(parts, units)
    }

    /// Of gate and up projection, `F` rows each, in two matrices or one above the other in one: tiles of both take turns in the
    /// result, as gated matrices lie in [`PackedMatrix`](super::packed::PackedMatrix). `None`: the first of one matrix ends
    /// within a tile.
    pub(super) fn gated(parts: &[Arc<PackedQ8>]) -> Result<Option<Self>> {
        let (half, up) = match parts {
            [gate, up] if gate.rows() == up.rows() => (gate.rows(), (1, 0)),
            [both] if both.rows().is_multiple_of(2 * TILE) => {
                (both.rows() / 2, (0, both.tiles() / 2))
            }
            _ => return Ok(None),
        };
        let unit = |tile: usize| Unit {
            first: 2 * TILE * tile,
            width: 2 * TILE,
            tiles: ((0, tile), Some((up.0, up.1 + tile))),
        };
        let units = (0..half.div_ceil(TILE)).map(unit).collect();
        Self::of(parts.to_vec(), units).map(Some)
    }

    fn of(parts: Vec<Arc<PackedQ8>>, units: Vec<Unit>) -> Result<Self> {
        let columns = parts.first().map_or(0, |part| part.columns());
        if let Some(other) = parts.iter().find(|part| part.columns() != columns) {
            bail!(
                "rows of {columns} and of {} weights in one layer",
                other.columns()
            );
        }
        let rows = parts.iter().map(|part| part.rows()).sum();
        let units = units.into();
        Ok(Self {
            units,
            parts,
            columns,
            rows,
        })
    }

    /// Rows.
    pub(super) fn count(&self) -> usize {
        self.rows
    }

    /// Numbers of each.
    pub(super) fn columns(&self) -> usize {
        self.columns
    }

    fn tile(&self, (part, tile): TileAt) -> Tile<'_> {
        self.parts[part].tile(tile)
    }

    fn multiply(&self, instructions: Instructions, unit: &Unit, x: Group<'_>, sink: &impl Sink) {
        let &Unit {
            first,
            width,
            tiles: (tile, other),
        } = unit;
        let tile = self.tile(tile);
        match other.map(|other| self.tile(other)) {
            Some(other) => multiply(instructions, [tile, other], x, |token, products| {
                sink.take(token, first, &products.as_flattened()[..width]);
            }),
            None => multiply(instructions, [tile], x, |token, [products]| {
                sink.take(token, first, &products[..width]);
            }),
        }
    }
}

impl<T: Element> Multiply<T> for Q8Rows {
    fn products(&self, x: &[T], sink: &impl Sink) {
        let instructions = Instructions::detect();
        let x = QuantizedRows::new(instructions, x, self.columns);
        let count = task_units(self.units.len());
        // With few tokens the weights come from memory, and whatever else is fetched is in their way.
        let expect = x.rows() > GROUP;
        team().run(self.units.len().div_ceil(count), |task| {
            let units = task * count..self.units.len().min((task + 1) * count);
            // The units' weights stay in the second cache while the groups go by.
            for group in x.groups() {
                for unit in &self.units[units.clone()] {
                    if expect {
                        let tokens = group.tokens.clone();
                        tokens.for_each(|token| sink.expect(token, unit.first, unit.width));
                    }
                    self.multiply(instructions, unit, group.clone(), sink);
                }
            }
        });
    }
}

/// Units of a task: several, so that few tasks read the activations, as long as there are tasks for everyone.
fn task_units(units: usize) -> usize {
    (units / (4 * team().threads())).clamp(1, TASK_UNITS)
}

/// Tokens `[T, K]` in 8 bits.
#[derive(Debug)]
pub(super) struct QuantizedRows {
    blocks: Vec<Block>,
    rows: usize,
    columns: usize,
}

impl QuantizedRows {
    /// Of contiguous rows of `columns` numbers, a multiple of [`BLOCK`].
    pub(super) fn new<T: Element>(instructions: Instructions, x: &[T], columns: usize) -> Self {
        let (rows, per_row) = (x.len() / columns.max(1), columns / BLOCK);
        let mut blocks = vec![Block::ZERO; rows * per_row];
        let places = Disjoint::new(&mut blocks);
        // A group's blocks are shared out too: one group may be all there is.
        let per_task = QUANTIZED_BLOCKS / rows.clamp(1, GROUP);
        let per_group = per_row.div_ceil(per_task);
        team().run(rows.div_ceil(GROUP) * per_group, |task| {
            let (group, part) = (task / per_group, task % per_group);
            let tokens = group * GROUP..rows.min((group + 1) * GROUP);
            let these = part * per_task..per_row.min((part + 1) * per_task);
            let from = tokens.start * per_row;
            let blocks = from + these.start * tokens.len()..from + these.end * tokens.len();
            #[expect(unsafe_code, reason = "each task writes blocks of its own")]
            // SAFETY: each block is in one task, which asks for it once.
            let places = unsafe { places.part(blocks) };
            let numbers = &x[tokens.start * columns..tokens.end * columns];
            quantize_blocks(instructions, (numbers, columns), these.start, places);
        });
        Self {
            blocks,
            rows,
            columns,
        }
    }

    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    pub(super) fn groups(&self) -> impl Iterator<Item = Group<'_>> {
        let per_row = self.columns / BLOCK;
        (0..self.rows).step_by(GROUP).map(move |first| {
            let tokens = first..self.rows.min(first + GROUP);
            let blocks = &self.blocks[tokens.start * per_row..tokens.end * per_row];
            Group { tokens, blocks }
        })
    }
}

#[cfg(test)]
#[path = "packed_q8_tests.rs"]
mod tests;
