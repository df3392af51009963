//! A cluster with the operator in it: what a test does to it, and how time passes there.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use kube::Client;
use serde_json::{Value, json};
use tokio::{
    task::JoinHandle,
    time::{Instant, sleep},
};

use crate::{
    fake::{
        Fake,
        call::Key,
        cluster,
        operator::{self, Options},
    },
    in_virtual_time,
};

/// What there is.
pub(crate) type Snapshot = BTreeMap<Key, Value>;

/// The name of the only service of most runs.
pub(crate) const NAME: &str = "demo";
/// The operator's client.
pub(crate) const OPERATOR: &str = "operator";
/// The engine's image of the operator's first version.
pub(crate) const IMAGE: &str = "engine:1";
/// How long a run without faults takes to come to rest, and more.
pub(crate) const REST: Duration = Duration::from_secs(60);
/// Fresh runs that are remembered.
const KNOWN_MAX: usize = 100;
/// Between a crash of the operator and its next start.
const RESTART: Duration = Duration::from_secs(1);

/// A cluster, the operator, and the rest of what is there.
pub(crate) struct World {
    pub(crate) fake: Fake,
    image: String,
    operator: JoinHandle<()>,
    is_stopped: bool,
    cluster: JoinHandle<()>,
}

impl Drop for World {
    fn drop(&mut self) {
        self.operator.abort();
        self.cluster.abort();
    }
}

impl World {
    /// A cluster with two volume claims and the operator.
    pub(crate) fn start() -> Self {
        let fake = Fake::default();
        for claim in ["models", "shared"] {
            let claim =
                json!({"metadata": {"name": claim}, "spec": {"accessModes": ["ReadWriteMany"]}});
            fake.put("PersistentVolumeClaim", claim, "user");
        }
        Self {
            operator: tokio::spawn(operator::run(fake.client(OPERATOR), Options::of(IMAGE))),
            cluster: tokio::spawn(cluster::run(fake.clone())),
            is_stopped: false,
            image: IMAGE.to_owned(),
            fake,
        }
    }

    /// A client of the cluster for whoever else.
    pub(crate) fn client(&self, name: &str) -> Client {
        self.fake.client(name)
    }

    /// Stores a specification, past the schema and its rules.
    pub(crate) fn store(&self, spec: &Value) {
        store(&self.fake, NAME, spec);
    }

    /// Ends the operator as a crash would.
    pub(crate) fn stop(&mut self) {
        self.is_stopped = true;
        self.operator.abort();
    }

    /// Starts the operator anew, of this version.
    pub(crate) fn restart(&mut self, image: &str) {
        self.operator.abort();
        self.is_stopped = false;
        image.clone_into(&mut self.image);
        let client = self.fake.client(OPERATOR);
        self.operator = tokio::spawn(operator::run(client, Options::of(image)));
    }

    /// Lets time pass; an operator that crashes is started again.
    pub(crate) async fn pass(&mut self, time: Duration) {
        let until = Instant::now() + time;
        loop {
            tokio::select! {
                biased;
                () = self.fake.crashed() => {
                    self.operator.abort();
                    sleep(RESTART).await;
                    let image = self.image.clone();
                    self.restart(&image);
                }
                () = tokio::time::sleep_until(until) => break,
            }
        }
        assert!(
            self.is_stopped || !self.operator.is_finished(),
            "the operator ended by itself"
        );
    }

    /// The service's condition of this type: its status and its reason.
    pub(crate) fn condition(&self, kind: &str) -> (String, String) {
        condition(&self.fake, NAME, kind)
    }

    /// What there is, for comparison.
    pub(crate) fn snapshot(&self) -> Snapshot {
        snapshot(&self.fake)
    }
}

/// Stores a specification, past the schema and its rules.
pub(crate) fn store(fake: &Fake, name: &str, spec: &Value) {
    let old = fake.get("InferenceService", name);
    let uid = format!("uid-of-{name}");
    let mut object = json!({"metadata": {"name": name, "uid": uid}, "spec": spec});
    if let Some(status) = old
        .map(|old| old["status"].clone())
        .filter(|status| !status.is_null())
    {
        object["status"] = status;
    }
    fake.put("InferenceService", object, "user");
}

/// A condition of a service: its status and its reason; empty if it has none.
pub(crate) fn condition(fake: &Fake, name: &str, kind: &str) -> (String, String) {
    let service = fake.get("InferenceService", name);
    let service = service.as_deref().unwrap_or(&Value::Null);
    let conditions = service["status"]["conditions"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let found = conditions
        .iter()
        .find(|condition| condition["type"] == kind);
    let text = |field: &str| {
        let text = found.and_then(|found| found[field].as_str());
        text.unwrap_or_default().to_owned()
    };
    (text("status"), text("reason"))
}

/// What there is, without what was measured on the way: the status remembers it.
pub(crate) fn snapshot(fake: &Fake) -> Snapshot {
    let mut snapshot = fake.snapshot();
    for (key, object) in &mut snapshot {
        if key.resource == "inferenceservices"
            && let Some(status) = object["status"].as_object_mut()
        {
            status.remove("coldStart");
            if let Some(model) = status.get_mut("model").and_then(Value::as_object_mut) {
                model.remove("revision");
                model.remove("sizeBytes");
            }
        }
    }
    snapshot
}

/// What becomes of a specification in a cluster of its own, and in a time of its own, where nothing goes wrong.
pub(crate) fn fresh(spec: &Value) -> Arc<Snapshot> {
    static KNOWN: Mutex<BTreeMap<String, Arc<Snapshot>>> = Mutex::new(BTreeMap::new());
    let name = spec.to_string();
    if let Some(known) = KNOWN.lock().unwrap().get(&name) {
        return Arc::clone(known);
    }
    let made = thread::scope(|scope| {
        let run = || {
            in_virtual_time(0, async {
                let mut world = World::start();
                world.store(spec);
                world.pass(REST).await;
                world.snapshot()
            })
        };
        scope.spawn(run).join().unwrap()
    });
    let made = Arc::new(made);
    let mut known = KNOWN.lock().unwrap();
    if known.len() >= KNOWN_MAX {
        known.clear();
    }
    known.insert(name, Arc::clone(&made));
    made
}
