//! The pool of KV blocks. Its invariant, asserted at every call: a block is either free or in use,
//! once.

/// Free and used blocks of the KV cache, by number.
#[derive(Debug)]
pub struct BlockPool {
    free: Vec<u32>,
    in_use: Vec<bool>,
}

impl BlockPool {
    /// A pool of `blocks` free blocks.
    pub fn new(blocks: usize) -> Self {
        let count = u32::try_from(blocks).expect("the flags bound the number of blocks below u32");
        Self {
            free: (0..count).rev().collect(),
            in_use: vec![false; blocks],
        }
    }

    /// Blocks in use.
    pub fn used(&self) -> usize {
        self.in_use.len() - self.free.len()
    }

    /// Blocks that are free.
    pub fn free(&self) -> usize {
        self.free.len()
    }

    /// Share of the pool in use, 0..=1.
    pub fn usage(&self) -> f64 {
        self.used() as f64 / self.in_use.len() as f64
    }

    /// Grows `table` to `blocks` blocks, or leaves it as it is when the pool has too few.
    pub fn grow(&mut self, table: &mut Vec<u32>, blocks: usize) -> bool {
        let missing = blocks.saturating_sub(table.len());
        if missing > self.free.len() {
            return false;
        }
        let taken = self.free.split_off(self.free.len() - missing);
        for &block in taken.iter().rev() {
            let used = &mut self.in_use[block as usize];
            assert!(!*used, "block {block} was free and in use at once");
            *used = true;
            table.push(block);
        }
        true
    }

    /// Takes back every block of `table`, the last first, so that it is the first to be used again.
    pub fn release(&mut self, table: &mut Vec<u32>) {
        for block in table.drain(..).rev() {
            let used = &mut self.in_use[block as usize];
            assert!(*used, "block {block} was given back twice");
            *used = false;
            self.free.push(block);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn blocks_are_free_or_in_one_table(
            operations in prop::collection::vec((0usize..8, 0usize..12), 1..200)
        ) {
            let mut pool = BlockPool::new(32);
            let mut tables = vec![Vec::new(); 8];
            for (table, blocks) in operations {
                let (before, free) = (tables[table].clone(), pool.free());
                if blocks == 0 {
                    pool.release(&mut tables[table]);
                } else if !pool.grow(&mut tables[table], blocks) {
                    prop_assert_eq!(&tables[table], &before);
                    prop_assert!(blocks - before.len() > free);
                }
                let mut held: Vec<u32> = tables.concat();
                prop_assert_eq!(held.len(), pool.used());
                held.sort_unstable();
                held.dedup();
                prop_assert_eq!(held.len(), pool.used());
            }
            tables.iter_mut().for_each(|table| pool.release(table));
            prop_assert_eq!(pool.used(), 0);
        }
    }
}
