//! Grammars over the demo model's vocabulary, with tokens drawn at random among those that may come:
//! what comes out must be what was asked for, whatever the dice say.

use std::{
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::{
        Arc, LazyLock,
        atomic::{AtomicUsize, Ordering},
    },
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
pub(super) const EOS: [u32; 2] = [2, 0];
pub(super) const VOCAB_SIZE: usize = 2_048;

pub(super) fn tokenizer() -> Arc<Tokenizer> {
    static TOKENIZER: LazyLock<Arc<Tokenizer>> = LazyLock::new(|| {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/models/demo/tokenizer.json");
        let bytes = std::fs::read(path).unwrap();
        Arc::new(Tokenizer::from_bytes(&bytes, VOCAB_SIZE).unwrap())
    });
    Arc::clone(&TOKENIZER)
}

pub(super) fn compiler() -> GrammarCompiler {
    compiler_for(&EOS)
}

fn compiler_for(eos: &'static [u32]) -> GrammarCompiler {
    compiler_with(eos, silent())
}

fn silent() -> MaskClock {
    let cache = CacheConfig {
        block_size: 32,
        num_blocks: 1,
    };
    let metrics = Metrics::new("demo", VOCAB_SIZE, cache, false);
    MaskClock {
        clock: None,
        metrics,
    }
}

pub(super) fn compiler_with(eos: &'static [u32], clock: MaskClock) -> GrammarCompiler {
    let vocabulary = || {
        let tokens = tokenizer().token_bytes().unwrap();
        Ok(Vocabulary::new(tokens, VOCAB_SIZE, eos))
    };
    GrammarCompiler::start(vocabulary, clock).unwrap()
}

pub(super) fn compile(
    compiler: &GrammarCompiler,
    grammar: Grammar,
) -> Result<Arc<CompiledGrammar>, GrammarError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    runtime.block_on(compiler.compile(grammar))
}

/// The tokens whose bits are set.
pub(super) fn tokens_in(words: &[u32]) -> Vec<u32> {
    let is_set = |token: &u32| {
        words
            .get(*token as usize / 32)
            .is_some_and(|word| word >> (token % 32) & 1 == 1)
    };
    (0..VOCAB_SIZE as u32).filter(is_set).collect()
}

/// One answer, its tokens drawn uniformly; `None` when it does not end in time.
fn answer(grammar: &Arc<CompiledGrammar>, rng: &mut ChaCha8Rng) -> Option<String> {
    let mut constraint = grammar.constraint(false)();
    let mut tokens = Vec::new();
    while tokens.len() < TOKENS_MAX {
        let allowed = match constraint.allowed() {
            Ok(words) => tokens_in(words),
            Err(error) => panic!("{error}: {:?}", tokenizer().decode(&tokens, true)),
        };
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
    let ended = AtomicUsize::new(0);
    with_seeds(300, |rng| {
        let schema = test_schemas::schema(rng);
        let options = SchemaOptions {
            compact: rng.random(),
            closed: false,
        };
        let grammar = Grammar::json_schema_with(&schema, options).unwrap();
        let grammar = compile(&compiler, grammar);
        let grammar = grammar.unwrap_or_else(|error| panic!("{error}: {schema}"));
        let validator = jsonschema::options()
            .should_validate_formats(true)
            .build(&schema)
            .unwrap();
        for _ in 0..3 {
            let Some(text) = answer(&grammar, rng) else {
                continue;
            };
            ended.fetch_add(1, Ordering::Relaxed);
            let value: Value = match serde_json::from_str(&text) {
                // JSON has numbers that no double holds.
                Err(error) if error.to_string().contains("number out of range") => continue,
                other => other.unwrap_or_else(|error| panic!("{error}: {text:?} for {schema}")),
            };
            if let Err(error) = validator.validate(&value) {
                panic!("{error}: {text} for {schema}");
            }
        }
    });
    // Most answers end, so that the above says something; one replayed seed need not.
    let ended = ended.into_inner();
    assert!(
        ended > 300 || std::env::var_os("CANDELA_SEED").is_some(),
        "{ended}"
    );
}

#[test]
fn a_regular_expression_matches_the_whole_answer() {
    let compiler = compiler();
    let part = [
        "a",
        "[b-d]+",
        "\\d{1,3}",
        "(x|yz)",
        "é?",
        "\\.",
        "[^a-z\\n]{2}",
        "🦀",
        "(ab){1,2}",
        "/",
    ];
    with_seeds(100, |rng| {
        let count = rng.random_range(1..6);
        let expression: String = (0..count)
            .map(|_| part[rng.random_range(0..part.len())])
            .collect();
        let grammar = compile(&compiler, Grammar::regex(&expression).unwrap()).unwrap();
        let regex = regex::Regex::new(&format!("^(?:{expression})$")).unwrap();
        for _ in 0..3 {
            if let Some(text) = answer(&grammar, rng) {
                assert!(regex.is_match(&text), "{text:?} for {expression}");
            }
        }
    });
}

#[test]
fn a_choice_is_made_to_the_letter_and_all_can_be() {
    let compiler = compiler();
    let choices = ["yes", "yes!", "no \"way\"", "né\n", "<tool_call>"].map(str::to_owned);
    let grammar = Grammar::choice(choices.to_vec()).unwrap();
    let grammar = compile(&compiler, grammar).unwrap();
    let made = std::sync::Mutex::new(std::collections::BTreeSet::new());
    with_seeds(200, |rng| {
        let text = answer(&grammar, rng).unwrap();
        assert!(choices.contains(&text), "{text:?}");
        made.lock().unwrap().insert(text);
    });
    assert_eq!(made.into_inner().unwrap().len(), choices.len());
}

#[test]
fn a_context_free_grammar_is_followed_in_either_notation() {
    let compiler = compiler();
    let lark = "start: \"a\" start \"b\" | \"c\"";
    let gbnf = "# nested\nroot ::= \"a\" root \"b\" |\n  [c]";
    for text in [lark, gbnf] {
        let grammar = compile(&compiler, Grammar::context_free(text).unwrap()).unwrap();
        with_seeds(30, |rng| {
            let Some(text) = answer(&grammar, rng) else {
                return;
            };
            let depth = (text.len() - 1) / 2;
            assert_eq!(text, format!("{}c{}", "a".repeat(depth), "b".repeat(depth)));
        });
    }
}

/// `<tool_call>{"name": ..., "arguments": ...}</tool_call>`.
fn call(name: &str, schema: &Value) -> Structure {
    Structure {
        trigger: "<tool_call>".to_owned(),
        begin: format!("\n{{\"name\": \"{name}\", \"arguments\": "),
        content: Grammar::json_schema(schema).unwrap(),
        end: "}\n</tool_call>".to_owned(),
    }
}

fn calls(text: bool, at_least: usize, at_most: Option<usize>) -> Grammar {
    let x = json!({
        "type": "object", "properties": {"x": {"type": "integer", "minimum": 0, "maximum": 99}},
        "required": ["x"], "additionalProperties": false
    });
    let y = json!({
        "type": "object", "properties": {"y": {"enum": ["a", "b"]}},
        "required": ["y"], "additionalProperties": false
    });
    Grammar::Tagged(Tagged {
        text,
        structures: vec![call("f", &x), call("g", &y)],
        at_least,
        at_most,
        separator: "\n".to_owned(),
    })
}

/// The calls in a text, each checked.
fn calls_in(text: &str) -> usize {
    let parts: Vec<&str> = text.split("<tool_call>").skip(1).collect();
    for part in &parts {
        let (body, _) = part.split_once("</tool_call>").expect("a call ends");
        let call: Value = serde_json::from_str(body).unwrap_or_else(|e| panic!("{e}: {body}"));
        match call["name"].as_str() {
            Some("f") => assert!(call["arguments"]["x"].as_u64().unwrap() < 100, "{call}"),
            Some("g") => assert!(["a", "b"].contains(&call["arguments"]["y"].as_str().unwrap())),
            other => panic!("{other:?}"),
        }
    }
    parts.len()
}

#[test]
fn structured_parts_stand_alone_or_within_text() {
    let compiler = compiler();
    let alone = compile(&compiler, calls(false, 1, Some(3))).unwrap();
    let within = compile(&compiler, calls(true, 1, None)).unwrap();
    with_seeds(60, |rng| {
        if let Some(text) = answer(&alone, rng) {
            assert!((1..=3).contains(&calls_in(&text)), "{text}");
            assert!(text.starts_with("<tool_call>") && text.ends_with("</tool_call>"));
        }
        if let Some(text) = answer(&within, rng) {
            assert!(calls_in(&text) >= 1, "{text}");
        }
    });
}

#[test]
fn free_text_ends_with_a_string_or_a_special_token() {
    let compiler = compiler();
    let yes = || Grammar::choice(vec!["yes".to_owned()]).unwrap();
    let text = compile(&compiler, yes().after("</tool_call>")).unwrap();
    let special = compile(&compiler, yes().after("<|im_start|>")).unwrap();
    with_seeds(20, |rng| {
        if let Some(text) = answer(&text, rng) {
            let (_, rest) = text.split_once("</tool_call>").unwrap();
            assert_eq!(rest, "yes", "{text}");
        }
    });
    // The name of a special token in the text is not the token.
    let mut constraint = special.constraint(false)();
    let mut accept = |token: u32| {
        let allowed = tokens_in(constraint.allowed().unwrap());
        assert!(allowed.contains(&token), "{token}");
        constraint.accept(token).unwrap();
    };
    for byte in tokenizer().encode("< | im _ start | >", false).unwrap() {
        accept(byte);
    }
    accept(1);
    for token in tokenizer().encode("yes", false).unwrap() {
        accept(token);
    }
    accept(EOS[0]);
}

#[test]
fn an_answer_that_can_only_end_is_complete() {
    for eos in [&EOS[..], &[]] {
        let compiler = compiler_for(eos);
        let grammar = compile(&compiler, Grammar::regex("a").unwrap()).unwrap();
        for ignore_eos in [false, true] {
            let mut constraint = grammar.constraint(ignore_eos)();
            let a = tokenizer().encode("a", false).unwrap()[0];
            constraint.allowed().unwrap();
            assert!(!constraint.is_complete());
            constraint.accept(a).unwrap();
            let left = tokens_in(constraint.allowed().unwrap());
            assert!(constraint.is_complete());
            assert_eq!(left.len(), if ignore_eos { 0 } else { eos.len() });
        }
    }
}

#[test]
fn a_token_that_cannot_follow_fails_its_branch_only() {
    let compiler = compiler();
    let grammar = compile(&compiler, Grammar::regex("a+").unwrap()).unwrap();
    let [mut good, mut bad] = [grammar.constraint(false)(), grammar.constraint(false)()];
    let [a, b] = ["a", "b"].map(|text| tokenizer().encode(text, false).unwrap()[0]);
    for _ in 0..3 {
        good.allowed().unwrap();
        good.accept(a).unwrap();
    }
    bad.allowed().unwrap();
    bad.accept(b).unwrap();
    assert!(bad.allowed().is_err());
    assert!(bad.accept(a).is_err());
    good.allowed().unwrap();
}

#[test]
fn a_grammar_is_bounded_as_a_whole() {
    let compiler = compiler();
    let part = |i: usize| Structure {
        trigger: "<".to_owned(),
        begin: i.to_string(),
        content: Grammar::Json(format!("{{\"const\": \"{}\"}}", "a".repeat(200_000))),
        end: ">".to_owned(),
    };
    let of = |parts: usize| {
        let tagged = Tagged {
            text: true,
            structures: (0..parts).map(part).collect(),
            at_least: 0,
            at_most: None,
            separator: String::new(),
        };
        compile(&compiler, Grammar::Tagged(tagged).after("</think>")).err()
    };
    let too_large = |error: &GrammarError| matches!(error, GrammarError::TooLarge { .. });
    assert!(!of(5).as_ref().is_some_and(too_large));
    let error = of(6).unwrap();
    assert!(too_large(&error), "{error}");
    assert!(error.to_string().contains("at most 1048576"), "{error}");
}

#[test]
fn a_grammar_that_waits_is_not_to_blame_for_those_before_it() {
    let (go_on, blocked) = std::sync::mpsc::channel::<()>();
    let (entered, its_turn) = std::sync::mpsc::channel();
    let vocabulary = move || {
        entered.send(()).unwrap();
        let _ = blocked.recv();
        panic!("a vocabulary that cannot be made");
    };
    let compiler = GrammarCompiler::start(vocabulary, silent()).unwrap();
    let grammar = |text: &str| Grammar::regex(text).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    let (slow, waiting) = runtime.block_on(async {
        let mut slow = Box::pin(compiler.compile(grammar("a")));
        assert!(futures::poll!(slow.as_mut()).is_pending());
        its_turn.recv().unwrap();
        futures::join!(slow, compiler.compile(grammar("b")))
    });
    let slow = slow.err().unwrap().to_string();
    assert!(slow.contains("took more than 10 s"), "{slow}");
    assert_eq!(waiting.err(), Some(GrammarError::Busy));
    // Now its thread ends, and that is nobody's grammar's fault either.
    go_on.send(()).unwrap();
    for text in ["c", "d"] {
        let failed = compile(&compiler, grammar(text)).err();
        assert_eq!(failed, Some(GrammarError::Failed));
    }
}

#[test]
fn equal_grammars_are_compiled_once_also_when_they_cannot_be() {
    let compiler = compiler();
    let grammar = || Grammar::regex("a|b").unwrap();
    let first = compile(&compiler, grammar()).unwrap();
    assert!(Arc::ptr_eq(&first, &compile(&compiler, grammar()).unwrap()));
    let bad = || Grammar::regex("(?=a)").unwrap();
    let error = compile(&compiler, bad()).err().unwrap();
    assert_eq!(Some(error), compile(&compiler, bad()).err());
}
