//! A server with the fake model, on a port of its own.

use std::{
    net::SocketAddr,
    thread::{self, JoinHandle},
    time::Instant,
};

use candela_engine::{
    engine::MonotonicClock,
    server::{ModelParts, ServeError, Signals, serve, start_engine},
};
use candela_flags::EngineFlags;
use serde_json::{Value, json};
use tokio::{net::TcpListener, runtime, sync::mpsc};

use crate::{
    client::{Connection, DEADLINE, Reply},
    fake_model::{self, Gate},
    scripted_model,
};

pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    /// The model's steps pass it.
    pub(crate) gate: Gate,
    /// The loading of the model passes it.
    pub(crate) load_gate: Gate,
    pub(crate) signals: mpsc::Sender<()>,
    thread: Option<JoinHandle<Result<(), ServeError>>>,
}

/// A ready server with these flags.
pub(crate) fn start(change: impl FnOnce(&mut EngineFlags)) -> Server {
    ready(start_loading(change))
}

/// A ready server whose model says what it is told (`scripted_model`).
pub(crate) fn start_scripted(change: impl FnOnce(&mut EngineFlags)) -> Server {
    ready(launch(scripted_model::parts, change))
}

/// A ready server whose model makes vectors.
pub(crate) fn start_pooling(change: impl FnOnce(&mut EngineFlags)) -> Server {
    ready(launch(fake_model::pooling_parts, change))
}

/// A server that cannot load its model with these flags.
pub(crate) fn start_failing(change: impl FnOnce(&mut EngineFlags)) -> Server {
    let server = start_loading(change);
    server.load_gate.open();
    server
}

fn ready(server: Server) -> Server {
    server.load_gate.open();
    until("ready", || server.get("/ready").status == 200);
    server
}

/// A server whose model loads once `load_gate` is opened.
pub(crate) fn start_loading(change: impl FnOnce(&mut EngineFlags)) -> Server {
    launch(fake_model::parts, change)
}

fn launch(parts: fn(&Gate) -> ModelParts, change: impl FnOnce(&mut EngineFlags)) -> Server {
    let mut flags = EngineFlags::for_model("fake/model");
    flags.served_model_name = vec!["fake".to_owned(), "other/name".to_owned()];
    change(&mut flags);
    let gate = Gate::default();
    let load_gate = Gate::default();
    load_gate.close();
    let (signals, receiver) = Signals::channel();
    let (address_sender, address) = std::sync::mpsc::channel();
    let (model_gate, loading) = (gate.clone(), load_gate.clone());
    let thread = thread::spawn(move || {
        let runtime = runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build();
        runtime.unwrap().block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            address_sender.send(listener.local_addr().unwrap()).unwrap();
            let load = move |flags: &EngineFlags, _: &_| {
                loading.pass();
                start_engine(parts(&model_gate), flags)
            };
            serve(listener, flags, load, receiver, MonotonicClock::start()).await
        })
    });
    let address = address.recv().unwrap();
    Server {
        address,
        gate,
        load_gate,
        signals,
        thread: Some(thread),
    }
}

impl Server {
    pub(crate) fn connect(&self) -> Connection {
        Connection::open(self.address)
    }

    pub(crate) fn get(&self, path: &str) -> Reply {
        self.send("GET", path, &[], b"")
    }

    pub(crate) fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Reply {
        let mut connection = self.connect();
        connection.request(method, path, headers, body);
        connection.reply()
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> Reply {
        self.send("POST", path, &[JSON], body.to_string().as_bytes())
    }

    /// A chat of one user message, with more fields.
    pub(crate) fn chat(&self, content: &str, more: Value) -> Reply {
        self.post(CHAT, &chat_body(content, more))
    }

    pub(crate) fn complete(&self, prompt: Value, more: Value) -> Reply {
        self.post(COMPLETIONS, &with(json!({"prompt": prompt}), more))
    }

    /// A sample of `/metrics`, by its name and labels as written there.
    pub(crate) fn metric(&self, name: &str) -> f64 {
        let text = self.get("/metrics");
        let line = text.text().lines().find(|line| {
            line.strip_prefix(name)
                .is_some_and(|rest| rest.starts_with(['{', ' ']))
        });
        line.and_then(|line| line.rsplit(' ').next()?.parse().ok())
            .unwrap_or(f64::NAN)
    }

    /// Waits for the server's end.
    pub(crate) fn outcome(mut self) -> Result<(), ServeError> {
        self.thread.take().unwrap().join().unwrap()
    }

    pub(crate) fn is_over(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.gate.open();
        self.load_gate.open();
        let Some(thread) = self.thread.take() else {
            return;
        };
        // Twice: at once. A server that has ended takes no signal.
        for _ in 0..2 {
            let _ = self.signals.try_send(());
        }
        let _ = thread.join();
    }
}

pub(crate) const CHAT: &str = "/v1/chat/completions";
pub(crate) const COMPLETIONS: &str = "/v1/completions";
pub(crate) const JSON: (&str, &str) = ("Content-Type", "application/json");

pub(crate) fn chat_body(content: &str, more: Value) -> Value {
    with(
        json!({"messages": [{"role": "user", "content": content}]}),
        more,
    )
}

pub(crate) fn with(mut base: Value, more: Value) -> Value {
    base.as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    base
}

/// Waits for a condition.
#[track_caller]
#[expect(
    clippy::disallowed_methods,
    reason = "a deadline, not what a request cost"
)]
pub(crate) fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < DEADLINE, "waited too long: {what}");
        thread::sleep(std::time::Duration::from_millis(5));
    }
}
