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
    }
}

impl CacheWrite<'_> {
    /// A panic in here would leave the cache's lock poisoned, and with it the engine without a cache.
    fn copy<T: Copy>(&self, cache: &mut [T], x: &[T], width: usize) -> Result<()> {
        for (row, &slot) in x.chunks(width.max(1)).zip(self.slot_mapping) {
            let from = slot as usize * width;
            match cache.get_mut(from..from + row.len()) {
                Some(place) => place.copy_from_slice(row),
                None => bail!("slot {slot} is outside the cache"),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Tensor};

    use super::*;

    #[test]
    fn a_slot_outside_the_cache_is_an_error_and_the_cache_goes_on() {
        let cache = Tensor::zeros((1, 32, 1, 2), candle_core::DType::F32, &Device::Cpu).unwrap();
        let x = Tensor::ones((1, 1, 2), candle_core::DType::F32, &Device::Cpu).unwrap();
        let write = |slot: u32| {
            cache.inplace_op2(
                &x,
                &CacheWrite {
                    slot_mapping: &[slot],
                },
            )
        };
        assert!(write(32).unwrap_err().to_string().contains("slot 32"));
        assert!(write(u32::MAX).is_err());
        write(31).unwrap();
        let sum = cache.sum_all().unwrap().to_scalar::<f32>().unwrap();
        assert_eq!(sum, 2.0);
    }
}
