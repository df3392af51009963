//! The rest of a cluster, as far as a service needs it to become ready: the Deployment's controller, a kubelet, what
//! binds volume claims, and the garbage collector. Each step is a pure function of what is stored, so it settles.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use serde_json::{Value, json};
use tokio::time::sleep;

use super::{Fake, call::KINDS};

/// Whose writes these are.
const BY: &str = "cluster";
/// Between two steps of [`run`].
const STEP: Duration = Duration::from_secs(1);

/// Steps after every change, until nothing is left to do.
pub(crate) async fn run(fake: Fake) {
    let mut seen = 0;
    loop {
        fake.past(seen).await;
        loop {
            sleep(STEP).await;
            let before = fake.version();
            step(&fake);
            seen = fake.version();
            if seen == before {
                break;
            }
        }
    }
}

/// One step of everything.
pub(crate) fn step(fake: &Fake) {
    bind_claims(fake);
    for deployment in fake.all("Deployment") {
        roll(fake, &deployment);
    }
    start_pods(fake);
    for deployment in fake.all("Deployment") {
        count(fake, &deployment);
    }
    collect(fake);
}

/// Removes what has no owner left.
pub(crate) fn collect(fake: &Fake) {
    let kinds: BTreeSet<&str> = KINDS.iter().map(|kind| kind.kind).collect();
    let everything: Vec<Arc<Value>> = kinds.iter().flat_map(|kind| fake.all(kind)).collect();
    let alive: BTreeSet<&str> = everything
        .iter()
        .filter_map(|object| object["metadata"]["uid"].as_str())
        .collect();
    for object in &everything {
        let owners = object["metadata"]["ownerReferences"].as_array();
        let Some(owners) = owners.filter(|owners| !owners.is_empty()) else {
            continue;
        };
        let lives = |owner: &Value| owner["uid"].as_str().is_some_and(|uid| alive.contains(uid));
        if !owners.iter().any(lives) {
            fake.remove(text(&object["kind"]), text(&object["metadata"]["name"]), BY);
        }
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn bind_claims(fake: &Fake) {
    for claim in fake.all("PersistentVolumeClaim") {
        if claim["status"]["phase"] == "Pending" {
            fake.edit(
                "PersistentVolumeClaim",
                text(&claim["metadata"]["name"]),
                BY,
                |claim| {
                    claim["status"] = json!({"phase": "Bound"});
                },
            );
        }
    }
}

/// A digest that does not depend on the order of fields.
fn hash(template: &Value) -> String {
    let hash = digest(template, 0xcbf2_9ce4_8422_2325);
    format!("{:08x}", hash & 0xffff_ffff)
}

fn digest(value: &Value, seed: u64) -> u64 {
    let of_text = |text: &str, seed: u64| {
        text.bytes().fold(seed, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        })
    };
    match value {
        Value::Object(fields) => fields.iter().fold(seed, |sum, (name, value)| {
            sum.wrapping_add(digest(value, of_text(name, seed)))
        }),
        Value::Array(items) => {
            let next = |hash: u64, item| digest(item, hash.wrapping_mul(31));
            items.iter().fold(seed, next)
        }
        leaf => of_text(&leaf.to_string(), seed),
    }
}

fn is_owned_by(object: &Value, uid: &Value) -> bool {
    let owners = object["metadata"]["ownerReferences"]
        .as_array()
        .into_iter()
        .flatten();
    owners.into_iter().any(|owner| owner["uid"] == *uid)
}

fn reference(kind: &str, owner: &Value) -> Value {
    json!([{"apiVersion": "apps/v1", "kind": kind, "name": owner["metadata"]["name"],
            "uid": owner["metadata"]["uid"], "controller": true}])
}

/// The ReplicaSets of a Deployment, the one of its template first, and their pods.
fn pods_of(fake: &Fake, deployment: &Value) -> (Vec<Arc<Value>>, Vec<Arc<Value>>) {
    let wanted = format!(
        "{}-{}",
        text(&deployment["metadata"]["name"]),
        hash(&deployment["spec"]["template"])
    );
    let sets = fake.all("ReplicaSet");
    let sets: Vec<&Arc<Value>> = sets
        .iter()
        .filter(|set| is_owned_by(set, &deployment["metadata"]["uid"]))
        .collect();
    let (mut new, mut old) = (Vec::new(), Vec::new());
    for pod in fake.all("Pod") {
        let set = sets
            .iter()
            .find(|set| is_owned_by(&pod, &set["metadata"]["uid"]));
        match set {
            Some(set) if set["metadata"]["name"] == *wanted => new.push(pod),
            Some(_) => old.push(pod),
            None => {}
        }
    }
    (new, old)
}

fn is_ready(pod: &Value) -> bool {
    let conditions = pod["status"]["conditions"].as_array().into_iter().flatten();
    conditions
        .into_iter()
        .any(|c| c["type"] == "Ready" && c["status"] == "True")
}

/// Makes pods of the template and removes those of older ones when the new are ready.
fn roll(fake: &Fake, deployment: &Value) {
    let template = &deployment["spec"]["template"];
    let set_name = format!(
        "{}-{}",
        text(&deployment["metadata"]["name"]),
        hash(template)
    );
    if fake.get("ReplicaSet", &set_name).is_none() {
        let set = json!({"metadata": {"name": set_name, "ownerReferences": reference("Deployment", deployment)}});
        fake.put("ReplicaSet", set, BY);
    }
    let Some(set) = fake.get("ReplicaSet", &set_name) else {
        return;
    };
    let (new, old) = pods_of(fake, deployment);
    let desired =
        usize::try_from(deployment["spec"]["replicas"].as_u64().unwrap_or(1)).unwrap_or(0);
    for index in 0..desired {
        let name = format!("{set_name}-{index}");
        if fake.get("Pod", &name).is_none() {
            let mut metadata = template["metadata"].clone();
            metadata["name"] = json!(name);
            metadata["ownerReferences"] = reference("ReplicaSet", &set);
            let pod = json!({"metadata": metadata, "spec": template["spec"], "status": {"phase": "Pending"}});
            fake.put("Pod", pod, BY);
        }
    }
    for pod in &new {
        let name = text(&pod["metadata"]["name"]);
        let index = name
            .rsplit('-')
            .next()
            .and_then(|index| index.parse::<usize>().ok());
        if index.is_none_or(|index| index >= desired) {
            fake.remove("Pod", name, BY);
        }
    }
    if desired == 0 || (new.len() == desired && new.iter().all(|pod| is_ready(pod))) {
        for pod in &old {
            fake.remove("Pod", text(&pod["metadata"]["name"]), BY);
        }
    }
}

/// Brings every pod one step nearer to being ready.
fn start_pods(fake: &Fake) {
    for pod in fake.all("Pod") {
        let status = next_status(fake, &pod);
        fake.edit("Pod", text(&pod["metadata"]["name"]), BY, |pod| {
            pod["status"] = status
        });
    }
}

fn next_status(fake: &Fake, pod: &Value) -> Value {
    let volumes = pod["spec"]["volumes"].as_array().into_iter().flatten();
    let claims = volumes.filter_map(|volume| volume["persistentVolumeClaim"]["claimName"].as_str());
    let mut missing = claims.filter(|claim| fake.get("PersistentVolumeClaim", claim).is_none());
    if let Some(claim) = missing.next() {
        let message = format!("persistentvolumeclaim \"{claim}\" not found");
        return json!({"phase": "Pending", "conditions": [
            {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message},
        ]});
    }
    let image = &pod["spec"]["containers"][0]["image"];
    let since = &pod["metadata"]["creationTimestamp"];
    let container = |name: &str, state: Value| json!({"name": name, "image": image, "imageID": image, "ready": true, "restartCount": 0, "state": state});
    let running = json!({"running": {"startedAt": since}});
    let downloads = pod["spec"]["initContainers"]
        .as_array()
        .is_some_and(|list| !list.is_empty());
    let downloaded = pod["status"]["initContainerStatuses"][0]["state"]["running"].is_object();
    let is_running = pod["status"]["phase"] == "Running";
    let mut status =
        json!({"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "True"}]});
    if downloads && !downloaded && !is_running {
        status["initContainerStatuses"] = json!([container("download", running)]);
        return status;
    }
    if downloads {
        let uri = text(&pod["spec"]["initContainers"][0]["args"][1]);
        let report = json!({"model": uri, "seconds": 7.5,
            "pulled": {"version": hash(&json!(uri)), "bytes": 1000}});
        let ended = json!({"terminated": {"exitCode": 0, "message": report.to_string(),
            "startedAt": since, "finishedAt": since}});
        status["initContainerStatuses"] = json!([container("download", ended)]);
    }
    status["phase"] = json!("Running");
    status["containerStatuses"] = json!([container("engine", running)]);
    if is_running {
        status["conditions"] = json!([
            {"type": "PodScheduled", "status": "True"},
            {"type": "Ready", "status": "True", "lastTransitionTime": since},
        ]);
    }
    status
}

/// Says in the Deployment's status how many pods there are.
fn count(fake: &Fake, deployment: &Value) {
    let (new, old) = pods_of(fake, deployment);
    let ready = new.iter().chain(&old).filter(|pod| is_ready(pod)).count();
    fake.edit(
        "Deployment",
        text(&deployment["metadata"]["name"]),
        BY,
        |stored| {
            stored["status"] = json!({
                "observedGeneration": deployment["metadata"]["generation"],
                "replicas": new.len() + old.len(), "updatedReplicas": new.len(),
                "readyReplicas": ready, "availableReplicas": ready,
            });
        },
    );
}
