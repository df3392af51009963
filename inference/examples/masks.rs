//! Measures structured outputs over a tokenizer: how long typical grammars take to compile, and how long
//! the mask of each token takes when nothing hides it. Tokens are drawn at random among those allowed.
//!
//! `cargo run --release --example masks -- FOLDER/tokenizer.json`

#![expect(
    clippy::disallowed_methods,
    reason = "it measures time, and nothing that a request cost"
)]

use std::{
    io::Write,
    time::{Duration, Instant},
};

use anyhow::Context;
use candela_engine::{
    grammar::{CompiledGrammar, Grammar, GrammarCompiler, MaskClock, SchemaOptions, Vocabulary},
    prompt::Tokenizer,
    stats::{CacheConfig, Metrics},
};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use serde_json::json;

/// Answers to each grammar.
const ANSWERS: usize = 40;
/// Tokens of an answer, at most.
const TOKENS_MAX: usize = 120;

fn main() -> anyhow::Result<()> {
    let path = std::env::args_os()
        .nth(1)
        .context("usage: masks TOKENIZER_JSON")?;
    let bytes = std::fs::read(path)?;
    let tokenizer = Tokenizer::from_bytes(&bytes, usize::MAX)?;
    let (size, tokens) = (tokenizer.token_count(), tokenizer.token_bytes()?);
    let cache = CacheConfig {
        block_size: 1,
        num_blocks: 1,
    };
    let clock = MaskClock {
        clock: None,
        metrics: Metrics::new("masks", 1, cache, false),
    };
    let compiler = GrammarCompiler::start(move || Ok(Vocabulary::new(tokens, size, &[0])), clock)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()?;
    let mut out = std::io::stdout();
    let begun = Instant::now();
    runtime.block_on(compiler.compile(Grammar::choice(vec!["first".to_owned()])?))?;
    writeln!(out, "{size} tokens; prepared in {:.0?}", begun.elapsed())?;
    for (name, grammar) in grammars()? {
        let begun = Instant::now();
        let compiled = runtime.block_on(compiler.compile(grammar))?;
        let compile = begun.elapsed();
        let mut times = Vec::new();
        for seed in 0..ANSWERS {
            answer(&compiled, size, seed as u64, &mut times)?;
        }
        times.sort_unstable();
        let quantile = |share: f64| times[((times.len() - 1) as f64 * share) as usize];
        writeln!(
            out,
            "{name:12} compile {compile:>8.1?}  mask p50 {:>8.1?} p99 {:>8.1?} max {:>8.1?} of {}",
            quantile(0.5),
            quantile(0.99),
            quantile(1.0),
            times.len(),
        )?;
    }
    Ok(())
}

fn grammars() -> anyhow::Result<Vec<(&'static str, Grammar)>> {
    let person = json!({
        "type": "object",
        "properties": {
            "name": {"type": "string"},
            "age": {"type": "integer", "minimum": 0, "maximum": 150},
            "email": {"type": "string", "format": "email"},
            "tags": {"type": "array", "items": {"type": "string", "maxLength": 20}},
            "role": {"enum": ["admin", "user", "guest"]},
            "address": {
                "type": "object",
                "properties": {"street": {"type": "string"}, "city": {"type": "string"}},
                "required": ["street", "city"], "additionalProperties": false
            }
        },
        "required": ["name", "age", "email", "tags", "role", "address"],
        "additionalProperties": false
    });
    let arithmetic = "start: term ((\"+\" | \"*\") term)*\nterm: /[0-9]+/ | \"(\" start \")\"\n";
    Ok(vec![
        ("schema", Grammar::json_schema(&person)?),
        (
            "json_object",
            Grammar::json_object(SchemaOptions::default()),
        ),
        (
            "regex",
            Grammar::regex(r"[a-z]{3,40}@[a-z]{2,20}\.(com|org)")?,
        ),
        ("grammar", Grammar::context_free(arithmetic)?),
    ])
}

/// One answer; adds the time from each token to the mask of the next.
fn answer(
    grammar: &std::sync::Arc<CompiledGrammar>,
    vocab_size: usize,
    seed: u64,
    times: &mut Vec<Duration>,
) -> anyhow::Result<()> {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut constraint = grammar.constraint(true)();
    for _ in 0..TOKENS_MAX {
        let words = constraint.allowed()?;
        let is_set = |token: &u32| {
            let word = words.get(*token as usize / 32);
            word.is_some_and(|word| word >> (token % 32) & 1 == 1)
        };
        let allowed: Vec<u32> = (0..vocab_size as u32).filter(is_set).collect();
        let Some(&token) = allowed.get(rng.random_range(0..allowed.len().max(1))) else {
            return Ok(());
        };
        let begun = Instant::now();
        constraint.accept(token)?;
        constraint.allowed()?;
        times.push(begun.elapsed());
    }
    Ok(())
}
