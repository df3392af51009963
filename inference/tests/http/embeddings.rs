//! `/v1/embeddings`, with a fake model whose vectors are known: a text's first and last token, how many it
//! has, and a 1.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::{Value, json};

use crate::{
    client::Reply,
    fake_model::MAX_MODEL_LEN,
    server::{self, Server, start_pooling as start, until},
};

const EMBEDDINGS: &str = "/v1/embeddings";

fn embed(server: &Server, input: Value, more: Value) -> Reply {
    server.post(EMBEDDINGS, &server::with(json!({"input": input}), more))
}

/// The vectors of an answer, in order.
fn vectors(reply: &Reply) -> Vec<Vec<f64>> {
    let reply = reply.json();
    let data = reply["data"].as_array().unwrap().iter().enumerate();
    data.map(|(i, item)| {
        assert_eq!(
            (&item["index"], &item["object"]),
            (&json!(i), &json!("embedding"))
        );
        serde_json::from_value(item["embedding"].clone()).unwrap()
    })
    .collect()
}

fn expected(text: &str) -> Vec<f64> {
    let (first, last) = (text.as_bytes()[0], text.as_bytes()[text.len() - 1]);
    vec![f64::from(first), f64::from(last), text.len() as f64, 1.0]
}

#[test]
fn all_four_shapes_of_input_give_vectors_in_their_order() {
    let server = start(|_| {});
    let raw = json!({"use_activation": false});
    for (input, texts) in [
        (json!("abc"), vec!["abc"]),
        (json!(["abc", "z"]), vec!["abc", "z"]),
        (json!([97, 98]), vec!["ab"]),
        (json!([[97, 98], [99], [100, 101]]), vec!["ab", "c", "de"]),
    ] {
        let reply = embed(&server, input, raw.clone());
        let expected: Vec<_> = texts.iter().map(|text| expected(text)).collect();
        assert_eq!(vectors(&reply), expected);
        let tokens: usize = texts.iter().map(|text| text.len()).sum();
        let body = reply.json();
        assert_eq!(
            body["usage"],
            json!({"prompt_tokens": tokens, "total_tokens": tokens})
        );
        assert_eq!(
            (&body["object"], &body["model"]),
            (&json!("list"), &json!("fake"))
        );
        assert!(body["id"].as_str().unwrap().starts_with("embd-"));
    }
}

#[test]
fn vectors_are_normalized_cut_and_encoded_as_asked() {
    let server = start(|_| {});
    let one = |more| vectors(&embed(&server, json!("ab"), more)).remove(0);
    let length = |vector: &[f64]| vector.iter().map(|n| n * n).sum::<f64>().sqrt();
    let whole = one(json!({}));
    assert!((length(&whole) - 1.0).abs() < 1e-6 && whole.len() == 4);
    let cut = one(json!({"dimensions": 2}));
    assert!((length(&cut) - 1.0).abs() < 1e-6 && cut.len() == 2);
    assert_eq!(
        one(json!({"dimensions": 2, "use_activation": false})),
        [97.0, 98.0]
    );
    let reply = embed(&server, json!("ab"), json!({"encoding_format": "base64"})).json();
    let bytes = BASE64_STANDARD
        .decode(reply["data"][0]["embedding"].as_str().unwrap())
        .unwrap();
    let (numbers, rest) = bytes.as_chunks::<4>();
    assert!(rest.is_empty());
    let numbers: Vec<f32> = numbers.iter().map(|n| f32::from_le_bytes(*n)).collect();
    let floats: Vec<f32> = whole.iter().map(|&n| n as f32).collect();
    assert_eq!(numbers, floats);
}

#[test]
fn what_is_too_long_is_refused_with_both_numbers_or_cut() {
    let server = start(|_| {});
    let long = "a".repeat(MAX_MODEL_LEN) + "z";
    let reply = embed(&server, json!(["b", long]), json!({}));
    assert_eq!(reply.status, 400);
    let error = reply.json()["error"].clone();
    assert_eq!(error["param"], "input[1]");
    let message = error["message"].as_str().unwrap();
    assert!(
        message.contains("257 tokens") && message.contains("at most 256"),
        "{message}"
    );
    for (more, expected) in [
        (
            json!({"truncate_prompt_tokens": -1}),
            [97.0, 97.0, 256.0, 1.0],
        ),
        (
            json!({"truncate_prompt_tokens": 3, "truncation_side": "left"}),
            [97.0, 122.0, 3.0, 1.0],
        ),
    ] {
        let more = server::with(more, json!({"use_activation": false}));
        assert_eq!(vectors(&embed(&server, json!(long), more)), [expected]);
    }
    let whole = "a".repeat(MAX_MODEL_LEN);
    assert_eq!(embed(&server, json!(whole), json!({})).status, 200);
    let empty = embed(&server, json!(["a", ""]), json!({}));
    assert_eq!(
        (empty.status, &empty.json()["error"]["param"]),
        (400, &json!("input[1]"))
    );
}

#[test]
fn a_model_answers_the_routes_of_its_runner_only() {
    let embeds = start(|_| {});
    for reply in [
        embeds.chat("a", json!({})),
        embeds.complete(json!("a"), json!({})),
    ] {
        let message = reply.json()["error"]["message"].to_string();
        assert_eq!(reply.status, 400);
        assert!(
            message.contains("`fake`") && message.contains("/v1/embeddings"),
            "{message}"
        );
    }
    let generates = server::start(|_| {});
    let reply = embed(&generates, json!("a"), json!({}));
    let message = reply.json()["error"]["message"].to_string();
    assert_eq!(reply.status, 400);
    assert!(
        message.contains("`fake`") && message.contains("/v1/completions"),
        "{message}"
    );
}

#[test]
fn the_record_is_in_headers_of_a_single_input_metrics_and_usage_log() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("usage.jsonl");
    let server = start(|flags| {
        flags.enable_request_stats_headers = true;
        flags.usage_log = Some(log.clone());
    });
    let single = embed(
        &server,
        json!(["abc"]),
        json!({"user": "u", "include_metrics": true}),
    );
    assert_eq!(single.stats_headers().len(), 10);
    let header = |name| single.header(name).unwrap();
    assert_eq!(header("x-vllm-prompt-tokens"), "3");
    assert_eq!(header("x-vllm-completion-tokens"), "0");
    assert_eq!(
        (
            header("x-vllm-decode-time"),
            header("x-vllm-time-per-output-token")
        ),
        ("0.00", "0.00")
    );
    assert_eq!(
        header("x-vllm-prefill-time"),
        header("x-vllm-inference-time")
    );
    assert!(single.json().get("metrics").is_none());
    let several = embed(&server, json!(["ab", "c"]), json!({}));
    assert!(several.stats_headers().is_empty());
    assert_eq!(server.metric("vllm:prompt_tokens_total"), 6.0);
    assert_eq!(server.metric("vllm:generation_tokens_total"), 0.0);
    assert_eq!(server.metric("vllm:time_to_first_token_seconds_count"), 3.0);
    let lines = || -> Vec<Value> {
        let text = std::fs::read_to_string(&log).unwrap();
        text.lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect()
    };
    until("three lines", || lines().len() == 3);
    let lines = lines();
    assert_eq!(
        (&lines[0]["user"], &lines[0]["prompt_index"]),
        (&json!("u"), &Value::Null)
    );
    for (line, tokens) in lines.iter().zip([3, 2, 1]) {
        assert_eq!(
            (&line["prompt_tokens"], &line["completion_tokens"]),
            (&json!(tokens), &json!(0))
        );
        assert_eq!(
            (&line["status"], &line["finish_reason"]),
            (&json!(200), &json!("stop"))
        );
        assert!(line["compute_time_seconds"].as_f64().unwrap() > 0.0);
    }
    assert_eq!(lines[2]["prompt_index"], 1);
}

#[test]
fn a_client_that_leaves_cancels_its_inputs_and_is_logged() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("usage.jsonl");
    let server = start(|flags| flags.usage_log = Some(log.clone()));
    server.gate.close();
    let body = json!({"input": ["a", "b"]}).to_string();
    let mut leaver = server.connect();
    leaver.request("POST", EMBEDDINGS, &[server::JSON], body.as_bytes());
    until("submitted", || {
        server.metric("vllm:num_requests_running") + server.metric("vllm:num_requests_waiting")
            == 2.0
    });
    drop(leaver);
    let lines = || std::fs::read_to_string(&log).unwrap().lines().count();
    server.gate.open();
    until("two lines", || lines() == 2);
    assert_eq!(
        vectors(&embed(
            &server,
            json!("ab"),
            json!({"use_activation": false})
        )),
        [expected("ab")]
    );
}

#[test]
fn a_vector_that_is_no_number_is_an_error_of_its_request() {
    let server = start(|_| {});
    let reply = embed(&server, json!(["a", "#"]), json!({}));
    assert_eq!(reply.status, 500);
    assert!(
        reply.json()["error"]["message"]
            .as_str()
            .unwrap()
            .contains("no number")
    );
    assert_eq!(embed(&server, json!("a"), json!({})).status, 200);
}

#[test]
fn more_inputs_than_may_wait_are_refused() {
    let server = start(|flags| flags.max_queued_requests = "4".parse().unwrap());
    let reply = embed(&server, json!(["a", "b", "c", "d", "e"]), json!({}));
    assert_eq!(
        (reply.status, &reply.json()["error"]["param"]),
        (400, &json!("input"))
    );
}
