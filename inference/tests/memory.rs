//! What checking a request may cost in memory, whatever the request says. A program of its own, so that
//! its peak is that of the one test in it.

use std::fs;

use candela_engine::request::{
    ModelFacts, RequestError, SamplingDefaults, check_chat, check_completion, limits,
};

const MIB: usize = 1 << 20;

fn facts() -> ModelFacts {
    ModelFacts {
        served_names: vec!["m".to_owned()],
        max_model_len: 4_096,
        vocab_size: 32_000,
        max_queued_sequences: 1_024,
        defaults: SamplingDefaults::default(),
        embeddings: None,
    }
}

fn status(field: &str) -> usize {
    let status = fs::read_to_string("/proc/self/status").expect("this test runs on Linux");
    let line = status.lines().find_map(|line| line.strip_prefix(field));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<usize>().ok());
    kib.expect("a number of kB") * 1024
}

/// Bytes by which the process grew at most during `work`.
fn peak_bytes(work: impl FnOnce()) -> usize {
    // 5: forget the peak so far.
    fs::write("/proc/self/clear_refs", "5").expect("this process may");
    let before = status("VmRSS:");
    work();
    status("VmHWM:").saturating_sub(before)
}

fn check_all(body: &[u8]) -> [Option<RequestError>; 2] {
    let facts = facts();
    [
        check_chat(body, &facts).err(),
        check_completion(body, &facts).err(),
    ]
}

fn numbers() -> impl Iterator<Item = String> {
    const FIELDS: [&str; 14] = [
        "n",
        "max_tokens",
        "min_tokens",
        "top_k",
        "top_logprobs",
        "logprobs",
        "prompt_logprobs",
        "best_of",
        "max_completion_tokens",
        "temperature",
        "seed",
        "priority",
        "truncate_prompt_tokens",
        "stop_token_ids",
    ];
    const VALUES: [&str; 7] = [
        "18446744073709551615",
        "9223372036854775807",
        "4294967296",
        "2147483648",
        "-1",
        "1e308",
        "[18446744073709551615]",
    ];
    let body = |field, value| {
        format!(
            r#"{{"prompt":"a","messages":[{{"role":"user","content":"a"}}],"{field}":{value}}}"#
        )
    };
    FIELDS
        .into_iter()
        .flat_map(move |field| VALUES.map(|value| body(field, value)))
}

#[test]
fn small_bodies_and_bombs_take_little_memory() {
    // What is set up once, once.
    check_all(br#"{"prompt":"a","messages":[{"role":"user","content":"a"}]}"#);
    let bodies: Vec<String> = numbers().collect();
    let grown = peak_bytes(|| {
        for body in &bodies {
            check_all(body.as_bytes());
        }
    });
    assert!(grown < 4 * MIB, "numbers: {grown} bytes");
    // As large as a body may be by default, of as many values as fit: refused by their number.
    for (open, value, close) in [
        (r#"{"prompt":["#, "0,", "0]}"),
        (r#"{"prompt":["#, "[],", "[]]}"),
        (r#"{"prompt":["#, r#"{"":{}},"#, "{}]}"),
        (r#"{"a":0"#, r#","":0"#, "}"),
    ] {
        let times = (32 * MIB - 100) / value.len();
        let body = [open, &value.repeat(times), close].concat();
        let grown = peak_bytes(|| {
            for refused in check_all(body.as_bytes()) {
                let message = refused.expect("it is refused").message;
                assert!(message.contains("JSON values"), "{message}");
            }
        });
        assert!(grown < 4 * MIB, "{value}: {grown} bytes");
    }
    // As many values as may be.
    let list = "0,".repeat(limits::JSON_VALUES_MAX - 10);
    let body = format!(r#"{{"messages":[{list}0]}}"#);
    let grown = peak_bytes(|| drop(check_all(body.as_bytes())));
    assert!(grown < 256 * MIB, "as many values as may be: {grown} bytes");
}
