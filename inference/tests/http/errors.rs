//! Every error is OpenAI's error object, with the right status.

use serde_json::{Value, json};

use crate::{
    client::Reply,
    server::{self, CHAT, COMPLETIONS, JSON},
};

#[track_caller]
fn assert_error(reply: &Reply, status: u16, kind: &str) -> Value {
    assert_eq!(reply.status, status, "{}", reply.text());
    let body = reply.json();
    let error = body["error"].as_object().unwrap();
    let members: Vec<&str> = error.keys().map(String::as_str).collect();
    assert_eq!(members, ["message", "type", "param", "code"]);
    assert_eq!(
        (&error["type"], &error["code"]),
        (&json!(kind), &json!(status))
    );
    assert!(!error["message"].as_str().unwrap().is_empty());
    assert!(reply.stats_headers().is_empty());
    body["error"].clone()
}

#[test]
fn each_status_has_its_error_object() {
    let server = server::start(|flags| {
        flags.enable_request_stats_headers = true;
        flags.max_body_bytes = candela_flags::MaxBodyBytes::of::<2_048>();
    });
    let bad = "BadRequestError";
    assert_error(&server.get("/v1/nowhere"), 404, "NotFoundError");
    assert_error(&server.get("/"), 404, "NotFoundError");
    let reply = server.get(CHAT);
    assert_error(&reply, 405, "MethodNotAllowedError");
    assert_eq!(reply.header("allow"), Some("POST"));
    assert_error(
        &server.post("/v1/models", &json!({})),
        405,
        "MethodNotAllowedError",
    );
    assert_error(&server.send("POST", CHAT, &[JSON], b"{"), 400, bad);
    assert_error(&server.send("POST", CHAT, &[JSON], b""), 400, bad);
    assert_error(
        &server.send("POST", CHAT, &[("Content-Type", "text/plain")], b"{}"),
        400,
        bad,
    );
    assert_error(&server.send("POST", CHAT, &[], b"{}"), 400, bad);
    let zipped = [JSON, ("Content-Encoding", "gzip")];
    assert_error(&server.send("POST", CHAT, &zipped, b"{}"), 400, bad);
    let error = assert_error(
        &server.chat("a", json!({"model": "gpt-4"})),
        404,
        "NotFoundError",
    );
    assert_eq!(error["param"], "model");
    let error = assert_error(&server.chat("a", json!({"n": 0})), 400, bad);
    assert_eq!(error["param"], "n");
    let error = assert_error(&server.chat(&"a".repeat(256), json!({})), 400, bad);
    let message = error["message"].as_str().unwrap();
    assert!(message.matches("256").count() == 2, "{message}");
    let error = assert_error(
        &server.chat(
            "a",
            json!({"max_tokens": 255, "n": 1, "messages":
        [{"role": "user", "content": "ab"}]}),
        ),
        400,
        bad,
    );
    assert_eq!(error["param"], "max_tokens");
    let reply = server.chat(&"a".repeat(4_096), json!({}));
    assert_error(&reply, 413, "PayloadTooLargeError");
    assert_eq!(reply.header("connection"), Some("close"));
    let tenant = [JSON, ("X-Candela-Tenant", "two words")];
    assert_error(&server.send("POST", CHAT, &tenant, b"{}"), 400, bad);
}

#[test]
fn a_request_whose_logits_are_no_numbers_fails_alone() {
    let server = server::start(|_| {});
    assert_error(&server.chat("#", json!({})), 500, "InternalServerError");
    // A failed prompt fails its whole request, and the server goes on.
    assert_error(
        &server.complete(json!(["a", "#"]), json!({})),
        500,
        "InternalServerError",
    );
    assert_eq!(server.chat("a", json!({"max_tokens": 1})).status, 200);
    let chunks = server.chat("#", json!({"stream": true})).chunks();
    assert_eq!(chunks.last().unwrap()["error"]["code"], 500);
}

#[test]
fn a_full_queue_is_told_at_once_and_takes_all_or_nothing() {
    let server = server::start(|flags| {
        flags.max_num_seqs = candela_flags::MaxSequences::of::<1>();
        flags.max_queued_requests = candela_flags::QueuedRequests::of::<3>();
    });
    server.gate.close();
    let mut first = server.connect();
    let body = json!({"prompt": ["a", "b"], "max_tokens": 1, "stream": true}).to_string();
    first.request("POST", COMPLETIONS, &[JSON], body.as_bytes());
    // With the head, both prompts are submitted; at least one of them waits.
    assert_eq!(first.head().status, 200);
    let reply = server.complete(json!(["a", "b", "c"]), json!({}));
    assert_error(&reply, 503, "ServiceUnavailableError");
    assert_eq!(reply.header("retry-after"), Some("1"));
    // None of the refused ones took the place that was left.
    let mut second = server.connect();
    let body = json!({"prompt": "a", "max_tokens": 1, "stream": true}).to_string();
    second.request("POST", COMPLETIONS, &[JSON], body.as_bytes());
    assert_eq!(second.head().status, 200);
    let error = assert_error(
        &server.complete(json!(["a", "b"]), json!({"n": 2})),
        400,
        "BadRequestError",
    );
    assert_eq!(error["param"], "prompt");
    server.gate.open();
    while first.chunk().is_some() {}
    while second.chunk().is_some() {}
    server::until("the queue is empty", || {
        server.metric("vllm:num_requests_waiting") == 0.0
    });
    assert_eq!(
        server
            .complete(json!(["a", "b", "c"]), json!({"max_tokens": 1}))
            .status,
        200
    );
}

#[test]
fn keys_guard_the_api_alone_and_rotate() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys");
    std::fs::write(&path, "old-key\n").unwrap();
    let server = server::start(|flags| flags.api_key_file = Some(path.clone()));
    let with_key = |key: &str| {
        let bearer = format!("Bearer {key}");
        server
            .send("GET", "/v1/models", &[("Authorization", &bearer)], b"")
            .status
    };
    for open in [
        "/health",
        "/ready",
        "/metrics",
        "/version",
        "/progress",
        "/ping",
    ] {
        assert_eq!(server.get(open).status, 200, "{open}");
    }
    let reply = server.get("/v1/models");
    assert_error(&reply, 401, "AuthenticationError");
    assert_eq!(reply.header("www-authenticate"), Some("Bearer"));
    assert_error(&server.get("/v1/nowhere"), 401, "AuthenticationError");
    assert_eq!((with_key("old-key"), with_key("new-key")), (200, 401));
    std::fs::write(&path, "new-key\nold-key\n").unwrap();
    server::until("both keys", || with_key("new-key") == 200);
    assert_eq!(with_key("old-key"), 200);
    std::fs::write(&path, "new-key\n").unwrap();
    server::until("the new key alone", || with_key("old-key") == 401);
    assert_eq!(with_key("new-key"), 200);
}

#[test]
fn a_body_is_not_read_before_the_key_is_known() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys");
    std::fs::write(&path, "key").unwrap();
    let server = server::start(|flags| flags.api_key_file = Some(path));
    let mut connection = server.connect();
    connection.send(
        b"POST /v1/completions HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n\
          Content-Length: 1000000\r\nExpect: 100-continue\r\n\r\n",
    );
    assert_eq!(connection.reply().status, 401);
}
