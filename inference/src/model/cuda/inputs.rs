//! What a step is given: ids, positions, slots, lengths and block tables in one piece of memory, so that one copy brings them to the
//! device.

use candela_cuda::arguments::{NO_SLOT, Pointer, Sequences};

use crate::model::runner::{Batch, blocks_for};

const WORD: u64 = size_of::<u32>() as u64;

/// Most that a step has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Limits {
    /// Tokens, padding included.
    pub(super) rows: usize,
    pub(super) sequences: usize,
    /// Rows whose logits are made at a time.
    pub(super) logits_rows: usize,
    /// Blocks of a sequence.
    pub(super) table_width: usize,
}

impl Limits {
    /// Words of the largest step. All its rows' logits may be wanted, some at a time.
    pub(super) fn words(&self) -> usize {
        Layout::new(self.rows, self.sequences, self.rows, self.table_width).words()
    }
}

/// Where the parts of a step's inputs lie, in words of 32 bits: how many tokens there are without padding; ids, positions and slots of
/// the rows; where the sequences begin, their lengths; rows whose logits are wanted; block tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Layout {
    /// Tokens and padding.
    pub(super) rows: usize,
    /// Sequences, those of a bucket's unused places included.
    pub(super) sequences: usize,
    logits_rows: usize,
    table_width: usize,
}

impl Layout {
    pub(super) fn new(
        rows: usize,
        sequences: usize,
        logits_rows: usize,
        table_width: usize,
    ) -> Self {
        Self {
            rows,
            sequences,
            logits_rows,
            table_width,
        }
    }

    /// The word that each part begins at, and their end.
    fn starts(&self) -> [usize; 9] {
        let sizes = [
            1,
            self.rows,
            self.rows,
            self.rows,
            self.sequences + 1,
            self.sequences,
            self.logits_rows,
            self.sequences * self.table_width,
        ];
        let mut starts = [0; 9];
        for (part, size) in sizes.iter().enumerate() {
            starts[part + 1] = starts[part] + size;
        }
        starts
    }

    pub(super) fn words(&self) -> usize {
        self.starts()[8]
    }

    /// Writes the batch, and unused rows and sequences that nothing comes of. What lies behind a sequence's last block stays as it is:
    /// nobody reads it.
    pub(super) fn write(&self, batch: &Batch, words: &mut [u32]) {
        let [_, ids, positions, slots, starts, lengths, logits, tables, _] = self.starts();
        let (tokens, sequences) = (batch.input_ids.len(), batch.sequences());
        words[0] = tokens as u32;
        let mut put = |at: usize, list: &[u32], room: usize, padding: u32| {
            words[at..at + list.len()].copy_from_slice(list);
            words[at + list.len()..at + room].fill(padding);
        };
        put(ids, &batch.input_ids, self.rows, 0);
        put(positions, &batch.positions, self.rows, 0);
        put(slots, &batch.slot_mapping, self.rows, NO_SLOT);
        put(starts, &batch.cu_seqlens_q, sequences + 1, 0);
        put(lengths, &batch.seqlens_k, self.sequences, 0);
        put(logits, &batch.logits_idx, self.logits_rows, 0);
        // An unused sequence has one query, the row behind the last.
        for unused in sequences..self.sequences {
            words[starts + unused + 1] = words[starts + unused] + 1;
        }
        let width = batch.block_table_width.max(1);
        let rows = batch.block_tables.chunks(width).zip(&batch.seqlens_k);
        for (sequence, (blocks, &length)) in rows.enumerate() {
            let used = &blocks[..blocks_for(length as usize)];
            let at = tables + sequence * self.table_width;
            words[at..at + used.len()].copy_from_slice(used);
        }
    }

    /// The parts on the device, where the first word is at `base`.
    pub(super) fn on_device(&self, base: Pointer) -> OnDevice {
        let [
            tokens,
            ids,
            positions,
            slots,
            starts,
            lengths,
            logits,
            tables,
            _,
        ] = self.starts().map(|word| base + word as u64 * WORD);
        OnDevice {
            tokens,
            ids,
            positions,
            slots,
            logits,
            sequences: Sequences {
                cu_seqlens_q: starts,
                seqlens_k: lengths,
                block_tables: tables,
                count: self.sequences as u32,
                table_width: self.table_width as u32,
            },
        }
    }
}

/// Addresses of a step's inputs.
#[derive(Debug, Clone, Copy)]
pub(super) struct OnDevice {
    /// How many tokens there are.
    pub(super) tokens: Pointer,
    pub(super) ids: Pointer,
    pub(super) positions: Pointer,
    pub(super) slots: Pointer,
    /// Rows whose logits are wanted.
    pub(super) logits: Pointer,
    pub(super) sequences: Sequences,
}

impl OnDevice {
    /// The wanted rows from the `first` on.
    pub(super) fn logits_from(&self, first: usize) -> Pointer {
        self.logits + first as u64 * WORD
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buckets_unused_places_are_sequences_without_tokens() {
        let mut batch = Batch::default();
        batch.clear();
        batch.block_table_width = 3;
        batch.push(&[7], 40, &[5, 6], true);
        batch.push(&[8], 0, &[9], true);
        let layout = Layout::new(4, 4, 4, 2);
        let mut words = vec![77; layout.words()];
        layout.write(&batch, &mut words);
        let none = NO_SLOT;
        let expected = [
            vec![2],
            vec![7, 8, 0, 0],
            vec![40, 0, 0, 0],
            vec![6 * 32 + 8, 9 * 32, none, none],
            vec![0, 1, 2, 3, 4],
            vec![41, 1, 0, 0],
            vec![0, 1, 0, 0],
            vec![5, 6, 9, 77, 77, 77, 77, 77],
        ];
        assert_eq!(words, expected.concat());
        let parts = layout.on_device(1000);
        assert_eq!(parts.ids, 1004);
        assert_eq!(parts.sequences.seqlens_k, 1000 + 4 * 18);
    }
}
