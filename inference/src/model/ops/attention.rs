//! Attention over the paged KV cache (see `heads.rs` for how it lies): softmax in one pass over the blocks (Milakov & Gimelshein
//! 2018), a block's keys and values read once for a tile of tokens and all query heads of their group.

use std::{cell::RefCell, ops::Range};

use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, bail};

use super::{
    by_dtype, contiguous,
    heads::{kv_block_numbers, padded, side_numbers},
    kernels::{
        Disjoint,
        math::{across, exp, tanh},
        simd::{Simd, vectorized},
        tile::{Packed, Product, RowLayout, TILE},
    },
    team::team,
};
use crate::model::runner::{BLOCK_TOKENS, Batch};

/// Attention of a ragged batch: `[T, heads, D]` queries over the keys and values of their own sequences, in the cache of
/// `[blocks, numbers of a block]`. Softmax and sums in f32; the weights of the values in the type of the cache.
pub(in crate::model) struct PagedAttention<'a> {
    pub(in crate::model) batch: &'a Batch,
    /// Heads of keys and values.
    pub(in crate::model) kv_heads: usize,
    /// Queries see the keys up to their own positions; else all of their sequence (encoders).
    pub(in crate::model) causal: bool,
    /// What the products of queries and keys are multiplied by.
    pub(in crate::model) scale: f32,
    /// `cap · tanh(score / cap)` before the softmax.
    pub(in crate::model) softcap: Option<f32>,
    /// Positions a token sees, itself included.
    pub(in crate::model) window: Option<usize>,
}

impl CustomOp2 for PagedAttention<'_> {
    fn name(&self) -> &'static str {
        "paged_attention"
    }

    fn cpu_fwd(
        &self,
        q: &CpuStorage,
        q_layout: &Layout,
        cache: &CpuStorage,
        cache_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let storage = by_dtype!(
            q,
            "paged_attention",
            attend(self, (q, q_layout), (cache, cache_layout))
        )?;
        Ok((storage, q_layout.shape().clone()))
    }
}

/// Query rows that share the reading of a block: tokens times the query heads of a KV head. The registers hold what so many have
/// of a tile.
const TILE_ROWS: usize = 24;

/// Some tokens of one sequence, and the blocks it has.
struct Tile<'a> {
    /// Its first token in the batch.
    first: usize,
    tokens: usize,
    /// Position of the first.
    position: usize,
    /// Tokens of its sequence, with those of this batch.
    length: usize,
    blocks: &'a [u32],
}

/// Sizes, and the data as one task sees it: some KV heads, which lie side by side in a block.
struct Task<'a, T> {
    op: &'a PagedAttention<'a>,
    simd: Simd,
    tile: &'a Tile<'a>,
    /// `[T, heads, D]`
    q: &'a [T],
    cache: &'a [T],
    /// Query heads.
    heads: usize,
    /// KV heads.
    of: Range<usize>,
    dim: usize,
}

fn attend<T: Packed + Default>(
    op: &PagedAttention<'_>,
    (q, q_layout): (&CpuStorage, &Layout),
    (cache, cache_layout): (&CpuStorage, &Layout),
) -> Result<CpuStorage> {
    let (tokens, heads, dim) = q_layout.shape().dims3()?;
    let (_, block) = cache_layout.shape().dims2()?;
    let kv_heads = op.kv_heads;
    if block != kv_block_numbers(kv_heads, dim) || !heads.is_multiple_of(kv_heads.max(1)) {
        bail!(
            "paged_attention: {heads} heads of {dim}, {kv_heads} KV heads, blocks of {block} numbers"
        );
    }
    let (q, cache) = (
        contiguous::<T>(q, q_layout)?,
        contiguous::<T>(cache, cache_layout)?,
    );
    let group = heads / kv_heads;
    let tiles = tiles(op.batch, (TILE_ROWS / group).max(1));
    let together = heads_together(tiles.len(), op.batch.input_ids.len() * group, kv_heads);
    let parts = kv_heads.div_ceil(together);
    let mut out = vec![T::default(); tokens * heads * dim];
    let out_parts = Disjoint::new(&mut out);
    let simd = Simd::detect();
    team().run(tiles.len() * parts, |index| {
        let from = index % parts * together;
        let task = Task {
            op,
            simd,
            tile: &tiles[index / parts],
            q,
            cache,
            heads,
            of: from..kv_heads.min(from + together),
            dim,
        };
        SCRATCH.with_borrow_mut(|scratch| task.run(scratch, &out_parts));
    });
    Ok(T::to_cpu_storage_owned(out))
}

/// KV heads of a task: where tiles have few rows all of them, to read a block from its begin to its end, as long as there are
/// tasks for everyone.
fn heads_together(tiles: usize, rows: usize, kv_heads: usize) -> usize {
    let tasks_of_tile = (2 * team().threads()).div_ceil(tiles.max(1));
    let rows_of_tile = rows.div_ceil(tiles.max(1)).max(1);
    (TILE_ROWS / rows_of_tile).clamp(1, kv_heads.div_ceil(tasks_of_tile))
}

/// Each sequence's tokens in tiles.
fn tiles(batch: &Batch, tile_tokens: usize) -> Vec<Tile<'_>> {
    let mut tiles = Vec::new();
    for (sequence, span) in batch.cu_seqlens_q.windows(2).enumerate() {
        let blocks = &batch.block_tables[sequence * batch.block_table_width..];
        for first in (span[0] as usize..span[1] as usize).step_by(tile_tokens) {
            tiles.push(Tile {
                first,
                tokens: tile_tokens.min(span[1] as usize - first),
                position: batch.positions[first] as usize,
                length: batch.seqlens_k[sequence] as usize,
                blocks: &blocks[..batch.block_table_width],
            });
        }
    }
    tiles
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// What a task holds between blocks, kept for the next.
#[derive(Default)]
struct Scratch {
    /// `[rows, 32]`
    scores: Vec<f32>,
    /// `[KV heads, rows, D]`
    sums: Vec<f32>,
    /// `[KV heads, rows]`
    running: Vec<Running>,
}

/// A query head's softmax so far: the greatest score, and the sum of exponentials below it.
#[derive(Debug, Clone, Copy)]
struct Running {
    greatest: f32,
    total: f32,
}

impl Running {
    const NOTHING: Self = Self {
        greatest: f32::NEG_INFINITY,
        total: 0.0,
    };
}

/// What one KV head's rows have so far, and what they are multiplied with.
struct Held<'a, T> {
    /// Interleaved, `[rows, D]`.
    queries: &'a [T],
    /// Interleaved, `[rows, 32]`: the weights of a block's values.
    weights: &'a mut [T],
    /// `[rows, 32]`
    scores: &'a mut [f32],
    /// `[rows, D]`
    sums: &'a mut [f32],
    running: &'a mut [Running],
}

/// Keys and values of one KV head in a block.
struct Block<'a, T> {
    /// Position of the first.
    begin: usize,
    /// How many there are.
    count: usize,
    keys: &'a [T],
    values: &'a [T],
    /// The keys that are read after these values.
    next: &'a [T],
}

impl<T: Packed + Default> Task<'_, T> {
    /// Block after block, in the order of positions; what a row sees of a block does not depend on the other rows of its
    /// tile.
    fn run(&self, scratch: &mut Scratch, out: &Disjoint<'_, T>) {
        let (tile, wide) = (self.tile, padded(self.dim));
        let (rows, heads) = (tile.tokens * self.group(), self.of.len());
        let queries = self.queries(rows);
        let mut weights = vec![T::default(); rows * BLOCK_TOKENS];
        let Scratch {
            scores,
            sums,
            running,
        } = scratch;
        scores.resize(rows * BLOCK_TOKENS, 0.0);
        sums.clear();
        sums.resize(heads * rows * wide, 0.0);
        running.clear();
        running.resize(heads * rows, Running::NOTHING);
        let from = self.first_seen(tile.position) / BLOCK_TOKENS;
        let end = self.seen(tile.position + tile.tokens - 1);
        let to = end.div_ceil(BLOCK_TOKENS);
        for block in from..to {
            for (place, head) in self.of.clone().enumerate() {
                let (next_block, next_head) = match head + 1 < self.of.end {
                    true => (block, head + 1),
                    false => ((block + 1).min(to - 1), self.of.start),
                };
                let (keys, values) = self.block(tile.blocks[block] as usize, head);
                let here = Block {
                    begin: block * BLOCK_TOKENS,
                    count: BLOCK_TOKENS.min(end - block * BLOCK_TOKENS),
                    keys,
                    values,
                    next: self.block(tile.blocks[next_block] as usize, next_head).0,
                };
                let numbers = place * rows * wide..(place + 1) * rows * wide;
                self.absorb_block(
                    &here,
                    &mut Held {
                        queries: &queries[numbers.clone()],
                        weights: &mut weights,
                        scores,
                        sums: &mut sums[numbers],
                        running: &mut running[place * rows..(place + 1) * rows],
                    },
                );
            }
        }
        for (place, head) in self.of.clone().enumerate() {
            let sums = &sums[place * rows * wide..(place + 1) * rows * wide];
            self.finish(head, sums, &running[place * rows..(place + 1) * rows], out);
        }
    }

    /// Takes a block into what the rows of a KV head have.
    fn absorb_block(&self, block: &Block<'_, T>, held: &mut Held<'_, T>) {
        let (wide, rows, group) = (padded(self.dim), held.running.len(), self.group());
        held.scores.fill(0.0);
        let product = Product {
            x: held.queries,
            layout: RowLayout::Interleaved,
            rows,
            w: block.keys,
            tile_stride: wide * TILE,
            tiles: block.count.div_ceil(TILE),
            groups: wide / T::GROUP,
            ahead: bytes_between(block.keys, block.values),
        };
        T::accumulate(self.simd, &product, held.scores, BLOCK_TOKENS);
        let seen = |row: usize| {
            let position = self.tile.position + row / group;
            let low = self.first_seen(position).saturating_sub(block.begin);
            let high = self.seen(position).saturating_sub(block.begin);
            (low, high.min(block.count))
        };
        let by_row = held.scores.chunks_exact_mut(BLOCK_TOKENS);
        let by_row = by_row.zip(held.sums.chunks_exact_mut(wide));
        for (row, ((scores, sums), running)) in by_row.zip(&mut *held.running).enumerate() {
            let place = (row, rows);
            let state = (running, sums);
            absorb(
                self.simd,
                self.op,
                seen(row),
                scores,
                state,
                held.weights,
                place,
            );
        }
        let product = Product {
            x: held.weights,
            layout: RowLayout::Interleaved,
            rows,
            w: block.values,
            tile_stride: BLOCK_TOKENS * TILE,
            tiles: wide / TILE,
            groups: block.count.div_ceil(T::GROUP),
            ahead: bytes_between(block.values, block.next),
        };
        let is_seen_by_all = (0..rows).all(|row| seen(row) == (0, block.count));
        if is_seen_by_all || all_finite(self.simd, block.values) {
            T::accumulate(self.simd, &product, held.sums, wide);
        } else {
            self.accumulate_seen(&product, seen, held.sums, wide);
        }
    }

    /// The products of weights and values row by row, without the values that a row does not see: a weight of nothing times what
    /// is no number is no number.
    fn accumulate_seen(
        &self,
        product: &Product<'_, T>,
        seen: impl Fn(usize) -> (usize, usize),
        sums: &mut [f32],
        sums_stride: usize,
    ) {
        for row in 0..product.rows {
            let (low, high) = seen(row);
            let mut values = product.w.to_vec();
            for tile in values.chunks_exact_mut(product.tile_stride) {
                for (place, value) in tile.iter_mut().enumerate() {
                    let token = place / (TILE * T::GROUP) * T::GROUP + place % T::GROUP;
                    if !(low..high).contains(&token) {
                        *value = T::default();
                    }
                }
            }
            let groups = product.x.chunks_exact(product.rows * T::GROUP);
            let of_row = groups.flat_map(|group| &group[row * T::GROUP..(row + 1) * T::GROUP]);
            let row_product = Product {
                x: &of_row.copied().collect::<Vec<_>>(),
                rows: 1,
                w: &values,
                ..*product
            };
            T::accumulate(
                self.simd,
                &row_product,
                &mut sums[row * sums_stride..],
                sums_stride,
            );
        }
    }

    fn group(&self) -> usize {
        self.heads / self.op.kv_heads
    }

    /// The first position that a token sees.
    fn first_seen(&self, position: usize) -> usize {
        let window = self.op.window;
        window.map_or(0, |window| (position + 1).saturating_sub(window))
    }

    /// The position behind the last that a token sees.
    fn seen(&self, position: usize) -> usize {
        if self.op.causal {
            position + 1
        } else {
            self.tile.length
        }
    }

    /// The queries of every KV head, each `[rows, D]` in whole tiles, interleaved.
    fn queries(&self, rows: usize) -> Vec<T> {
        let (dim, wide, group) = (self.dim, padded(self.dim), self.group());
        let mut queries = vec![T::default(); self.of.len() * rows * wide];
        for (head, queries) in self.of.clone().zip(queries.chunks_exact_mut(rows * wide)) {
            for row in 0..rows {
                let token = self.tile.first + row / group;
                let at = (token * self.heads + head * group + row % group) * dim;
                T::put(&self.q[at..at + dim], queries, (row, rows));
            }
        }
        queries
    }

    /// Keys and values of a block.
    fn block(&self, block: usize, head: usize) -> (&[T], &[T]) {
        let side = side_numbers(self.dim);
        let at = (block * self.op.kv_heads + head) * 2 * side;
        self.cache[at..at + 2 * side].split_at(side)
    }

    fn finish(&self, head: usize, sums: &[f32], running: &[Running], out: &Disjoint<'_, T>) {
        let (dim, wide, group) = (self.dim, padded(self.dim), self.group());
        for (row, (sums, running)) in sums.chunks_exact(wide).zip(running).enumerate() {
            let token = self.tile.first + row / group;
            let at = (token * self.heads + head * group + row % group) * dim;
            #[expect(unsafe_code, reason = "each task has tokens and heads of its own")]
            // SAFETY: no two tasks have the same token and head.
            let out = unsafe { out.part(at..at + dim) };
            divide(self.simd, sums, running.total, out);
        }
    }
}

/// How far behind the one the other begins.
fn bytes_between<T>(one: &[T], other: &[T]) -> isize {
    (other.as_ptr() as isize).wrapping_sub(one.as_ptr() as isize)
}

vectorized! {
    /// Takes the scores of a block into a query's softmax: those at `place` of the interleaved `weights` become those of its
    /// values, 0 outside of `low..high`. The sums so far are scaled to the greatest score so far.
    fn absorb<T: Packed>(
        fused; op: &PagedAttention<'_>, seen: (usize, usize), scores: &mut [f32],
        state: (&mut Running, &mut [f32]), weights: &mut [T], place: (usize, usize),
    ) {
        let ((low, high), (running, sums)) = (seen, state);
        let Some(scores) = scores.first_chunk_mut::<BLOCK_TOKENS>() else {
            return;
        };
        let mut row = [T::round(0.0); BLOCK_TOKENS];
        if low >= high {
            return T::put(&row, weights, place);
        }
        for score in scores.iter_mut() {
            *score *= op.scale;
        }
        if let Some(cap) = op.softcap {
            for score in scores.iter_mut() {
                *score = cap * tanh(fused, *score / cap);
            }
        }
        // What is not seen may be no number at all.
        for (place, score) in scores.iter_mut().enumerate() {
            let is_seen = place >= low && place < high;
            *score = if is_seen { *score } else { f32::NEG_INFINITY };
        }
        let mut lanes = [running.greatest; TILE];
        for part in scores.as_chunks::<TILE>().0 {
            lanes = std::array::from_fn(|lane| greater(lanes[lane], part[lane]));
        }
        let greatest = across(lanes, greater);
        let mut totals = [0f32; TILE];
        for (part, weights) in scores.as_chunks::<TILE>().0.iter().zip(row.as_chunks_mut::<TILE>().0) {
            for lane in 0..TILE {
                let weight = exp(fused, part[lane] - greatest);
                totals[lane] += weight;
                weights[lane] = T::round(weight);
            }
        }
        T::put(&row, weights, place);
        let kept = exp(fused, running.greatest - greatest);
        running.total = running.total * kept + across(totals, |a, b| a + b);
        running.greatest = greatest;
        if kept != 1.0 {
            sums.iter_mut().for_each(|sum| *sum *= kept);
        }
    }
}

/// The greater one. A score that is no number makes the row's total one, whatever comes out here.
#[inline(always)]
fn greater(a: f32, b: f32) -> f32 {
    if a > b { a } else { b }
}

vectorized! {
    fn all_finite<T: Packed>(fused; values: &[T]) -> bool {
        let _ = fused;
        // All of them, rather than up to the first: without branches.
        values.iter().fold(true, |finite, value| finite & value.widen().is_finite())
    }
}

vectorized! {
    fn divide<T: Packed>(fused; sums: &[f32], total: f32, out: &mut [T]) {
        let _ = fused;
        for (out, sum) in out.iter_mut().zip(sums) {
            *out = T::round(sum / total);
        }
    }
}
