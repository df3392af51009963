//! A prompt that began another request costs what is new of it, and every report says so.

use candela_flags::EngineFlags;
use serde_json::{Value, json};

use crate::{
    client::Reply,
    server::{self, Server},
};

fn flags(flags: &mut EngineFlags) {
    flags.enable_request_stats_headers = true;
    flags.enable_prompt_tokens_details = true;
    flags.enable_per_request_metrics = Some(candela_flags::PerRequestMetrics::Always);
}

/// Asks for one token after 100 others; the answer, and the tokens that went through the model.
fn ask(server: &Server, more: Value) -> (Reply, usize) {
    let more = server::with(json!({"max_tokens": 1}), more);
    let reply = server.complete(json!("abcd".repeat(25)), more);
    assert_eq!(reply.status, 200, "{}", reply.text());
    (reply, server.gate.take_tokens())
}

/// The cached tokens of an answer, the same in every report.
fn cached(reply: &Reply) -> Value {
    let body = reply.json();
    let cached = body["usage"]["prompt_tokens_details"]["cached_tokens"].clone();
    assert_eq!(body["metrics"]["cached_tokens"], cached);
    let header = reply.header("x-vllm-cached-tokens").unwrap();
    assert_eq!(header, cached.to_string());
    cached
}

#[test]
fn an_identical_prompt_is_cached_up_to_its_last_block() {
    let server = server::start(flags);
    for (expected, computed) in [(0, 100), (96, 4), (96, 4)] {
        let (reply, tokens) = ask(&server, json!({}));
        assert_eq!((cached(&reply), tokens), (json!(expected), computed));
        assert_eq!(reply.json()["choices"][0]["text"], "e");
        assert_eq!(reply.json()["usage"]["prompt_tokens"], 100);
    }
    assert_eq!(server.metric("vllm:prompt_tokens_total"), 300.0);
    assert_eq!(server.metric("vllm:prompt_tokens_cached_total"), 192.0);
    assert_eq!(server.metric("vllm:prefix_cache_queries_total"), 300.0);
    assert_eq!(server.metric("vllm:prefix_cache_hits_total"), 192.0);
    assert_eq!(server.metric("vllm:kv_cache_usage_perc"), 0.0);
}

#[test]
fn a_cache_salt_keeps_prompts_apart() {
    let server = server::start(flags);
    let salts = [
        json!({}),
        json!({"cache_salt": "a"}),
        json!({"cache_salt": "b"}),
    ];
    for expected in [0, 96] {
        for salt in &salts {
            let (reply, _) = ask(&server, salt.clone());
            assert_eq!(cached(&reply), json!(expected), "{salt}");
        }
    }
}

#[test]
fn answers_to_one_prompt_count_its_cached_tokens_once() {
    let server = server::start(flags);
    for (expected, computed) in [(0, 108), (96, 12)] {
        let (reply, tokens) = ask(&server, json!({"n": 3}));
        assert_eq!((cached(&reply), tokens), (json!(expected), computed));
    }
}

#[test]
fn without_prefix_caching_nothing_is_cached() {
    let server = server::start(|all| {
        flags(all);
        all.enable_prefix_caching = false;
    });
    for _ in 0..2 {
        let (reply, tokens) = ask(&server, json!({}));
        assert_eq!((cached(&reply), tokens), (json!(0), 100));
    }
    assert_eq!(server.metric("vllm:prefix_cache_queries_total"), 0.0);
}
