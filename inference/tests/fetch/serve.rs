//! The engine itself with a model from a hub: it says how far it is, and serves.

use std::{
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::Path,
};

use serde_json::{Value, json};

use crate::{
    hub::{Fault, Hub},
    hub_pull::{MODEL, WEIGHTS},
    net,
    program::{Machine, Running, until},
};

fn serve(machine: &Machine, model: &str) -> (Running, SocketAddr) {
    listening(machine.start(&[
        &format!("--model={model}"),
        "--served-model-name=demo",
        "--host=127.0.0.1",
        "--port=0",
        "--log-format=json",
    ]))
}

/// A program, and the address that the first line of its log names.
fn listening(mut running: Running) -> (Running, SocketAddr) {
    let mut first = String::new();
    let mut log = BufReader::new(running.0.stderr.take().unwrap());
    log.read_line(&mut first).unwrap();
    // Somebody reads on, so that the program can write.
    std::thread::spawn(move || log.lines().for_each(drop));
    let line: Value = serde_json::from_str(&first).unwrap();
    (
        running,
        line["fields"]["address"].as_str().unwrap().parse().unwrap(),
    )
}

fn progress(address: SocketAddr) -> Value {
    serde_json::from_str(&net::get(address, "/progress").1).unwrap()
}

/// What is said of a download once half of these bytes are here.
fn half_of(size: usize, address: SocketAddr) -> Value {
    until("half of it is here", || {
        progress(address)["bytes_done"].as_u64().unwrap() >= size as u64 / 2
    });
    let seen = progress(address);
    assert_eq!(seen["phase"], "downloading");
    assert!(
        seen["bytes_total"].as_u64().unwrap() >= size as u64,
        "{seen}"
    );
    seen
}

fn answer(address: SocketAddr) -> Value {
    let question = json!({
        "model": "demo", "temperature": 0,
        "messages": [{"role": "user", "content": "Who are you?"}],
    });
    let answer = net::post(address, "/v1/chat/completions", &question);
    answer["choices"][0]["message"]["content"].clone()
}

#[test]
fn a_model_from_a_hub_is_served_and_its_download_can_be_watched() {
    let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/demo");
    let hub = Hub::of_folder(&demo);
    let size = hub.file(WEIGHTS).len();
    hub.fail(WEIGHTS, &[Fault::Stall(size / 2)]);
    let machine = Machine::with_hub(&hub);
    let (_first, address) = serve(&machine, MODEL);
    let seen = half_of(size, address);
    assert_eq!(
        (
            net::get(address, "/health").0,
            net::get(address, "/ready").0
        ),
        (200, 503)
    );
    let metrics = net::get(address, "/metrics").1;
    let total = format!(
        r#"candela:model_load_expected_bytes{{phase="download"}} {}"#,
        seen["bytes_total"]
    );
    assert!(metrics.lines().any(|line| line == total), "{metrics}");
    hub.release();
    until("ready", || net::get(address, "/ready").0 == 200);
    assert_eq!(progress(address)["phase"], "ready");
    let said = answer(address);
    assert!(said.as_str().unwrap().len() > 3, "{said}");
    // The same words as the model that is compiled in, and without the hub as well.
    let (_second, builtin) = serve(&machine, "builtin://demo");
    let offline = machine.set("HF_HUB_OFFLINE", "1");
    let (_third, cached) = serve(&offline, MODEL);
    for address in [builtin, cached] {
        until("ready", || net::get(address, "/ready").0 == 200);
        assert_eq!(answer(address), said);
    }
}

#[test]
fn a_model_that_cannot_be_had_ends_the_engine_with_the_reason() {
    let hub = Hub::start([]);
    let machine = Machine::with_hub(&hub);
    let running = machine.start(&["--model=hf://org/other", "--host=127.0.0.1", "--port=0"]);
    let outcome = running.end();
    assert_eq!(outcome.status.code(), Some(1));
    assert!(outcome.log.contains("set HF_TOKEN"), "{}", outcome.log);
}

#[test]
fn a_pull_can_be_watched() {
    let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/demo");
    let hub = Hub::of_folder(&demo);
    let size = hub.file(WEIGHTS).len();
    hub.fail(WEIGHTS, &[Fault::Stall(size / 2)]);
    let machine = Machine::with_hub(&hub);
    let args = ["pull", MODEL, "--listen=127.0.0.1:0", "--log-format=json"];
    let (mut pulling, address) = listening(machine.start(&args));
    half_of(size, address);
    hub.release();
    assert!(pulling.0.wait().unwrap().success());
}
