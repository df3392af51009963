//! Structured outputs. The model likes letters in their order best; where a grammar forbids it, the first
//! of the allowed bytes.

use serde_json::{Value, json};

use crate::server::{self, CHAT, Server, chat_body};

const SCHEMA: &str = r#"{
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 5},
        "size": {"type": "integer", "minimum": 0, "maximum": 9}
    },
    "required": ["name", "size"], "additionalProperties": false
}"#;

fn structured(server: &Server, outputs: Value) -> String {
    let body = json!({"structured_outputs": outputs, "max_tokens": 100});
    let reply = server.chat("a", body);
    assert_eq!(reply.status, 200, "{}", reply.text());
    let choice = &reply.json()["choices"][0];
    assert_eq!(choice["finish_reason"], "stop");
    choice["message"]["content"].as_str().unwrap().to_owned()
}

#[test]
fn each_kind_restricts_the_answer() {
    let server = server::start(|_| {});
    assert_eq!(structured(&server, json!({"regex": "[0-9]{3}"})), "000");
    assert_eq!(
        structured(&server, json!({"choice": ["zebra", "bee"]})),
        "bee"
    );
    let lark = json!({"grammar": "start: \"c\" \"(\" \"d\" \")\""});
    assert_eq!(structured(&server, lark), "c(d)");
    let gbnf = json!({"grammar": "root ::= \"x\" [0-3] \"y\""});
    assert_eq!(structured(&server, gbnf), "x0y");
    let schema = json!({"json": SCHEMA, "disable_any_whitespace": true});
    let value: Value = serde_json::from_str(&structured(&server, schema)).unwrap();
    assert_eq!(value["name"], "abcde");
    let tag = json!({"structural_tag": {
        "structures": [{"begin": "c=", "schema": {"const": 1}, "end": ";"}], "triggers": ["c="],
    }});
    let reply = server.chat("a", json!({"structured_outputs": tag, "max_tokens": 10}));
    assert_eq!(
        reply.json()["choices"][0]["message"]["content"],
        "bcdefghijk"
    );
}

#[test]
fn a_response_format_holds_at_any_temperature_streamed_and_for_every_answer() {
    let server = server::start(|_| {});
    let schema: Value = serde_json::from_str(SCHEMA).unwrap();
    let format = json!({"type": "json_schema", "json_schema": {"name": "thing", "schema": schema, "strict": true}});
    for temperature in [0.0, 1.0, 50.0] {
        let more = json!({
            "response_format": format, "temperature": temperature, "seed": 3, "n": 3, "max_tokens": 250,
        });
        let whole = server.chat("a", more.clone()).json();
        let streamed = server
            .chat("a", server::with(more, json!({"stream": true})))
            .chunks();
        for index in 0..3 {
            let choice = &whole["choices"][index];
            let text = choice["message"]["content"].as_str().unwrap();
            let pieces = streamed
                .iter()
                .filter(|chunk| chunk["choices"][0]["index"] == index);
            let pieces: String = pieces
                .filter_map(|chunk| chunk["choices"][0]["delta"]["content"].as_str())
                .collect();
            assert_eq!(text, pieces);
            if choice["finish_reason"] == "stop" {
                let value: Value = serde_json::from_str(text).unwrap();
                assert!(
                    value["name"].as_str().unwrap().chars().count() <= 5,
                    "{text}"
                );
                assert!(value["size"].as_u64().unwrap() <= 9, "{text}");
            }
        }
    }
}

#[test]
fn every_prompt_of_a_completion_has_a_grammar_of_its_own() {
    let server = server::start(|_| {});
    let more = json!({"structured_outputs": {"regex": "[a-z]{2}!"}, "n": 2});
    let body = server.complete(json!(["a", "x"]), more).json();
    let texts: Vec<&str> = body["choices"]
        .as_array()
        .unwrap()
        .iter()
        .map(|c| c["text"].as_str().unwrap())
        .collect();
    assert_eq!(texts, ["bc!", "bc!", "yz!", "yz!"]);
}

#[test]
fn what_does_not_compile_is_refused_with_the_reason() {
    let server = server::start(|_| {});
    for (param, reason, more) in [
        (
            "structured_outputs.regex",
            "look-around",
            json!({"structured_outputs": {"regex": "(?=a)"}}),
        ),
        (
            "structured_outputs.regex",
            "unclosed",
            json!({"structured_outputs": {"regex": "(a"}}),
        ),
        (
            "structured_outputs.grammar",
            "unknown name",
            json!({"structured_outputs": {"grammar": "start: x"}}),
        ),
        (
            "structured_outputs.json",
            "Unimplemented keys",
            json!({"structured_outputs": {"json": {"not": {}}}}),
        ),
        (
            "structured_outputs.json",
            "it allows no answer",
            json!({"structured_outputs": {"json": {"$ref": "#"}}}),
        ),
        (
            "response_format.json_schema.schema",
            "not-a-type",
            json!({"response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "not-a-type"}}}}),
        ),
    ] {
        let reply = server.post(CHAT, &chat_body("a", more));
        let error = reply.json()["error"].clone();
        assert_eq!(
            (reply.status, error["param"].as_str()),
            (400, Some(param)),
            "{error}"
        );
        let message = error["message"].as_str().unwrap();
        assert!(
            message.starts_with(param) && message.contains(reason),
            "{message}"
        );
        assert!(message.len() < 500, "{message}");
    }
}

#[test]
fn masks_are_on_the_metrics_page_unless_stats_are_off() {
    for off in [false, true] {
        let server = server::start(|flags| flags.disable_log_stats = off);
        structured(&server, json!({"regex": "[0-9]{5}"}));
        let masks = server.metric("candela:structured_output_mask_seconds_count");
        let waits = server.metric("candela:structured_output_wait_seconds_count");
        match off {
            false => assert!(masks >= 5.0 && waits >= 5.0, "{masks}, {waits}"),
            true => assert!(masks.is_nan() && waits.is_nan()),
        }
    }
}
