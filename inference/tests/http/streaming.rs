//! Streams: chunks, their order, and what the last ones carry.

use serde_json::{Value, json};

use crate::server::{self, CHAT, JSON, chat_body};

fn contents(chunks: &[Value], index: usize) -> String {
    let choices = chunks.iter().filter_map(|chunk| chunk["choices"].get(0));
    let texts = choices
        .filter(|choice| choice["index"] == index)
        .filter_map(|choice| {
            choice["delta"]["content"]
                .as_str()
                .or_else(|| choice["text"].as_str())
        });
    texts.collect()
}

#[test]
fn a_chat_streams_role_text_and_reason() {
    let server = server::start(|_| {});
    let reply = server.chat("a", json!({"stream": true, "max_tokens": 3}));
    assert_eq!(
        reply.header("content-type"),
        Some("text/event-stream; charset=utf-8")
    );
    let chunks = reply.chunks();
    let choices: Vec<Value> = chunks
        .iter()
        .map(|chunk| chunk["choices"][0].clone())
        .collect();
    let choice = |delta, reason| json!({"index": 0, "delta": delta, "logprobs": null, "finish_reason": reason});
    assert_eq!(
        choices,
        [
            choice(json!({"role": "assistant", "content": ""}), Value::Null),
            choice(json!({"content": "b"}), Value::Null),
            choice(json!({"content": "c"}), Value::Null),
            choice(json!({"content": "d"}), json!("length")),
        ]
    );
    let keys = [
        "id",
        "object",
        "created",
        "model",
        "system_fingerprint",
        "choices",
    ];
    for chunk in &chunks {
        assert_eq!(chunk.as_object().unwrap().keys().collect::<Vec<_>>(), keys);
        assert_eq!(chunk["id"], chunks[0]["id"]);
    }
}

#[test]
fn text_completions_stream_for_each_prompt_and_answer() {
    let server = server::start(|_| {});
    let more = json!({"stream": true, "n": 2, "max_tokens": 2, "return_token_ids": true});
    let chunks = server.complete(json!(["a", "x"]), more).chunks();
    for (index, text) in ["bc", "bc", "yz", "yz"].iter().enumerate() {
        assert_eq!(contents(&chunks, index), *text);
        let mine: Vec<&Value> = chunks
            .iter()
            .filter(|c| c["choices"][0]["index"] == index)
            .collect();
        let prompt = [b'a', b'a', b'x', b'x'][index];
        assert_eq!(mine[0]["choices"][0]["prompt_token_ids"], json!([prompt]));
        assert!(mine[1]["choices"][0].get("prompt_token_ids").is_none());
        assert_eq!(
            mine.last().unwrap()["choices"][0]["finish_reason"],
            "length"
        );
    }
}

#[test]
fn usage_comes_last_when_asked_for() {
    let server = server::start(|_| {});
    let more =
        json!({"stream": true, "max_tokens": 2, "n": 2, "stream_options": {"include_usage": true}});
    for chunks in [
        server.chat("a", more.clone()).chunks(),
        server.complete(json!("a"), more).chunks(),
    ] {
        let (last, others) = chunks.split_last().unwrap();
        assert_eq!(last["choices"], json!([]));
        assert_eq!(
            last["usage"],
            json!({"prompt_tokens": 1, "total_tokens": 5, "completion_tokens": 4})
        );
        assert!(
            others
                .iter()
                .all(|chunk| chunk.get("usage") == Some(&Value::Null))
        );
    }
    let more = json!({"stream": true, "max_tokens": 2,
        "stream_options": {"include_usage": true, "continuous_usage_stats": true}});
    let chunks = server.chat("a", more).chunks();
    let counts: Vec<_> = chunks
        .iter()
        .map(|c| c["usage"]["completion_tokens"].clone())
        .collect();
    assert_eq!(counts.last(), Some(&json!(2)));
    assert!(counts.iter().all(Value::is_u64), "{counts:?}");
}

#[test]
fn no_character_and_no_stop_string_is_split() {
    let server = server::start(|_| {});
    let chunks = server
        .chat("~", json!({"stream": true, "max_tokens": 5}))
        .chunks();
    assert_eq!(contents(&chunks, 0), "🦀a");
    assert_eq!(chunks[1]["choices"][0]["delta"]["content"], "🦀");
    let chunks = server
        .chat("a", json!({"stream": true, "stop": ["dz", "fgh"]}))
        .chunks();
    assert_eq!(contents(&chunks, 0), "bcde");
    assert_eq!(
        chunks.last().unwrap()["choices"][0]["finish_reason"],
        "stop"
    );
}

#[test]
fn a_silent_stream_is_kept_open_by_comments() {
    let server = server::start(|flags| {
        flags.sse_keep_alive_interval = candela_flags::KeepAliveSeconds::of::<1>();
    });
    server.gate.close();
    let mut connection = server.connect();
    let body = chat_body("a", json!({"stream": true, "max_tokens": 1})).to_string();
    connection.request("POST", CHAT, &[JSON], body.as_bytes());
    assert_eq!(connection.head().status, 200);
    assert_eq!(connection.chunk().unwrap(), b": keep-alive\n\n");
    server.gate.open();
    let mut rest = Vec::new();
    while let Some(chunk) = connection.chunk() {
        rest.extend(chunk);
    }
    assert!(
        String::from_utf8(rest)
            .unwrap()
            .ends_with("data: [DONE]\n\n")
    );
}
