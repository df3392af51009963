//! `candela-operator local` and `lint` as a person runs them, with a stand-in for the engine.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(
    clippy::disallowed_methods,
    reason = "a deadline of a test is no cost of a request"
)]

use std::{
    io::{BufRead, BufReader, Write},
    net::TcpListener,
    path::PathBuf,
    process::{Command, Output, Stdio},
    time::{Duration, Instant},
};

const OPERATOR: &str = env!("CARGO_BIN_EXE_candela-operator");
const DEMO: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/examples/demo.yaml");
const DEADLINE: Duration = Duration::from_secs(60);

/// Built as an example, by `cargo test` without `--test` or by `cargo build --example stand_in`.
fn stand_in() -> PathBuf {
    let program = PathBuf::from(OPERATOR)
        .with_file_name("examples")
        .join("stand_in");
    assert!(
        program.is_file(),
        "run `cargo build -p candela-operator --example stand_in` first"
    );
    program
}

fn manifest(spec: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::Builder::new().suffix(".yaml").tempfile().unwrap();
    write!(
        file,
        "apiVersion: inference.candela.dev/v1alpha1\nkind: InferenceService\n\
         metadata: {{name: demo}}\nspec: {spec}\n"
    )
    .unwrap();
    file
}

fn local(manifest: &str, more: &[&str]) -> Output {
    let mut command = Command::new(OPERATOR);
    command
        .args(["local", "--once", "-f", manifest, "--engine"])
        .arg(stand_in())
        .args(more);
    command.output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn the_example_is_run_asked_and_shown() {
    let started = Instant::now();
    let output = local(DEMO, &["--port", "0"]);
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{err}");
    for part in [
        "--model=builtin://demo",
        "--served-model-name=demo",
        "--enable-request-stats-headers",
        "--enable-per-request-metrics=on-request",
        "--host=127.0.0.1",
        "A fox is a clever animal.",
        "x-vllm-total-time     12.50 ms",
        "x-vllm-prompt-tokens   9    tokens",
        "total_time_ms  12.50 ms",
        "first answer",
    ] {
        assert!(out.contains(part), "{part} is not in\n{out}");
    }
    assert!(started.elapsed() < DEADLINE);
}

#[test]
fn a_contradiction_is_refused_in_the_words_of_the_api() {
    let file = manifest("{model: {uri: 'builtin://demo'}, stats: {logging: false, headers: true}}");
    let path = file.path().to_str().unwrap();
    let message = &candela_crds::rules()
        .iter()
        .find(|rule| rule.id == "stats")
        .unwrap()
        .message;
    for output in [
        local(path, &[]),
        Command::new(OPERATOR)
            .args(["lint", "-f", path])
            .output()
            .unwrap(),
    ] {
        let all = text(&output.stdout) + &text(&output.stderr);
        assert!(!output.status.success());
        assert!(
            all.contains(&format!(":4:73: error: spec.stats.headers: {message}")),
            "{all}"
        );
    }
}

#[test]
fn an_engine_that_dies_is_quoted() {
    let spec = "{model: {uri: 'builtin://demo'}, engine: {env: [{name: RUST_LOG, value: die}]}}";
    let file = manifest(spec);
    let output = local(file.path().to_str().unwrap(), &["--port", "0"]);
    let err = text(&output.stderr);
    assert!(!output.status.success());
    assert!(
        err.contains("exit status: 3") && err.contains("before it was ready"),
        "{err}"
    );
    assert!(err.contains("error: config.json is missing"), "{err}");
}

#[test]
fn a_taken_port_is_named_with_the_way_out() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let output = local(DEMO, &["--port", &port]);
    let err = text(&output.stderr);
    assert!(!output.status.success());
    assert!(
        err.contains(&format!("port {port}")) && err.contains("--port"),
        "{err}"
    );
}

#[test]
fn a_missing_engine_is_said_with_how_to_get_one() {
    let output = Command::new(OPERATOR)
        .args([
            "local",
            "-f",
            DEMO,
            "--once",
            "--engine",
            "/nowhere/candela-engine",
        ])
        .output()
        .unwrap();
    assert!(text(&output.stderr).contains("could not start /nowhere/candela-engine"));
}

#[test]
fn it_serves_until_it_is_asked_to_end_and_takes_the_engine_along() {
    let mut child = Command::new(OPERATOR)
        .args(["local", "-f", DEMO, "--port", "0", "--engine"])
        .arg(stand_in())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    // The pipe stays open to the end, as a terminal would.
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let serves = lines
        .by_ref()
        .map(Result::unwrap)
        .find(|line| line.starts_with("serves"))
        .unwrap();
    let address = serves
        .split("http://")
        .nth(1)
        .unwrap()
        .split('/')
        .next()
        .unwrap()
        .to_owned();
    assert!(std::net::TcpStream::connect(&address).is_ok());
    let engines = children(child.id());
    assert_eq!(engines.len(), 1, "{engines:?}");
    let id = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(id, rustix::process::Signal::TERM).unwrap();
    let started = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        assert!(started.elapsed() < DEADLINE, "it does not end");
        std::thread::yield_now();
    };
    assert!(status.success());
    // Its port may be another test's by now, so it is the process that is looked for.
    assert!(
        !PathBuf::from(format!("/proc/{}", engines[0])).exists(),
        "the engine is still there"
    );
}

/// The processes that a process has started.
fn children(parent: u32) -> Vec<String> {
    let threads = std::fs::read_dir(format!("/proc/{parent}/task")).unwrap();
    let lists = threads.map(|thread| thread.unwrap().path().join("children"));
    let lists: Vec<String> = lists
        .map(|list| std::fs::read_to_string(list).unwrap())
        .collect();
    let ids = lists.iter().flat_map(|list| list.split_whitespace());
    ids.map(str::to_owned).collect()
}
