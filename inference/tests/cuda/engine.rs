//! The whole program with the demo model, on the processors and on the GPU: both give the same answer.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::PathBuf,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::runs;

/// What loading may take, on a device of software beside other tests.
const READY_WITHIN: Duration = Duration::from_secs(120);

/// The program: that of this build, or where CANDELA_ENGINE says it was carried to.
fn program() -> PathBuf {
    let carried = std::env::var_os("CANDELA_ENGINE");
    carried.map_or_else(
        || env!("CARGO_BIN_EXE_candela-engine").into(),
        PathBuf::from,
    )
}

/// A running engine; killed when dropped.
struct Engine {
    child: Child,
    address: String,
    log: BufReader<std::process::ChildStderr>,
}

impl Engine {
    fn start(device: &str) -> Self {
        let mut command = Command::new(program());
        command
            .args(["--model=builtin://demo", "--served-model-name=demo"])
            .args(["--host=127.0.0.1", "--port=0", "--log-format=json"])
            .args(["--max-num-seqs=4", "--num-gpu-blocks-override=64"])
            .arg(format!("--device={device}"));
        if std::env::var_os("CANDELA_GPU").is_none() {
            command.env("LD_LIBRARY_PATH", runs::software());
        }
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap());
        let mut first = String::new();
        log.read_line(&mut first).unwrap();
        let line: Value = serde_json::from_str(&first).unwrap();
        let address = line["fields"]["address"].as_str().expect("it listens");
        let address = address.to_owned();
        let mut engine = Self {
            child,
            address,
            log,
        };
        engine.until_ready();
        engine
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "a deadline, not what a request cost"
    )]
    fn until_ready(&mut self) {
        let begun = Instant::now();
        while !self.ask("GET", "/ready", "").0.contains(" 200 ") {
            if let Some(status) = self.child.try_wait().unwrap() {
                let mut said = String::new();
                self.log.read_to_string(&mut said).unwrap();
                panic!("the engine ended, {status}: {said}");
            }
            assert!(begun.elapsed() < READY_WITHIN, "the engine is not ready");
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Head and body of the reply.
    fn ask(&self, method: &str, path: &str, body: &str) -> (String, String) {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: \
             {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes()).unwrap();
        let mut reply = String::new();
        stream.read_to_string(&mut reply).unwrap();
        let (head, body) = reply.split_once("\r\n\r\n").unwrap_or((&reply, ""));
        (head.to_owned(), body.to_owned())
    }

    /// The first choice.
    fn reply(&self, question: &str, more: &Value) -> Value {
        let mut body = json!({
            "model": "demo",
            "messages": [{"role": "user", "content": question}],
            "max_tokens": 48,
        });
        for (key, value) in more.as_object().expect("settings are an object") {
            body[key] = value.clone();
        }
        let (head, body) = self.ask("POST", "/v1/chat/completions", &body.to_string());
        assert!(head.contains(" 200 "), "{head}: {body}");
        let mut reply: Value = serde_json::from_str(&body).unwrap();
        reply["choices"][0].take()
    }

    fn answer(&self, question: &str) -> String {
        let reply = self.reply(question, &json!({"temperature": 0}));
        let text = &reply["message"]["content"];
        text.as_str().expect("an answer").to_owned()
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        // It has ended already, or it is to.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_chat_is_answered_as_on_the_processors() {
    let (cpu, gpu) = (Engine::start("cpu"), Engine::start("cuda:0"));
    for question in ["Who are you?", "What is the capital of France?"] {
        let answer = gpu.answer(question);
        assert!(answer.len() > 3, "{answer:?}");
        assert_eq!(answer, cpu.answer(question));
    }
}

#[test]
fn what_a_request_asks_of_its_tokens_is_done_on_the_device() {
    let gpu = Engine::start("cuda:0");
    let question = "What is the capital of France?";
    // A seed gives the same answer again.
    let sampled = json!({"temperature": 0.9, "top_p": 0.95, "seed": 11, "presence_penalty": 0.5});
    let first = gpu.reply(question, &sampled);
    assert_eq!(gpu.reply(question, &sampled), first);
    // A grammar holds whatever the model prefers.
    let shape = json!({
        "type": "object",
        "properties": {"city": {"enum": ["Paris", "Rome"]}, "large": {"type": "boolean"}},
        "required": ["city", "large"],
        "additionalProperties": false,
    });
    let format = json!({"type": "json_schema", "json_schema": {"name": "city", "schema": shape, "strict": true}});
    let reply = gpu.reply(
        question,
        &json!({"response_format": format, "temperature": 1.5, "seed": 3}),
    );
    let text = reply["message"]["content"].as_str().expect("an answer");
    let city: Value = serde_json::from_str(text).unwrap();
    assert!(
        city["large"].is_boolean() && city["city"].is_string(),
        "{text}"
    );
    // The chosen token of a greedy answer is the likeliest.
    let reply = gpu.reply(
        question,
        &json!({"temperature": 0, "logprobs": true, "top_logprobs": 3}),
    );
    let places = reply["logprobs"]["content"]
        .as_array()
        .expect("log probabilities");
    assert!(places.len() > 3);
    for place in places {
        let top = place["top_logprobs"].as_array().expect("the likeliest");
        assert_eq!(
            (top.len(), &top[0]["logprob"]),
            (3, &place["logprob"]),
            "{place}"
        );
    }
}
