//! An API server in memory, for a `kube::Client`: it keeps objects by the rules of the real one, serves lists and watches,
//! and lets anything go wrong that `faults` decides. The file of checks in `tests/conformance` holds it and a real API
//! server to the same answers. Time is tokio's, so that waits cost none where it is paused.

pub(crate) mod call;
pub(crate) mod cluster;
mod defaults;
mod events;
pub(crate) mod faults;
mod fields;
pub(crate) mod operator;
mod rules;
mod select;
pub(crate) mod status;
pub(crate) mod store;
mod watch;

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    pin::pin,
    sync::{Arc, Mutex, MutexGuard},
};

use futures::StreamExt;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::body::Bytes;
use kube::{
    Client,
    client::{Body, retry::RetryPolicy},
};
use serde_json::Value;
use tokio::{
    sync::{Notify, watch as channel},
    time::{Instant, sleep},
};
use tower::{BoxError, ServiceBuilder, retry::RetryLayer};

use call::{Call, Key, Kind, Verb};
use faults::{CLIENT_TIMEOUT, Calm, Fate, Fault, Faults};
use status::{Answer, Refusal};
use store::{Change, Store};

/// The namespace that tests use.
pub(crate) const NAMESPACE: &str = "team-a";

/// One call that reached this server or tried to.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) at: Instant,
    /// Name of the client.
    pub(crate) by: String,
    pub(crate) verb: Verb,
    /// `deployments`, or `deployments/status`.
    pub(crate) resource: String,
    pub(crate) name: String,
}

/// What the server knows, and what goes wrong with it.
pub(crate) struct State {
    pub(crate) store: Store,
    pub(crate) faults: Box<dyn Faults>,
    pub(crate) down: bool,
    pub(crate) calls: Vec<Seen>,
    /// The version that watches were told of.
    told: u64,
}

/// The state, and what tells of crashes.
pub(crate) struct Shared {
    state: Mutex<State>,
    crash: Notify,
    /// Wakes in the order of waiting, unlike a `watch` channel: a seed decides everything.
    changed: Notify,
}

/// The server; clones share their objects.
#[derive(Clone)]
pub(crate) struct Fake(Arc<Shared>);

/// A client's connection, which can be cut off.
#[derive(Clone)]
pub(crate) struct Line(channel::Sender<bool>);

type Reply = Response<UnsyncBoxBody<Bytes, BoxError>>;

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state
            .lock()
            .expect("no test panics while it holds the state")
    }

    /// Wakes watches if something changed.
    fn tell(&self, state: &mut State) {
        if std::mem::replace(&mut state.told, state.store.version) != state.store.version {
            self.changed.notify_waiters();
        }
    }
}

impl Default for Fake {
    fn default() -> Self {
        let store = Store::new();
        let state = State {
            told: store.version,
            store,
            faults: Box::new(Calm),
            down: false,
            calls: Vec::new(),
        };
        Self(Arc::new(Shared {
            state: Mutex::new(state),
            crash: Notify::new(),
            changed: Notify::new(),
        }))
    }
}

impl Line {
    /// Holds up everything that the client sends and gets, or no longer.
    pub(crate) fn cut(&self, cut: bool) {
        self.0.send_replace(!cut);
    }
}

impl Fake {
    /// A client of this server, of this name, which behaves as kube's own: it tries again what it is told to later.
    pub(crate) fn client(&self, name: &str) -> Client {
        self.line(name).0
    }

    /// A client of this server whose connection can be cut off.
    pub(crate) fn line(&self, name: &str) -> (Client, Line) {
        let line = Line(channel::Sender::new(true));
        let (shared, by, gate) = (Arc::clone(&self.0), name.to_owned(), line.clone());
        let service = tower::service_fn(move |request: Request<Body>| {
            serve(Arc::clone(&shared), by.clone(), gate.0.subscribe(), request)
        });
        let service = ServiceBuilder::new()
            .layer(RetryLayer::new(RetryPolicy::server_retry()))
            .service(service);
        (Client::new(service, NAMESPACE), line)
    }

    /// Lets `faults` decide from now on.
    pub(crate) fn set_faults(&self, faults: impl Faults + 'static) {
        self.0.lock().faults = Box::new(faults);
    }

    /// Whether nobody can connect; watches break off.
    pub(crate) fn set_down(&self, down: bool) {
        self.0.lock().down = down;
        self.0.changed.notify_waiters();
    }

    /// Forgets what was before now: older watches and pages are too old.
    pub(crate) fn compact(&self) {
        let mut state = self.0.lock();
        state.store.oldest = state.store.version;
        self.0.changed.notify_waiters();
    }

    /// Resolves with the version that the server is at once it is past `version`.
    pub(crate) async fn past(&self, version: u64) -> u64 {
        loop {
            let mut changed = pin!(self.0.changed.notified());
            changed.as_mut().enable();
            let now = self.0.lock().store.version;
            if now > version {
                return now;
            }
            changed.await;
        }
    }

    /// The version that the server is at.
    pub(crate) fn version(&self) -> u64 {
        self.0.lock().store.version
    }

    /// Resolves when a fault lets the operator crash.
    pub(crate) async fn crashed(&self) {
        self.0.crash.notified().await;
    }

    /// Every call so far.
    pub(crate) fn calls(&self) -> Vec<Seen> {
        self.0.lock().calls.clone()
    }

    /// Every change so far.
    pub(crate) fn history(&self) -> Vec<Change> {
        self.0.lock().store.history.clone()
    }

    /// Changes that `by` made so far.
    pub(crate) fn writes(&self, by: &str) -> Vec<Change> {
        let state = self.0.lock();
        let changes = state.store.history.iter();
        changes.filter(|change| change.by == by).cloned().collect()
    }

    /// Verb, group and resource of everything that was asked so far.
    pub(crate) fn rights(&self) -> BTreeSet<(&'static str, &'static str, String)> {
        self.0.lock().store.rights.clone()
    }

    /// The object of this kind and name.
    pub(crate) fn get(&self, kind: &str, name: &str) -> Option<Arc<Value>> {
        let state = self.0.lock();
        let stored = state.store.objects.get(&key(kind, name))?;
        Some(Arc::clone(&stored.object))
    }

    /// Every object of a kind.
    pub(crate) fn all(&self, kind: &str) -> Vec<Arc<Value>> {
        let state = self.0.lock();
        let wanted = key(kind, "");
        let objects = state.store.objects.iter();
        let of_kind =
            objects.filter(|(key, _)| key.resource == wanted.resource && key.group == wanted.group);
        of_kind
            .map(|(_, stored)| Arc::clone(&stored.object))
            .collect()
    }

    /// Stores an object past all rules, as `by`.
    pub(crate) fn put(&self, kind: &str, object: Value, by: &str) {
        let name = object["metadata"]["name"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        let mut state = self.0.lock();
        state.store.put(key(kind, &name), object, by);
        self.0.tell(&mut state);
    }

    /// Changes an object past all rules, as `by`.
    pub(crate) fn edit(&self, kind: &str, name: &str, by: &str, change: impl FnOnce(&mut Value)) {
        if let Some(object) = self.get(kind, name) {
            let mut object = (*object).clone();
            change(&mut object);
            self.put(kind, object, by);
        }
    }

    /// Removes an object past all rules, as `by`.
    pub(crate) fn remove(&self, kind: &str, name: &str, by: &str) {
        let mut state = self.0.lock();
        state.store.remove(&key(kind, name), by);
        self.0.tell(&mut state);
    }

    /// Every object that outlives a pod, without what tells one run from another, for comparison.
    pub(crate) fn snapshot(&self) -> BTreeMap<Key, Value> {
        let state = self.0.lock();
        let objects = state.store.objects.iter();
        objects
            .filter(|(key, _)| !matches!(key.resource, "events" | "replicasets" | "leases"))
            .map(|(key, stored)| (key.clone(), without_chance((*stored.object).clone())))
            .collect()
    }
}

fn key(kind: &str, name: &str) -> Key {
    let kind: &Kind = call::KINDS
        .iter()
        .find(|known| known.kind == kind)
        .expect("tests name kinds that are served");
    Key {
        group: call::storage_group(kind),
        resource: kind.resource,
        namespace: NAMESPACE.to_owned(),
        name: name.to_owned(),
    }
}

/// Without versions, uids, times and generations.
fn without_chance(mut value: Value) -> Value {
    const CHANCE: [&str; 10] = [
        "resourceVersion",
        "uid",
        "creationTimestamp",
        "generation",
        "observedGeneration",
        "lastTransitionTime",
        "lastProbeTime",
        "startedAt",
        "finishedAt",
        "startTime",
    ];
    match &mut value {
        Value::Object(fields) => {
            fields.retain(|name, _| !CHANCE.contains(&name.as_str()));
            for value in fields.values_mut() {
                *value = without_chance(value.take());
            }
        }
        Value::Array(items) => {
            for value in items {
                *value = without_chance(value.take());
            }
        }
        _ => {}
    }
    value
}

async fn serve(
    shared: Arc<Shared>,
    by: String,
    mut gate: channel::Receiver<bool>,
    request: Request<Body>,
) -> Result<Reply, BoxError> {
    let (head, body) = request.into_parts();
    let body = body.collect().await?.to_bytes();
    let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
    let Some(call) = Call::read(&head, body) else {
        return reply(Err(Refusal::no_such_path()));
    };
    let _ = gate.wait_for(|open| *open).await;
    let Fate { latency, fault } = {
        let mut state = shared.lock();
        let seen = Seen {
            at: Instant::now(),
            by: by.clone(),
            verb: call.verb,
            resource: call.resource(),
            name: call.name.clone().unwrap_or_default(),
        };
        state.calls.push(seen);
        let right = (call.verb.as_str(), call.kind.group, call.resource());
        state.store.rights.insert(right);
        if state.down {
            Fate::default()
        } else {
            state.faults.of_call(&call)
        }
    };
    if !latency.is_zero() {
        sleep(latency).await;
    }
    let refused = || Err(io::Error::from(io::ErrorKind::ConnectionRefused).into());
    if shared.lock().down {
        return refused();
    }
    match fault {
        Some(Fault::Refuse) => return refused(),
        Some(Fault::Conflict) => return reply(Err(Refusal::lost_race(&call))),
        Some(Fault::TooMany) => return reply(Err(Refusal::too_many(1))),
        Some(Fault::Internal) => return reply(Err(Refusal::internal())),
        Some(Fault::Hang) => return timed_out().await,
        Some(Fault::CrashBefore) => return crash(&shared).await,
        Some(Fault::Lose | Fault::HangAfter | Fault::CrashAfter) | None => {}
    }
    let answer = carry_out(&shared, &call, &by, gate);
    match fault {
        Some(Fault::Lose) => Err(io::Error::from(io::ErrorKind::ConnectionReset).into()),
        Some(Fault::HangAfter) => timed_out().await,
        Some(Fault::CrashAfter) => crash(&shared).await,
        _ => answer,
    }
}

async fn timed_out() -> Result<Reply, BoxError> {
    sleep(CLIENT_TIMEOUT).await;
    Err(io::Error::from(io::ErrorKind::TimedOut).into())
}

/// The operator is gone, so nobody hears an answer.
async fn crash(shared: &Shared) -> Result<Reply, BoxError> {
    shared.crash.notify_one();
    std::future::pending().await
}

fn carry_out(
    shared: &Arc<Shared>,
    call: &Call,
    by: &str,
    gate: channel::Receiver<bool>,
) -> Result<Reply, BoxError> {
    let mut state = shared.lock();
    match call.verb {
        Verb::Watch => match watch::begin(shared, &state, gate, call) {
            Ok(events) => {
                let body = StreamBody::new(events.map(|chunk| chunk.map_err(BoxError::from)));
                Ok(Response::new(BodyExt::boxed_unsync(body)))
            }
            Err(refusal) => reply(Err(refusal)),
        },
        Verb::List => {
            let age = state.faults.age_of_list(call);
            reply(watch::list(&state.store, call, age))
        }
        _ => {
            let answer = state.store.answer(call, by);
            shared.tell(&mut state);
            let created = call.verb == Verb::Create && answer.is_ok();
            let mut reply = reply(answer)?;
            if created {
                *reply.status_mut() = StatusCode::CREATED;
            }
            Ok(reply)
        }
    }
}

fn reply(answer: Answer) -> Result<Reply, BoxError> {
    let mut response = Response::builder().header("content-type", "application/json");
    let body = match answer {
        Ok(object) => object,
        Err(refusal) => {
            response = response.status(refusal.code);
            if let Some(seconds) = refusal.retry_after_seconds {
                response = response.header("Retry-After", seconds);
            }
            refusal.body
        }
    };
    let body = Full::new(Bytes::from(body.to_string()));
    Ok(response.body(body.map_err(|never| match never {}).boxed_unsync())?)
}
