//! The program itself under abuse: a hundred streams at its end, and keys that nobody else may see.

use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
};

use serde_json::json;

use crate::{
    client::{Connection, DEADLINE},
    program::Program,
    server::{COMPLETIONS, JSON, until},
};

const STREAMS: usize = 100;

#[test]
fn sigterm_loses_none_of_a_hundred_streams() {
    let program = Program::start(&["--drain-grace=1", "--shutdown-timeout=120"]);
    let body = json!({
        "prompt": "Once upon", "max_tokens": 24, "ignore_eos": true, "stream": true
    })
    .to_string();
    let mut streams: Vec<Connection> = (0..STREAMS)
        .map(|_| {
            let mut connection = Connection::open(program.address);
            connection.request("POST", COMPLETIONS, &[JSON], body.as_bytes());
            connection
        })
        .collect();
    // All are accepted; more than may run at a time, so that some still wait.
    for stream in &mut streams {
        assert_eq!(stream.head().status, 200);
    }
    program.terminate();
    for stream in &mut streams {
        let mut text = String::new();
        while let Some(chunk) = stream.chunk() {
            text += std::str::from_utf8(&chunk).unwrap();
        }
        assert_eq!(
            text.matches(r#""finish_reason":"length""#).count(),
            1,
            "{text}"
        );
        assert!(
            text.ends_with("data: [DONE]\n\n") && !text.contains("\"error\""),
            "{text}"
        );
    }
    let (status, log) = program.end();
    assert_eq!(status.code(), Some(0), "{log}");
}

#[test]
fn a_body_far_over_the_limit_is_cut_off_and_never_held() {
    const MIB: usize = 1 << 20;
    let program = Program::start(&["--max-body-bytes=1048576", "--drain-grace=0"]);
    let peak_bytes = || -> usize {
        let status = fs::read_to_string(format!("/proc/{}/status", program.child.id())).unwrap();
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmHWM:"))
            .unwrap();
        line.trim()
            .strip_suffix(" kB")
            .unwrap()
            .parse::<usize>()
            .unwrap()
            * 1024
    };
    let upload = || {
        let mut stream = TcpStream::connect(program.address).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        let head = "POST /v1/completions HTTP/1.1\r\nHost: a\r\n\
                    Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n";
        stream.write_all(head.as_bytes()).unwrap();
        let chunk = format!("100000\r\n{}\r\n", " ".repeat(MIB));
        // 256 MiB, or as much as the server takes.
        let sent = (0..256)
            .take_while(|_| stream.write_all(chunk.as_bytes()).is_ok())
            .count();
        let mut status = [0; 12];
        // A reset can outrun the answer.
        let answered = stream.read_exact(&mut status).is_ok();
        (
            sent,
            answered.then(|| String::from_utf8_lossy(&status[9..]).into_owned()),
        )
    };
    upload();
    let before = peak_bytes();
    for _ in 0..8 {
        let (sent, status) = upload();
        assert!(sent < 256, "the server took all of it");
        assert!(status.is_none_or(|status| status == "413"));
    }
    let grown = peak_bytes() - before;
    assert!(grown < 16 * MIB, "{grown} bytes");
}

#[test]
fn keys_are_in_no_argument_no_environment_and_no_log_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys");
    fs::write(&path, "sk-first-secret\n").unwrap();
    let program = Program::start(&[
        &format!("--api-key-file={}", path.display()),
        "--drain-grace=0",
    ]);
    let status = |key: &str| {
        let mut connection = Connection::open(program.address);
        let bearer = format!("Bearer {key}");
        connection.request("GET", "/v1/models", &[("Authorization", &bearer)], b"");
        connection.reply().status
    };
    assert_eq!(
        (status("sk-first-secret"), status("sk-second-secret")),
        (200, 401)
    );
    // A file that is gone changes nothing; the next good one does.
    fs::remove_file(&path).unwrap();
    fs::write(folder.path().join("next"), "sk-second-secret\n").unwrap();
    fs::rename(folder.path().join("next"), &path).unwrap();
    until("the new key counts", || status("sk-second-secret") == 200);
    assert_eq!(status("sk-first-secret"), 401);
    fs::write(&path, "\n").unwrap();
    until("nobody passes", || status("sk-second-secret") == 401);
    let process = |file: &str| {
        let bytes = fs::read(format!("/proc/{}/{file}", program.child.id())).unwrap();
        String::from_utf8_lossy(&bytes).into_owned()
    };
    assert!(process("cmdline").contains("--api-key-file"));
    for file in ["cmdline", "environ"] {
        assert!(!process(file).contains("secret"), "{file}");
    }
    program.terminate();
    let (status, log) = program.end();
    assert_eq!(status.code(), Some(0), "{log}");
    assert!(log.contains("re-read") && !log.contains("secret"), "{log}");
}
