//! Chats that are not streamed.

use serde_json::json;

use crate::server::{self, CHAT, JSON};

#[test]
fn an_answer_has_openais_shape_and_no_more() {
    let server = server::start(|_| {});
    let reply = server.chat("hi w", json!({"model": "fake", "max_tokens": 3}));
    assert_eq!(reply.status, 200, "{}", reply.text());
    let mut body = reply.json();
    let id = body["id"].take();
    assert!(id.as_str().unwrap().starts_with("chatcmpl-"));
    assert!(body["created"].take().as_u64().unwrap() > 1_700_000_000);
    assert!(
        body["system_fingerprint"]
            .take()
            .as_str()
            .unwrap()
            .starts_with("candela-")
    );
    assert_eq!(
        body,
        json!({
            "id": null, "object": "chat.completion", "created": null, "model": "fake",
            "choices": [{
                "index": 0, "logprobs": null, "finish_reason": "length",
                "message": {"role": "assistant", "content": "xyz", "refusal": null},
            }],
            "usage": {"prompt_tokens": 4, "total_tokens": 7, "completion_tokens": 3},
            "system_fingerprint": null,
        })
    );
}

#[test]
fn roles_and_parts_reach_the_template() {
    let server = server::start(|flags| flags.enable_prompt_tokens_details = true);
    let reply = server.post(
        CHAT,
        &json!({"max_tokens": 1, "return_token_ids": true, "messages": [
            {"role": "system", "content": "x"},
            {"role": "user", "content": [{"type": "text", "text": "y"}, {"type": "text", "text": "z"}]},
            {"role": "stranger", "content": "k"},
        ]}),
    );
    let body = reply.json();
    assert_eq!(
        body["prompt_token_ids"],
        json!("Sxy\nzk".bytes().collect::<Vec<_>>())
    );
    assert_eq!(body["choices"][0]["token_ids"], json!([b'l']));
    assert_eq!(body["usage"]["prompt_tokens_details"]["cached_tokens"], 0);
    let refused = server.post(
        CHAT,
        &json!({"messages": [{"role": "critic", "content": "x"}]}),
    );
    assert_eq!(refused.status, 400);
    assert!(
        refused.json()["error"]["message"]
            .as_str()
            .unwrap()
            .contains("no critics here")
    );
}

#[test]
fn the_answer_ends_where_the_model_or_the_request_says() {
    let server = server::start(|_| {});
    let ends = |prompt: &str, more| {
        let choice = server.chat(prompt, more).json()["choices"][0].clone();
        (
            choice["message"]["content"].clone(),
            choice["finish_reason"].clone(),
        )
    };
    assert_eq!(ends("!", json!({})), (json!(""), json!("stop")));
    assert_eq!(
        ends("a", json!({"stop": "ef"})),
        (json!("bcd"), json!("stop"))
    );
    assert_eq!(
        ends("a", json!({"stop": ["zz", "de", "ef"]})),
        (json!("bc"), json!("stop"))
    );
    let kept = json!({"stop": "ef", "include_stop_str_in_output": true});
    assert_eq!(ends("a", kept), (json!("bcdef"), json!("stop")));
    assert_eq!(
        ends("a", json!({"stop_token_ids": [b'd']})),
        (json!("bc"), json!("stop"))
    );
    let late = json!({"stop": "b", "min_tokens": 3, "max_tokens": 40});
    assert_eq!(ends("a", late).0.as_str().unwrap().len(), 26);
    let on = json!({"ignore_eos": true, "max_tokens": 3});
    assert_eq!(ends("!", on), (json!("ab"), json!("length")));
    // Without a limit the answer goes on to the end of the context.
    let reply = server.chat("a", json!({})).json();
    assert_eq!(
        reply["usage"]["total_tokens"],
        crate::fake_model::MAX_MODEL_LEN
    );
}

#[test]
fn tokens_after_a_stop_string_are_not_billed() {
    let server = server::start(|_| {});
    let usage = server.chat("a", json!({"stop": "de"})).json()["usage"].clone();
    assert_eq!(usage["completion_tokens"], 4);
    assert_eq!(server.metric("vllm:generation_tokens_total"), 4.0);
    assert_eq!(
        server.metric(
            r#"vllm:request_success_total{engine="0",finished_reason="abort",model_name="fake"}"#
        ),
        0.0
    );
}

#[test]
fn a_character_of_four_tokens_is_whole() {
    let server = server::start(|_| {});
    let text = |max_tokens| {
        let reply = server.chat("~", json!({"max_tokens": max_tokens})).json();
        reply["choices"][0]["message"]["content"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    assert_eq!(text(5), "🦀a");
    assert_eq!(text(3), "\u{fffd}");
}

#[test]
fn several_answers_have_one_prompt() {
    let server = server::start(|_| {});
    let body = server.chat("a", json!({"n": 3, "max_tokens": 2})).json();
    let choices = body["choices"].as_array().unwrap();
    assert_eq!(
        choices
            .iter()
            .map(|c| c["index"].clone())
            .collect::<Vec<_>>(),
        [0, 1, 2]
    );
    assert!(choices.iter().all(|c| c["message"]["content"] == "bc"));
    assert_eq!(
        body["usage"],
        json!({"prompt_tokens": 1, "total_tokens": 7, "completion_tokens": 6})
    );
}

#[test]
fn models_are_listed_by_their_names() {
    let server = server::start(|_| {});
    let list = server.get("/v1/models").json();
    assert_eq!(list["object"], "list");
    let names: Vec<_> = list["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|m| m["id"].clone())
        .collect();
    assert_eq!(names, ["fake", "other/name"]);
    let model = server.get("/v1/models/other/name").json();
    assert_eq!(
        (&model["root"], &model["max_model_len"]),
        (&json!("fake/model"), &json!(256))
    );
    let missing = server.get("/v1/models/..%2Fsecret");
    assert_eq!(
        (missing.status, missing.json()["error"]["param"].clone()),
        (404, json!("model"))
    );
    assert_eq!(
        server.chat("a", json!({"model": "other/name"})).json()["model"],
        "other/name"
    );
}

#[test]
fn request_ids_are_echoed_or_replaced() {
    let server = server::start(|_| {});
    let body = server::chat_body("a", json!({"max_tokens": 1})).to_string();
    let reply = server.send(
        "POST",
        CHAT,
        &[JSON, ("X-Request-Id", "my-1.a_B")],
        body.as_bytes(),
    );
    assert_eq!(reply.header("x-request-id"), Some("my-1.a_B"));
    assert_eq!(reply.json()["id"], "chatcmpl-my-1.a_B");
    let reply = server.send(
        "POST",
        CHAT,
        &[JSON, ("X-Request-Id", "a b")],
        body.as_bytes(),
    );
    let ours = reply.header("x-request-id").unwrap();
    assert_eq!(
        (ours.len(), reply.json()["id"].clone()),
        (32, json!(format!("chatcmpl-{ours}")))
    );
    assert!(server.get("/nowhere").header("x-request-id").is_some());
}

#[test]
fn a_gateway_is_told_the_load_when_it_asks() {
    let server = server::start(|_| {});
    let report = |format| {
        let reply = server.send(
            "GET",
            "/v1/models",
            &[("endpoint-load-metrics-format", format)],
            b"",
        );
        reply.header("endpoint-load-metrics").map(str::to_owned)
    };
    assert_eq!(
        report("TEXT").unwrap(),
        "TEXT named_metrics.kv_cache_usage_perc=0, named_metrics.num_requests_waiting=0"
    );
    let json: serde_json::Value = serde_json::from_str(&report("json").unwrap()[5..]).unwrap();
    assert_eq!(json["named_metrics"]["num_requests_waiting"], 0);
    assert_eq!(report("xml"), None);
    assert_eq!(
        server.get("/v1/models").header("endpoint-load-metrics"),
        None
    );
}
