//! Bodies and heads that no client should send.

use serde_json::json;

use crate::server::{self, CHAT, COMPLETIONS, JSON};

#[test]
fn malformed_bodies_are_bad_requests() {
    let server = server::start(|_| {});
    let deep = "[".repeat(10_000);
    let bodies: [&[u8]; 9] = [
        b"null",
        b"\xff\xfe",
        b"{\"prompt\": \"\\ud800\"}",
        b"{\"prompt\": NaN}",
        b"{\"prompt\": \"a\", \"temperature\": 1e999}",
        b"{\"prompt\": \"a\", \"max_tokens\": 18446744073709551616}",
        b"{\"prompt\": \"a\", \"n\": 18446744073709551615}",
        b"{\"prompt\": [1e3]}",
        deep.as_bytes(),
    ];
    for body in bodies {
        let reply = server.send("POST", COMPLETIONS, &[JSON], body);
        assert_eq!(
            (reply.status, reply.json()["error"]["code"].clone()),
            (400, json!(400))
        );
    }
    let nul = server.complete(json!("a\u{0}a"), json!({"max_tokens": 1}));
    assert_eq!(nul.json()["choices"][0]["text"], "b");
}

#[test]
fn a_body_without_end_is_cut_at_the_limit() {
    let server = server::start(|flags| {
        flags.max_body_bytes = candela_flags::MaxBodyBytes::of::<65_536>();
    });
    let mut connection = server.connect();
    let head = format!(
        "POST {CHAT} HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n\
         Transfer-Encoding: chunked\r\n\r\n"
    );
    connection.send(head.as_bytes());
    let chunk = format!("1000\r\n{}\r\n", " ".repeat(0x1000));
    for _ in 0..17 {
        connection.send(chunk.as_bytes());
    }
    assert_eq!(connection.reply().status, 413);
}

#[test]
fn a_head_that_is_too_large_is_refused() {
    let server = server::start(|_| {});
    let mut connection = server.connect();
    let head = format!(
        "GET /health HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n",
        "a".repeat(100_000)
    );
    connection.send(head.as_bytes());
    let reply = connection.reply();
    assert_eq!(
        (reply.status, &reply.json()["error"]["code"]),
        (431, &json!(431))
    );
    assert_eq!(server.get("/health").status, 200);
}

#[test]
fn a_long_prompt_is_refused_without_being_tokenized() {
    let server = server::start(|_| {});
    let reply = server.chat(&"a ".repeat(1_000_000), json!({}));
    assert_eq!(reply.status, 400);
    let message = reply.json()["error"]["message"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(
        message.contains("at least") && message.contains("256 tokens"),
        "{message}"
    );
}

#[test]
fn one_connection_serves_many_requests() {
    let server = server::start(|_| {});
    let mut connection = server.connect();
    for prompt in ["a", "b", "#", "c"] {
        let body = json!({"prompt": prompt, "max_tokens": 1}).to_string();
        connection.request("POST", COMPLETIONS, &[JSON], body.as_bytes());
        assert_eq!(
            connection.reply().status,
            if prompt == "#" { 500 } else { 200 }
        );
    }
}
