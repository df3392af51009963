//! The four ways of reporting what a request cost: headers, body, Prometheus, usage log.

use candela_flags::{EngineFlags, MaxSequences, PerRequestMetrics};
use serde_json::{Value, json};

use crate::server::{self, CHAT, JSON, Server, until};

const HEADERS: [&str; 10] = [
    "x-vllm-total-time",
    "x-vllm-queue-time",
    "x-vllm-inference-time",
    "x-vllm-prefill-time",
    "x-vllm-decode-time",
    "x-vllm-prompt-tokens",
    "x-vllm-completion-tokens",
    "x-vllm-cached-tokens",
    "x-vllm-time-per-output-token",
    "x-candela-compute-time",
];

#[test]
fn headers_are_on_plain_answers_alone_and_in_order() {
    let server = server::start(|flags| flags.enable_request_stats_headers = true);
    let few = json!({"max_tokens": 4});
    for reply in [
        server.chat("abc", few.clone()),
        server.complete(json!("abc"), few.clone()),
    ] {
        assert_eq!(reply.stats_headers(), HEADERS);
        assert_eq!(reply.header("x-vllm-prompt-tokens"), Some("3"));
        assert_eq!(reply.header("x-vllm-completion-tokens"), Some("4"));
        let ms = |name| {
            let value = reply.header(name).unwrap();
            assert_eq!(
                value.split('.').nth(1).map(str::len),
                Some(2),
                "{name}: {value}"
            );
            value.parse::<f64>().unwrap()
        };
        let inference = ms("x-vllm-inference-time");
        assert!((ms("x-vllm-prefill-time") + ms("x-vllm-decode-time") - inference).abs() < 0.02);
        assert!(ms("x-vllm-queue-time") + inference <= ms("x-vllm-total-time") + 0.02);
        assert!(ms("x-candela-compute-time") <= inference + 0.02);
        assert!(reply.json().get("metrics").is_none());
    }
    let streamed = server.chat("a", json!({"max_tokens": 1, "stream": true}));
    let several = server.complete(json!(["a", "b"]), few);
    let listed = server.complete(json!(["a"]), json!({"max_tokens": 1}));
    assert!(streamed.stats_headers().is_empty() && several.stats_headers().is_empty());
    assert_eq!(listed.stats_headers(), HEADERS);
    assert!(server.get("/v1/models").stats_headers().is_empty());
}

#[test]
fn streams_end_with_trailers_for_clients_that_read_them() {
    let server = server::start(|flags| flags.enable_request_stats_headers = true);
    let stream = |content: &str, headers: &[(&str, &str)]| {
        let body = server::chat_body(content, json!({"max_tokens": 4, "stream": true})).to_string();
        let mut connection = server.connect();
        connection.request("POST", CHAT, &[&[JSON], headers].concat(), body.as_bytes());
        connection.reply()
    };
    // Names of codings are the same in capitals.
    let takes_trailers = [("TE", "gzip, Trailers"), ("Connection", "TE")];
    let reply = stream("abc", &takes_trailers);
    assert_eq!(reply.header("trailer"), Some(HEADERS.join(", ").as_str()));
    assert!(reply.text().ends_with("data: [DONE]\n\n"));
    assert!(reply.stats_headers().is_empty());
    let names: Vec<&str> = reply
        .trailers
        .iter()
        .map(|(name, _)| name.as_str())
        .collect();
    assert_eq!(names, HEADERS);
    assert_eq!(reply.trailers[6].1, "4");
    let failed = stream("#", &takes_trailers);
    assert!(failed.text().contains("\"code\":500"), "{}", failed.text());
    assert!(failed.trailers.is_empty());
    let reply = stream("abc", &[]);
    assert_eq!(reply.header("trailer"), None);
    assert!(reply.trailers.is_empty());
}

#[test]
fn headers_of_several_answers_are_the_whole_requests() {
    let server = server::start(|flags| flags.enable_request_stats_headers = true);
    let reply = server.chat("abc", json!({"max_tokens": 4, "n": 3}));
    assert_eq!(reply.header("x-vllm-prompt-tokens"), Some("3"));
    assert_eq!(reply.header("x-vllm-completion-tokens"), Some("12"));
    assert_eq!(reply.json()["usage"]["completion_tokens"], 12);
}

#[test]
fn without_the_flags_nothing_is_reported() {
    let server = server::start(|_| {});
    let reply = server.chat("a", json!({"max_tokens": 1, "include_metrics": true}));
    assert!(reply.stats_headers().is_empty());
    assert!(reply.json().get("metrics").is_none());
    let quiet = server::start(|flags| flags.disable_log_stats = true);
    let reply = quiet
        .chat("a", json!({"max_tokens": 2, "include_metrics": true}))
        .json();
    assert_eq!(reply["usage"]["completion_tokens"], 2);
    let text = String::from_utf8(quiet.get("/metrics").body).unwrap();
    assert!(
        text.contains("vllm:num_requests_running") && !text.contains("_total"),
        "{text}"
    );
}

#[test]
fn body_metrics_need_both_gates() {
    let members = [
        "time_to_first_token_ms",
        "queue_time_ms",
        "generation_time_ms",
        "mean_itl_ms",
        "tokens_per_second",
        "prefill_time_ms",
        "inference_time_ms",
        "total_time_ms",
        "compute_time_ms",
        "cached_tokens",
    ];
    let server = server::start(|flags| {
        flags.enable_per_request_metrics = Some(PerRequestMetrics::OnRequest);
    });
    let asked = json!({"max_tokens": 3, "include_metrics": true});
    for body in [
        server.chat("a", asked.clone()).json(),
        server.complete(json!("a"), asked.clone()).json(),
        server
            .chat("a", server::with(asked.clone(), json!({"n": 2})))
            .json(),
    ] {
        let metrics = body["metrics"].as_object().unwrap();
        assert_eq!(metrics.keys().collect::<Vec<_>>(), members);
        assert!(metrics.values().all(Value::is_number), "{body}");
    }
    assert!(
        server
            .chat("a", json!({"max_tokens": 3}))
            .json()
            .get("metrics")
            .is_none()
    );
    assert!(
        server
            .complete(json!(["a", "b"]), asked)
            .json()
            .get("metrics")
            .is_none()
    );
    let one = server
        .chat("a", json!({"max_tokens": 1, "include_metrics": true}))
        .json();
    assert!(one["metrics"]["mean_itl_ms"].is_null());
    let always = server::start(|flags| {
        flags.enable_per_request_metrics = Some(PerRequestMetrics::Always);
    });
    assert!(always.chat("a", json!({"max_tokens": 3})).json()["metrics"].is_object());
}

#[test]
fn streams_carry_metrics_on_their_last_chunk() {
    let server = server::start(|flags| {
        flags.enable_per_request_metrics = Some(PerRequestMetrics::OnRequest);
        flags.enable_request_stats_headers = true;
    });
    let asked = json!({"max_tokens": 3, "stream": true, "include_metrics": true});
    let usage = json!({"stream_options": {"include_usage": true}});
    for more in [
        asked.clone(),
        server::with(asked.clone(), json!({"n": 3})),
        server::with(asked.clone(), usage),
    ] {
        for reply in [
            server.chat("a", more.clone()),
            server.complete(json!("a"), more.clone()),
        ] {
            let chunks = reply.chunks();
            let (last, others) = chunks.split_last().unwrap();
            assert!(last["metrics"]["compute_time_ms"].is_number(), "{last}");
            assert!(others.iter().all(|chunk| chunk.get("metrics").is_none()));
            assert!(reply.stats_headers().is_empty());
        }
    }
    let one = server.chat(
        "a",
        json!({"max_tokens": 1, "stream": true, "include_metrics": true}),
    );
    assert!(
        one.chunks().last().unwrap()["metrics"]
            .get("mean_itl_ms")
            .is_none()
    );
    let several = server.complete(json!(["a", "b"]), asked);
    assert!(
        several
            .chunks()
            .iter()
            .all(|chunk| chunk.get("metrics").is_none())
    );
}

#[test]
fn counters_hold_what_answers_said() {
    let server = server::start(|_| {});
    server.chat("abc", json!({"max_tokens": 4, "n": 2}));
    server.chat("!", json!({}));
    assert_eq!(server.metric("vllm:prompt_tokens_total"), 4.0);
    assert_eq!(server.metric("vllm:generation_tokens_total"), 9.0);
    let requests = server.metric("candela:request_compute_seconds_total");
    let busy = server.metric("candela:engine_busy_seconds_total");
    assert!(
        busy > 0.0 && (requests - busy).abs() <= busy * 1e-3,
        "{requests} {busy}"
    );
}

#[test]
fn the_usage_log_has_the_status_that_the_client_was_told() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("usage.jsonl");
    let log = |flags: &mut EngineFlags| flags.usage_log = Some(path.clone());
    let statuses = |server: Server| -> Vec<u64> {
        // Its end writes what is left.
        drop(server);
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
        lines
            .map(|line: Value| line["status"].as_u64().unwrap())
            .collect()
    };
    let server = server::start(log);
    let more = json!({"max_tokens": 200, "n": 2});
    assert_eq!(server.complete(json!(["a", "#"]), more).status, 500);
    assert_eq!(statuses(server), [500, 500]);
    // One by one, so that some may be cancelled for the failure of the first; those have its status.
    let server = server::start_pooling(|flags| {
        log(flags);
        flags.max_num_seqs = MaxSequences::of::<1>();
    });
    let inputs = [vec!["#"], vec!["a"; 200]].concat();
    let reply = server.post("/v1/embeddings", &json!({"input": inputs}));
    assert_eq!(reply.status, 500);
    let logged = statuses(server);
    assert_eq!(logged.len(), inputs.len());
    assert!(logged.iter().all(|status| [200, 500].contains(status)));
    assert!(logged.contains(&500));
}

#[test]
fn the_usage_log_has_a_line_per_finished_request() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("usage.jsonl");
    let server = server::start(|flags| flags.usage_log = Some(path.clone()));
    let body =
        server::chat_body("abc", json!({"max_tokens": 2, "n": 2, "user": "ada"})).to_string();
    let headers = [
        JSON,
        ("X-Candela-Tenant", "team-7"),
        ("X-Request-Id", "first"),
    ];
    server.send("POST", CHAT, &headers, body.as_bytes());
    server.complete(json!(["a", "bc"]), json!({"max_tokens": 1, "stream": true}));
    server.chat("a", json!({"n": 0}));
    let lines = || -> Vec<Value> {
        let text = std::fs::read_to_string(&path).unwrap();
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    };
    until("three lines", || lines().len() >= 3);
    let lines = lines();
    assert_eq!(lines.len(), 3);
    let first = &lines[0];
    for (member, value) in [
        ("request_id", json!("first")),
        ("model", json!("fake")),
        ("finish_reason", json!("length")),
        ("status", json!(200)),
        ("user", json!("ada")),
        ("tenant", json!("team-7")),
        ("prompt_tokens", json!(3)),
        ("completion_tokens", json!(4)),
    ] {
        assert_eq!(first[member], value, "{first}");
    }
    assert!(first["compute_time_seconds"].as_f64().unwrap() > 0.0);
    let page = include_str!("../../../docs/reference/http.md");
    let (_, described) = page.split_once("## The usage log").unwrap();
    for member in first.as_object().unwrap().keys() {
        assert!(described.contains(&format!("| `{member}` |")), "{member}");
    }
    let prompts: Vec<_> = lines[1..]
        .iter()
        .map(|line| line["prompt_index"].as_u64())
        .collect();
    assert!(
        prompts.contains(&Some(0)) && prompts.contains(&Some(1)),
        "{prompts:?}"
    );
}
