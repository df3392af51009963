//! Loading, hang-ups, draining, and the engine's death.

use candela_flags::DrainSeconds;
use serde_json::{Value, json};

use crate::server::{self, CHAT, COMPLETIONS, JSON, Server, chat_body, until};

#[test]
fn while_the_model_loads_the_server_is_healthy_and_not_ready() {
    let server = server::start_loading(|_| {});
    assert_eq!(server.get("/health").status, 200);
    assert_eq!(server.get("/ready").status, 503);
    assert_eq!(server.get("/progress").json()["phase"], "loading");
    let reply = server.chat("a", json!({}));
    assert_eq!(reply.status, 503);
    assert!(
        reply.json()["error"]["message"]
            .as_str()
            .unwrap()
            .contains("loading")
    );
    assert_eq!(server.get("/metrics").status, 200);
    server.load_gate.open();
    until("ready", || server.get("/ready").status == 200);
    assert_eq!(server.get("/progress").json()["phase"], "ready");
    assert_eq!(
        server.get("/version").json()["version"],
        env!("CARGO_PKG_VERSION")
    );
}

#[test]
fn a_server_that_is_told_to_stop_while_loading_ends_at_once() {
    let server = server::start_loading(|_| {});
    server.signals.try_send(()).unwrap();
    until("the end", || server.is_over());
    server.load_gate.open();
    server.outcome().unwrap();
}

/// Sends a request and does not read the answer.
fn open(server: &Server, path: &str, body: &Value) -> crate::client::Connection {
    let mut connection = server.connect();
    connection.request("POST", path, &[JSON], body.to_string().as_bytes());
    connection
}

#[test]
fn a_client_that_hangs_up_frees_its_blocks() {
    let server = server::start(|flags| {
        flags.max_num_seqs = candela_flags::MaxSequences::of::<4>();
    });
    let aborted =
        r#"vllm:request_success_total{engine="0",finished_reason="abort",model_name="fake"}"#;
    // Hanging up in the queue, before a token, and between tokens, streamed and not.
    for (i, stream) in [false, true, true].into_iter().enumerate() {
        server.gate.close();
        let body = chat_body("a", json!({"stream": stream, "n": 3}));
        let mut connection = open(&server, CHAT, &body);
        if stream {
            assert_eq!(connection.head().status, 200);
        } else {
            until("it runs", || {
                server.metric("vllm:request_params_n_count") >= 1.0
            });
        }
        if i == 2 {
            server.gate.let_one_pass();
            connection.chunk();
        }
        drop(connection);
        // Steps go on, slowly, until the server has seen that nobody listens.
        let done = 3.0 * (i + 1) as f64;
        until("all aborted", || {
            server.gate.let_one_pass();
            server.metric(aborted) == done
        });
        assert_eq!(server.metric("vllm:kv_cache_usage_perc"), 0.0);
        assert_eq!(server.metric("vllm:num_requests_waiting"), 0.0);
        server.gate.open();
    }
}

#[test]
fn draining_serves_late_requests_then_refuses_then_ends() {
    let server = server::start(|flags| {
        flags.drain_grace = DrainSeconds::of::<2>();
    });
    server.gate.close();
    let mut running = open(
        &server,
        CHAT,
        &chat_body("a", json!({"stream": true, "max_tokens": 2})),
    );
    assert_eq!(running.head().status, 200);
    let mut late = server.connect();
    late.request("GET", "/v1/models", &[], b"");
    assert_eq!(late.reply().header("connection"), None);
    server.signals.try_send(()).unwrap();
    until("not ready", || server.get("/ready").status == 503);
    assert_eq!(server.get("/health").status, 503);
    late.request("GET", "/v1/models", &[], b"");
    let reply = late.reply();
    assert_eq!(
        (reply.status, reply.header("connection")),
        (200, Some("close"))
    );
    until("refusing", || server.get("/v1/models").status == 503);
    let reply = server.chat("a", json!({}));
    assert_eq!(
        (reply.status, reply.header("connection")),
        (503, Some("close"))
    );
    assert!(!server.is_over());
    server.gate.open();
    let mut text = Vec::new();
    while let Some(chunk) = running.chunk() {
        text.extend(chunk);
    }
    let text = String::from_utf8(text).unwrap();
    assert!(
        text.contains(r#""finish_reason":"length""#) && text.ends_with("[DONE]\n\n"),
        "{text}"
    );
    server.outcome().unwrap();
}

#[test]
fn idle_connections_are_closed_rather_than_refused() {
    let server = server::start(|flags| {
        flags.drain_grace = DrainSeconds::of::<1>();
    });
    server.gate.close();
    let mut running = open(
        &server,
        CHAT,
        &chat_body("a", json!({"stream": true, "max_tokens": 2})),
    );
    assert_eq!(running.head().status, 200);
    let mut idle = server.connect();
    idle.request("GET", "/v1/models", &[], b"");
    assert_eq!(idle.reply().status, 200);
    server.signals.try_send(()).unwrap();
    assert_eq!(idle.line(), "", "it is closed without a word");
    assert_eq!(server.get("/v1/models").status, 503);
    server.gate.open();
    while running.chunk().is_some() {}
    server.outcome().unwrap();
}

#[test]
fn the_shutdown_timeout_and_a_second_signal_abort_what_is_left() {
    for second_signal in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("usage.jsonl");
        let server = server::start(|flags| {
            flags.drain_grace = DrainSeconds::of::<0>();
            flags.shutdown_timeout = if second_signal {
                DrainSeconds::of::<600>()
            } else {
                DrainSeconds::of::<1>()
            };
            flags.usage_log = Some(path.clone());
        });
        server.gate.close();
        let body = chat_body("a", json!({"stream": true}));
        let mut running = open(&server, CHAT, &body);
        assert_eq!(running.head().status, 200);
        server.signals.try_send(()).unwrap();
        until("refusing", || server.get("/v1/models").status == 503);
        if second_signal {
            server.signals.try_send(()).unwrap();
        }
        let reader = std::thread::spawn(move || {
            let mut text = String::new();
            while let Some(chunk) = running.chunk() {
                text += &String::from_utf8(chunk).unwrap();
            }
            text
        });
        // Steps go on, slowly, until the engine is told to stop between two of them.
        until("the stream's end", || {
            server.gate.let_one_pass();
            reader.is_finished()
        });
        let text = reader.join().unwrap();
        assert!(
            text.contains("shutting down") && text.ends_with("[DONE]\n\n"),
            "{text}"
        );
        server.outcome().unwrap();
        let log = std::fs::read_to_string(&path).unwrap();
        assert!(log.contains(r#""finish_reason":"abort""#), "{log}");
    }
}

#[test]
fn a_stream_that_stalls_until_the_end_is_in_the_usage_log() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("usage.jsonl");
    let server = server::start(|flags| {
        flags.drain_grace = DrainSeconds::of::<0>();
        flags.usage_log = Some(path.clone());
    });
    // Far more than the sockets between the two hold, and nobody reads it.
    let many = json!({"stream": true, "n": 128, "max_tokens": 250});
    let large = json!({"logprobs": true, "top_logprobs": 20});
    let body = chat_body("a", server::with(many, large));
    let stalled = open(&server, CHAT, &body);
    until("all of it is generated", || {
        server.metric("vllm:generation_tokens_total") >= 128.0 * 250.0
    });
    for _ in 0..2 {
        server.signals.try_send(()).unwrap();
    }
    server.outcome().unwrap();
    let log = std::fs::read_to_string(&path).unwrap();
    assert_eq!(log.lines().count(), 1, "{log}");
    drop(stalled);
}

#[test]
fn an_engine_that_dies_takes_the_server_with_it() {
    let server = server::start(|_| {});
    let reply = server.complete(json!("$"), json!({}));
    assert_eq!(reply.status, 500);
    assert!(!reply.text().contains("secret"), "{}", reply.text());
    assert_eq!(server.get("/health").status, 503);
    assert_eq!(
        server.post(COMPLETIONS, &json!({"prompt": "a"})).status,
        503
    );
    assert!(
        server
            .outcome()
            .unwrap_err()
            .to_string()
            .contains("engine failed")
    );
}
