//! Whole reconciles against an API server in memory: what is written, what is left alone, and that
//! any way to a specification leads to the same objects.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[expect(dead_code, reason = "other suites use the rest of it")]
#[path = "../fake/mod.rs"]
mod fake;

use std::{collections::BTreeMap, time::Duration};

use fake::{
    Fake,
    call::{Call, Key},
    faults::{Calm, Fate, Fault, Faults},
    operator::{self, Options},
};
use serde_json::{Value, json};

/// Stores a specification as the API server would.
fn store(fake: &Fake, spec: &Value) {
    let status = fake
        .get("InferenceService", "demo")
        .map(|old| old["status"].clone());
    let mut object = json!({"metadata": {"name": "demo", "uid": "owner"}, "spec": spec});
    if let Some(status) = status.filter(|status| !status.is_null()) {
        object["status"] = status;
    }
    fake.put("InferenceService", object, "user");
}

/// Starts the operator, gives it the time that it takes, and ends it.
async fn run(fake: &Fake, image: &str) {
    const LONG_ENOUGH: Duration = Duration::from_secs(30);
    let operator = operator::run(fake.client("operator"), Options::of(image));
    let ended = tokio::time::timeout(LONG_ENOUGH, operator).await;
    assert!(ended.is_err(), "the operator ended by itself");
}

fn spec(replicas: u32, headers: bool) -> Value {
    json!({"model": {"uri": "builtin://demo"}, "replicas": replicas,
           "stats": {"logging": true, "headers": headers, "perRequestMetrics": "Never"}})
}

fn condition(fake: &Fake, kind: &str) -> (String, String) {
    let service = fake.get("InferenceService", "demo").unwrap();
    let conditions = service["status"]["conditions"].as_array().unwrap().clone();
    let found = conditions.iter().find(|c| c["type"] == kind).unwrap();
    let text = |field: &str| found[field].as_str().unwrap().to_owned();
    (text("status"), text("reason"))
}

/// The Deployment's controller and the kubelet, until every pod is ready.
fn run_pods(fake: &Fake) {
    for _ in 0..5 {
        fake::cluster::step(fake);
    }
}

/// Everything that the operator looks after.
fn snapshot(fake: &Fake) -> BTreeMap<Key, Value> {
    let mut snapshot = fake.snapshot();
    snapshot.retain(|key, _| key.resource != "pods");
    snapshot
}

#[tokio::test(start_paused = true)]
async fn children_come_and_a_steady_state_needs_no_write() {
    let fake = Fake::default();
    store(&fake, &spec(1, true));
    run(&fake, "engine:1").await;
    assert_eq!(
        condition(&fake, "Ready"),
        ("False".into(), "Loading".into())
    );
    run_pods(&fake);
    run(&fake, "engine:1").await;
    assert_eq!(condition(&fake, "Ready"), ("True".into(), "Serving".into()));
    let status = fake.get("InferenceService", "demo").unwrap()["status"].clone();
    assert_eq!(
        status["stats"],
        json!({"logging": true, "headers": true, "perRequestMetrics": "Never"})
    );
    assert_eq!(status["url"], "http://demo.team-a.svc/v1");
    assert_eq!(status["model"]["progress"], "100%");
    let before = fake.writes("operator").len();
    for _ in 0..3 {
        run(&fake, "engine:1").await;
    }
    // A new process has forgotten what it wrote; what it applies changes nothing.
    run(&fake, "engine:1").await;
    assert_eq!(fake.writes("operator").len(), before);
}

#[tokio::test(start_paused = true)]
async fn there_and_back_is_where_it_was() {
    let fake = Fake::default();
    store(&fake, &spec(1, false));
    run(&fake, "engine:1").await;
    let before = snapshot(&fake);
    store(&fake, &spec(3, true));
    run(&fake, "engine:1").await;
    assert!(fake.get("PodDisruptionBudget", "demo").is_some());
    assert_ne!(snapshot(&fake), before);
    store(&fake, &spec(1, false));
    run(&fake, "engine:1").await;
    assert_eq!(snapshot(&fake), before);
}

/// Lets so many writes through and fails every one after them.
struct FailAfter(usize);

impl Faults for FailAfter {
    fn of_call(&mut self, call: &Call) -> Fate {
        let fails = call.verb.is_write() && self.0 == 0;
        self.0 -= usize::from(call.verb.is_write() && !fails);
        Fate {
            fault: fails.then_some(Fault::Internal),
            ..Fate::default()
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_crash_after_any_write_leads_to_the_same_objects() {
    let whole = Fake::default();
    store(&whole, &spec(2, true));
    run(&whole, "engine:1").await;
    let writes = whole.writes("operator").len();
    assert!(writes >= 5, "{:?}", whole.writes("operator"));
    for crash in 0..writes {
        let fake = Fake::default();
        store(&fake, &spec(2, true));
        fake.set_faults(FailAfter(crash));
        // Events are a courtesy, so a crash in one does not show.
        run(&fake, "engine:1").await;
        fake.set_faults(Calm);
        run(&fake, "engine:1").await;
        assert_eq!(
            snapshot(&fake),
            snapshot(&whole),
            "crash after {crash} writes"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_name_that_is_taken_is_never_taken_over() {
    let fake = Fake::default();
    let theirs = json!({"metadata": {"name": "demo", "labels": {"a": "b"}},
                        "spec": {"ports": [{"port": 1}]}});
    fake.put("Service", theirs, "somebody");
    let before = fake.get("Service", "demo");
    store(&fake, &spec(1, false));
    run(&fake, "engine:1").await;
    assert_eq!(
        condition(&fake, "Accepted"),
        ("False".into(), "NameConflict".into())
    );
    assert_eq!(
        (fake.get("Service", "demo"), fake.get("Deployment", "demo")),
        (before, None)
    );
    fake.remove("Service", "demo", "somebody");
    run(&fake, "engine:1").await;
    assert_eq!(
        condition(&fake, "Accepted"),
        ("True".into(), "Valid".into())
    );
    assert!(fake.get("Deployment", "demo").is_some());
}

#[tokio::test(start_paused = true)]
async fn a_stored_contradiction_leaves_running_pods_alone() {
    let fake = Fake::default();
    store(&fake, &spec(1, true));
    run(&fake, "engine:1").await;
    run_pods(&fake);
    run(&fake, "engine:1").await;
    let before = fake.get("Deployment", "demo");
    let mut contradiction = spec(1, true);
    contradiction["stats"]["logging"] = json!(false);
    contradiction["replicas"] = json!(5);
    store(&fake, &contradiction);
    run(&fake, "engine:1").await;
    assert_eq!(fake.get("Deployment", "demo"), before);
    assert_eq!(
        condition(&fake, "Accepted"),
        ("False".into(), "InvalidStats".into())
    );
    assert_eq!(condition(&fake, "Ready"), ("True".into(), "Serving".into()));
    let status = fake.get("InferenceService", "demo").unwrap()["status"].clone();
    assert_eq!(
        status["stats"]["headers"], true,
        "what runs, not what is asked for"
    );
}

#[tokio::test(start_paused = true)]
async fn a_newer_operator_restarts_nothing() {
    let fake = Fake::default();
    store(&fake, &spec(1, false));
    run(&fake, "engine:1").await;
    let template =
        |fake: &Fake| fake.get("Deployment", "demo").unwrap()["spec"]["template"].clone();
    let before = template(&fake);
    store(&fake, &spec(4, false));
    run(&fake, "engine:2").await;
    assert_eq!(template(&fake), before);
    assert_eq!(
        fake.get("Deployment", "demo").unwrap()["spec"]["replicas"],
        4
    );
    store(&fake, &spec(4, true));
    run(&fake, "engine:2").await;
    assert_eq!(
        template(&fake)["spec"]["containers"][0]["image"],
        "engine:2"
    );
}

#[tokio::test(start_paused = true)]
async fn what_is_ours_comes_back_and_what_is_not_stays() {
    let fake = Fake::default();
    store(&fake, &spec(2, false));
    run(&fake, "engine:1").await;
    let before = snapshot(&fake);
    for kind in [
        "Deployment",
        "Service",
        "PodDisruptionBudget",
        "ServiceAccount",
    ] {
        fake.remove(kind, "demo", "somebody");
        run(&fake, "engine:1").await;
        assert_eq!(snapshot(&fake), before, "{kind}");
    }
    fake.edit("Deployment", "demo", "somebody", |deployment| {
        deployment["spec"]["replicas"] = json!(9);
        deployment["spec"]["paused"] = json!(true);
    });
    run(&fake, "engine:1").await;
    let deployment = fake.get("Deployment", "demo").unwrap();
    assert_eq!(deployment["spec"]["replicas"], 2);
    assert_eq!(deployment["spec"]["paused"], true);
}

#[tokio::test(start_paused = true)]
async fn a_missing_volume_is_named() {
    let fake = Fake::default();
    let mut on_volume = spec(1, false);
    on_volume["model"]["uri"] = json!("pvc://models/qwen3");
    store(&fake, &on_volume);
    run(&fake, "engine:1").await;
    assert_eq!(
        condition(&fake, "Ready"),
        ("False".into(), "VolumeUnavailable".into())
    );
    assert_eq!(
        condition(&fake, "ModelAvailable"),
        ("False".into(), "VolumeUnavailable".into())
    );
}

#[tokio::test(start_paused = true)]
async fn changes_of_reason_are_told_as_events() {
    let fake = Fake::default();
    store(&fake, &spec(1, false));
    run(&fake, "engine:1").await;
    run_pods(&fake);
    run(&fake, "engine:1").await;
    run(&fake, "engine:1").await;
    let events = fake.all("Event");
    assert_eq!(events.len(), 3, "Valid, Loading, Serving: {events:?}");
}

#[tokio::test(start_paused = true)]
async fn the_kubelets_events_say_what_the_image_took() {
    let fake = Fake::default();
    store(&fake, &spec(1, false));
    run(&fake, "engine:1").await;
    run_pods(&fake);
    let pod = fake.all("Pod").remove(0);
    for (name, container, seconds) in [("ours", "engine", 1.5), ("other", "sidecar", 7.0)] {
        let about = json!({
            "kind": "Pod", "namespace": "team-a", "name": pod["metadata"]["name"],
            "uid": pod["metadata"]["uid"], "fieldPath": format!("spec.containers{{{container}}}"),
        });
        let note = format!("Successfully pulled image \"i\" in {seconds}s (9s including waiting).");
        let event = json!({
            "metadata": {"name": name}, "regarding": about, "reason": "Pulled", "note": note,
        });
        fake.put("Event", event, "kubelet");
    }
    run(&fake, "engine:1").await;
    let status = fake.get("InferenceService", "demo").unwrap()["status"].clone();
    assert_eq!(status["coldStart"]["imagePullSeconds"], 1.5, "{status}");
}
