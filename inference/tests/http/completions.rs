//! Text completions that are not streamed.

use serde_json::json;

use crate::server;

#[test]
fn an_answer_has_openais_shape_and_no_more() {
    let server = server::start(|_| {});
    let mut body = server
        .complete(json!("hello w"), json!({"max_tokens": 2}))
        .json();
    assert!(body["id"].take().as_str().unwrap().starts_with("cmpl-"));
    assert!(body["created"].take().is_u64() && body["system_fingerprint"].take().is_string());
    assert_eq!(
        body,
        json!({
            "id": null, "object": "text_completion", "created": null, "model": "fake",
            "choices": [{"index": 0, "text": "xy", "logprobs": null, "finish_reason": "length"}],
            "usage": {"prompt_tokens": 7, "total_tokens": 9, "completion_tokens": 2},
            "system_fingerprint": null,
        })
    );
}

#[test]
fn an_answer_is_sixteen_tokens_unless_told_otherwise() {
    let server = server::start(|_| {});
    let body = server.complete(json!("a"), json!({})).json();
    assert_eq!(body["usage"]["completion_tokens"], 16);
    let body = server.complete(json!("a".repeat(250)), json!({})).json();
    assert_eq!(body["usage"]["completion_tokens"], 6);
}

#[test]
fn prompts_come_in_four_shapes() {
    let server = server::start(|_| {});
    let texts = |prompt, n: usize| {
        let body = server
            .complete(prompt, json!({"max_tokens": 2, "n": n}))
            .json();
        let choices = body["choices"].as_array().unwrap();
        let texts: Vec<_> = choices
            .iter()
            .map(|c| c["text"].as_str().unwrap().to_owned())
            .collect();
        assert!(choices.iter().enumerate().all(|(i, c)| c["index"] == i));
        (texts, body["usage"]["prompt_tokens"].as_u64().unwrap())
    };
    let owned = |texts: &[&str]| {
        texts
            .iter()
            .map(|&text| text.to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(texts(json!("ab"), 1), (owned(&["cd"]), 2));
    assert_eq!(texts(json!(["ab", "x"]), 1), (owned(&["cd", "yz"]), 3));
    assert_eq!(texts(json!([97, 98]), 1), (owned(&["cd"]), 2));
    assert_eq!(
        texts(json!([[97], [120]]), 2),
        (owned(&["bc", "bc", "yz", "yz"]), 2)
    );
}

#[test]
fn token_ids_are_reported_when_asked_for() {
    let server = server::start(|_| {});
    let more = json!({"max_tokens": 2, "return_token_ids": true});
    let body = server.complete(json!(["a!", "b"]), more).json();
    assert_eq!(body["choices"][0]["prompt_token_ids"], json!([b'a', b'!']));
    assert_eq!(
        body["choices"][0]["token_ids"],
        json!([crate::fake_model::END])
    );
    assert_eq!(body["choices"][0]["finish_reason"], "stop");
    assert_eq!(body["choices"][1]["token_ids"], json!([b'c', b'd']));
    assert!(body.get("prompt_token_ids").is_none());
}

#[test]
fn a_special_token_is_text_when_asked_for() {
    let server = server::start(|_| {});
    let more = json!({"max_tokens": 3, "ignore_eos": true, "skip_special_tokens": false});
    let body = server.complete(json!("!"), more).json();
    assert_eq!(body["choices"][0]["text"], "<|end|>ab");
}
