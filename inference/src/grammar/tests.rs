//! Grammars over the demo model's vocabulary, with tokens drawn at random among those that may come:
//! what comes out must be what was asked for, whatever the dice say.

use std::sync::Arc;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::json;

use super::*;
use crate::{
    prompt::Tokenizer,
    stats::{CacheConfig, Metrics},
};

/// Tokens after which an answer is given up.
const TOKENS_MAX: usize = 400;
/// `<|im_end|>` and `<|endoftext|>` of the demo model.
const EOS: [u32; 2] = [2, 0];

fn tokenizer() -> Arc<Tokenizer> {
    static TOKENIZER: std::sync::LazyLock<Arc<Tokenizer>> = std::sync::LazyLock::new(|| {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/models/demo/tokenizer.json");
        let bytes = std::fs::read(path).unwrap();
        Arc::new(Tokenizer::from_bytes(&bytes, 2048).unwrap())
    });
    Arc::clone(&TOKENIZER)
}

fn compiler() -> GrammarCompiler {
    let cache = CacheConfig {
        block_size: 32,
        num_blocks: 1,
    };
    let clock = MaskClock {
        clock: None,
        metrics: Metrics::new("demo", 2048, cache, false),
    };
    let vocabulary = || {
        Ok(Vocabulary::new(
            tokenizer().token_bytes().unwrap(),
            2048,
            &EOS,
        ))
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
fn answer(grammar: &Arc<CompiledGrammar>, rng: &mut ChaCha8Rng) -> Option<Vec<u32>> {
    let mut constraint = grammar.constraint(false)();
    let mut tokens = Vec::new();
    while tokens.len() < TOKENS_MAX {
        let mut logits = vec![0.0f32; 2048];
        constraint.mask(&mut logits).unwrap();
        let allowed: Vec<u32> = (0..2048).filter(|&t| logits[t as usize] == 0.0).collect();
        let token = allowed[rng.random_range(0..allowed.len())];
        if EOS.contains(&token) {
            return Some(tokens);
        }
        constraint.accept(token).unwrap();
        tokens.push(token);
    }
    None
}

fn text(tokens: &[u32]) -> String {
    tokenizer().decode(tokens, true)
}

#[test]
fn each_kind_of_grammar_gives_what_it_says() {
    let compiler = compiler();
    let call = |name: &str| Structure {
        trigger: "<tool_call>".to_owned(),
        begin: format!("\n{{\"name\": \"{name}\", \"arguments\": "),
        content: Grammar::json_schema(&json!({
            "type": "object", "properties": {"x": {"type": "integer", "minimum": 0, "maximum": 99}},
            "required": ["x"], "additionalProperties": false
        }))
        .unwrap(),
        end: "}\n</tool_call>".to_owned(),
    };
    let calls = Tagged {
        text: false,
        structures: vec![call("f"), call("g")],
        at_least: 1,
        at_most: Some(3),
        separator: "\n".to_owned(),
    };
    let within = Tagged {
        text: true,
        at_least: 0,
        at_most: None,
        ..calls.clone()
    };
    let grammars = [
        Grammar::json_schema(&json!({"type": "object", "properties": {"a": {"type": "boolean"}, "b": {"enum": [1, "x"]}}, "required": ["a", "b"], "additionalProperties": false})).unwrap(),
        Grammar::json_object(SchemaOptions::default()),
        Grammar::regex("[ab]{3,5}x?").unwrap(),
        Grammar::choice(vec!["yes".to_owned(), "no \"way\"".to_owned()]).unwrap(),
        Grammar::context_free("root ::= item (\",\" root)?\nitem ::= [a-z]+ # letters\n").unwrap(),
        Grammar::context_free("start: \"a\" start? \"b\"").unwrap(),
        Grammar::Tagged(calls.clone()),
        Grammar::Tagged(within),
        Grammar::choice(vec!["yes".to_owned()]).unwrap().after("</think>"),
        Grammar::choice(vec!["yes".to_owned()]).unwrap().after("<|im_start|>"),
        Grammar::Any(vec![Grammar::Tagged(calls), Grammar::choice(vec!["no".to_owned()]).unwrap()]),
    ];
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    for grammar in grammars {
        let compiled =
            compile(&compiler, grammar.clone()).unwrap_or_else(|e| panic!("{grammar:?}: {e}"));
        for _ in 0..3 {
            let tokens = answer(&compiled, &mut rng);
            println!("{:?}", tokens.map(|t| text(&t)));
        }
    }
}
