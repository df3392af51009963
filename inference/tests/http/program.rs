//! The program itself with the demo model: flags, exit codes, signals, and a chat.

use std::{
    io::{BufRead, BufReader, Read},
    net::SocketAddr,
    process::{Child, ChildStderr, Command, ExitStatus, Output, Stdio},
};

use serde_json::json;

use crate::{
    client::Connection,
    server::{CHAT, JSON, chat_body, until},
};

const ENGINE: &str = env!("CARGO_BIN_EXE_candela-engine");

/// A running engine; killed when dropped.
pub(crate) struct Program {
    pub(crate) child: Child,
    stderr: BufReader<ChildStderr>,
    pub(crate) address: SocketAddr,
}

impl Program {
    /// Starts it on a free port, and waits until the model is loaded.
    pub(crate) fn start(flags: &[&str]) -> Self {
        let mut child = Command::new(ENGINE)
            .args(["--model=builtin://demo", "--served-model-name=demo"])
            .args(["--host=127.0.0.1", "--port=0", "--log-format=json"])
            .args(flags)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        let mut first = String::new();
        stderr.read_line(&mut first).unwrap();
        let line: serde_json::Value = serde_json::from_str(&first).unwrap();
        let address = line["fields"]["address"].as_str().unwrap().parse().unwrap();
        let program = Self {
            child,
            stderr,
            address,
        };
        until("ready", || program.status("GET", "/ready") == 200);
        program
    }

    fn status(&self, method: &str, path: &str) -> u16 {
        let mut connection = Connection::open(self.address);
        connection.request(method, path, &[], b"");
        connection.reply().status
    }

    pub(crate) fn terminate(&self) {
        let pid = self.child.id().to_string();
        assert!(
            Command::new("kill")
                .args(["-TERM", &pid])
                .status()
                .unwrap()
                .success()
        );
    }

    /// How it ended, and what else it logged.
    pub(crate) fn end(mut self) -> (ExitStatus, String) {
        let mut log = String::new();
        self.stderr.read_to_string(&mut log).unwrap();
        (self.child.wait().unwrap(), log)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It has ended already, or it is to.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn run(flags: &[&str]) -> (Option<i32>, String) {
    let Output { status, stderr, .. } = Command::new(ENGINE).args(flags).output().unwrap();
    (status.code(), String::from_utf8(stderr).unwrap())
}

#[test]
fn the_demo_model_answers_and_says_what_it_cost() {
    let program = Program::start(&[
        "--enable-request-stats-headers",
        "--enable-per-request-metrics",
    ]);
    let mut connection = Connection::open(program.address);
    let body = chat_body(
        "Who are you?",
        json!({"temperature": 0, "include_metrics": true}),
    );
    connection.request("POST", CHAT, &[JSON], body.to_string().as_bytes());
    let reply = connection.reply();
    let body = reply.json();
    assert_eq!(body["choices"][0]["finish_reason"], "stop", "{body}");
    assert!(
        body["choices"][0]["message"]["content"]
            .as_str()
            .unwrap()
            .len()
            > 3
    );
    assert_eq!(reply.stats_headers().len(), 10);
    let tokens = body["usage"]["completion_tokens"].as_u64().unwrap();
    assert_eq!(
        reply.header("x-vllm-completion-tokens"),
        Some(tokens.to_string().as_str())
    );
    assert!(body["metrics"]["compute_time_ms"].as_f64().unwrap() > 0.0);
}

#[test]
fn a_running_stream_survives_sigterm_and_the_exit_is_clean() {
    let program = Program::start(&["--drain-grace=1"]);
    let mut connection = Connection::open(program.address);
    let body = json!({"prompt": "Once", "max_tokens": 300, "ignore_eos": true, "stream": true});
    connection.request(
        "POST",
        "/v1/completions",
        &[JSON],
        body.to_string().as_bytes(),
    );
    assert_eq!(connection.head().status, 200);
    connection.chunk();
    program.terminate();
    let mut text = String::new();
    while let Some(chunk) = connection.chunk() {
        text += std::str::from_utf8(&chunk).unwrap();
    }
    assert!(text.contains(r#""finish_reason":"length""#) && text.ends_with("[DONE]\n\n"));
    let (status, log) = program.end();
    assert_eq!(status.code(), Some(0), "{log}");
}

#[test]
fn a_second_sigterm_cuts_the_grace_short() {
    let program = Program::start(&["--drain-grace=600", "--shutdown-timeout=600"]);
    program.terminate();
    until("draining", || program.status("GET", "/ready") == 503);
    assert_eq!(program.status("GET", "/v1/models"), 200);
    program.terminate();
    assert_eq!(program.end().0.code(), Some(0));
}

#[test]
fn contradictory_stats_flags_start_nothing() {
    for flag in [
        "--enable-request-stats-headers",
        "--enable-per-request-metrics",
    ] {
        let (code, log) = run(&["--model=/nowhere", "--disable-log-stats", flag]);
        assert_eq!(code, Some(2));
        assert!(
            log.contains(flag) && log.contains("remove --disable-log-stats"),
            "{log}"
        );
        assert!(!log.contains("nowhere"), "{log}");
    }
}

#[test]
fn what_cannot_be_served_is_named_and_the_exit_is_not_clean() {
    let port = "--port=0";
    let host = "--host=127.0.0.1";
    let cases = [
        (
            &["--model=/nowhere/at-all", host, port][..],
            "/nowhere/at-all",
        ),
        (
            &[
                "--model=builtin://demo",
                host,
                port,
                "--api-key-file=/nowhere",
            ],
            "--api-key-file /nowhere",
        ),
        (
            &[
                "--model=builtin://demo",
                host,
                port,
                "--usage-log=/nowhere/log",
            ],
            "--usage-log /nowhere/log",
        ),
        (
            &[
                "--model=builtin://demo",
                host,
                port,
                "--chat-template=/nowhere",
            ],
            "--chat-template /nowhere",
        ),
        (
            &["--model=builtin://demo", "--host=203.0.113.1", port],
            "listening on 203.0.113.1",
        ),
    ];
    for (flags, named) in cases {
        let (code, log) = run(flags);
        assert_eq!(code, Some(1), "{flags:?}: {log}");
        assert!(log.contains(named), "{flags:?}: {log}");
    }
}

#[test]
fn keys_are_in_no_log_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys");
    std::fs::write(&path, "sk-very-secret\n").unwrap();
    let program = Program::start(&[
        &format!("--api-key-file={}", path.display()),
        "--drain-grace=0",
    ]);
    let mut connection = Connection::open(program.address);
    for (key, status) in [("sk-very-secret", 200), ("sk-wrong-secret", 401)] {
        connection.request(
            "GET",
            "/v1/models",
            &[("Authorization", &format!("Bearer {key}"))],
            b"",
        );
        assert_eq!(connection.reply().status, status);
    }
    drop(connection);
    std::fs::write(&path, "sk-other-secret\n").unwrap();
    until("the key is gone", || {
        let mut connection = Connection::open(program.address);
        connection.request(
            "GET",
            "/v1/models",
            &[("Authorization", "Bearer sk-very-secret")],
            b"",
        );
        connection.reply().status == 401
    });
    program.terminate();
    let (status, log) = program.end();
    assert_eq!(status.code(), Some(0), "{log}");
    assert!(log.contains("re-read") && !log.contains("secret"), "{log}");
}
