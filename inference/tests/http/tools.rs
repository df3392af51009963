//! Tools: calls in every form, chosen by the model or by the request, whole and streamed.

use candela_flags::ToolCallParser;
use serde_json::{Value, json};

use crate::{
    scripted_model::text_of,
    server::{self, CHAT, Server, with},
};

const CALL: &str = r#"<tool_call>{"name": "weather", "arguments": {"city": "Łódź"}}</tool_call>"#;

fn tool(name: &str, parameters: Value) -> Value {
    json!({"type": "function", "function": {"name": name, "parameters": parameters}})
}

fn tools() -> Value {
    let city = json!({"type": "object", "required": ["city"], "properties": {
        "city": {"type": "string", "maxLength": 20}, "days": {"$ref": "#/$defs/days"},
    }, "$defs": {"days": {"type": "integer"}}});
    let sum = json!({"type": "object", "required": ["terms"], "properties": {
        "terms": {"type": "array", "items": {"type": "number"}, "maxItems": 3},
    }});
    json!([tool("weather", city), tool("sum", sum)])
}

/// What the server answers when its model wants to say `script`.
fn ask(server: &Server, script: &str, more: Value) -> Value {
    let content = format!("<|say|>{script}");
    let body = json!({"messages": [{"role": "user", "content": content}], "tools": tools()});
    let reply = server.post(CHAT, &with(body.clone(), more.clone()));
    assert_eq!(reply.status, 200, "{}", reply.text());
    let whole = reply.json()["choices"][0].clone();
    let sampled = more.get("temperature").is_some();
    let streamed = with(with(body, more), json!({"stream": true}));
    let streamed = collect(&server.post(CHAT, &streamed).chunks());
    if !sampled {
        assert_eq!(without_ids(streamed), without_ids(whole.clone()));
    }
    whole
}

fn without_ids(mut choice: Value) -> Value {
    for call in choice["message"]["tool_calls"]
        .as_array_mut()
        .into_iter()
        .flatten()
    {
        call["id"].take();
    }
    choice
}

/// A streamed answer as one that is not; chunks are as OpenAI's clients expect them.
fn collect(chunks: &[Value]) -> Value {
    let mut message = json!({"role": "assistant", "content": null, "refusal": null});
    let mut calls: Vec<Value> = Vec::new();
    let mut finish = Value::Null;
    let append = |to: &mut Value, more: &Value| {
        *to = format!("{}{}", to.as_str().unwrap_or(""), more.as_str().unwrap()).into();
    };
    for chunk in chunks {
        let choice = &chunk["choices"][0];
        for (key, value) in choice["delta"].as_object().unwrap() {
            match key.as_str() {
                "content" if value == "" => {}
                "content" | "reasoning" => append(&mut message[key.as_str()], value),
                "tool_calls" => value.as_array().unwrap().iter().for_each(|delta| {
                    let index = delta["index"].as_u64().unwrap() as usize;
                    assert_eq!(delta.get("id").is_some(), index == calls.len());
                    if index == calls.len() {
                        let mut call = delta.clone();
                        call.as_object_mut().unwrap().shift_remove("index");
                        calls.push(call);
                    } else {
                        assert!(
                            delta.get("type").is_none() && delta["function"].get("name").is_none()
                        );
                        let more = &delta["function"]["arguments"];
                        append(&mut calls[index]["function"]["arguments"], more);
                    }
                }),
                "role" => assert_eq!(value, "assistant"),
                other => panic!("{other} in a delta"),
            }
        }
        finish = choice["finish_reason"].clone();
    }
    if !calls.is_empty() {
        message["tool_calls"] = calls.into();
    } else if message["content"].is_null() && message.get("reasoning").is_none() {
        message["content"] = "".into();
    }
    json!({"index": 0, "message": message, "logprobs": null, "finish_reason": finish})
}

fn start(change: impl FnOnce(&mut candela_flags::EngineFlags)) -> Server {
    server::start_scripted(change)
}

/// Name and arguments of each call, which have ids of their own.
#[track_caller]
fn calls(choice: &Value) -> Vec<(&str, &str)> {
    let calls = choice["message"]["tool_calls"].as_array().unwrap();
    let ids: std::collections::HashSet<_> = calls.iter().map(|call| call["id"].as_str()).collect();
    assert_eq!(ids.len(), calls.len());
    calls
        .iter()
        .map(|call| {
            assert_eq!(call["type"], "function");
            let function = &call["function"];
            (
                function["name"].as_str().unwrap(),
                function["arguments"].as_str().unwrap(),
            )
        })
        .collect()
}

#[test]
fn a_call_has_openais_shape_without_a_flag() {
    let server = start(|_| {});
    let mut choice = ask(&server, CALL, json!({}));
    let id = choice["message"]["tool_calls"][0]["id"].take();
    assert!(id.as_str().unwrap().starts_with("chatcmpl-tool-"));
    assert_eq!(
        choice,
        json!({
            "index": 0, "logprobs": null, "finish_reason": "tool_calls",
            "message": {"role": "assistant", "content": null, "refusal": null, "tool_calls": [{
                "id": null, "type": "function",
                "function": {"name": "weather", "arguments": "{\"city\": \"Łódź\"}"},
            }]},
        })
    );
}

#[test]
fn text_and_several_calls() {
    let server = start(|_| {});
    let script = format!("Let me see.\n\n{CALL}\n{CALL}");
    let choice = ask(&server, &script, json!({}));
    assert_eq!(choice["message"]["content"], "Let me see.");
    assert_eq!(calls(&choice), [("weather", "{\"city\": \"Łódź\"}"); 2]);
    let one = ask(&server, &script, json!({"parallel_tool_calls": false}));
    assert_eq!(calls(&one).len(), 1);
    let cut = ask(&server, &script, json!({"max_tokens": 70}));
    assert_eq!(
        (calls(&cut)[0].0, &cut["finish_reason"]),
        ("weather", &json!("length"))
    );
}

#[test]
fn no_call_is_text() {
    let server = start(|_| {});
    for script in [
        "Just text.",
        "<tool_call>{\"name\": 1}</tool_call>",
        "a <tool_call",
    ] {
        let choice = ask(&server, script, json!({}));
        assert_eq!(choice["message"]["content"], script);
        assert_eq!(choice["finish_reason"], "stop");
        assert!(choice["message"].get("tool_calls").is_none());
    }
    let choice = ask(&server, CALL, json!({"tool_choice": "none"}));
    assert_eq!(choice["message"]["content"], CALL);
}

#[test]
fn special_tokens_that_mark_calls_are_seen() {
    let llama = start(|flags| flags.tool_call_parser = Some(ToolCallParser::Llama3Json));
    let script = r#"<|python_tag|>{"name": "sum", "parameters": {"terms": []}}"#;
    assert_eq!(
        calls(&ask(&llama, script, json!({}))),
        [("sum", "{\"terms\": []}")]
    );
    drop(llama);
    let mistral = start(|flags| flags.tool_call_parser = Some(ToolCallParser::Mistral));
    let script = r#"[TOOL_CALLS]sum[ARGS]{"terms": [1]}[TOOL_CALLS]sum[ARGS]{"terms": []}"#;
    let choice = ask(&mistral, script, json!({}));
    assert_eq!(
        calls(&choice),
        [("sum", "{\"terms\": [1]}"), ("sum", "{\"terms\": []}")]
    );
    let id = choice["message"]["tool_calls"][0]["id"].as_str().unwrap();
    assert_eq!(id.len(), 9, "{id}");
    assert_eq!(
        ask(&mistral, "[TOOL_CALLS] hm", json!({}))["message"]["content"],
        "[TOOL_CALLS] hm"
    );
}

#[test]
fn stop_strings_end_calls_too() {
    let server = start(|_| {});
    let choice = ask(
        &server,
        &format!("{CALL} and more"),
        json!({"stop": " and"}),
    );
    assert_eq!(
        (calls(&choice).len(), &choice["finish_reason"]),
        (1, &json!("tool_calls"))
    );
}

/// The arguments are what the tool's schema allows.
#[track_caller]
fn assert_valid(name: &str, arguments: &str) {
    let arguments: Value =
        serde_json::from_str(arguments).unwrap_or_else(|e| panic!("{arguments}: {e}"));
    let members = arguments.as_object().unwrap();
    match name {
        "weather" => {
            assert!(members["city"].is_string(), "{arguments}");
            assert!(
                members.get("days").is_none_or(Value::is_number),
                "{arguments}"
            );
        }
        "sum" => assert!(
            members["terms"]
                .as_array()
                .unwrap()
                .iter()
                .all(Value::is_number)
        ),
        other => panic!("{other} is no tool"),
    }
    assert!(
        members
            .keys()
            .all(|key| ["city", "days", "terms"].contains(&key.as_str())),
        "{arguments}"
    );
}

#[test]
fn a_call_that_is_required_comes_and_fits_its_schema() {
    let parsers = [
        None,
        Some(ToolCallParser::Llama3Json),
        Some(ToolCallParser::Mistral),
    ];
    for parser in parsers {
        let server = start(|flags| flags.tool_call_parser = parser);
        for script in ["No.", "{\"terms\": 5}", CALL, "[{\"name\": \"sum\""] {
            let choice = ask(&server, script, json!({"tool_choice": "required"}));
            assert_eq!(choice["finish_reason"], "tool_calls", "{choice}");
            assert_eq!(choice["message"]["content"], Value::Null, "{choice}");
            calls(&choice)
                .into_iter()
                .for_each(|(name, arguments)| assert_valid(name, arguments));
            let named = json!({"tool_choice": {"type": "function", "function": {"name": "sum"}}});
            let choice = ask(&server, script, named);
            // As in OpenAI's API and vLLM's.
            assert_eq!(choice["finish_reason"], "stop", "{choice}");
            let named = calls(&choice);
            assert_eq!((named.len(), named[0].0), (1, "sum"));
            assert_valid("sum", named[0].1);
        }
    }
}

#[test]
fn required_calls_are_valid_at_any_temperature() {
    let server = start(|_| {});
    for seed in 0..6 {
        let more = json!({"tool_choice": "required", "temperature": 30, "seed": seed,
            "parallel_tool_calls": seed % 2 == 0, "max_tokens": 1500});
        let choice = ask(&server, "x", more);
        if choice["finish_reason"] == "length" {
            continue;
        }
        let found = calls(&choice);
        assert!(
            !found.is_empty() && (seed % 2 == 0 || found.len() == 1),
            "{choice}"
        );
        found
            .into_iter()
            .for_each(|(name, arguments)| assert_valid(name, arguments));
    }
}

#[test]
fn strict_tools_are_called_by_their_schema_when_the_model_decides() {
    let server = start(|_| {});
    let mut strict = tools();
    for tool in strict.as_array_mut().unwrap() {
        tool["function"]["strict"] = true.into();
    }
    let wrong = r#"Well. <tool_call>{"name": "sum", "arguments": {"terms": "x"}}</tool_call>"#;
    let choice = ask(&server, wrong, json!({"tools": strict}));
    assert_eq!(choice["message"]["content"], "Well.");
    let found = calls(&choice);
    assert!(!found.is_empty());
    found
        .into_iter()
        .for_each(|(name, arguments)| assert_valid(name, arguments));
    let text = ask(&server, "Just text.", json!({"tools": strict}));
    assert_eq!(text["message"]["content"], "Just text.");
}

#[test]
fn an_answer_in_a_form_may_be_a_call_instead() {
    let form = json!({"type": "json_schema", "json_schema": {"name": "a", "schema": {
        "type": "object", "properties": {"sure": {"type": "boolean"}}, "required": ["sure"],
        "additionalProperties": false
    }}});
    let mut strict = tools();
    for tool in strict.as_array_mut().unwrap() {
        tool["function"]["strict"] = true.into();
    }
    for parser in [None, Some(ToolCallParser::Mistral)] {
        let server = start(|flags| flags.tool_call_parser = parser);
        let call = match parser {
            None => r#"<tool_call>{"name": "sum", "arguments": {"terms": [1]}}</tool_call>"#,
            _ => r#"[TOOL_CALLS] [{"name": "sum", "arguments": {"terms": [1]}}]"#,
        };
        for tools in [tools(), strict.clone()] {
            let more = json!({"tools": tools, "response_format": form});
            for script in [r#"{"sure": true}"#, "Well."] {
                let choice = ask(&server, script, more.clone());
                if choice["finish_reason"] == "stop" {
                    let content = choice["message"]["content"].as_str().unwrap();
                    let content: Value = serde_json::from_str(content).unwrap();
                    assert!(content["sure"].is_boolean(), "{choice}");
                }
                assert!(
                    script == "Well." || choice["finish_reason"] == "stop",
                    "{choice}"
                );
            }
            let choice = ask(&server, call, more);
            assert_eq!(choice["finish_reason"], "tool_calls", "{choice}");
            assert_eq!(choice["message"]["content"], Value::Null, "{choice}");
            assert_eq!(calls(&choice)[0].0, "sum", "{choice}");
        }
    }
    // The calls of this form begin like the answer.
    let server = start(|flags| flags.tool_call_parser = Some(ToolCallParser::Llama3Json));
    let more = json!({"tools": strict, "response_format": form});
    let choice = ask(&server, r#"{"name": "sum", "parameters": {}}"#, more);
    assert_eq!(choice["finish_reason"], "stop", "{choice}");
}

#[test]
fn a_model_whose_calls_cannot_be_read_decides_nothing() {
    let server = server::start(|_| {});
    let refused = server.chat("a", json!({"tools": tools()}));
    let error = refused.json()["error"].clone();
    assert_eq!(
        (refused.status, &error["param"]),
        (400, &json!("tool_choice"))
    );
    let message = error["message"].as_str().unwrap();
    assert!(
        message.contains("--tool-call-parser") && message.contains("--enable-auto-tool-choice")
    );
    assert_eq!(
        server
            .chat(
                "a",
                json!({"tools": tools(), "tool_choice": "none", "max_tokens": 1})
            )
            .status,
        200
    );
    // A grammar needs no form of the model's own.
    let more = json!({"tools": tools(), "tool_choice": "required", "max_tokens": 200});
    let choice = server.chat("a", more).json()["choices"][0].clone();
    assert!(
        !choice["message"]["tool_calls"]
            .as_array()
            .unwrap()
            .is_empty(),
        "{choice}"
    );
}

#[test]
fn tools_that_are_wrong_are_refused_by_name() {
    let server = start(|_| {});
    let unusable = json!([tool(
        "f",
        json!({"type": "object", "properties": {"x": {"type": "tuple"}}})
    )]);
    for (param, more) in [
        ("tools", json!({"tools": []})),
        (
            "tools[0].function.name",
            json!({"tools": [{"type": "function", "function": {}}]}),
        ),
        (
            "tool_choice",
            json!({"tool_choice": "some", "tools": tools()}),
        ),
        ("tool_choice", json!({"tool_choice": "auto"})),
        (
            "tool_choice.function.name",
            json!({"tools": tools(), "tool_choice": {"type": "function", "function": {"name": "f"}}}),
        ),
        (
            "tools",
            json!({"tools": unusable, "tool_choice": "required"}),
        ),
        (
            "messages[0].tool_calls[0].function.name",
            json!({"messages": [{"role": "assistant", "tool_calls": [{"function": {}}]}]}),
        ),
        (
            "messages[0].tool_call_id",
            json!({"messages": [{"role": "tool", "tool_call_id": 1, "content": "x"}]}),
        ),
    ] {
        let reply = server.chat("x", more.clone());
        assert_eq!(reply.status, 400, "{more}: {}", reply.text());
        assert_eq!(
            reply.json()["error"]["param"],
            param,
            "{more}: {}",
            reply.text()
        );
    }
}

#[test]
fn a_conversation_with_calls_and_results_reaches_the_template() {
    let server = start(|_| {});
    let call = json!({"id": "c1", "type": "function",
        "function": {"name": "sum", "arguments": "{\"terms\": [1]}"}});
    let messages = json!([
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
        {"role": "assistant", "content": null, "reasoning": "hm", "refusal": null, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": "1"},
    ]);
    let body = json!({"messages": messages, "max_tokens": 1, "return_token_ids": true});
    let prompt = |more: Value| {
        let reply = server.post(CHAT, &with(body.clone(), more));
        text_of(&reply.json()["prompt_token_ids"])
    };
    assert_eq!(
        prompt(json!({})),
        "<|developer|>Be brief.<|user|>a\nb<|assistant|>(hm)\
         <tool_call>{\"name\": \"sum\", \"arguments\": {\"terms\": [1]}}</tool_call>\
         <|tool|>1#c1<|assistant|>"
    );
    assert!(prompt(json!({"tools": tools(), "tool_choice": "none"})).starts_with("[{\"type\""));
    drop(server);
    let server = start(|flags| flags.exclude_tools_when_tool_choice_none = true);
    let more = with(body, json!({"tools": tools(), "tool_choice": "none"}));
    let reply = server.post(CHAT, &more);
    assert!(text_of(&reply.json()["prompt_token_ids"]).starts_with("<|developer|>"));
}
