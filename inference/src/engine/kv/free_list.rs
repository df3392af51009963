//! The blocks that no sequence holds, in the order in which they are used again. A ring of links by
//! block number, so that every operation is O(1) and none allocates.

/// The free blocks, from the next to be used to the last.
#[derive(Debug)]
pub(super) struct FreeList {
    /// One for each block, then one that closes the ring.
    links: Vec<Link>,
    len: usize,
}

#[derive(Debug, Clone, Copy)]
struct Link {
    before: u32,
    after: u32,
}

/// The links of a block that is not in the list.
const UNLISTED: Link = Link {
    before: u32::MAX,
    after: u32::MAX,
};

impl FreeList {
    /// All of `blocks` blocks, by number.
    pub(super) fn full(blocks: usize) -> Self {
        let ring = u32::try_from(blocks + 1).expect("the flags bound the blocks far below u32");
        let link = |block: u32| Link {
            before: (block + ring - 1) % ring,
            after: (block + 1) % ring,
        };
        Self {
            links: (0..ring).map(link).collect(),
            len: blocks,
        }
    }

    /// Blocks in the list.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Takes out the block that is next to be used.
    pub(super) fn pop_front(&mut self) -> Option<u32> {
        let first = self.links[self.end() as usize].after;
        (first != self.end()).then(|| {
            self.remove(first);
            first
        })
    }

    /// Adds a block that is to be used next.
    pub(super) fn push_front(&mut self, block: u32) {
        self.insert_before(self.links[self.end() as usize].after, block);
    }

    /// Adds a block that is to be used last.
    pub(super) fn push_back(&mut self, block: u32) {
        self.insert_before(self.end(), block);
    }

    /// Takes out a block from wherever it is.
    pub(super) fn remove(&mut self, block: u32) {
        let Link { before, after } = std::mem::replace(&mut self.links[block as usize], UNLISTED);
        assert!(
            before != UNLISTED.before,
            "block {block} is free, but not in the list"
        );
        self.links[before as usize].after = after;
        self.links[after as usize].before = before;
        self.len -= 1;
    }

    fn insert_before(&mut self, after: u32, block: u32) {
        let listed = self.links[block as usize].before != UNLISTED.before;
        assert!(!listed, "block {block} was freed twice");
        let before = std::mem::replace(&mut self.links[after as usize].before, block);
        self.links[before as usize].after = block;
        self.links[block as usize] = Link { before, after };
        self.len += 1;
    }

    /// The link that closes the ring.
    fn end(&self) -> u32 {
        self.links.len() as u32 - 1
    }

    /// The list from its front, for tests.
    #[cfg(test)]
    pub(super) fn iter(&self) -> impl Iterator<Item = u32> {
        let mut at = self.end();
        std::iter::from_fn(move || {
            at = self.links[at as usize].after;
            (at != self.end()).then_some(at)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_come_back_in_the_order_of_the_list() {
        let mut list = FreeList::full(4);
        assert_eq!((list.pop_front(), list.pop_front()), (Some(0), Some(1)));
        list.push_back(0);
        list.push_front(1);
        list.remove(2);
        assert_eq!(list.iter().collect::<Vec<_>>(), [1, 3, 0]);
        assert_eq!(list.len(), 3);
        while list.pop_front().is_some() {}
        assert_eq!((list.len(), list.pop_front()), (0, None));
        list.push_back(2);
        assert_eq!(list.pop_front(), Some(2));
    }

    #[test]
    #[should_panic(expected = "block 1 was freed twice")]
    fn a_block_is_in_the_list_once() {
        FreeList::full(2).push_back(1);
    }
}
