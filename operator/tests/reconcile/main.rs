//! Whole reconciles against an API server in memory: what is written, what is left alone, and that
//! any way to a specification leads to the same objects.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod fake;

use candela_crds::InferenceService;
use candela_operator::{
    leader::Leadership,
    metrics::Metrics,
    reconcile::{Asked, Context, Images, ReconcileError, Reconciled, Settings, Written, reconcile},
};
use fake::Fake;
use kube::runtime::events::{Recorder, Reporter};
use serde_json::{Value, json};

const SERVICE: &str =
    "/apis/inference.candela.dev/v1alpha1/namespaces/team-a/inferenceservices/demo";
const DEPLOYMENT: &str = "/apis/apps/v1/namespaces/team-a/deployments/demo";
const ADDRESS: &str = "/api/v1/namespaces/team-a/services/demo";
const BUDGET: &str = "/apis/policy/v1/namespaces/team-a/poddisruptionbudgets/demo";
const POD: &str = "/api/v1/namespaces/team-a/pods/demo-1";

fn context(fake: &Fake, image: &str) -> Context {
    let client = fake.client();
    let reporter = Reporter {
        controller: "candela-operator".to_owned(),
        instance: None,
    };
    Context {
        settings: Settings {
            images: Images {
                cpu: image.to_owned(),
                gpu: None,
            },
        },
        leadership: Leadership::unshared(),
        metrics: Metrics::new().unwrap(),
        recorder: Recorder::new(client.clone(), reporter),
        written: Written::default(),
        asked: Asked::default(),
        client,
    }
}

/// Stores a specification as the API server would, a change of it under a new generation.
fn store(fake: &Fake, spec: &Value) {
    let old = fake.get(SERVICE).unwrap_or(Value::Null);
    let generation =
        old["metadata"]["generation"].as_i64().unwrap_or(0) + i64::from(old["spec"] != *spec);
    let mut object = json!({
        "apiVersion": "inference.candela.dev/v1alpha1", "kind": "InferenceService",
        "metadata": {"name": "demo", "namespace": "team-a", "uid": "owner",
                     "generation": generation},
        "spec": spec,
    });
    if !old["status"].is_null() {
        object["status"] = old["status"].clone();
    }
    fake.put(SERVICE, object);
}

async fn once(fake: &Fake, ctx: &Context) -> Result<Reconciled, ReconcileError> {
    let service: InferenceService = serde_json::from_value(fake.get(SERVICE).unwrap()).unwrap();
    reconcile(&service, ctx).await
}

fn spec(replicas: u32, headers: bool) -> Value {
    json!({"model": {"uri": "builtin://demo"}, "replicas": replicas,
           "stats": {"logging": true, "headers": headers, "perRequestMetrics": "Never"}})
}

fn condition(fake: &Fake, kind: &str) -> (String, String) {
    let service = fake.get(SERVICE).unwrap();
    let conditions = service["status"]["conditions"].as_array().unwrap().clone();
    let found = conditions.iter().find(|c| c["type"] == kind).unwrap();
    let text = |field: &str| found[field].as_str().unwrap().to_owned();
    (text("status"), text("reason"))
}

/// The Deployment's controller and the kubelet: one pod, ready.
fn run_pod(fake: &Fake) {
    fake.edit(DEPLOYMENT, |deployment| {
        let generation = deployment["metadata"]["generation"].clone();
        let replicas = deployment["spec"]["replicas"].clone();
        deployment["status"] = json!({"observedGeneration": generation, "replicas": replicas,
            "updatedReplicas": replicas, "readyReplicas": replicas});
    });
    let template = fake.get(DEPLOYMENT).unwrap()["spec"]["template"].clone();
    fake.put(
        POD,
        json!({
            "metadata": {"name": "demo-1", "namespace": "team-a",
                "labels": template["metadata"]["labels"],
                "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet",
                                     "name": "demo-1", "uid": "rs", "controller": true}]},
            "spec": template["spec"],
            "status": {"conditions": [{"type": "Ready", "status": "True"}]},
        }),
    );
}

#[tokio::test]
async fn children_come_and_a_steady_state_needs_no_write() {
    let fake = Fake::default();
    let ctx = context(&fake, "engine:1");
    store(&fake, &spec(1, true));
    once(&fake, &ctx).await.unwrap();
    assert_eq!(
        condition(&fake, "Ready"),
        ("False".into(), "Loading".into())
    );
    run_pod(&fake);
    assert!(once(&fake, &ctx).await.unwrap().settled);
    assert_eq!(condition(&fake, "Ready"), ("True".into(), "Serving".into()));
    let status = fake.get(SERVICE).unwrap()["status"].clone();
    assert_eq!(
        status["stats"],
        json!({"logging": true, "headers": true, "perRequestMetrics": "Never"})
    );
    assert_eq!(status["url"], "http://demo.team-a.svc/v1");
    assert_eq!(status["model"]["progress"], "100%");
    let before = fake.writes();
    for _ in 0..3 {
        once(&fake, &ctx).await.unwrap();
    }
    // A new process has forgotten what it wrote; what it applies changes nothing.
    once(&fake, &context(&fake, "engine:1")).await.unwrap();
    assert_eq!(fake.writes(), before);
}

#[tokio::test]
async fn there_and_back_is_where_it_was() {
    let fake = Fake::default();
    let ctx = context(&fake, "engine:1");
    store(&fake, &spec(1, false));
    once(&fake, &ctx).await.unwrap();
    let before = fake.snapshot();
    store(&fake, &spec(3, true));
    once(&fake, &ctx).await.unwrap();
    assert!(fake.get(BUDGET).is_some());
    assert_ne!(fake.snapshot(), before);
    store(&fake, &spec(1, false));
    once(&fake, &ctx).await.unwrap();
    let mut after = fake.snapshot();
    // The generation counts on, which status repeats.
    let observed = |snapshot: &mut std::collections::BTreeMap<String, Value>| {
        let status = &mut snapshot.get_mut(SERVICE).unwrap()["status"];
        status["observedGeneration"] = Value::Null;
        for condition in status["conditions"].as_array_mut().unwrap() {
            condition["observedGeneration"] = Value::Null;
        }
    };
    let mut before = before;
    observed(&mut before);
    observed(&mut after);
    assert_eq!(after, before);
}

#[tokio::test]
async fn a_crash_after_any_write_leads_to_the_same_objects() {
    let whole = Fake::default();
    store(&whole, &spec(2, true));
    once(&whole, &context(&whole, "engine:1")).await.unwrap();
    let writes = whole.writes().len();
    assert!(writes >= 5, "{:?}", whole.writes());
    for crash in 0..writes {
        let fake = Fake::default();
        store(&fake, &spec(2, true));
        fake.fail_after(Some(crash));
        // Events are a courtesy, so a crash in one does not show.
        let _ = once(&fake, &context(&fake, "engine:1")).await;
        fake.fail_after(None);
        once(&fake, &context(&fake, "engine:1")).await.unwrap();
        assert_eq!(
            fake.snapshot(),
            whole.snapshot(),
            "crash after {crash} writes"
        );
    }
}

#[tokio::test]
async fn a_name_that_is_taken_is_never_taken_over() {
    let fake = Fake::default();
    let ctx = context(&fake, "engine:1");
    let theirs = json!({"metadata": {"name": "demo", "namespace": "team-a", "labels": {"a": "b"}},
                        "spec": {"ports": [{"port": 1}]}});
    fake.put(ADDRESS, theirs);
    let before = fake.get(ADDRESS);
    store(&fake, &spec(1, false));
    let reconciled = once(&fake, &ctx).await.unwrap();
    assert!(!reconciled.accepted);
    assert_eq!(
        condition(&fake, "Accepted"),
        ("False".into(), "NameConflict".into())
    );
    assert_eq!((fake.get(ADDRESS), fake.get(DEPLOYMENT)), (before, None));
    fake.remove(ADDRESS);
    once(&fake, &ctx).await.unwrap();
    assert_eq!(
        condition(&fake, "Accepted"),
        ("True".into(), "Valid".into())
    );
    assert!(fake.get(DEPLOYMENT).is_some());
}

#[tokio::test]
async fn a_stored_contradiction_leaves_running_pods_alone() {
    let fake = Fake::default();
    let ctx = context(&fake, "engine:1");
    store(&fake, &spec(1, true));
    once(&fake, &ctx).await.unwrap();
    run_pod(&fake);
    once(&fake, &ctx).await.unwrap();
    let before = fake.get(DEPLOYMENT);
    let mut contradiction = spec(1, true);
    contradiction["stats"]["logging"] = json!(false);
    contradiction["replicas"] = json!(5);
    store(&fake, &contradiction);
    once(&fake, &ctx).await.unwrap();
    assert_eq!(fake.get(DEPLOYMENT), before);
    assert_eq!(
        condition(&fake, "Accepted"),
        ("False".into(), "InvalidStats".into())
    );
    assert_eq!(condition(&fake, "Ready"), ("True".into(), "Serving".into()));
    let status = fake.get(SERVICE).unwrap()["status"].clone();
    assert_eq!(
        status["stats"]["headers"], true,
        "what runs, not what is asked for"
    );
}

#[tokio::test]
async fn a_newer_operator_restarts_nothing() {
    let fake = Fake::default();
    store(&fake, &spec(1, false));
    once(&fake, &context(&fake, "engine:1")).await.unwrap();
    let template = |fake: &Fake| fake.get(DEPLOYMENT).unwrap()["spec"]["template"].clone();
    let before = template(&fake);
    let newer = context(&fake, "engine:2");
    store(&fake, &spec(4, false));
    once(&fake, &newer).await.unwrap();
    assert_eq!(template(&fake), before);
    assert_eq!(fake.get(DEPLOYMENT).unwrap()["spec"]["replicas"], 4);
    store(&fake, &spec(4, true));
    once(&fake, &newer).await.unwrap();
    assert_eq!(
        template(&fake)["spec"]["containers"][0]["image"],
        "engine:2"
    );
}

#[tokio::test]
async fn what_is_ours_comes_back_and_what_is_not_stays() {
    let fake = Fake::default();
    let ctx = context(&fake, "engine:1");
    store(&fake, &spec(2, false));
    once(&fake, &ctx).await.unwrap();
    let before = fake.snapshot();
    for path in [DEPLOYMENT, ADDRESS, BUDGET] {
        fake.remove(path);
        once(&fake, &ctx).await.unwrap();
        assert_eq!(fake.snapshot(), before, "{path}");
    }
    fake.edit(DEPLOYMENT, |deployment| {
        deployment["spec"]["replicas"] = json!(9);
        deployment["spec"]["paused"] = json!(true);
    });
    once(&fake, &ctx).await.unwrap();
    let deployment = fake.get(DEPLOYMENT).unwrap();
    assert_eq!(deployment["spec"]["replicas"], 2);
    assert_eq!(deployment["spec"]["paused"], true);
}

#[tokio::test]
async fn a_missing_volume_is_named() {
    let fake = Fake::default();
    let ctx = context(&fake, "engine:1");
    let mut on_volume = spec(1, false);
    on_volume["model"]["uri"] = json!("pvc://models/qwen3");
    store(&fake, &on_volume);
    once(&fake, &ctx).await.unwrap();
    assert_eq!(
        condition(&fake, "Ready"),
        ("False".into(), "VolumeUnavailable".into())
    );
    assert_eq!(
        condition(&fake, "ModelAvailable"),
        ("False".into(), "VolumeUnavailable".into())
    );
}

#[tokio::test]
async fn changes_of_reason_are_told_as_events() {
    let fake = Fake::default();
    let ctx = context(&fake, "engine:1");
    store(&fake, &spec(1, false));
    once(&fake, &ctx).await.unwrap();
    run_pod(&fake);
    once(&fake, &ctx).await.unwrap();
    once(&fake, &ctx).await.unwrap();
    let events: Vec<String> = fake
        .writes()
        .into_iter()
        .filter(|write| write.contains("/events"))
        .collect();
    assert_eq!(events.len(), 3, "Valid, Loading, Serving: {events:?}");
}
