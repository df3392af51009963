//! The pool under random operations of several tables, over blocks whose contents are kept: after every
//! operation the whole pool is checked, and each table must find its own tokens in its blocks.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
};

use super::*;
use crate::{
    engine::test_random::{Colliding, Random, check_cases, texts},
    model::runner::{BLOCK_TOKENS, blocks_for},
};

const OPERATIONS: u64 = 1_000_000;
const OPERATIONS_OF_A_CASE: u64 = 1_000;

/// A sequence, as far as the pool is concerned.
#[derive(Default)]
struct User {
    table: BlockTable,
    tokens: Vec<u32>,
    /// What each of the tokens, with all before it, leaves in its slot.
    marks: Vec<u64>,
    computed: usize,
}

struct World {
    pool: BlockPool,
    hasher: ChainHasher<Colliding>,
    /// What was last written, by slot.
    slots: Vec<u64>,
    texts: Vec<Vec<u32>>,
}

/// What tokens leave behind: the same for the same tokens after the same ones under the same salt, and
/// nowhere else.
fn marks(salt: Option<&str>, tokens: &[u32]) -> Vec<u64> {
    let mut hasher = DefaultHasher::new();
    salt.hash(&mut hasher);
    let mark = |token: &u32| {
        token.hash(&mut hasher);
        hasher.finish()
    };
    tokens.iter().map(mark).collect()
}

fn slot(table: &BlockTable, position: usize) -> usize {
    table.blocks()[position / BLOCK_TOKENS] as usize * BLOCK_TOKENS + position % BLOCK_TOKENS
}

impl World {
    fn new(random: &mut Random) -> Self {
        let blocks = random.between(4, 20);
        Self {
            pool: BlockPool::new(blocks),
            hasher: ChainHasher::with_hasher(Colliding),
            slots: vec![0; blocks * BLOCK_TOKENS],
            texts: texts(random, 6),
        }
    }

    fn operate(&mut self, random: &mut Random, user: &mut User) {
        match random.below(10) {
            _ if user.tokens.is_empty() => self.begin(random, user),
            0 => self.end(user, BlockTable::release),
            1 => self.end(user, BlockTable::discard),
            _ => self.compute(random, user),
        }
    }

    fn begin(&mut self, random: &mut Random, user: &mut User) {
        let text = &self.texts[random.below(self.texts.len())];
        user.tokens = text[..random.between(1, text.len())].to_vec();
        let salt = [None, None, Some("a"), Some("b")][random.below(4)];
        user.marks = marks(salt, &user.tokens);
        user.table = BlockTable::new(salt.map(Arc::from));
        user.table.hash(&self.hasher, &user.tokens);
        let mut hits = Vec::new();
        user.table.find(&self.pool, &user.tokens, &mut hits);
        user.table.begin(&mut self.pool, &hits);
        user.computed = hits.len() * BLOCK_TOKENS;
        assert!(user.computed < user.tokens.len());
    }

    fn compute(&mut self, random: &mut Random, user: &mut User) {
        let upto = user.tokens.len().min(user.computed + random.between(1, 70));
        let (before, free) = (user.table.blocks().to_vec(), self.pool.free());
        let missing = blocks_for(upto) - before.len();
        if !user.table.grow(&mut self.pool, blocks_for(upto)) {
            assert!(missing > free && user.table.blocks() == before);
            return;
        }
        assert_eq!(self.pool.free(), free - missing);
        user.table.assert_writable(&self.pool, user.computed, upto);
        for position in user.computed..upto {
            self.slots[slot(&user.table, position)] = user.marks[position];
        }
        user.computed = upto;
        let User { table, tokens, .. } = user;
        table.cache(&mut self.pool, &self.hasher, tokens, upto);
    }

    fn end(&mut self, user: &mut User, end: fn(&mut BlockTable, &mut BlockPool)) {
        end(&mut user.table, &mut self.pool);
        user.tokens.clear();
        user.computed = 0;
    }

    fn check(&self, users: &[User]) {
        let tables: Vec<&[u32]> = users.iter().map(|user| user.table.blocks()).collect();
        self.pool.check(&tables);
        for user in users {
            for position in 0..user.computed {
                let found = self.slots[slot(&user.table, position)];
                assert_eq!(found, user.marks[position], "position {position}");
            }
        }
    }
}

#[test]
fn a_million_random_operations_leave_the_pool_sound_and_every_table_its_tokens() {
    check_cases(OPERATIONS / OPERATIONS_OF_A_CASE, |random| {
        let mut world = World::new(random);
        let mut users: Vec<User> = (0..random.between(1, 6)).map(|_| User::default()).collect();
        for _ in 0..OPERATIONS_OF_A_CASE {
            let user = random.below(users.len());
            world.operate(random, &mut users[user]);
            world.check(&users);
        }
        users
            .iter_mut()
            .for_each(|user| world.end(user, BlockTable::release));
        world.check(&users);
        assert_eq!(world.pool.usage(), 0.0);
    });
}

/// A table with the blocks of `tokens`, all computed.
fn computed(pool: &mut BlockPool, hasher: &ChainHasher<Colliding>, tokens: &[u32]) -> BlockTable {
    let mut table = BlockTable::default();
    assert!(table.grow(pool, blocks_for(tokens.len())));
    table.cache(pool, hasher, tokens, tokens.len());
    table
}

fn hits(pool: &BlockPool, hasher: &ChainHasher<Colliding>, tokens: &[u32]) -> Vec<u32> {
    let (mut table, mut hits) = (BlockTable::default(), Vec::new());
    table.hash(hasher, tokens);
    table.find(pool, tokens, &mut hits);
    hits
}

#[test]
fn a_freed_block_keeps_its_content_until_it_is_the_longest_unused() {
    let (mut pool, hasher) = (BlockPool::new(4), ChainHasher::with_hasher(Colliding));
    let (first, second): (Vec<u32>, Vec<u32>) = ((0..65).collect(), (100..165).collect());
    let mut table = computed(&mut pool, &hasher, &first);
    assert_eq!(table.blocks(), [0, 1, 2]);
    table.release(&mut pool);
    // The partial block knows nothing and goes first, then the one that nobody used.
    assert_eq!(pool.free_blocks(), [2, 3, 1, 0]);
    assert_eq!(hits(&pool, &hasher, &first), [0, 1]);
    let mut table = computed(&mut pool, &hasher, &second);
    assert_eq!(table.blocks(), [2, 3, 1]);
    assert_eq!(hits(&pool, &hasher, &first), [0]);
    table.release(&mut pool);
    assert_eq!(hits(&pool, &hasher, &second), [2, 3]);
}

#[test]
fn the_last_token_of_a_prompt_is_always_computed() {
    let (mut pool, hasher) = (BlockPool::new(4), ChainHasher::with_hasher(Colliding));
    let tokens: Vec<u32> = (0..65).collect();
    computed(&mut pool, &hasher, &tokens).release(&mut pool);
    for (len, blocks) in [(1, 0), (32, 0), (33, 1), (64, 1), (65, 2)] {
        assert_eq!(hits(&pool, &hasher, &tokens[..len]).len(), blocks, "{len}");
    }
}

#[test]
fn blocks_computed_twice_become_one() {
    let (mut pool, hasher) = (BlockPool::new(4), ChainHasher::with_hasher(Colliding));
    let tokens: Vec<u32> = (0..40).collect();
    let first = computed(&mut pool, &hasher, &tokens);
    let second = computed(&mut pool, &hasher, &tokens);
    assert_eq!(
        (first.blocks(), second.blocks()),
        (&[0, 1][..], &[0, 3][..])
    );
    assert_eq!(pool.free_blocks(), [2]);
    assert!(!pool.is_writable(0) && pool.is_writable(1) && pool.is_writable(3));
}

#[test]
#[should_panic(expected = "block 0 is shared and would be written to")]
fn a_shared_block_is_not_written_to() {
    let (mut pool, hasher) = (BlockPool::new(4), ChainHasher::with_hasher(Colliding));
    let tokens: Vec<u32> = (0..40).collect();
    let table = computed(&mut pool, &hasher, &tokens);
    table.assert_writable(&pool, 31, 40);
}
