//! `/v1/responses` with what a model thinks and calls: items whole and streamed, and the way back.

use candela_flags::ReasoningParser;
use serde_json::{Value, json};

use crate::{
    responses::{RESPONSES, events},
    server::{self, CHAT, Server, with},
};

const SCRIPT: &str = "<think>Hm.</think>\n\
    <tool_call>{\"name\": \"weather\", \"arguments\": {\"city\": \"Łódź\"}}</tool_call>\n\
    <tool_call>{\"name\": \"weather\", \"arguments\": {\"city\": \"Oslo\"}}</tool_call>";

fn start() -> Server {
    server::start_scripted(|flags| {
        flags.reasoning_parser = Some(ReasoningParser::Qwen3);
        flags.enable_auto_tool_choice = true;
    })
}

fn tools() -> Value {
    let parameters = json!({
        "type": "object", "properties": {"city": {"type": "string", "maxLength": 9}},
        "required": ["city"], "additionalProperties": false,
    });
    json!([{"type": "function", "name": "weather", "description": "Tells it.", "parameters": parameters,
        "strict": false}])
}

fn body(script: &str, more: Value) -> Value {
    let input = json!([{"role": "user", "content": format!("<|say|>{script}")}]);
    with(json!({"input": input, "tools": tools()}), more)
}

#[track_caller]
fn respond(server: &Server, body: &Value) -> Value {
    let reply = server.post(RESPONSES, body);
    assert_eq!(reply.status, 200, "{}", reply.text());
    reply.json()
}

/// Items without their ids, which must be there.
fn nameless(items: &Value) -> Value {
    let mut items = items.clone();
    for item in items.as_array_mut().unwrap() {
        assert!(item["id"].is_string());
        item.as_object_mut().unwrap().shift_remove("id");
        if item["type"] == "function_call" {
            assert!(!item["call_id"].as_str().unwrap().is_empty());
            item["call_id"].take();
        }
    }
    items
}

fn call(city: &str) -> Value {
    json!({"type": "function_call", "status": "completed", "call_id": null, "name": "weather",
        "arguments": format!("{{\"city\": \"{city}\"}}")})
}

#[test]
fn thoughts_and_calls_are_items_of_their_own() {
    let server = start();
    let whole = respond(&server, &body(SCRIPT, json!({})));
    let thoughts = json!({"type": "reasoning", "summary": [], "status": "completed",
        "content": [{"type": "reasoning_text", "text": "Hm."}]});
    assert_eq!(
        nameless(&whole["output"]),
        json!([thoughts, call("Łódź"), call("Oslo")])
    );
    assert_eq!(whole["status"], "completed");
    assert_eq!(whole["tools"], tools());
    let usage = &whole["usage"];
    let reasoning = usage["output_tokens_details"]["reasoning_tokens"].as_u64();
    assert!((3..=5).contains(&reasoning.unwrap()), "{usage}");

    let streamed = server.post(RESPONSES, &body(SCRIPT, json!({"stream": true})));
    let events = events(&streamed);
    let last = &events.last().unwrap()["response"];
    assert_eq!(nameless(&last["output"]), nameless(&whole["output"]));
    // Each item's deltas are what the item ends as, and it is announced before them.
    for (index, item) in last["output"].as_array().unwrap().iter().enumerate() {
        let of_item: Vec<&Value> = events
            .iter()
            .filter(|event| event["output_index"] == index)
            .collect();
        let kinds = |event: &&Value| event["type"].as_str().unwrap().to_owned();
        assert_eq!(kinds(&of_item[0]), "response.output_item.added");
        assert_eq!(of_item[0]["item"]["id"], item["id"]);
        assert_eq!(of_item.last().unwrap()["item"], *item);
        let deltas: String = of_item
            .iter()
            .filter_map(|event| event["delta"].as_str())
            .collect();
        let text = match item["type"].as_str().unwrap() {
            "function_call" => {
                assert!(of_item.iter().any(|event| {
                    event["type"] == "response.function_call_arguments.done"
                        && event["arguments"] == item["arguments"]
                        && event["name"] == "weather"
                }));
                item["arguments"].as_str().unwrap()
            }
            _ => item["content"][0]["text"].as_str().unwrap(),
        };
        assert_eq!(deltas, text);
    }
}

#[test]
fn items_go_back_as_they_came() {
    let server = start();
    let first = respond(&server, &body(SCRIPT, json!({"store": true})));
    let mut items = vec![json!({"role": "user", "content": format!("<|say|>{SCRIPT}")})];
    items.extend(first["output"].as_array().unwrap().iter().cloned());
    let outputs: Vec<Value> = first["output"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|item| item.get("call_id"))
        .map(|id| json!({"type": "function_call_output", "call_id": id, "output": "sun"}))
        .collect();
    let question = json!({"role": "user", "content": "<|say|>Sunny."});
    items.extend(outputs.iter().cloned().chain([question.clone()]));
    let by_items = respond(&server, &json!({"input": items, "tools": tools()}));
    assert_eq!(by_items["output"][0]["content"][0]["text"], "Sunny.");

    let rest: Vec<Value> = outputs.iter().cloned().chain([question]).collect();
    let by_id = json!({"input": rest, "tools": tools(), "previous_response_id": first["id"]});
    let by_id = respond(&server, &by_id);
    assert_eq!(
        by_id["usage"]["input_tokens"],
        by_items["usage"]["input_tokens"]
    );

    // The same as a chat.
    let calls = ["Łódź", "Oslo"].map(|city| {
        json!({"id": "c", "type": "function",
            "function": {"name": "weather", "arguments": format!("{{\"city\": \"{city}\"}}")}})
    });
    let output = |id: &Value| json!({"role": "tool", "content": "sun", "tool_call_id": id});
    let mut function = tools()[0].clone();
    function.as_object_mut().unwrap().shift_remove("type");
    let chat = json!({
        "messages": [
            {"role": "user", "content": format!("<|say|>{SCRIPT}")},
            {"role": "assistant", "content": "", "reasoning": "Hm.", "tool_calls": calls},
            output(&outputs[0]["call_id"]), output(&outputs[1]["call_id"]),
            {"role": "user", "content": "<|say|>Sunny."},
        ],
        "tools": [{"type": "function", "function": function}],
    });
    let chat = server.post(CHAT, &chat).json();
    assert_eq!(
        chat["usage"]["prompt_tokens"],
        by_items["usage"]["input_tokens"]
    );
}

#[test]
fn choices_of_tools_are_kept() {
    // A model that thinks may do so for ever, whatever it has to call.
    let server = server::start_scripted(|flags| flags.enable_auto_tool_choice = true);
    let names = |response: &Value| -> Vec<String> {
        let items = response["output"].as_array().unwrap();
        let names = items.iter().filter_map(|item| item["name"].as_str());
        names.map(str::to_owned).collect()
    };
    let named = json!({"type": "function", "name": "weather"});
    let some = json!({"type": "allowed_tools", "mode": "required",
        "tools": [{"type": "function", "name": "weather"}]});
    for choice in [named, some, json!("required")] {
        let more = json!({"tool_choice": choice, "parallel_tool_calls": false});
        let response = respond(&server, &body("No.", more));
        assert_eq!(names(&response), ["weather"], "{response}");
        assert_eq!(response["tool_choice"], choice);
        assert_eq!(response["parallel_tool_calls"], false);
    }
    let none = respond(&server, &body(SCRIPT, json!({"tool_choice": "none"})));
    assert!(names(&none).is_empty());
    for choice in [
        json!({"type": "function", "name": "unknown"}),
        json!({"type": "allowed_tools", "mode": "never", "tools": [{"name": "weather"}]}),
    ] {
        let reply = server.post(RESPONSES, &body("No.", json!({"tool_choice": choice})));
        assert_eq!(reply.status, 400);
        let param = reply.json()["error"]["param"].as_str().unwrap().to_owned();
        assert!(
            param.starts_with("tool_choice")
                && !param.contains("function")
                && !param.contains("allowed"),
            "{param}"
        );
    }
}

#[test]
fn a_text_format_is_followed() {
    let server = start();
    let schema = json!({"type": "object", "properties": {"n": {"type": "integer", "maximum": 9,
        "minimum": 1}}, "required": ["n"], "additionalProperties": false});
    let format = json!({"type": "json_schema", "name": "number", "schema": schema, "strict": true});
    let more = json!({"text": {"format": format}, "tools": [], "max_output_tokens": 50});
    let response = respond(&server, &body("{\"n\": 7}", more.clone()));
    assert_eq!(response["output"][0]["content"][0]["text"], "{\"n\": 7}");
    assert_eq!(response["text"]["format"], format);
    let mut broken = more;
    broken["text"]["format"]["schema"] = json!({"type": "nothing"});
    let reply = server.post(RESPONSES, &body("", broken));
    assert_eq!(reply.status, 400);
    let param = reply.json()["error"]["param"].as_str().unwrap().to_owned();
    assert!(param.starts_with("text.format"), "{param}");
}
