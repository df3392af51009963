//! Attention over the paged KV cache, `[blocks, 32, KV heads, D]`: softmax in one pass over the blocks
//! (Milakov & Gimelshein 2018), a block's keys and values read once for a tile of tokens and all
//! query heads of their group.

use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape};
use rayon::prelude::*;

use super::{
    Element, by_dtype, contiguous,
    simd::{Simd, multiply_add},
};
use crate::model::runner::{BLOCK_TOKENS, Batch};

/// Attention of a ragged batch: `[T, heads, D]` queries over the keys and values of their own sequences.
/// Softmax and sums in f32.
pub(in crate::model) struct PagedAttention<'a> {
    pub(in crate::model) batch: &'a Batch,
    /// Queries see the keys up to their own positions; else all of their sequence (encoders).
    pub(in crate::model) causal: bool,
    /// What the products of queries and keys are multiplied by.
    pub(in crate::model) scale: f32,
    /// `cap · tanh(score / cap)` before the softmax.
    pub(in crate::model) softcap: Option<f32>,
    /// Positions a token sees, itself included.
    pub(in crate::model) window: Option<usize>,
}

impl CustomOp3 for PagedAttention<'_> {
    fn name(&self) -> &'static str {
        "paged_attention"
    }

    fn cpu_fwd(
        &self,
        q: &CpuStorage,
        q_layout: &Layout,
        k: &CpuStorage,
        k_layout: &Layout,
        v: &CpuStorage,
        v_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let storage = by_dtype!(
            q,
            "paged_attention",
            attend(self, (q, q_layout), (k, k_layout), (v, v_layout))
        )?;
        Ok((storage, q_layout.shape().clone()))
    }
}

/// Tokens that share the reading of a block.
const TILE_TOKENS: usize = 16;

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
    tile: &'a Tile<'a>,
    /// `[T, heads, D]`
    q: &'a [T],
    keys: &'a [T],
    values: &'a [T],
    heads: usize,
    kv_heads: usize,
    head: usize,
    dim: usize,
}

fn attend<T: Element>(
    op: &PagedAttention<'_>,
    (q, q_layout): (&CpuStorage, &Layout),
    (k, k_layout): (&CpuStorage, &Layout),
    (v, v_layout): (&CpuStorage, &Layout),
) -> Result<CpuStorage> {
    let (tokens, heads, dim) = q_layout.shape().dims3()?;
    let (_, _, kv_heads, _) = k_layout.shape().dims4()?;
    let q = contiguous::<T>(q, q_layout)?;
    let (keys, values) = (contiguous::<T>(k, k_layout)?, contiguous::<T>(v, v_layout)?);
    let tiles = tiles(op.batch);
    let simd = Simd::detect();
    let task = |index: usize| Task {
        op,
        tile: &tiles[index / kv_heads],
        q,
        keys,
        values,
        heads,
        kv_heads,
        head: index % kv_heads,
        dim,
    };
    let parts: Vec<Vec<f32>> = (0..tiles.len() * kv_heads)
        .into_par_iter()
        .map(|index| run(simd, &task(index)))
        .collect();
    let mut out = vec![T::round(0.0); tokens * heads * dim];
    let width = heads / kv_heads * dim;
    for (index, part) in parts.iter().enumerate() {
        let (tile, head) = (&tiles[index / kv_heads], index % kv_heads);
        for (row, part) in part.chunks(width).enumerate() {
            let at = (tile.first + row) * heads * dim + head * width;
            let out = &mut out[at..at + width];
            out.iter_mut()
                .zip(part)
                .for_each(|(out, part)| *out = T::round(*part));
        }
    }
    Ok(T::to_cpu_storage_owned(out))
}

/// Each sequence's tokens in tiles.
fn tiles(batch: &Batch) -> Vec<Tile<'_>> {
    let mut tiles = Vec::new();
    for (sequence, span) in batch.cu_seqlens_q.windows(2).enumerate() {
        let blocks = &batch.block_tables[sequence * batch.block_table_width..];
        for first in (span[0] as usize..span[1] as usize).step_by(TILE_TOKENS) {
            tiles.push(Tile {
                first,
                tokens: TILE_TOKENS.min(span[1] as usize - first),
                position: batch.positions[first] as usize,
                length: batch.seqlens_k[sequence] as usize,
                blocks: &blocks[..batch.block_table_width],
            });
        }
    }
    tiles
}

/// What the task's query heads attend to, `[tokens, group, D]`, with the processor's instructions.
fn run<T: Element>(simd: Simd, task: &Task<'_, T>) -> Vec<f32> {
    match simd {
        #[cfg(target_arch = "x86_64")]
        #[expect(unsafe_code, reason = "the processor's features were detected")]
        // SAFETY: `detect` returns `Avx512` only on a processor that has avx512f.
        Simd::Avx512 => unsafe { run_avx512(task) },
        #[cfg(target_arch = "x86_64")]
        #[expect(unsafe_code, reason = "the processor's features were detected")]
        // SAFETY: `detect` returns `Avx2` only on a processor that has avx2 and fma.
        Simd::Avx2 => unsafe { run_avx2(task) },
        Simd::Portable => run_in::<T, false>(task),
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn run_avx512<T: Element>(task: &Task<'_, T>) -> Vec<f32> {
    run_in::<T, true>(task)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn run_avx2<T: Element>(task: &Task<'_, T>) -> Vec<f32> {
    run_in::<T, true>(task)
}

/// A query head's softmax so far: the greatest score, and the sum of exponentials below it.
#[derive(Clone, Copy)]
struct Running {
    greatest: f32,
    total: f32,
}

/// Block after block, in the order of positions; what a row sees of a block does not depend on the
/// other rows of its tile.
#[inline(always)]
fn run_in<T: Element, const FUSED: bool>(task: &Task<'_, T>) -> Vec<f32> {
    let &Task {
        op,
        tile,
        dim,
        heads,
        kv_heads,
        head,
        ..
    } = task;
    let group = heads / kv_heads;
    let rows = tile.tokens * group;
    let mut queries = vec![0f32; rows * dim];
    for (token, queries) in queries.chunks_exact_mut(group * dim).enumerate() {
        let at = ((tile.first + token) * heads + head * group) * dim;
        widen(&task.q[at..at + group * dim], queries);
    }
    let start = Running {
        greatest: f32::NEG_INFINITY,
        total: 0.0,
    };
    let mut running = vec![start; rows];
    let mut sums = vec![0f32; rows * dim];
    let (mut keys, mut values) = (
        vec![0f32; BLOCK_TOKENS * dim],
        vec![0f32; BLOCK_TOKENS * dim],
    );
    let first_seen = |position: usize| op.window.map_or(0, |w| (position + 1).saturating_sub(w));
    let seen = |position: usize| if op.causal { position + 1 } else { tile.length };
    let from = first_seen(tile.position);
    let to = seen(tile.position + tile.tokens - 1);
    for block in from / BLOCK_TOKENS..to.div_ceil(BLOCK_TOKENS) {
        let begin = block * BLOCK_TOKENS;
        let here = BLOCK_TOKENS.min(to - begin);
        let slot = tile.blocks[block] as usize * BLOCK_TOKENS;
        for offset in 0..here {
            let at = ((slot + offset) * kv_heads + head) * dim;
            let row = offset * dim..(offset + 1) * dim;
            widen(&task.keys[at..at + dim], &mut keys[row.clone()]);
            widen(&task.values[at..at + dim], &mut values[row]);
        }
        for (row, running) in running.iter_mut().enumerate() {
            let position = tile.position + row / group;
            let low = first_seen(position).saturating_sub(begin);
            let high = seen(position).saturating_sub(begin).min(here);
            if low < high {
                let part = low * dim..high * dim;
                let span = row * dim..(row + 1) * dim;
                absorb::<FUSED>(
                    op,
                    &queries[span.clone()],
                    (&keys[part.clone()], &values[part]),
                    running,
                    &mut sums[span],
                );
            }
        }
    }
    for (sums, running) in sums.chunks_exact_mut(dim).zip(&running) {
        sums.iter_mut().for_each(|sum| *sum /= running.total);
    }
    sums
}

/// Takes some keys and values, `[n ≤ 32, D]` each, into a query head's softmax.
#[inline(always)]
fn absorb<const FUSED: bool>(
    op: &PagedAttention<'_>,
    query: &[f32],
    (keys, values): (&[f32], &[f32]),
    running: &mut Running,
    sums: &mut [f32],
) {
    let dim = query.len();
    let mut scores = [0f32; BLOCK_TOKENS];
    let mut greatest = running.greatest;
    for (score, key) in scores.iter_mut().zip(keys.chunks_exact(dim)) {
        *score = dot::<FUSED>(query, key) * op.scale;
        if let Some(cap) = op.softcap {
            *score = cap * (*score / cap).tanh();
        }
        greatest = greatest.max(*score);
    }
    let kept = (running.greatest - greatest).exp();
    if kept != 1.0 {
        sums.iter_mut().for_each(|sum| *sum *= kept);
    }
    running.total *= kept;
    running.greatest = greatest;
    for (score, value) in scores.iter().zip(values.chunks_exact(dim)) {
        let weight = (score - greatest).exp();
        running.total += weight;
        for (sum, value) in sums.iter_mut().zip(value) {
            *sum = multiply_add::<FUSED>(weight, *value, *sum);
        }
    }
}

#[inline(always)]
fn widen<T: Element>(from: &[T], to: &mut [f32]) {
    to.iter_mut()
        .zip(from)
        .for_each(|(to, from)| *to = from.widen());
}

/// Sums in 16 lanes, then the lanes in order.
#[inline(always)]
fn dot<const FUSED: bool>(a: &[f32], b: &[f32]) -> f32 {
    const LANES: usize = 16;
    let (a_wide, a_rest) = a.as_chunks::<LANES>();
    let (b_wide, b_rest) = b.as_chunks::<LANES>();
    let mut sums = [0f32; LANES];
    for (a, b) in a_wide.iter().zip(b_wide) {
        for lane in 0..LANES {
            sums[lane] = multiply_add::<FUSED>(a[lane], b[lane], sums[lane]);
        }
    }
    let rest = a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum::<f32>();
    sums.iter().sum::<f32>() + rest
}
