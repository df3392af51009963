//! What a model thinks, told from what it says.

use candela_flags::ReasoningParser;
use serde_json::{Value, json};

use crate::server::{self, CHAT, Server, with};

fn start(parser: ReasoningParser) -> Server {
    server::start_scripted(|flags| flags.reasoning_parser = Some(parser))
}

/// Message and deltas' members when the model wants to say `script`.
fn ask(server: &Server, script: &str, more: Value) -> Value {
    let content = format!("<|say|>{script}");
    let body = json!({"messages": [{"role": "user", "content": content}]});
    let reply = server.post(CHAT, &with(body.clone(), more.clone()));
    assert_eq!(reply.status, 200, "{}", reply.text());
    let message = reply.json()["choices"][0]["message"].clone();
    let chunks = server
        .post(CHAT, &with(with(body, more), json!({"stream": true})))
        .chunks();
    for member in ["reasoning", "content"] {
        let pieces = chunks
            .iter()
            .filter_map(|chunk| chunk["choices"][0]["delta"][member].as_str());
        let streamed: String = pieces.collect();
        assert_eq!(
            streamed,
            message[member].as_str().unwrap_or_default(),
            "{member}"
        );
    }
    message
}

#[test]
fn thoughts_have_a_member_of_their_own() {
    let server = start(ReasoningParser::Qwen3);
    let message = ask(&server, "<think>So 🦀.</think>Yes.", json!({}));
    let expected =
        json!({"role": "assistant", "content": "Yes.", "refusal": null, "reasoning": "So 🦀."});
    assert_eq!(message, expected);
    let plain = ask(&server, "Yes.", json!({}));
    assert_eq!(
        plain,
        json!({"role": "assistant", "content": "Yes.", "refusal": null})
    );
    let only = ask(&server, "<think>So", json!({}));
    assert_eq!(
        (&only["content"], &only["reasoning"]),
        (&Value::Null, &json!("So"))
    );
}

#[test]
fn the_prompt_can_open_the_thoughts() {
    let server = start(ReasoningParser::Auto);
    let thinking = json!({"chat_template_kwargs": {"thinking": true}});
    let message = ask(&server, "So.</think>Yes.", thinking);
    assert_eq!(
        (&message["content"], &message["reasoning"]),
        (&json!("Yes."), &json!("So."))
    );
    drop(server);
    let server = start(ReasoningParser::DeepseekR1);
    let message = ask(&server, "So.</think>Yes.", json!({}));
    assert_eq!(
        (&message["content"], &message["reasoning"]),
        (&json!("Yes."), &json!("So."))
    );
}

#[test]
fn thoughts_can_be_left_out() {
    let server = start(ReasoningParser::Qwen3);
    let more = json!({"include_reasoning": false, "return_token_ids": true, "logprobs": true});
    let body = json!({"messages": [{"role": "user", "content": "<|say|><think>So.</think>Yes."}]});
    let choice = server.post(CHAT, &with(body, more)).json()["choices"][0].clone();
    assert_eq!(
        choice["message"],
        json!({"role": "assistant", "content": "Yes.", "refusal": null})
    );
    assert!(choice.get("token_ids").is_none() && choice["logprobs"].is_null());
}

#[test]
fn without_a_parser_thoughts_are_text() {
    let server = server::start_scripted(|_| {});
    let script = "<think>So.</think>Yes.";
    assert_eq!(ask(&server, script, json!({}))["content"], script);
}

#[test]
fn grammars_restrict_what_comes_after_the_thoughts() {
    let server = start(ReasoningParser::Qwen3);
    let tools = json!([{"type": "function", "function": {"name": "sum", "parameters": {
        "type": "object", "properties": {"x": {"type": "integer"}}, "required": ["x"]}}}]);
    let required = json!({"tools": tools, "tool_choice": "required"});
    let object = json!({"response_format": {"type": "json_object"}});
    let thought = |reasoning: &Value, rest: &str| match reasoning {
        Value::String(text) => format!("<think>{text}</think>{rest}"),
        _ => rest.to_owned(),
    };
    for reasoning in [json!("I { think."), Value::Null] {
        // What follows is not what the model would say, but it begins like that.
        let script = thought(&reasoning, "<tool_call>no");
        let message = ask(&server, &script, required.clone());
        assert_eq!(message.get("reasoning").unwrap_or(&Value::Null), &reasoning);
        let arguments = message["tool_calls"][0]["function"]["arguments"].as_str();
        let arguments: Value = serde_json::from_str(arguments.unwrap()).unwrap();
        assert!(arguments["x"].is_number(), "{message}");
        let message = ask(&server, &thought(&reasoning, "{no"), object.clone());
        assert_eq!(message.get("reasoning").unwrap_or(&Value::Null), &reasoning);
        let content = message["content"].as_str().unwrap();
        assert!(
            serde_json::from_str::<Value>(content).unwrap().is_object(),
            "{message}"
        );
    }
}

#[test]
fn the_tokenizer_must_know_the_tags() {
    // The fake model's does not.
    let server =
        server::start_failing(|flags| flags.reasoning_parser = Some(ReasoningParser::Qwen3));
    let error = server.outcome().unwrap_err();
    let text = format!("{:#}", anyhow::Error::from(error));
    assert!(
        text.contains("--reasoning-parser") && text.contains("</think>"),
        "{text}"
    );
    let server = server::start_failing(|flags| flags.enable_auto_tool_choice = true);
    let error = server.outcome().unwrap_err();
    let text = format!("{:#}", anyhow::Error::from(error));
    assert!(text.contains("--tool-call-parser"), "{text}");
}
