//! Blocks as GGML writes them, for a device that orders them in its own way.

use candle_core::quantized::k_quants::GgmlType;

use super::{BlockMatrix, Blocks};

impl BlockMatrix {
    /// Writes the blocks of a row to `out`, which has just room for them.
    pub(in crate::model) fn ggml_row(&self, row: usize, out: &mut [u8]) {
        match &self.blocks {
            Blocks::Q4_0(blocks) => out.copy_from_slice(row_bytes(blocks, row, self.columns)),
            Blocks::Q8_0(packed) => packed.ggml_row(row, out),
            Blocks::Q4K(blocks) => out.copy_from_slice(row_bytes(blocks, row, self.columns)),
            Blocks::Q5K(blocks) => out.copy_from_slice(row_bytes(blocks, row, self.columns)),
            Blocks::Q6K(blocks) => out.copy_from_slice(row_bytes(blocks, row, self.columns)),
        }
    }
}

#[expect(
    unsafe_code,
    reason = "candle's blocks can be read as bytes in no other way"
)]
fn row_bytes<T: GgmlType>(blocks: &[T], row: usize, columns: usize) -> &[u8] {
    let per_row = columns / T::BLCK_SIZE;
    let row = &blocks[row * per_row..][..per_row];
    // SAFETY: `T` is one of the `repr(C)` blocks of integers and half floats, which has no padding.
    unsafe { std::slice::from_raw_parts(row.as_ptr().cast(), size_of_val(row)) }
}

#[cfg(test)]
mod tests {
    use crate::model::ops::{BlockMatrix, BlockType};

    #[test]
    fn blocks_are_written_as_they_were_read() {
        for (kind, columns) in [
            (BlockType::Q8_0, 96),
            (BlockType::Q4K, 512),
            (BlockType::Q6K, 512),
        ] {
            let row_bytes = columns / kind.block_len() * kind.block_bytes();
            let bytes: Vec<u8> = (0..19 * row_bytes)
                .map(|at| (at * 7 + at / 251) as u8)
                .collect();
            // In the opposite order.
            let matrix =
                BlockMatrix::from_bytes(kind, &bytes, (19, columns), |row| 18 - row).unwrap();
            let mut seen = vec![0; row_bytes];
            for (row, expected) in bytes.chunks(row_bytes).rev().enumerate() {
                matrix.ggml_row(row, &mut seen);
                assert_eq!(seen, expected, "{kind}, row {row}");
            }
        }
    }
}
