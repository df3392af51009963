//! What happens to the heads of queries, keys and values between their product and the attention: norm, rotary, and the way
//! into the KV cache.
//!
//! # The cache
//! Of every block and KV head the keys of 32 tokens, then their values, in tiles: keys `[32 / 16][D / GROUP][16][GROUP]`, so that
//! a query meets 16 of them at a time; values `[D / 16][32 / GROUP][16][GROUP]`. `D` is padded with zeros to whole tiles.

use candle_core::{CpuStorage, CustomOp1, InplaceOp2, Layout, Result, Shape, bail};

use super::{
    RmsNorm, by_dtype, contiguous,
    elementwise::by_rows,
    kernels::{
        Disjoint,
        simd::{Simd, vectorized},
        tile::{Packed, TILE},
    },
    team::team,
};
use crate::model::runner::BLOCK_TOKENS;

/// Numbers of a KV block of one layer: keys and values.
pub(in crate::model) const fn kv_block_numbers(kv_heads: usize, head_dim: usize) -> usize {
    2 * kv_heads * side_numbers(head_dim)
}

/// Numbers of a block's keys, or of its values, of one head.
pub(super) const fn side_numbers(head_dim: usize) -> usize {
    padded(head_dim) * BLOCK_TOKENS
}

/// A head's numbers in whole tiles.
pub(super) const fn padded(head_dim: usize) -> usize {
    head_dim.next_multiple_of(TILE)
}

/// What is normed.
#[derive(Debug, Clone, Copy)]
pub(in crate::model) enum HeadsNorm<'a> {
    None,
    /// Each head.
    PerHead(&'a RmsNorm),
    /// All heads of a token together.
    FullWidth(&'a RmsNorm),
}

/// Rotary position embedding: the first `dim` numbers of a head turn by the token's position, number i with i + dim/2 (the
/// half-split form that Hugging Face's files are saved for). The others stay.
#[derive(Debug, Clone, Copy)]
pub(in crate::model) struct Turn<'a> {
    /// `[context, dim]`: cosines, then sines.
    pub(in crate::model) table: &'a [f32],
    /// Numbers that turn.
    pub(in crate::model) dim: usize,
}

/// Some heads of the product `[T, all heads · D]`, and what is done to them.
#[derive(Debug, Clone, Copy)]
pub(in crate::model) struct Heads<'a> {
    /// The first of them.
    pub(in crate::model) first: usize,
    pub(in crate::model) count: usize,
    pub(in crate::model) dim: usize,
    pub(in crate::model) norm: HeadsNorm<'a>,
    pub(in crate::model) turn: Option<Turn<'a>>,
    /// `[T]`
    pub(in crate::model) positions: &'a [u32],
}

impl Heads<'_> {
    fn width(&self) -> usize {
        self.count * self.dim
    }

    /// The heads of one token: normed, then turned.
    fn prepare<T: Packed>(&self, simd: Simd, token: usize, row: &[T], out: &mut [T]) {
        let row = &row[self.first * self.dim..][..self.width()];
        match self.norm {
            HeadsNorm::None => out.copy_from_slice(row),
            HeadsNorm::FullWidth(norm) => norm.row(simd, row, out),
            HeadsNorm::PerHead(norm) => {
                let heads = row
                    .chunks_exact(self.dim)
                    .zip(out.chunks_exact_mut(self.dim));
                heads.for_each(|(row, out)| norm.row(simd, row, out));
            }
        }
        if let Some(Turn { table, dim }) = self.turn {
            let angles = &table[self.positions[token] as usize * dim..][..dim];
            for head in out.chunks_exact_mut(self.dim) {
                turn(simd, angles, &mut head[..dim]);
            }
        }
    }

    /// Tokens and numbers of each in the product.
    fn tokens(&self, layout: &Layout) -> Result<(usize, usize)> {
        let (tokens, width) = layout.shape().dims2()?;
        if (self.first + self.count) * self.dim > width || tokens != self.positions.len() {
            bail!("heads: the product is {tokens} rows of {width} numbers");
        }
        if let Some(Turn { table, dim }) = self.turn {
            let known = table.len() / dim.max(1);
            if let Some(position) = self.positions.iter().find(|&&at| at as usize >= known) {
                bail!("heads: position {position} of {known} that can be turned to");
            }
        }
        Ok((tokens, width))
    }
}

vectorized! {
    /// Cosines, sines, products and sum are each rounded to the type, as `transformers` does.
    fn turn<T: Packed>(fused; angles: &[f32], head: &mut [T]) {
        let _ = fused;
        let round = |value: f32| T::round(value).widen();
        let (cosines, sines) = angles.split_at(angles.len() / 2);
        let (first, second) = head.split_at_mut(angles.len() / 2);
        let pairs = first.iter_mut().zip(second).zip(cosines).zip(sines);
        for (((first, second), cos), sin) in pairs {
            let (cos, sin) = (round(*cos), round(*sin));
            let (a, b) = (first.widen(), second.widen());
            *first = T::round(round(a * cos) - round(b * sin));
            *second = T::round(round(b * cos) + round(a * sin));
        }
    }
}

/// The product `[T, all heads · D]` → the queries, `[T, heads, D]`.
pub(in crate::model) struct Queries<'a>(pub(in crate::model) Heads<'a>);

impl CustomOp1 for Queries<'_> {
    fn name(&self) -> &'static str {
        "queries"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let storage = by_dtype!(x, "queries", queries(&self.0, x, layout))?;
        let tokens = layout.dims()[0];
        Ok((storage, Shape::from((tokens, self.0.count, self.0.dim))))
    }
}

fn queries<T: Packed>(heads: &Heads<'_>, x: &CpuStorage, layout: &Layout) -> Result<CpuStorage> {
    let (tokens, width) = heads.tokens(layout)?;
    let x = contiguous::<T>(x, layout)?;
    let simd = Simd::detect();
    let out = by_rows(tokens, heads.width(), |token, out: &mut [T]| {
        heads.prepare(simd, token, &x[token * width..][..width], out);
    });
    Ok(T::to_cpu_storage_owned(out))
}

/// Writes keys and values of the product `[T, all heads · D]` to the cache, `[blocks, numbers of a block]`, at the batch's slots.
///
/// # Guarantees
/// Nothing but the slots is written, and the slots behind them in their blocks, where nothing is yet.
pub(in crate::model) struct KvWrite<'a> {
    pub(in crate::model) keys: Heads<'a>,
    /// The first of the values' heads, as many as the keys'.
    pub(in crate::model) first_value: usize,
    /// `[T]`
    pub(in crate::model) slot_mapping: &'a [u32],
}

impl InplaceOp2 for KvWrite<'_> {
    fn name(&self) -> &'static str {
        "kv_write"
    }

    fn cpu_fwd(
        &self,
        cache: &mut CpuStorage,
        cache_layout: &Layout,
        x: &CpuStorage,
        layout: &Layout,
    ) -> Result<()> {
        let Some((from, to)) = cache_layout.contiguous_offsets() else {
            bail!("kv_write takes a whole cache");
        };
        match cache {
            CpuStorage::F32(cache) => self.write(&mut cache[from..to], x, layout),
            CpuStorage::BF16(cache) => self.write(&mut cache[from..to], x, layout),
            _ => bail!("kv_write takes f32 or bf16"),
        }
    }
}

/// Numbers that one thread writes in less time than another takes to come.
const FEW_NUMBERS: usize = 2 * 1024;

impl KvWrite<'_> {
    /// A panic in here would leave the cache's lock poisoned, and with it the engine without a cache.
    fn write<T: Packed>(&self, cache: &mut [T], x: &CpuStorage, layout: &Layout) -> Result<()> {
        let heads = &self.keys;
        let (tokens, width) = heads.tokens(layout)?;
        if (self.first_value + heads.count) * heads.dim > width {
            bail!("kv_write: the product has no values");
        }
        if self.slot_mapping.len() != tokens {
            bail!(
                "kv_write: {tokens} tokens, {} slots",
                self.slot_mapping.len()
            );
        }
        let slots = (cache.len() / kv_block_numbers(heads.count, heads.dim).max(1)) * BLOCK_TOKENS;
        if let Some(slot) = self
            .slot_mapping
            .iter()
            .find(|&&slot| slot as usize >= slots)
        {
            bail!("slot {slot} is outside the cache");
        }
        let x = contiguous::<T>(x, layout)?;
        let cache = Disjoint::new(cache);
        let simd = Simd::detect();
        let write = |of: std::ops::Range<usize>| {
            let part = Heads {
                first: heads.first + of.start,
                count: of.len(),
                ..*heads
            };
            self.write_heads(simd, &part, of.start, (x, width), &cache);
        };
        // A norm of all heads together is not made head by head.
        let together = matches!(heads.norm, HeadsNorm::FullWidth(_));
        if together || tokens * heads.width() <= FEW_NUMBERS {
            write(0..heads.count);
        } else {
            team().run(heads.count, |head| write(head..head + 1));
        }
        Ok(())
    }

    /// Every token's keys and values of some heads, which no other thread has.
    fn write_heads<T: Packed>(
        &self,
        simd: Simd,
        heads: &Heads<'_>,
        first: usize,
        (x, width): (&[T], usize),
        cache: &Disjoint<'_, T>,
    ) {
        let (dim, side) = (heads.dim, side_numbers(heads.dim));
        let mut keys = vec![T::round(0.0); heads.width()];
        let rows = x.chunks_exact(width).zip(self.slot_mapping);
        for (token, (row, &slot)) in rows.enumerate() {
            heads.prepare(simd, token, row, &mut keys);
            let values = &row[(self.first_value + first) * dim..][..heads.width()];
            let (block, offset) = (slot as usize / BLOCK_TOKENS, slot as usize % BLOCK_TOKENS);
            let heads_of_token = keys.chunks_exact(dim).zip(values.chunks_exact(dim));
            for (head, (key, value)) in heads_of_token.enumerate() {
                let at = (block * self.keys.count + first + head) * 2 * side;
                #[expect(unsafe_code, reason = "each thread writes heads of its own")]
                // SAFETY: the heads of a block lie apart, and no two threads have the same head.
                let place = unsafe { cache.part(at..at + 2 * side) };
                let (keys, values) = place.split_at_mut(side);
                put_key(key, keys, offset);
                put_value(value, values, offset);
            }
        }
    }
}

fn put_key<T: Packed>(key: &[T], keys: &mut [T], offset: usize) {
    let tile = &mut keys[offset / TILE * padded(key.len()) * TILE..];
    T::put(key, tile, (offset % TILE, TILE));
}

/// The first of a group clears the others: nothing of an earlier sequence is left beside it, which might be no number.
fn put_value<T: Packed>(value: &[T], values: &mut [T], offset: usize) {
    let (group, part) = (offset / T::GROUP, offset % T::GROUP);
    let tiles = values.chunks_exact_mut(TILE * BLOCK_TOKENS);
    for (numbers, tile) in value.chunks(TILE).zip(tiles) {
        let group = &mut tile[group * TILE * T::GROUP..][..TILE * T::GROUP];
        if part == 0 {
            group.fill(T::round(0.0));
        }
        for (place, number) in group.chunks_exact_mut(T::GROUP).zip(numbers) {
            place[part] = *number;
        }
    }
}

#[cfg(test)]
#[path = "heads_tests.rs"]
mod tests;
