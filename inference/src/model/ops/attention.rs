//! Attention over the paged KV cache, `[blocks, 32, KV heads, D]`, and writing to it.

use candle_core::{CpuStorage, CustomOp3, InplaceOp2, Layout, Result, Shape, bail};
use rayon::prelude::*;

use super::{Element, by_dtype, contiguous};
use crate::model::runner::{BLOCK_TOKENS, Batch};

/// Writes `[T, KV heads, D]` to the cache at the batch's slots.
pub(in crate::model) struct CacheWrite<'a> {
    pub(in crate::model) slot_mapping: &'a [u32],
}

impl InplaceOp2 for CacheWrite<'_> {
    fn name(&self) -> &'static str {
        "cache_write"
    }

    fn cpu_fwd(
        &self,
        cache: &mut CpuStorage,
        cache_layout: &Layout,
        x: &CpuStorage,
        layout: &Layout,
    ) -> Result<()> {
        if cache_layout.start_offset() != 0 || !cache_layout.is_contiguous() {
            bail!("cache_write takes a whole cache");
        }
        let (_, heads, dim) = layout.shape().dims3()?;
        match cache {
            CpuStorage::F32(cache) => self.copy(cache, contiguous(x, layout)?, heads * dim),
            CpuStorage::BF16(cache) => self.copy(cache, contiguous(x, layout)?, heads * dim),
            _ => bail!("cache_write takes f32 or bf16"),
        }
        Ok(())
    }
}

impl CacheWrite<'_> {
    fn copy<T: Copy>(&self, cache: &mut [T], x: &[T], width: usize) {
        for (row, &slot) in x.chunks(width).zip(self.slot_mapping) {
            cache[slot as usize * width..][..width].copy_from_slice(row);
        }
    }
}

/// Causal attention of a ragged batch: `[T, heads, D]` queries over the keys and values of their own
/// sequences, up to their own positions. Softmax and sums in f32.
pub(in crate::model) struct PagedAttention<'a> {
    pub(in crate::model) batch: &'a Batch,
    pub(in crate::model) scale: f32,
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

/// One sequence's view of the cache, for one KV head.
struct Keys<'a, T> {
    cache: &'a [T],
    blocks: &'a [u32],
    kv_heads: usize,
    head: usize,
    dim: usize,
}

impl<T: Element> Keys<'_, T> {
    fn at(&self, position: usize) -> &[T] {
        let slot =
            self.blocks[position / BLOCK_TOKENS] as usize * BLOCK_TOKENS + position % BLOCK_TOKENS;
        &self.cache[(slot * self.kv_heads + self.head) * self.dim..][..self.dim]
    }
}

fn attend<T: Element>(
    op: &PagedAttention<'_>,
    (q, q_layout): (&CpuStorage, &Layout),
    (k, k_layout): (&CpuStorage, &Layout),
    (v, v_layout): (&CpuStorage, &Layout),
) -> Result<CpuStorage> {
    let (tokens, heads, dim) = q_layout.shape().dims3()?;
    let (_, _, kv_heads, _) = k_layout.shape().dims4()?;
    let group = heads / kv_heads;
    let q = contiguous::<T>(q, q_layout)?;
    let (k, v) = (contiguous::<T>(k, k_layout)?, contiguous::<T>(v, v_layout)?);
    let sequence_of = sequence_of_tokens(op.batch);
    let mut out = vec![T::round(0.0); tokens * heads * dim];
    out.par_chunks_mut(group * dim)
        .enumerate()
        .for_each(|(task, out)| {
            let (token, head) = (task / kv_heads, task % kv_heads);
            let width = op.batch.block_table_width;
            let blocks = &op.batch.block_tables[sequence_of[token] * width..][..width];
            let keys = Keys {
                cache: k,
                blocks,
                kv_heads,
                head,
                dim,
            };
            let values = Keys { cache: v, ..keys };
            let seen = op.batch.positions[token] as usize + 1;
            let q = &q[(token * heads + head * group) * dim..][..group * dim];
            attend_token(q, &keys, &values, seen, op.scale, out);
        });
    Ok(T::to_cpu_storage_owned(out))
}

/// Which sequence each token of the batch belongs to, `[T]`.
fn sequence_of_tokens(batch: &Batch) -> Vec<usize> {
    let spans = batch.cu_seqlens_q.windows(2).enumerate();
    spans
        .flat_map(|(s, span)| std::iter::repeat_n(s, (span[1] - span[0]) as usize))
        .collect()
}

/// The query heads of one token that share a KV head, over the first `seen` positions.
fn attend_token<T: Element>(
    q: &[T],
    keys: &Keys<'_, T>,
    values: &Keys<'_, T>,
    seen: usize,
    scale: f32,
    out: &mut [T],
) {
    let dim = keys.dim;
    let mut scores = vec![0f32; seen];
    let mut sums = vec![0f32; dim];
    for (q, out) in q.chunks(dim).zip(out.chunks_mut(dim)) {
        for (position, score) in scores.iter_mut().enumerate() {
            let products = q
                .iter()
                .zip(keys.at(position))
                .map(|(q, k)| q.widen() * k.widen());
            *score = products.sum::<f32>() * scale;
        }
        let greatest = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let mut total = 0f32;
        sums.fill(0.0);
        for (position, score) in scores.iter().enumerate() {
            let weight = (score - greatest).exp();
            total += weight;
            for (sum, v) in sums.iter_mut().zip(values.at(position)) {
                *sum += weight * v.widen();
            }
        }
        out.iter_mut()
            .zip(&sums)
            .for_each(|(out, sum)| *out = T::round(sum / total));
    }
}
