//! Everything that must hold of a pool, checked the slow way.

use super::*;

impl BlockPool {
    /// Checks the pool against the tables that there are.
    pub(in crate::engine) fn check(&self, tables: &[&[u32]]) {
        let mut holders = vec![0; self.blocks.len()];
        tables
            .iter()
            .flat_map(|table| table.iter())
            .for_each(|&block| holders[block as usize] += 1);
        let free = self.free_blocks();
        let mut place = vec![None; self.blocks.len()];
        for (index, &block) in free.iter().enumerate() {
            let before = place[block as usize].replace(index);
            assert_eq!(before, None, "block {block} is in the free list twice");
        }
        assert_eq!(self.free.len(), free.len());
        assert_eq!(self.holds, holders.iter().sum::<u32>() as usize);
        let mut children = vec![0; self.blocks.len()];
        let mut cached = 0;
        for (block, &expected) in (0u32..).zip(&holders) {
            let at = block as usize;
            assert_eq!(
                self.blocks[at].holders, expected,
                "holders of block {block}"
            );
            assert_eq!(
                place[at].is_some(),
                expected == 0,
                "free or held: block {block}"
            );
            let Some(known) = &self.blocks[at].cached else {
                continue;
            };
            cached += 1;
            let Cached { hash, parent, .. } = known;
            let tokens = self.tokens_of(block);
            let content = Content {
                hash: *hash,
                parent,
                tokens,
            };
            assert_eq!(self.find(content), Some(block), "a cached block is found");
            if let Parent::Block(parent) = *parent {
                children[parent as usize] += 1;
                assert!(self.blocks[parent as usize].cached.is_some());
                let (place, parents) = (place[at], place[parent as usize]);
                assert!(
                    place.is_some() || parents.is_none(),
                    "who holds block {block} holds its parent"
                );
                if let (Some(place), Some(parents)) = (place, parents) {
                    assert!(
                        place < parents,
                        "block {block} is used again before its parent"
                    );
                }
            }
        }
        assert_eq!(self.cached.len(), cached, "only cached blocks are found");
        for (block, &expected) in self.blocks.iter().zip(&children) {
            let children = block.cached.as_ref().map_or(0, |cached| cached.children);
            assert_eq!(children, expected, "children");
        }
    }

    /// The free blocks, the next to be used first.
    pub(in crate::engine) fn free_blocks(&self) -> Vec<u32> {
        self.free.iter().collect()
    }
}
