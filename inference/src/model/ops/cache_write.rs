//! Writing keys and values to the paged KV cache, `[blocks, 32, KV heads, D]`.

use candle_core::{CpuStorage, InplaceOp2, Layout, Result, bail};

use super::contiguous;

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
