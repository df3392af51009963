//! Heads and bodies that lie, and numbers that nobody means: each is a 400, before anything is done.

use std::{
    io::{Read, Write},
    net::TcpStream,
};

use candela_flags::PeerSeconds;
use serde_json::{Value, json};

use crate::{
    client::DEADLINE,
    server::{self, CHAT, COMPLETIONS, JSON, Server, chat_body, with},
};

/// Sends bytes as they are, and returns what comes back until the connection ends.
fn exchange(server: &Server, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(server.address).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    // The server may have answered, and closed, before it has all of it.
    let _ = stream.write_all(bytes);
    let mut reply = Vec::new();
    if let Err(error) = stream.read_to_end(&mut reply) {
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{error}");
    }
    String::from_utf8_lossy(&reply).into_owned()
}

/// Status lines of a reply that may be several.
fn statuses(reply: &str) -> Vec<&str> {
    reply
        .split("HTTP/1.1 ")
        .skip(1)
        .filter_map(|part| part.get(..3))
        .collect()
}

#[test]
fn false_lengths_are_refused_and_nothing_is_smuggled() {
    // What waits for more, waits a second.
    let server = server::start(|flags| {
        flags.connection.timeout_keep_alive = PeerSeconds::of::<1>();
        flags.connection.timeout_body = PeerSeconds::of::<1>();
    });
    let good = json!({"prompt": "a", "max_tokens": 1}).to_string();
    let head = "POST /v1/completions HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n";
    let hidden = "GET /v1/models HTTP/1.1\r\nHost: a\r\n\r\n";
    let (length, longer) = (good.len(), good.len() + 100);
    let cases = [
        (
            "longer than the body",
            format!("{head}Content-Length: {longer}\r\n\r\n{good}"),
        ),
        (
            "shorter than the body",
            format!("{head}Content-Length: 1\r\n\r\n{good}"),
        ),
        (
            "negative",
            format!("{head}Content-Length: -1\r\n\r\n{good}"),
        ),
        (
            "with a sign",
            format!("{head}Content-Length: +{length}\r\n\r\n{good}"),
        ),
        (
            "not a number",
            format!("{head}Content-Length: 0x10\r\n\r\n{good}"),
        ),
        (
            "beyond u64",
            format!("{head}Content-Length: 18446744073709551616\r\n\r\n{good}"),
        ),
        (
            "u64::MAX",
            format!("{head}Content-Length: 18446744073709551615\r\n\r\n{good}"),
        ),
        (
            "two that differ",
            format!("{head}Content-Length: {length}\r\nContent-Length: 1\r\n\r\n{good}"),
        ),
        (
            "a list that differs",
            format!("{head}Content-Length: {length}, 1\r\n\r\n{good}"),
        ),
        (
            "a chunk of no number",
            format!("{head}Transfer-Encoding: chunked\r\n\r\nzz\r\n{good}\r\n0\r\n\r\n"),
        ),
        (
            "a chunk beyond u64",
            format!(
                "{head}Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n{good}\r\n0\r\n\r\n"
            ),
        ),
        (
            "a chunk of u64::MAX",
            format!("{head}Transfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n{good}"),
        ),
        (
            "a chunk cut off",
            format!("{head}Transfer-Encoding: chunked\r\n\r\n{longer:x}\r\n{good}"),
        ),
        (
            "an unknown coding",
            format!("{head}Transfer-Encoding: gzip\r\n\r\n{good}"),
        ),
        (
            "chunked is not last",
            format!("{head}Transfer-Encoding: chunked, gzip\r\n\r\n{good}"),
        ),
    ];
    for (name, bytes) in cases {
        let reply = exchange(&server, bytes.as_bytes());
        let statuses = statuses(&reply);
        assert!(
            statuses
                .iter()
                .all(|status| matches!(*status, "400" | "408" | "413" | "431")),
            "{name}: {reply}"
        );
        assert!(statuses.len() <= 2, "{name}: {reply}");
    }
    // With both, the chunks count and the connection ends, or it is refused: the length hides nothing.
    let both = format!(
        "{head}Content-Length: {}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{hidden}",
        hidden.len() + 5
    );
    let reply = exchange(&server, both.as_bytes());
    assert!(
        !reply.contains("owned_by") || statuses(&reply).len() == 2,
        "{reply}"
    );
    assert!(
        statuses(&reply)
            .first()
            .is_none_or(|status| *status == "400"),
        "{reply}"
    );
    assert_eq!(
        server.complete(json!("a"), json!({"max_tokens": 1})).status,
        200
    );
}

#[test]
fn json_that_is_none_is_a_bad_request_on_every_route() {
    let server = server::start(|_| {});
    let nested = |open: &str, close: &str| [open.repeat(10_000), close.repeat(10_000)].concat();
    let inside = |value: &str| {
        format!(
            r#"{{"prompt":"a","messages":[{{"role":"user","content":"a"}}],"max_tokens":1,"x":{value}}}"#
        )
    };
    let bodies: Vec<Vec<u8>> = [
        inside(&nested("[", "]")),
        inside(&nested(r#"{"a":"#, "}")),
        nested("[", "]"),
        "[".repeat(10_000),
        inside("NaN"),
        inside("Infinity"),
        inside("-Infinity"),
        inside("1e999"),
        inside(r#""\ud800""#),
        inside(r#""\udc00\ud800""#),
        inside(r#""\u12""#),
        inside("\"a\u{0}b\""),
        inside("01"),
        inside("'a'"),
        inside("1,"),
        inside("1 /* no comment */"),
        String::new(),
        "null".to_owned(),
        "\"prompt\"".to_owned(),
        "{}{}".to_owned(),
        "\u{feff}{}".to_owned(),
    ]
    .into_iter()
    .map(String::into_bytes)
    .chain([
        b"{\"prompt\": \"\xff\xfe\"}".to_vec(),
        b"{\"prompt\": \"\xed\xa0\x80\"}".to_vec(),
        b"{\"prompt\": \"\xc0\x80\"}".to_vec(),
        b"{\"\xf8\": 1}".to_vec(),
    ])
    .collect();
    for path in ROUTES {
        for body in &bodies {
            let reply = server.send("POST", path, &[JSON], body);
            let shown: String = String::from_utf8_lossy(body).chars().take(60).collect();
            // A route that is not there for this model says so, with the same care.
            assert!(
                matches!(reply.status, 400 | 404),
                "{path} {shown}: {}",
                reply.text()
            );
            assert_eq!(reply.json()["error"]["code"], reply.status);
        }
    }
    // Of keys that come twice the last counts, as in vLLM.
    let twice = br#"{"prompt": "a", "max_tokens": 3, "max_tokens": 1, "prompt": "x"}"#;
    let reply = server.send("POST", COMPLETIONS, &[JSON], twice);
    assert_eq!(reply.json()["choices"][0]["text"], "y");
}

const ROUTES: [&str; 6] = [
    CHAT,
    COMPLETIONS,
    "/v1/responses",
    "/v1/embeddings",
    "/tokenize",
    "/detokenize",
];

/// Bodies that are good as they are, by route.
fn good_bodies() -> Vec<(&'static str, Value)> {
    vec![
        (CHAT, chat_body("a", json!({"max_tokens": 2}))),
        (COMPLETIONS, json!({"prompt": "a", "max_tokens": 2})),
        (
            "/v1/responses",
            json!({"input": "a", "max_output_tokens": 16}),
        ),
        ("/v1/embeddings", json!({"input": "a"})),
        ("/tokenize", json!({"prompt": "a"})),
        ("/detokenize", json!({"tokens": [97]})),
    ]
}

/// A request with this value in some field.
type WithValue = fn(Value) -> Value;

/// Numeric fields of any route, and lists and maps of numbers with the number in place of `0`.
fn numeric_fields() -> Vec<(&'static str, WithValue)> {
    let plain: fn(Value) -> Value = |number| number;
    let list: fn(Value) -> Value = |number| json!([number]);
    vec![
        ("n", plain),
        ("best_of", plain),
        ("max_tokens", plain),
        ("max_completion_tokens", plain),
        ("max_output_tokens", plain),
        ("min_tokens", plain),
        ("temperature", plain),
        ("top_p", plain),
        ("top_k", plain),
        ("min_p", plain),
        ("presence_penalty", plain),
        ("frequency_penalty", plain),
        ("repetition_penalty", plain),
        ("seed", plain),
        ("logprobs", plain),
        ("top_logprobs", plain),
        ("prompt_logprobs", plain),
        ("priority", plain),
        ("truncate_prompt_tokens", plain),
        ("dimensions", plain),
        ("stop_token_ids", list),
        ("tokens", list),
        ("prompt", list),
        ("input", list),
        ("prompt", |number| json!([[number]])),
        ("logit_bias", |number| json!({"5": number})),
    ]
}

/// Values that a field may well have.
fn is_allowed(path: &str, field: &str, value: &str) -> bool {
    let negative_one = value == "-1";
    match field {
        // 64 bits of either sign.
        "seed" => {
            let bits = i128::from(i64::MIN)..=i128::from(u64::MAX);
            value.parse().is_ok_and(|value: i128| bits.contains(&value))
        }
        // From so many on, all tokens are kept; -1 says the same.
        "top_k" => negative_one || !value.starts_with('-') && value.parse::<i64>().is_ok(),
        // -1 stands for all there are.
        "truncate_prompt_tokens" | "prompt_logprobs" | "logprobs" => negative_one,
        // Any integer orders requests.
        "priority" => !value.contains('e') && value.len() < 20,
        // As OpenAI: from -2 to 2, and -100 to 100 for a bias.
        "presence_penalty" | "frequency_penalty" | "logit_bias" => negative_one,
        // A text route may ignore what only another knows, and has no such field.
        _ => !has_field(path, field),
    }
}

/// Fields that mean something on a route; elsewhere they are unknown and ignored.
fn has_field(path: &str, field: &str) -> bool {
    match field {
        "max_completion_tokens" | "top_logprobs" => path == CHAT,
        "best_of" | "logprobs" | "prompt" => path == COMPLETIONS,
        "truncate_prompt_tokens" | "tokens" | "dimensions" | "input" | "max_output_tokens" => false,
        _ => true,
    }
}

const U64_MAX: &str = "18446744073709551615";

#[test]
fn every_number_beyond_its_range_is_refused_on_every_route() {
    let server = server::start(|_| {});
    let hostile = [
        U64_MAX,
        "18446744073709551616",
        "9223372036854775807",
        "9223372036854775808",
        "-9223372036854775808",
        "-9223372036854775809",
        "2147483648",
        "4294967296",
        "-1",
        "1e308",
        "-1e308",
    ];
    for (path, good) in good_bodies() {
        for (field, shape) in numeric_fields() {
            for value in hostile {
                let text =
                    with(good.clone(), json!({ field: shape(json!("HOSTILE")) })).to_string();
                let text = text.replace("\"HOSTILE\"", value);
                let reply = server.send("POST", path, &[JSON], text.as_bytes());
                assert!(reply.status < 500, "{path} {text}: {}", reply.text());
                let generates = path == CHAT || path == COMPLETIONS;
                if generates && has_field(path, field) && !is_allowed(path, field, value) {
                    assert_eq!(reply.status, 400, "{path} {text}: {}", reply.text());
                    let message = reply.json()["error"]["message"]
                        .as_str()
                        .unwrap()
                        .to_owned();
                    assert!(message.contains(field), "{path} {text}: {message}");
                }
            }
        }
    }
}

#[test]
fn one_beyond_each_limit_is_refused_and_the_limit_itself_is_not() {
    use candela_engine::request::limits::{
        ANSWERS_MAX, CACHE_SALT_BYTES_MAX, STOP_STRING_BYTES_MAX, STOP_STRINGS_MAX,
        STOP_TOKEN_IDS_MAX, TEMPERATURE_MAX, USER_BYTES_MAX,
    };
    let server = server::start(|_| {});
    let context = crate::fake_model::MAX_MODEL_LEN;
    let vocab = crate::fake_model::VOCAB_SIZE;
    let text = |bytes: usize| json!("x".repeat(bytes));
    let cases = [
        ("n", json!(ANSWERS_MAX), json!(ANSWERS_MAX + 1)),
        ("max_tokens", json!(context - 1), json!(context)),
        ("min_tokens", json!(1), json!(2)),
        (
            "temperature",
            json!(TEMPERATURE_MAX),
            json!(TEMPERATURE_MAX + 0.001),
        ),
        ("temperature", json!(0), json!(-0.001)),
        ("top_p", json!(1.0), json!(1.000_001)),
        ("top_p", json!(1e-300), json!(0)),
        ("top_k", json!(-1), json!(-2)),
        (
            "stop",
            json!(vec!["q"; STOP_STRINGS_MAX]),
            json!(vec!["q"; STOP_STRINGS_MAX + 1]),
        ),
        (
            "stop",
            text(STOP_STRING_BYTES_MAX),
            text(STOP_STRING_BYTES_MAX + 1),
        ),
        (
            "stop_token_ids",
            json!(vec![1; STOP_TOKEN_IDS_MAX]),
            json!(vec![1; STOP_TOKEN_IDS_MAX + 1]),
        ),
        ("stop_token_ids", json!([vocab - 1]), json!([vocab])),
        ("prompt", json!([vocab - 1]), json!([vocab])),
        ("user", text(USER_BYTES_MAX), text(USER_BYTES_MAX + 1)),
        (
            "cache_salt",
            text(CACHE_SALT_BYTES_MAX),
            text(CACHE_SALT_BYTES_MAX + 1),
        ),
        ("seed", json!(u64::MAX), json!(-9.3e18)),
    ];
    for (field, good, bad) in cases {
        let body = |value: Value| {
            with(
                json!({"prompt": "a", "max_tokens": 1}),
                json!({ field: value }),
            )
        };
        let reply = server.post(COMPLETIONS, &body(good));
        assert_eq!(reply.status, 200, "{field}: {}", reply.text());
        let reply = server.post(COMPLETIONS, &body(bad));
        assert_eq!(reply.status, 400, "{field}: {}", reply.text());
        assert_eq!(
            reply.json()["error"]["param"]
                .as_str()
                .map(|p| p.starts_with(field)),
            Some(true),
            "{}",
            reply.text()
        );
    }
}

#[test]
fn a_hostile_request_id_is_replaced_and_never_echoed() {
    let server = server::start(|_| {});
    let long = "a".repeat(129);
    let huge = "b".repeat(60_000);
    let hostile: [&[u8]; 10] = [
        b"",
        b"two words",
        b"semi;colon",
        b"\"quoted\"",
        b"../../etc/passwd",
        b"{\"json\":1}",
        "caf\u{e9}".as_bytes(),
        b"\xff\xfe",
        long.as_bytes(),
        huge.as_bytes(),
    ];
    for id in hostile {
        let head = b"GET /health HTTP/1.1\r\nHost: a\r\nConnection: close\r\nX-Request-Id: ";
        let head = [&head[..], id, b"\r\n\r\n"].concat();
        let reply = exchange(&server, &head);
        assert_eq!(statuses(&reply), ["200"], "{reply}");
        let ours = reply
            .lines()
            .find_map(|line| line.strip_prefix("x-request-id: "))
            .unwrap();
        assert!(
            ours.len() == 32 && ours.bytes().all(|b| b.is_ascii_hexdigit()),
            "{ours}"
        );
    }
    // What ends a header's line cannot be part of it; what is no text is no request.
    for id in ["a\r\nSet-Cookie: b", "a\0b", "a\x1b[2Jb"] {
        let head = format!(
            "GET /health HTTP/1.1\r\nHost: a\r\nConnection: close\r\nX-Request-Id: {id}\r\n\r\n"
        );
        let reply = exchange(&server, head.as_bytes());
        assert!(
            !reply.contains("Set-Cookie") && !reply.contains('\x1b'),
            "{reply}"
        );
        assert!(matches!(statuses(&reply)[..], ["200"] | ["400"]), "{reply}");
    }
    let reply = server.send("GET", "/health", &[("X-Request-Id", "good_id-1.2")], b"");
    assert_eq!(reply.header("x-request-id"), Some("good_id-1.2"));
}

#[test]
fn the_trace_of_a_request_is_in_the_usage_log_and_a_hostile_one_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("usage.jsonl");
    let server = server::start(|flags| flags.usage_log = Some(path.clone()));
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let good = format!("00-{trace}-00f067aa0ba902b7-01");
    let bad = format!("00-{}-00f067aa0ba902b7-01", "0".repeat(32));
    let long = "f".repeat(50_000);
    let body = json!({"prompt": "a", "max_tokens": 1}).to_string();
    for traceparent in [&good, &bad, &long] {
        let headers = [JSON, ("traceparent", traceparent.as_str())];
        let reply = server.send("POST", COMPLETIONS, &headers, body.as_bytes());
        assert_eq!(reply.status, 200);
    }
    let lines = || -> Vec<Value> {
        let text = std::fs::read_to_string(&path).unwrap();
        text.lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect()
    };
    server::until("three lines", || lines().len() == 3);
    let traces: Vec<Value> = lines()
        .iter()
        .map(|line| line["trace_id"].clone())
        .collect();
    assert_eq!(traces, [json!(trace), Value::Null, Value::Null]);
}

#[test]
fn a_panic_in_the_forward_pass_fails_its_own_request_only() {
    let server = server::start(|_| {});
    server.gate.close();
    let mut good = server.connect();
    let body = json!({"prompt": "abc", "max_tokens": 5}).to_string();
    good.request("POST", COMPLETIONS, &[JSON], body.as_bytes());
    let mut bad = server.connect();
    let body = json!({"prompt": ["a%b", "c"], "max_tokens": 5}).to_string();
    bad.request("POST", COMPLETIONS, &[JSON], body.as_bytes());
    server::until("both wait", || {
        server.metric("vllm:request_params_n_count") >= 1.0
    });
    server.gate.open();
    let reply = bad.reply();
    assert_eq!(reply.status, 500, "{}", reply.text());
    assert_eq!(reply.json()["error"]["type"], "InternalServerError");
    assert_eq!(good.reply().json()["choices"][0]["text"], "defgh");
    for _ in 0..3 {
        let chunks = server
            .complete(json!("%"), json!({"stream": true}))
            .chunks();
        assert_eq!(chunks.last().unwrap()["error"]["code"], 500);
    }
    assert_eq!(server.get("/health").status, 200);
    let reply = server.complete(json!("x"), json!({"max_tokens": 1}));
    assert_eq!(reply.json()["choices"][0]["text"], "y");
}
