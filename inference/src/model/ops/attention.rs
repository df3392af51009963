//! Attention over the paged KV cache (see `heads.rs` for how it lies): softmax in one pass over the blocks (Milakov & Gimelshein
//! 2018), a block's keys and values read once for a tile of tokens and all query heads of their group.

use std::cell::RefCell;

use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, bail};

use super::{
    by_dtype, contiguous,
    heads::{kv_block_numbers, padded, side_numbers},
    kernels::{
        Disjoint,
        math::{exp, tanh},
        simd::{Simd, vectorized},
        tile::{Packed, Product, TILE},
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

/// Query rows that share the reading of a block: tokens times the query heads of a KV head.
const TILE_ROWS: usize = 32;

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

/// Sizes, and the data as one task sees it: one KV head.
struct Task<'a, T> {
    op: &'a PagedAttention<'a>,
    simd: Simd,
    tile: &'a Tile<'a>,
    /// `[T, heads, D]`
    q: &'a [T],
    cache: &'a [T],
    /// Query heads.
    heads: usize,
    head: usize,
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
    let mut out = vec![T::default(); tokens * heads * dim];
    let parts = Disjoint::new(&mut out);
    let simd = Simd::detect();
    team().run(tiles.len() * kv_heads, |index| {
        let task = Task {
            op,
            simd,
            tile: &tiles[index / kv_heads],
            q,
            cache,
            heads,
            head: index % kv_heads,
            dim,
        };
        SCRATCH.with_borrow_mut(|scratch| task.run(scratch, &parts));
    });
    Ok(T::to_cpu_storage_owned(out))
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
    /// `[rows, D]`
    sums: Vec<f32>,
    running: Vec<Running>,
}

/// A query head's softmax so far: the greatest score, and the sum of exponentials below it.
#[derive(Debug, Clone, Copy)]
struct Running {
    greatest: f32,
    total: f32,
}

impl<T: Packed + Default> Task<'_, T> {
    /// Block after block, in the order of positions; what a row sees of a block does not depend on the other rows of its
    /// tile.
    fn run(&self, scratch: &mut Scratch, out: &Disjoint<'_, T>) {
        let (tile, wide, group) = (self.tile, padded(self.dim), self.group());
        let rows = tile.tokens * group;
        let queries = self.queries(rows);
        let mut weights = vec![T::default(); rows * BLOCK_TOKENS];
        let Scratch {
            scores,
            sums,
            running,
        } = scratch;
        sums.clear();
        sums.resize(rows * wide, 0.0);
        running.clear();
        running.resize(
            rows,
            Running {
                greatest: f32::NEG_INFINITY,
                total: 0.0,
            },
        );
        let from = self.first_seen(tile.position);
        let to = self.seen(tile.position + tile.tokens - 1);
        for block in from / BLOCK_TOKENS..to.div_ceil(BLOCK_TOKENS) {
            let begin = block * BLOCK_TOKENS;
            let here = BLOCK_TOKENS.min(to - begin);
            let (keys, values) = self.block(tile.blocks[block] as usize);
            scores.clear();
            scores.resize(rows * BLOCK_TOKENS, 0.0);
            let product = Product {
                x: &queries,
                x_stride: wide,
                rows,
                w: keys,
                tile_stride: wide * TILE,
                tiles: here.div_ceil(TILE),
                groups: wide / T::GROUP,
            };
            T::accumulate(self.simd, &product, scores, BLOCK_TOKENS);
            let seen = |row: usize| {
                let position = tile.position + row / group;
                let low = self.first_seen(position).saturating_sub(begin);
                (low, self.seen(position).saturating_sub(begin).min(here))
            };
            for (row, running) in running.iter_mut().enumerate() {
                let span = row * BLOCK_TOKENS..(row + 1) * BLOCK_TOKENS;
                let kept = absorb(
                    self.simd,
                    self.op,
                    seen(row),
                    &mut scores[span.clone()],
                    running,
                    &mut weights[span],
                );
                if kept != 1.0 {
                    let sums = &mut sums[row * wide..(row + 1) * wide];
                    sums.iter_mut().for_each(|sum| *sum *= kept);
                }
            }
            let product = Product {
                x: &weights,
                x_stride: BLOCK_TOKENS,
                rows,
                w: values,
                tile_stride: BLOCK_TOKENS * TILE,
                tiles: wide / TILE,
                groups: here.div_ceil(T::GROUP),
            };
            let is_seen_by_all = (0..rows).all(|row| seen(row) == (0, here));
            if is_seen_by_all || all_finite(self.simd, values) {
                T::accumulate(self.simd, &product, sums, wide);
            } else {
                self.accumulate_seen(&product, seen, sums, wide);
            }
        }
        self.finish(sums, running, out);
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
            let row_product = Product {
                x: &product.x[row * product.x_stride..],
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

    /// The task's queries, `[rows, D]`, in whole tiles.
    fn queries(&self, rows: usize) -> Vec<T> {
        let (dim, wide, group) = (self.dim, padded(self.dim), self.group());
        let mut queries = vec![T::default(); rows * wide];
        for (row, query) in queries.chunks_exact_mut(wide).enumerate() {
            let token = self.tile.first + row / group;
            let at = (token * self.heads + self.head * group + row % group) * dim;
            query[..dim].copy_from_slice(&self.q[at..at + dim]);
        }
        queries
    }

    /// Keys and values of a block.
    fn block(&self, block: usize) -> (&[T], &[T]) {
        let side = side_numbers(self.dim);
        let at = (block * self.op.kv_heads + self.head) * 2 * side;
        self.cache[at..at + 2 * side].split_at(side)
    }

    fn finish(&self, sums: &[f32], running: &[Running], out: &Disjoint<'_, T>) {
        let (dim, wide, group) = (self.dim, padded(self.dim), self.group());
        for (row, (sums, running)) in sums.chunks_exact(wide).zip(running).enumerate() {
            let token = self.tile.first + row / group;
            let at = (token * self.heads + self.head * group + row % group) * dim;
            #[expect(unsafe_code, reason = "each task has tokens and heads of its own")]
            // SAFETY: no two tasks have the same token and head.
            let out = unsafe { out.part(at..at + dim) };
            divide(self.simd, sums, running.total, out);
        }
    }
}

vectorized! {
    /// Takes the scores of a block into a query's softmax: `weights` become those of its values, 0 outside of `low..high`.
    /// Returns what the sums so far are multiplied by.
    fn absorb<T: Packed>(
        fused; op: &PagedAttention<'_>, seen: (usize, usize), scores: &mut [f32],
        running: &mut Running, weights: &mut [T],
    ) -> f32 {
        let (low, high) = seen;
        let (Some(scores), Some(weights)) =
            (scores.first_chunk_mut::<BLOCK_TOKENS>(), weights.first_chunk_mut::<BLOCK_TOKENS>())
        else {
            return 1.0;
        };
        if low >= high {
            weights.fill(T::round(0.0));
            return 1.0;
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
            for (lane, score) in lanes.iter_mut().zip(part) {
                *lane = lane.max(*score);
            }
        }
        let greatest = lanes.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let mut totals = [0f32; TILE];
        for (part, weights) in scores.as_chunks::<TILE>().0.iter().zip(weights.as_chunks_mut::<TILE>().0) {
            for lane in 0..TILE {
                let weight = exp(fused, part[lane] - greatest);
                totals[lane] += weight;
                weights[lane] = T::round(weight);
            }
        }
        let kept = exp(fused, running.greatest - greatest);
        running.total = running.total * kept + totals.iter().sum::<f32>();
        running.greatest = greatest;
        kept
    }
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
