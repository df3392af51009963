//! Grammars over the demo model's vocabulary, with tokens drawn at random among those that may come:
//! what comes out must be what was asked for, whatever the dice say.

use std::{
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::{Arc, LazyLock},
};

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};

use super::*;
use crate::{
    prompt::Tokenizer,
    stats::{CacheConfig, Metrics},
};

/// Tokens after which an answer is given up.
const TOKENS_MAX: usize = 600;
/// Tokens after which an answer is led to its end.
const PATIENCE: usize = 100;
/// `<|im_end|>` and `<|endoftext|>` of the demo model.
const EOS: [u32; 2] = [2, 0];
const VOCAB_SIZE: usize = 2_048;

fn tokenizer() -> Arc<Tokenizer> {
    static TOKENIZER: LazyLock<Arc<Tokenizer>> = LazyLock::new(|| {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/models/demo/tokenizer.json");
        let bytes = std::fs::read(path).unwrap();
        Arc::new(Tokenizer::from_bytes(&bytes, VOCAB_SIZE).unwrap())
    });
    Arc::clone(&TOKENIZER)
}

fn compiler() -> GrammarCompiler {
    compiler_for(&EOS)
}

fn compiler_for(eos: &'static [u32]) -> GrammarCompiler {
    let cache = CacheConfig {
        block_size: 32,
        num_blocks: 1,
    };
    let clock = MaskClock {
        clock: None,
        metrics: Metrics::new("demo", VOCAB_SIZE, cache, false),
    };
    let vocabulary = || {
        let tokens = tokenizer().token_bytes().unwrap();
        Ok(Vocabulary::new(tokens, VOCAB_SIZE, eos))
    };
    GrammarCompiler::start(vocabulary, clock).unwrap()
}

fn compile(
    compiler: &GrammarCompiler,
    grammar: Grammar,
) -> Result<Arc<CompiledGrammar>, GrammarError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    runtime.block_on(compiler.compile(grammar))
}

/// One answer, its tokens drawn uniformly; `None` when it does not end in time.
fn answer(grammar: &Arc<CompiledGrammar>, rng: &mut ChaCha8Rng) -> Option<String> {
    let mut constraint = grammar.constraint(false)();
    let mut tokens = Vec::new();
    while tokens.len() < TOKENS_MAX {
        let mut logits = vec![0.0f32; VOCAB_SIZE];
        constraint.mask(&mut logits).unwrap();
        let allowed = (0u32..).zip(&logits).filter(|(_, logit)| **logit == 0.0);
        let allowed: Vec<u32> = allowed.map(|(token, _)| token).collect();
        let ends = |token: &u32| {
            let text = tokenizer().decode(&[*token], true);
            EOS.contains(token) || text.starts_with(['"', '}', ']', '<', ')'])
        };
        let mut token = allowed[rng.random_range(0..allowed.len())];
        if tokens.len() > PATIENCE
            && let Some(end) = allowed.iter().copied().find(ends)
        {
            token = end;
        }
        if EOS.contains(&token) {
            return Some(tokenizer().decode(&tokens, true));
        }
        constraint.accept(token).unwrap();
        tokens.push(token);
    }
    None
}

/// Runs a test under many seeds; says the seed that fails.
fn with_seeds(count: u64, test: impl Fn(&mut ChaCha8Rng)) {
    let replayed = std::env::var("CANDELA_SEED").ok();
    let seeds = match replayed.map(|seed| seed.parse().expect("CANDELA_SEED is a number")) {
        Some(seed) => vec![seed],
        None => (0..count).map(|_| rand::random()).collect::<Vec<u64>>(),
    };
    for seed in seeds {
        let run = || test(&mut ChaCha8Rng::seed_from_u64(seed));
        if let Err(panic) = catch_unwind(AssertUnwindSafe(run)) {
            println!("CANDELA_SEED={seed} fails");
            resume_unwind(panic);
        }
    }
}

#[test]
fn json_validates_against_its_schema_whatever_is_drawn() {
    let compiler = compiler();
    let ended = std::sync::atomic::AtomicUsize::new(0);
    let refused = std::sync::atomic::AtomicUsize::new(0);
    with_seeds(300, |rng| {
        let schema = test_schemas::schema(rng);
        let options = SchemaOptions {
            compact: rng.random(),
            closed: false,
        };
        let grammar = Grammar::json_schema_with(&schema, options).unwrap();
        let grammar = match compile(&compiler, grammar) {
            Ok(grammar) => grammar,
            Err(error) => {
                refused.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                println!("{error}: {schema}");
                return;
            }
        };
        let validator = jsonschema::options()
            .should_validate_formats(true)
            .build(&schema)
            .unwrap();
        for _ in 0..3 {
            let Some(text) = answer(&grammar, rng) else {
                continue;
            };
            ended.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            let value: Value = serde_json::from_str(&text)
                .unwrap_or_else(|error| panic!("{error}: {text:?} for {schema}"));
            if let Err(error) = validator.validate(&value) {
                panic!("{error}: {text} for {schema}");
            }
        }
    });
    println!("{ended:?} {refused:?}");
}
