//! Log probabilities of answers and prompts, echoed prompts, and what else a request asks of the sampler.
//!
//! The fake model gives one token a logit of 100 and all others 0.

use candela_flags::EngineFlags;
use serde_json::{Value, json};

use crate::{
    fake_model::{END, VOCAB_SIZE},
    server::{self, CHAT, COMPLETIONS, JSON, Server, chat_body, with},
};

/// The log probabilities of the likeliest token and of any other.
fn likely_and_not() -> (f64, f64) {
    let total = 1.0 + (VOCAB_SIZE - 1) as f64 * (-100f64).exp();
    (-total.ln(), -100.0 - total.ln())
}

#[track_caller]
fn assert_close(seen: &Value, expected: f64) {
    let seen = seen.as_f64().unwrap();
    assert!((seen - expected).abs() < 1e-4, "{seen} is not {expected}");
}

/// Takes the numbers out of an object of log probabilities, which are then compared on their own.
fn take_logprob(token: &mut Value, expected: f64) {
    assert_close(&token["logprob"].take(), expected);
}

#[test]
fn a_chats_log_probabilities_have_openais_shape() {
    let server = server::start(|_| {});
    let more = json!({"max_tokens": 1, "logprobs": true, "top_logprobs": 2});
    let mut body = server.chat("a", more).json();
    let logprobs = &mut body["choices"][0]["logprobs"];
    let (likely, other) = likely_and_not();
    let content = &mut logprobs["content"][0];
    take_logprob(content, likely);
    take_logprob(&mut content["top_logprobs"][0], likely);
    take_logprob(&mut content["top_logprobs"][1], other);
    let token = |text: &str, bytes: &[u8]| json!({"token": text, "logprob": null, "bytes": bytes});
    let top = json!([token("b", b"b"), token("\0", &[0])]);
    assert_eq!(
        *logprobs,
        json!({"content": [with(token("b", b"b"), json!({"top_logprobs": top}))], "refusal": null})
    );
    let body = server
        .chat("a", json!({"max_tokens": 2, "logprobs": true}))
        .json();
    let content = body["choices"][0]["logprobs"]["content"]
        .as_array()
        .unwrap();
    assert_eq!(content.len(), 2);
    assert!(
        content
            .iter()
            .all(|token| token["top_logprobs"] == json!([]))
    );
}

#[test]
fn a_completions_log_probabilities_have_openais_shape() {
    let server = server::start(|_| {});
    let more = json!({"max_tokens": 2, "logprobs": 1});
    let mut body = server.complete(json!("a"), more).json();
    let logprobs = &mut body["choices"][0]["logprobs"];
    let (likely, _) = likely_and_not();
    for place in 0..2 {
        assert_close(&logprobs["token_logprobs"][place].take(), likely);
        let token = logprobs["tokens"][place].as_str().unwrap().to_owned();
        assert_close(&logprobs["top_logprobs"][place][&token].take(), likely);
    }
    assert_eq!(
        *logprobs,
        json!({
            "text_offset": [0, 1], "token_logprobs": [null, null], "tokens": ["b", "c"],
            "top_logprobs": [{"b": null}, {"c": null}],
        })
    );
}

#[test]
fn parts_of_characters_have_their_bytes_and_offsets() {
    let server = server::start(|_| {});
    let more = json!({"max_tokens": 5, "logprobs": true});
    let body = server.chat("~", more.clone()).json();
    assert_eq!(body["choices"][0]["message"]["content"], "🦀a");
    let content = body["choices"][0]["logprobs"]["content"]
        .as_array()
        .unwrap();
    let bytes: Vec<u8> = content
        .iter()
        .flat_map(|token| token["bytes"].as_array().unwrap())
        .map(|byte| byte.as_u64().unwrap() as u8)
        .collect();
    assert_eq!(bytes, "🦀a".as_bytes());
    assert!(
        content[..4]
            .iter()
            .all(|token| token["token"] == "\u{FFFD}")
    );
    let body = server
        .complete(json!("~"), json!({"max_tokens": 6, "logprobs": 0}))
        .json();
    let offsets = &body["choices"][0]["logprobs"]["text_offset"];
    assert_eq!(*offsets, json!([0, 0, 0, 0, 1, 2]));
}

#[test]
fn tokens_are_written_as_ids_when_asked_for() {
    let server = server::start(|_| {});
    let more = json!({"max_tokens": 3, "logprobs": 1, "return_tokens_as_token_ids": true});
    let body = server.complete(json!("y!"), more).json();
    let logprobs = &body["choices"][0]["logprobs"];
    assert_eq!(logprobs["tokens"], json!([format!("token_id:{END}")]));
    assert_eq!(body["choices"][0]["finish_reason"], "stop");
}

/// What a stream's chunks of an answer say, put together.
fn joined(chunks: &[Value], index: usize) -> Value {
    let mut joined = json!({});
    for chunk in chunks {
        let choice = &chunk["choices"][0];
        if choice["index"] != index {
            continue;
        }
        let tokens = choice["token_ids"].as_array().map_or(0, Vec::len);
        let Some(logprobs) = choice["logprobs"].as_object() else {
            assert_eq!(tokens, 0, "tokens without their log probabilities: {chunk}");
            continue;
        };
        for (name, list) in logprobs {
            let Some(list) = list.as_array() else {
                continue;
            };
            assert!(list.len() >= tokens, "{name}: {chunk}");
            let all = joined
                .as_object_mut()
                .unwrap()
                .entry(name)
                .or_insert(json!([]));
            all.as_array_mut().unwrap().extend(list.clone());
        }
    }
    joined
}

#[test]
fn a_stream_has_the_log_probabilities_of_a_whole_answer() {
    let server = server::start(|_| {});
    let asked = |path: &str, more: Value| {
        let body = match path {
            CHAT => chat_body(
                "a~",
                with(json!({"logprobs": true, "top_logprobs": 2}), more),
            ),
            _ => with(json!({"prompt": "a~", "logprobs": 2}), more),
        };
        let whole = server.post(path, &body).json();
        let stream = with(
            body.clone(),
            json!({"stream": true, "return_token_ids": true}),
        );
        let chunks = server.post(path, &stream).chunks();
        for (index, choice) in whole["choices"].as_array().unwrap().iter().enumerate() {
            let mut logprobs = choice["logprobs"].clone();
            logprobs.as_object_mut().unwrap().remove("refusal");
            assert_eq!(joined(&chunks, index), logprobs, "{body}");
        }
    };
    for path in [CHAT, COMPLETIONS] {
        // Held back: characters, the beginning of a stop string, and all of one.
        asked(path, json!({"max_tokens": 7, "n": 2}));
        asked(path, json!({"max_tokens": 7, "stop": ["cx"]}));
        asked(path, json!({"max_tokens": 20, "stop": "cdef"}));
        asked(path, json!({"max_tokens": 3}));
    }
    asked(COMPLETIONS, json!({"max_tokens": 7, "echo": true, "n": 2}));
    asked(COMPLETIONS, json!({"max_tokens": 0, "echo": true}));
}

#[test]
fn an_echoed_prompt_begins_its_answers() {
    let server = server::start(|_| {});
    let more = json!({"max_tokens": 2, "n": 2, "echo": true});
    let body = server.complete(json!(["ab", "héy~"]), more).json();
    let texts = body["choices"].as_array().unwrap().iter();
    let texts: Vec<_> = texts
        .map(|choice| choice["text"].as_str().unwrap())
        .collect();
    assert_eq!(texts, ["abcd", "abcd", "héy~\u{FFFD}", "héy~\u{FFFD}"]);
    assert_eq!(body["choices"][0]["logprobs"], Value::Null);
    let body = server
        .complete(
            json!([104, END, 105]),
            json!({"max_tokens": 1, "echo": true}),
        )
        .json();
    assert_eq!(body["choices"][0]["text"], "h<|end|>ij");
    let more = json!({"max_tokens": 2, "n": 2, "echo": true, "stream": true});
    let chunks = server.complete(json!(["ab", "x"]), more).chunks();
    for (index, expected) in ["abcd", "abcd", "xyz", "xyz"].into_iter().enumerate() {
        let mine = chunks.iter().map(|chunk| &chunk["choices"][0]);
        let mine = mine.filter(|choice| choice["index"] == index);
        let text: String = mine
            .map(|choice| choice["text"].as_str().unwrap())
            .collect();
        assert_eq!(text, expected);
    }
}

#[test]
fn an_echoed_prompt_has_log_probabilities_but_for_its_first_token() {
    let server = server::start(|_| {});
    let (likely, other) = likely_and_not();
    for max_tokens in [0, 2] {
        let more = json!({"max_tokens": max_tokens, "logprobs": 1, "echo": true});
        let body = server.complete(json!("abx"), more).json();
        let choice = &body["choices"][0];
        let logprobs = &choice["logprobs"];
        assert_eq!(choice["text"], &"abxyz"[..3 + max_tokens]);
        assert_eq!(choice["finish_reason"], "length");
        assert_eq!(body["usage"]["completion_tokens"], max_tokens);
        assert_eq!(
            logprobs["tokens"],
            json!((["a", "b", "x", "y", "z"][..3 + max_tokens]))
        );
        assert_eq!(
            logprobs["text_offset"],
            json!((0..3 + max_tokens).collect::<Vec<_>>())
        );
        assert_eq!(logprobs["token_logprobs"][0], Value::Null);
        assert_eq!(logprobs["top_logprobs"][0], Value::Null);
        assert_close(&logprobs["token_logprobs"][1], likely);
        assert_close(&logprobs["token_logprobs"][2], other);
        let top = logprobs["top_logprobs"][2].as_object().unwrap();
        assert_eq!(top.keys().collect::<Vec<_>>(), ["c", "x"]);
    }
}

#[test]
fn prompt_logprobs_are_reported_as_vllm_does() {
    let server = server::start(|_| {});
    let (likely, other) = likely_and_not();
    let check = |mut places: Value| {
        assert_close(&places[1]["98"]["logprob"].take(), likely);
        assert_close(&places[2]["120"]["logprob"].take(), other);
        assert_close(&places[2]["99"]["logprob"].take(), likely);
        let ranked = |rank: usize, token: &str| json!({"logprob": null, "rank": rank, "decoded_token": token});
        assert_eq!(
            places,
            json!([
                null,
                {"98": ranked(1, "b")},
                {"120": ranked(VOCAB_SIZE, "x"), "99": ranked(1, "c")},
            ])
        );
    };
    let more = json!({"max_tokens": 1, "prompt_logprobs": 1});
    let body = server.complete(json!(["abx", "a"]), more.clone()).json();
    assert_eq!(body["choices"][1]["prompt_logprobs"], json!([null]));
    assert_eq!(body["choices"][0]["logprobs"], Value::Null);
    check(body["choices"][0]["prompt_logprobs"].clone());
    let body = server.chat("abx", more).json();
    check(body["prompt_logprobs"].clone());
    let plain = server.chat("abx", json!({"max_tokens": 1})).json();
    assert!(plain.get("prompt_logprobs").is_none());
}

#[test]
fn a_long_prompt_is_scored_in_chunks_and_never_from_the_cache() {
    let server = server::start(|flags: &mut EngineFlags| flags.enable_prompt_tokens_details = true);
    let prompt = "abcdefgh".repeat(25);
    for _ in 0..2 {
        let more = json!({"max_tokens": 1, "prompt_logprobs": 0, "n": 2});
        let body = server.complete(json!(prompt), more).json();
        assert_eq!(body["usage"]["prompt_tokens_details"]["cached_tokens"], 0);
        for choice in body["choices"].as_array().unwrap() {
            assert_eq!(choice["text"], "i");
            let places = choice["prompt_logprobs"].as_array().unwrap();
            assert_eq!(places.len(), 200);
            for (place, byte) in places.iter().zip(prompt.bytes()).skip(1) {
                assert_eq!(
                    place.as_object().unwrap().keys().next(),
                    Some(&byte.to_string())
                );
            }
        }
    }
    let body = server
        .complete(json!(prompt), json!({"max_tokens": 1}))
        .json();
    assert_eq!(body["usage"]["prompt_tokens_details"]["cached_tokens"], 192);
}

#[test]
fn a_scored_prompt_is_counted_and_billed_though_nothing_is_generated() {
    let server = server::start(|flags: &mut EngineFlags| flags.enable_request_stats_headers = true);
    let reply = server.complete(json!("abc"), json!({"max_tokens": 0, "echo": true}));
    assert_eq!(reply.header("x-vllm-prompt-tokens"), Some("3"));
    assert_eq!(reply.header("x-vllm-completion-tokens"), Some("0"));
    assert_eq!(reply.header("x-vllm-decode-time"), Some("0.00"));
    assert_eq!(server.metric("vllm:prompt_tokens_total"), 3.0);
    assert_eq!(server.metric("vllm:generation_tokens_total"), 0.0);
}

#[test]
fn logits_are_biased_and_reported_as_the_model_gave_them() {
    let server = server::start(|_| {});
    let more = json!({"max_tokens": 2, "logprobs": 0, "logit_bias": {"98": -100, "120": 1}});
    let body = server.complete(json!("a"), more).json();
    assert_eq!(body["choices"][0]["text"], "xy");
    let (likely, other) = likely_and_not();
    assert_close(&body["choices"][0]["logprobs"]["token_logprobs"][0], other);
    assert_close(&body["choices"][0]["logprobs"]["token_logprobs"][1], likely);
}

#[test]
fn logits_that_are_no_numbers_in_a_prompt_fail_that_request_only() {
    let server = server::start(|_| {});
    let more = json!({"max_tokens": 1, "prompt_logprobs": 0});
    let reply = server.complete(json!("a#b"), more.clone());
    assert_eq!(reply.status, 500, "{}", reply.text());
    assert_eq!(server.complete(json!("ab"), more).status, 200);
}

/// The cached tokens that each chunk of a stream reports.
fn cached(server: &Server) -> Vec<Value> {
    let options = json!({"include_usage": true, "continuous_usage_stats": true});
    let more = json!({"stream": true, "stream_options": options, "max_tokens": 2});
    let body = chat_body(&"abcd".repeat(25), more).to_string();
    let chunks = server.send("POST", CHAT, &[JSON], body.as_bytes()).chunks();
    let usage = chunks
        .iter()
        .map(|chunk| &chunk["usage"]["prompt_tokens_details"]);
    usage
        .map(|details| details["cached_tokens"].clone())
        .collect()
}

#[test]
fn every_chunk_with_usage_knows_the_cached_tokens() {
    let server = server::start(|flags: &mut EngineFlags| flags.enable_prompt_tokens_details = true);
    assert_eq!(cached(&server), vec![json!(0); 4]);
    assert_eq!(cached(&server), vec![json!(96); 4]);
}

#[test]
fn a_responses_text_has_log_probabilities_when_they_are_included() {
    let server = server::start(|_| {});
    let (likely, other) = likely_and_not();
    let mut body = json!({
        "input": "a", "max_output_tokens": 2, "include": ["message.output_text.logprobs"],
        "top_logprobs": 2,
    });
    let check = |tokens: &Value| {
        let tokens = tokens.as_array().unwrap();
        assert_eq!(tokens.len(), 2);
        for (token, text) in tokens.iter().zip(["b", "c"]) {
            assert_eq!(
                (&token["token"], &token["bytes"]),
                (&json!(text), &json!(text.as_bytes()))
            );
            assert_close(&token["logprob"], likely);
            assert_close(&token["top_logprobs"][1]["logprob"], other);
        }
    };
    let reply = server.post("/v1/responses", &body).json();
    check(&reply["output"][0]["content"][0]["logprobs"]);
    body["stream"] = json!(true);
    let events = server.post("/v1/responses", &body);
    let events = events
        .text()
        .lines()
        .filter_map(|line| line.strip_prefix("data: "));
    let events: Vec<Value> = events
        .map(|event| serde_json::from_str(event).unwrap())
        .collect();
    let of = |kind: &str| {
        events
            .iter()
            .filter(|event| event["type"] == kind)
            .collect::<Vec<_>>()
    };
    let deltas = of("response.output_text.delta");
    let joined = deltas
        .iter()
        .flat_map(|event| event["logprobs"].as_array().unwrap().clone());
    check(&joined.collect());
    check(&of("response.output_text.done")[0]["logprobs"]);
}
