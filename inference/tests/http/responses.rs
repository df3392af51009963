//! `/v1/responses`: shapes, the order of a stream's events, what is stored, and what a request cost.

use candela_flags::PerRequestMetrics;
use serde_json::{Value, json};

use crate::{
    client::Reply,
    server::{self, JSON, Server, until, with},
};

pub(crate) const RESPONSES: &str = "/v1/responses";

impl Server {
    fn respond(&self, input: Value, more: Value) -> Reply {
        self.post(RESPONSES, &with(json!({"input": input}), more))
    }
}

/// The events of a stream, each under its own name and numbered from 0.
#[track_caller]
pub(crate) fn events(reply: &Reply) -> Vec<Value> {
    let blocks = reply.text().split("\n\n");
    let blocks = blocks.filter(|block| !block.is_empty() && !block.starts_with(':'));
    let events: Vec<Value> = blocks
        .map(|block| {
            let (name, data) = block.split_once('\n').unwrap();
            let event: Value = serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap();
            assert_eq!(name.strip_prefix("event: "), event["type"].as_str());
            event
        })
        .collect();
    for (number, event) in events.iter().enumerate() {
        assert_eq!(event["sequence_number"], number);
    }
    events
}

fn types(events: &[Value]) -> Vec<&str> {
    events
        .iter()
        .map(|event| event["type"].as_str().unwrap())
        .collect()
}

#[test]
fn an_answer_is_openais_response_object() {
    let server = server::start(|_| {});
    let request = json!({
        "max_output_tokens": 3, "metadata": {"k": "v"}, "user": "u", "temperature": 0.5,
        "reasoning": {"effort": "low"}, "model": "other/name",
    });
    let reply = server.send(
        "POST",
        RESPONSES,
        &[JSON, ("X-Request-Id", "abc-1")],
        with(json!({"input": "a"}), request).to_string().as_bytes(),
    );
    assert_eq!(reply.status, 200, "{}", reply.text());
    let mut body = reply.json();
    assert!(body["created_at"].as_u64().unwrap() > 0);
    assert!(
        body["output"][0]["id"]
            .as_str()
            .unwrap()
            .starts_with("msg_")
    );
    body["output"][0]["id"] = "msg".into();
    body["created_at"] = 1.into();
    assert_eq!(
        body,
        json!({
            "id": "resp_abc-1", "object": "response", "created_at": 1, "status": "incomplete",
            "completed_at": null, "error": null,
            "incomplete_details": {"reason": "max_output_tokens"},
            "instructions": null, "max_output_tokens": 3, "max_tool_calls": null,
            "model": "other/name",
            "output": [{
                "type": "message", "id": "msg", "status": "incomplete", "role": "assistant",
                "content": [
                    {"type": "output_text", "text": "bcd", "annotations": [], "logprobs": []}
                ],
            }],
            "parallel_tool_calls": true, "previous_response_id": null,
            "reasoning": {"effort": "low", "summary": null}, "service_tier": "default",
            "temperature": 0.5, "text": {"format": {"type": "text"}}, "tool_choice": "auto",
            "tools": [], "top_logprobs": 0, "top_p": 1.0, "truncation": "disabled",
            "usage": {
                "input_tokens": 1,
                "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
                "output_tokens": 3, "output_tokens_details": {"reasoning_tokens": 0},
                "total_tokens": 4,
            },
            "user": "u", "metadata": {"k": "v"}, "background": false,
        })
    );
}

#[test]
fn an_answer_that_ends_by_itself_is_completed() {
    let server = server::start(|_| {});
    let body = server.respond(json!("z!"), json!({})).json();
    assert_eq!(body["status"], "completed", "{body}");
    assert!(body["completed_at"].is_u64() && body["incomplete_details"].is_null());
    // Nothing was said; it is said in a message all the same.
    let item = &body["output"][0];
    assert_eq!(
        (&item["status"], &item["content"][0]["text"]),
        (&json!("completed"), &json!(""))
    );
}

#[test]
fn items_are_the_messages_of_a_chat() {
    let server = server::start(|_| {});
    let few = json!({"max_output_tokens": 1});
    let prompt_tokens = |input: Value, more: Value| {
        let reply = server.respond(input, with(few.clone(), more));
        assert_eq!(reply.status, 200, "{}", reply.text());
        reply.json()["usage"]["input_tokens"].as_u64().unwrap()
    };
    // The template writes contents, an S before the system's and an A before the assistant's.
    let message = |role: &str, content: Value| json!({"role": role, "content": content});
    let parts = json!([{"type": "input_text", "text": "ab"}, {"type": "input_text", "text": "c"}]);
    assert_eq!(prompt_tokens(json!("abc"), json!({})), 3);
    assert_eq!(
        prompt_tokens(json!("abc"), json!({"instructions": "xy"})),
        6
    );
    assert_eq!(prompt_tokens(json!([message("user", parts)]), json!({})), 4);
    let earlier = json!({
        "type": "message", "id": "msg_1", "role": "assistant", "status": "completed",
        "content": [{"type": "output_text", "text": "bc", "annotations": [], "logprobs": []}],
    });
    let conversation = json!([
        message("user", json!("a")), {"type": "reasoning", "id": "rs_1", "summary": []},
        earlier, message("user", json!("d"))
    ]);
    assert_eq!(prompt_tokens(conversation, json!({})), 5);
    // Text and call are one message of the assistant's.
    let call = json!({"type": "function_call", "id": "fc_1", "call_id": "c1", "name": "f", "arguments": "{}"});
    let output = json!({"type": "function_call_output", "call_id": "c1", "output": "xyz"});
    let conversation = json!([message("user", json!("a")), earlier, call, output]);
    assert_eq!(prompt_tokens(conversation, json!({})), 7);
    // An unfinished last message is gone on with.
    let unfinished = with(earlier, json!({"status": "incomplete"}));
    let body = server.respond(
        json!([message("user", json!("a")), unfinished]),
        few.clone(),
    );
    assert_eq!(body.json()["output"][0]["content"][0]["text"], "d");
}

#[test]
fn a_stream_tells_every_step_in_order() {
    let server = server::start(|_| {});
    let reply = server.respond(json!("a"), json!({"max_output_tokens": 2, "stream": true}));
    assert_eq!(
        reply.header("content-type"),
        Some("text/event-stream; charset=utf-8")
    );
    let events = events(&reply);
    assert_eq!(
        types(&events),
        [
            "response.created",
            "response.in_progress",
            "response.output_item.added",
            "response.content_part.added",
            "response.output_text.delta",
            "response.output_text.delta",
            "response.output_text.done",
            "response.content_part.done",
            "response.output_item.done",
            "response.incomplete",
        ]
    );
    let begun = &events[0]["response"];
    assert_eq!(
        (&begun["status"], &begun["output"], &begun["usage"]),
        (&json!("in_progress"), &json!([]), &Value::Null)
    );
    let id = &events[2]["item"]["id"];
    assert_eq!(events[2]["item"]["content"], json!([]));
    for event in &events[3..8] {
        assert_eq!(
            (
                &event["item_id"],
                &event["output_index"],
                &event["content_index"]
            ),
            (id, &json!(0), &json!(0))
        );
    }
    assert_eq!(
        (&events[4]["delta"], &events[5]["delta"]),
        (&json!("b"), &json!("c"))
    );
    assert_eq!(events[6]["text"], "bc");
    assert_eq!(events[7]["part"]["text"], "bc");
    let last = &events[9]["response"];
    assert_eq!(last["output"][0], events[8]["item"]);
    assert_eq!(
        (&last["id"], &last["usage"]["output_tokens"]),
        (&begun["id"], &json!(2))
    );
    assert!(last.get("metrics").is_none());
    assert!(!reply.text().contains("[DONE]"));
}

#[test]
fn a_stream_that_fails_says_so_in_its_last_events() {
    let server = server::start(|flags| flags.enable_request_stats_headers = true);
    let body = json!({"input": "#", "stream": true}).to_string();
    let headers = [JSON, ("TE", "trailers"), ("Connection", "TE")];
    let reply = server.send("POST", RESPONSES, &headers, body.as_bytes());
    assert!(reply.trailers.is_empty());
    let events = events(&reply);
    let last = types(&events);
    assert_eq!(last[last.len() - 2..], ["response.failed", "error"]);
    let failed = &events[events.len() - 2]["response"];
    assert_eq!(
        (&failed["status"], &failed["error"]["code"]),
        (&json!("failed"), &json!("server_error"))
    );
    assert_eq!(server.respond(json!("#"), json!({})).status, 500);
}

#[test]
fn a_client_that_hangs_up_frees_its_blocks() {
    let server = server::start(|_| {});
    server.gate.close();
    let mut connection = server.connect();
    let body = json!({"input": "a", "stream": true}).to_string();
    connection.request("POST", RESPONSES, &[JSON], body.as_bytes());
    assert_eq!(connection.head().status, 200);
    drop(connection);
    server.gate.open();
    until("no request runs", || {
        server.metric("vllm:num_requests_running") == 0.0
            && server.metric("vllm:kv_cache_usage_perc") == 0.0
    });
    assert!(
        server.metric(
            "vllm:request_success_total{engine=\"0\",finished_reason=\"abort\",model_name=\"fake\"}"
        ) >= 0.0
    );
}

#[test]
fn what_it_cost_is_reported_as_for_chats() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("usage.jsonl");
    let server = server::start(|flags| {
        flags.enable_request_stats_headers = true;
        flags.enable_per_request_metrics = Some(PerRequestMetrics::OnRequest);
        flags.usage_log = Some(log.clone());
    });
    let few = json!({"max_output_tokens": 3, "include_metrics": true, "user": "payer"});
    let reply = server.respond(json!("ab"), few.clone());
    assert_eq!(reply.stats_headers().len(), 10);
    assert_eq!(reply.header("x-vllm-prompt-tokens"), Some("2"));
    assert_eq!(reply.header("x-vllm-completion-tokens"), Some("3"));
    assert!(reply.json()["metrics"]["total_time_ms"].is_number());
    let body = with(few.clone(), json!({"input": "ab", "stream": true}));
    let mut connection = server.connect();
    let headers = [JSON, ("TE", "trailers"), ("Connection", "TE")];
    connection.request("POST", RESPONSES, &headers, body.to_string().as_bytes());
    let reply = connection.reply();
    assert!(reply.stats_headers().is_empty());
    assert_eq!(reply.trailers.len(), 10);
    let events = events(&reply);
    let with_metrics: Vec<&str> = events
        .iter()
        .filter(|event| !event["response"]["metrics"].is_null())
        .map(|event| event["type"].as_str().unwrap())
        .collect();
    assert_eq!(with_metrics, ["response.incomplete"]);
    let plain = server.respond(json!("ab"), json!({"max_output_tokens": 1}));
    assert!(plain.json().get("metrics").is_none());
    until("three lines in the log", || {
        std::fs::read_to_string(&log).is_ok_and(|text| text.lines().count() == 3)
    });
    let text = std::fs::read_to_string(&log).unwrap();
    let line: Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
    assert_eq!(
        (
            &line["user"],
            &line["completion_tokens"],
            &line["finish_reason"]
        ),
        (&json!("payer"), &json!(3), &json!("length"))
    );
}

#[test]
fn stored_responses_are_gone_on_from_read_and_forgotten() {
    let server = server::start(|_| {});
    let few = json!({"max_output_tokens": 2, "instructions": "x"});
    let first = server.respond(json!("a"), with(few.clone(), json!({"store": true})));
    let first = first.json();
    let id = first["id"].as_str().unwrap();
    let path = format!("{RESPONSES}/{id}");
    assert_eq!(server.get(&path).json(), first);
    // Instructions are not taken over: a, A, bc, d.
    let next = json!({"previous_response_id": id, "max_output_tokens": 1});
    let second = server.respond(json!("d"), next.clone()).json();
    assert_eq!(second["usage"]["input_tokens"], 5);
    assert_eq!(second["previous_response_id"], id);
    assert_eq!(second["output"][0]["content"][0]["text"], "e");
    // It was not stored itself.
    let unknown = format!("{RESPONSES}/{}", second["id"].as_str().unwrap());
    let deleted = server.send("DELETE", &path, &[], b"");
    assert_eq!(
        deleted.json(),
        json!({"id": id, "object": "response", "deleted": true})
    );
    for reply in [
        server.get(&unknown),
        server.get(&path),
        server.send("DELETE", &path, &[], b""),
        server.respond(json!("d"), next),
    ] {
        assert_eq!(reply.status, 404);
        assert_eq!(reply.json()["error"]["type"], "invalid_request_error");
    }
    // The ids of what is stored cannot be guessed from, nor chosen by, X-Request-Id.
    let body = json!({"input": "a", "store": true, "max_output_tokens": 1}).to_string();
    let headers = [JSON, ("X-Request-Id", "mine")];
    let reply = server.send("POST", RESPONSES, &headers, body.as_bytes());
    assert_ne!(reply.json()["id"], "resp_mine");
    assert_eq!(reply.header("x-request-id"), Some("mine"));
    // Streamed responses are stored too.
    let more = json!({"max_output_tokens": 1, "store": true, "stream": true});
    let events = events(&server.respond(json!("a"), more));
    let last = &events.last().unwrap()["response"];
    let stored = server.get(&format!("{RESPONSES}/{}", last["id"].as_str().unwrap()));
    assert_eq!(&stored.json(), last);
}

#[test]
fn what_is_wrong_is_named_as_the_client_wrote_it() {
    let server = server::start(|_| {});
    let function = json!({"type": "function", "name": "f", "parameters": {"type": "object"}});
    let user = |content: Value| json!([{"role": "user", "content": content}]);
    for (param, input, more) in [
        ("input", json!([]), json!({})),
        ("input", json!(7), json!({})),
        ("input", json!("a".repeat(256)), json!({})),
        ("input[0].content", json!([{"role": "user"}]), json!({})),
        ("input[0].role", json!([{"content": "a"}]), json!({})),
        (
            "input[0].content[0].type",
            user(json!([{"type": "input_image"}])),
            json!({}),
        ),
        (
            "input[0].content[0].text",
            user(json!([{"type": "input_text"}])),
            json!({}),
        ),
        (
            "input[1].type",
            json!([{"role": "user", "content": "a"}, {"type": "computer_call"}]),
            json!({}),
        ),
        (
            "input[0].type",
            json!([{"type": "item_reference", "id": "msg_1"}]),
            json!({}),
        ),
        (
            "input[0].call_id",
            json!([{"type": "function_call_output", "output": "a"}]),
            json!({}),
        ),
        (
            "input[0].encrypted_content",
            json!([{"type": "reasoning", "summary": [], "encrypted_content": "x"}]),
            json!({}),
        ),
        (
            "max_output_tokens",
            json!("a"),
            json!({"max_output_tokens": 0}),
        ),
        (
            "max_output_tokens",
            json!("a"),
            json!({"max_output_tokens": -1}),
        ),
        (
            "max_output_tokens",
            json!("a"),
            json!({"max_output_tokens": 256}),
        ),
        ("temperature", json!("a"), json!({"temperature": -1})),
        ("top_p", json!("a"), json!({"top_p": 0})),
        ("background", json!("a"), json!({"background": true})),
        (
            "conversation",
            json!("a"),
            json!({"conversation": "conv_1"}),
        ),
        ("prompt", json!("a"), json!({"prompt": {"id": "pmpt_1"}})),
        ("truncation", json!("a"), json!({"truncation": "auto"})),
        ("include[0]", json!("a"), json!({"include": ["everything"]})),
        ("top_logprobs", json!("a"), json!({"top_logprobs": 1})),
        (
            "tools[0].type",
            json!("a"),
            json!({"tools": [{"type": "web_search"}]}),
        ),
        (
            "tools[0].name",
            json!("a"),
            json!({"tools": [{"type": "function"}]}),
        ),
        (
            "tool_choice",
            json!("a"),
            json!({"tool_choice": "required"}),
        ),
        (
            "tool_choice",
            json!("a"),
            json!({"tool_choice": "perhaps", "tools": [function]}),
        ),
        (
            "text.format.type",
            json!("a"),
            json!({"text": {"format": {"type": "xml"}}}),
        ),
        (
            "text.format.schema",
            json!("a"),
            json!({"text": {"format": {"type": "json_schema", "name": "s"}}}),
        ),
        (
            "reasoning.summary",
            json!("a"),
            json!({"reasoning": {"summary": "long"}}),
        ),
        (
            "reasoning.effort",
            json!("a"),
            json!({"reasoning": {"effort": "enormous"}}),
        ),
        (
            "text.verbosity",
            json!("a"),
            json!({"text": {"verbosity": "extreme"}}),
        ),
        ("metadata", json!("a"), json!({"metadata": {"k": 1}})),
        (
            "metadata",
            json!("a"),
            json!({"metadata": {"k": "v".repeat(513)}}),
        ),
        (
            "metadata",
            json!("a"),
            json!({"metadata": {"k".repeat(65): "v"}}),
        ),
    ] {
        let reply = server.respond(input, with(json!({"max_output_tokens": 1}), more));
        assert_eq!(reply.status, 400, "{param}: {}", reply.text());
        let error = &reply.json()["error"];
        assert_eq!(error["param"], param, "{error}");
        let message = error["message"].as_str().unwrap();
        assert!(
            message.starts_with(param) && !message.contains("messages"),
            "{message}"
        );
    }
    let reply = server.respond(json!("a"), json!({"model": "gpt-5"}));
    assert_eq!(reply.status, 404);
    let reply = server.respond(json!("a"), json!({"previous_response_id": "resp_1"}));
    assert_eq!(
        (reply.status, &reply.json()["error"]["param"]),
        (404, &json!("previous_response_id"))
    );
}

#[test]
fn what_asks_for_nothing_passes() {
    let server = server::start(|_| {});
    for more in [
        json!({"tools": [], "tool_choice": "auto"}),
        json!({"tool_choice": "none"}),
        json!({"truncation": "disabled", "background": false, "store": false}),
        json!({"include": ["reasoning.encrypted_content"], "max_tool_calls": 3}),
        json!({"text": {"format": {"type": "text"}, "verbosity": "low"}}),
        json!({"reasoning": {"summary": "auto"}}),
        json!({"service_tier": "auto", "prompt_cache_key": "k", "safety_identifier": "s"}),
        json!({"stream_options": {"include_obfuscation": false}, "something_new": 1}),
    ] {
        let reply = server.respond(json!("a"), with(json!({"max_output_tokens": 1}), more));
        assert_eq!(reply.status, 200, "{}", reply.text());
    }
    // An answer that does not fit is shorter, and says so.
    let body = server
        .respond(json!("ab"), json!({"max_output_tokens": 255}))
        .json();
    assert_eq!(body["usage"]["total_tokens"], 256);
    assert_eq!(body["status"], "incomplete");
}

#[test]
fn what_a_response_repeats_is_bounded() {
    let server = server::start_scripted(|flags| flags.enable_auto_tool_choice = true);
    let tool =
        |description: &str| json!({"type": "function", "name": "f", "description": description});
    let long = "x".repeat(1 << 20);
    for (param, more) in [
        ("tools", json!({"tools": [tool(&long)]})),
        ("instructions", json!({"instructions": long})),
        (
            "text",
            json!({"text": {"format": {"type": "text", "description": long}}}),
        ),
    ] {
        let reply = server.respond(json!("a"), more);
        assert_eq!(reply.status, 400, "{param}");
        assert_eq!(reply.json()["error"]["param"], param);
    }
    // Members that nobody reads are not kept.
    let named = json!({"type": "function", "name": "f"});
    let allowed = json!({"type": "allowed_tools", "mode": "auto", "tools": [named]});
    for choice in [named.clone(), allowed] {
        let mut padded = choice.clone();
        padded["padding"] = long.as_str().into();
        if let Some(tool) = padded.pointer_mut("/tools/0") {
            tool["padding"] = 1.into();
        }
        let more = json!({"tools": [tool("")], "tool_choice": padded, "max_output_tokens": 1});
        let reply = server.respond(json!("a"), more);
        assert_eq!(reply.status, 200, "{}", reply.text());
        assert_eq!(reply.json()["tool_choice"], choice);
    }
}

#[test]
fn log_probabilities_come_with_the_text() {
    let server = server::start(|_| {});
    let include = json!(["message.output_text.logprobs"]);
    let more = json!({"max_output_tokens": 3, "include": include, "top_logprobs": 2});
    let body = server.respond(json!("a"), more.clone()).json();
    let text = &body["output"][0]["content"][0];
    let logprobs = text["logprobs"].as_array().unwrap();
    let tokens: Vec<&str> = logprobs
        .iter()
        .map(|l| l["token"].as_str().unwrap())
        .collect();
    assert_eq!(tokens, ["b", "c", "d"]);
    assert_eq!(logprobs[0]["bytes"], json!([b'b']));
    assert_eq!(logprobs[0]["top_logprobs"].as_array().unwrap().len(), 2);
    assert_eq!(logprobs[0]["top_logprobs"][0]["token"], "b");
    assert!(logprobs[0]["logprob"].as_f64().unwrap() <= 0.0);
    assert_eq!(body["top_logprobs"], 2);
    let events = events(&server.respond(json!("a"), with(more, json!({"stream": true}))));
    let last = &events.last().unwrap()["response"]["output"][0]["content"][0];
    assert_eq!(last["logprobs"], text["logprobs"]);
    let deltas = events
        .iter()
        .filter(|event| event["type"] == "response.output_text.delta");
    let streamed: Vec<Value> = deltas
        .flat_map(|event| event["logprobs"].as_array().unwrap().clone())
        .collect();
    assert_eq!(Value::from(streamed), text["logprobs"]);
}
