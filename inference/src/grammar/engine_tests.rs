//! Grammars in the engine, over a model whose logits are noise: whatever it prefers, answers are what was
//! asked for, and those without a grammar are as if they were alone.

use std::{num::NonZeroUsize, sync::Arc};

use futures::executor::block_on;
use serde_json::{Value, json};

use super::{tests::*, *};
use crate::{
    engine::{self, test_device::Drawing, *},
    finish_reason::FinishReason,
    model::runner::RunnerType,
    sampling::{Logits, SamplingParams},
    stats::{CacheConfig, Metrics},
};

/// Logits that depend on a token and its place, and look like nothing.
struct Noise;

impl Runner for Noise {
    fn forward(&mut self, batch: &Batch, logits: &mut Logits) -> Result<(), RunnerError> {
        (logits.vocab, logits.data) = (VOCAB_SIZE, Vec::new());
        for &at in &batch.logits_idx {
            let (token, place) = (batch.input_ids[at as usize], batch.positions[at as usize]);
            let mut state = u64::from(token) << 32 | u64::from(place);
            logits.data.extend((0..VOCAB_SIZE).map(|_| {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407);
                (state >> 40) as f32 / (1 << 24) as f32 * 8.0
            }));
        }
        Ok(())
    }
}

struct Running {
    handle: EngineHandle,
    metrics: Arc<Metrics>,
    compiler: GrammarCompiler,
}

fn start(blocks: usize, stats: bool) -> Running {
    start_on(Box::new(Noise), blocks, stats)
}

fn start_on(runner: Box<dyn Runner>, blocks: usize, stats: bool) -> Running {
    let cache = CacheConfig {
        block_size: 32,
        num_blocks: blocks,
    };
    let metrics = Metrics::new("noise", 512, cache, stats);
    let clock = stats.then(|| Arc::new(MonotonicClock::start()) as Arc<dyn Clock>);
    let compiler = compiler_with(
        &EOS,
        MaskClock {
            clock: clock.clone(),
            metrics: Arc::clone(&metrics),
        },
    );
    let config = EngineConfig {
        max_num_seqs: 16,
        max_num_batched_tokens: 64,
        max_queued_requests: 256,
        max_model_len: 512,
        kv_blocks: blocks,
        prefix_caching: true,
        eos_token_ids: EOS.to_vec(),
        runner_type: RunnerType::Generate,
    };
    let (handle, _) = engine::start(runner, config, clock, Arc::clone(&metrics)).unwrap();
    Running {
        handle,
        metrics,
        compiler,
    }
}

impl Running {
    fn submit(&self, grammar: Option<&Grammar>, params: SamplingParams, n: usize) -> EventStream {
        let compiled = grammar.map(|grammar| compile(&self.compiler, grammar.clone()).unwrap());
        let request = GenerateRequest {
            id: "noise".into(),
            prompt: Arc::from([5, 6, 7]),
            branches: NonZeroUsize::new(n).unwrap(),
            cache_salt: None,
            stop: None,
            constraint: compiled.map(|grammar| grammar.constraint(params.ignore_eos)),
            params,
            arrival: self.handle.now(),
        };
        self.handle.submit(request).unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.handle.stop();
    }
}

fn collect(mut stream: EventStream) -> Vec<(Vec<u32>, Finished)> {
    let mut branches: Vec<(Vec<u32>, Option<Finished>)> = Vec::new();
    while let Some(event) = block_on(stream.next()) {
        let count = branches.len().max(event.branch + 1);
        branches.resize_with(count, Default::default);
        let (tokens, finished) = &mut branches[event.branch];
        tokens.extend(event.token);
        *finished = event.finished.map(|finished| *finished);
    }
    branches
        .into_iter()
        .map(|(tokens, finished)| (tokens, finished.unwrap()))
        .collect()
}

fn params(temperature: f32, seed: u64) -> SamplingParams {
    SamplingParams {
        temperature,
        seed: Some(seed),
        // A word of the vocabulary that no grammar begins with.
        logit_bias: vec![(700, 50.0)],
        ..SamplingParams::greedy(300)
    }
}

fn json_grammar() -> (Value, Grammar) {
    let schema = json!({
        "type": "object",
        "properties": {
            "name": {"type": "string", "maxLength": 20},
            "size": {"type": "integer", "minimum": 1, "maximum": 999},
            "tags": {"type": "array", "items": {"enum": ["a", "b", "c"]}, "maxItems": 3},
        },
        "required": ["name", "size", "tags"], "additionalProperties": false,
    });
    let options = SchemaOptions {
        compact: true,
        closed: false,
    };
    let grammar = Grammar::json_schema_with(&schema, options).unwrap();
    (schema, grammar)
}

#[test]
fn answers_follow_their_grammars_and_leave_others_alone() {
    let (schema, json) = json_grammar();
    let regex = Grammar::regex("[ab]{2,9}(-[0-9]{3})*!").unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let expression = regex::Regex::new("^[ab]{2,9}(-[0-9]{3})*!$").unwrap();
    for temperature in [0.0, 1.0, 5.0] {
        let alone: Vec<_> = (0..4)
            .map(|seed| collect(start(64, true).submit(None, params(temperature, seed), 2)))
            .map(|branches| {
                branches
                    .into_iter()
                    .map(|(tokens, _)| tokens)
                    .collect::<Vec<_>>()
            })
            .collect();
        let mut before = None;
        // 24 blocks hold 768 tokens of up to 16 sequences that may have 300: they must take turns.
        for (blocks, device_draws) in [(200, false), (24, false), (24, true)] {
            let runner: Box<dyn Runner> = match device_draws {
                true => Box::new(Drawing::of(Noise)),
                false => Box::new(Noise),
            };
            let engine = start_on(runner, blocks, true);
            let free: Vec<_> = (0..4)
                .map(|seed| engine.submit(None, params(temperature, seed), 2))
                .collect();
            let streams: Vec<_> = (0..4)
                .map(|seed| {
                    (
                        engine.submit(Some(&json), params(temperature, seed), 3),
                        engine.submit(Some(&regex), params(temperature, seed), 2),
                    )
                })
                .collect();
            let mut all = Vec::new();
            for (json, regex) in streams {
                for (tokens, finished) in collect(json) {
                    assert_eq!(finished.reason, FinishReason::Stop);
                    let text = tokenizer().decode(&tokens, true);
                    let value = serde_json::from_str(&text).unwrap();
                    assert!(validator.is_valid(&value), "{text}");
                    all.push(tokens);
                }
                for (tokens, finished) in collect(regex) {
                    let text = tokenizer().decode(&tokens, true);
                    let whole = finished.reason == FinishReason::Stop;
                    assert!(!whole || expression.is_match(&text), "{text:?}");
                    all.push(tokens);
                }
            }
            for (stream, alone) in free.into_iter().zip(&alone) {
                let tokens: Vec<_> = collect(stream)
                    .into_iter()
                    .map(|(tokens, _)| tokens)
                    .collect();
                assert_eq!(&tokens, alone, "temperature {temperature}, {blocks} blocks");
            }
            // What is answered does not depend on preemptions, or on who draws.
            assert_eq!(before.get_or_insert_with(|| all.clone()), &all);
        }
    }
}

#[test]
fn an_answer_ends_where_its_grammar_does() {
    let engine = start(64, true);
    let a = Grammar::choice(vec!["a".to_owned()]).unwrap();
    let token = tokenizer().encode("a", false).unwrap();
    let one = |change: &dyn Fn(&mut SamplingParams)| {
        let mut params = SamplingParams::greedy(20);
        change(&mut params);
        let [(tokens, finished)] = collect(engine.submit(Some(&a), params, 1))
            .try_into()
            .unwrap();
        (tokens, finished.reason)
    };
    let (tokens, reason) = one(&|_| {});
    assert_eq!((&tokens[..1], reason), (&token[..], FinishReason::Stop));
    assert!(EOS.contains(&tokens[1]));
    // Where no end token may come, it ends all the same, without one.
    assert_eq!(
        one(&|p| p.min_tokens = 5),
        (token.clone(), FinishReason::Stop)
    );
    assert_eq!(
        one(&|p| p.ignore_eos = true),
        (token.clone(), FinishReason::Stop)
    );
    assert_eq!(one(&|p| p.max_tokens = 1), (token, FinishReason::Length));
}

#[test]
fn a_ban_yields_where_the_grammar_allows_nothing_else() {
    let engine = start(64, true);
    let a = Grammar::choice(vec!["a".to_owned()]).unwrap();
    let token = tokenizer().encode("a", false).unwrap();
    let banned = SamplingParams {
        min_tokens: 2,
        stop_token_ids: token.clone(),
        ..SamplingParams::greedy(20)
    };
    let one = |grammar: &Grammar, params: &SamplingParams| {
        let [(tokens, finished)] = collect(engine.submit(Some(grammar), params.clone(), 1))
            .try_into()
            .unwrap();
        (tokens, finished.reason)
    };
    assert_eq!(one(&a, &banned), (token.clone(), FinishReason::Stop));
    // Where there is something else, it holds.
    let either = Grammar::regex("a|b").unwrap();
    let b = tokenizer().encode("b", false).unwrap();
    assert_eq!(one(&either, &banned), (b, FinishReason::Stop));
}

#[test]
fn masks_are_timed_unless_stats_are_off() {
    for stats in [true, false] {
        let engine = start(64, stats);
        collect(engine.submit(Some(&json_grammar().1), params(1.0, 1), 2));
        let text = engine.metrics.render();
        let counted = |name: &str| {
            text.lines().find_map(|line| {
                line.strip_prefix(name)?
                    .rsplit(' ')
                    .next()?
                    .parse::<f64>()
                    .ok()
            })
        };
        let masks = counted("candela:structured_output_mask_seconds_count");
        let waits = counted("candela:structured_output_wait_seconds_count");
        match stats {
            true => assert!(masks.unwrap() > 10.0 && waits.unwrap() > 10.0, "{text}"),
            false => assert_eq!((masks, waits), (None, None)),
        }
    }
}
