//! The memory of a layer's keys and values.

use candle_core::{CpuStorage, DType, Device, Result, Storage, Tensor};
use half::{bf16, vec::HalfBitsVecExt};

use super::{
    KvWrite,
    heads::kv_block_numbers,
    memory::{LARGE_PAGE, OnDemand},
};
use crate::model::runner::BLOCK_TOKENS;

/// Bytes of a line of the processor's caches: numbers that begin elsewhere cost two reads each.
const LINE: usize = 64;

/// Keys and values of one layer, `[blocks, numbers of a block]`, zeros at first. The system hands its memory out as it is written
/// to.
pub(in crate::model) struct KvCache {
    numbers: Tensor,
    block_bytes: usize,
    pages: OnDemand,
}

impl KvCache {
    pub(in crate::model) fn new(
        blocks: usize,
        (kv_heads, head_dim): (usize, usize),
        dtype: DType,
    ) -> Result<Self> {
        let block = kv_block_numbers(kv_heads, head_dim);
        let (count, number) = (blocks * block, dtype.size_in_bytes());
        let align = if count * number < LARGE_PAGE {
            LINE
        } else {
            LARGE_PAGE
        };
        // More than is used, so that there is an aligned place in it to begin at; what is never written to takes no memory.
        let room = count + align / number;
        let all = match dtype {
            DType::BF16 => {
                let zeros = vec![0u16; room].reinterpret_into::<bf16>();
                Tensor::from_vec(zeros, room, &Device::Cpu)?
            }
            _ => Tensor::from_vec(vec![0f32; room], room, &Device::Cpu)?,
        };
        let start = address(&all)?;
        let first = start.next_multiple_of(align);
        let numbers = all
            .narrow(0, (first - start) / number, count)?
            .reshape((blocks, block))?;
        Ok(Self {
            numbers,
            block_bytes: block * number,
            pages: OnDemand::of(first..first + count * number),
        })
    }

    /// The keys and values that were written.
    pub(in crate::model) fn numbers(&self) -> &Tensor {
        &self.numbers
    }

    /// Writes keys and values of the product `[T, all heads · D]`.
    pub(in crate::model) fn write(&self, product: &Tensor, write: &KvWrite<'_>) -> Result<()> {
        let blocks = write.slot_mapping.iter().map(|slot| {
            let block = *slot as usize / BLOCK_TOKENS;
            block * self.block_bytes..(block + 1) * self.block_bytes
        });
        self.pages.give(blocks);
        self.numbers.inplace_op2(product, write)
    }
}

/// Where the data of a contiguous tensor begins.
fn address(tensor: &Tensor) -> Result<usize> {
    let (storage, _) = tensor.storage_and_layout();
    Ok(match &*storage {
        Storage::Cpu(CpuStorage::BF16(numbers)) => numbers.as_ptr().addr(),
        Storage::Cpu(CpuStorage::F32(numbers)) => numbers.as_ptr().addr(),
        _ => candle_core::bail!("a KV cache is of f32 or bf16, and in memory"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cache_begins_at_a_line_and_a_large_one_at_a_large_page() {
        for dtype in [DType::BF16, DType::F32] {
            for (blocks, align) in [(0, LINE), (1, LINE), (600, LARGE_PAGE)] {
                let cache = KvCache::new(blocks, (2, 32), dtype).unwrap();
                let shape = (blocks, kv_block_numbers(2, 32));
                assert_eq!(cache.numbers().dims2().unwrap(), shape);
                assert!(cache.numbers().is_contiguous());
                let offset = cache.numbers().layout().start_offset() * dtype.size_in_bytes();
                let start = address(cache.numbers()).unwrap() + offset;
                assert!(start.is_multiple_of(align), "{start:x}");
            }
        }
    }
}
