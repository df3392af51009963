//! Random specifications: every field that can be changed, and states that should not be.

use candela_crds::{Case, InferenceService, broken, cases};
use fastrand::Rng;
use serde_json::{Value, json};

/// The annotation of pods that numbers the specifications of a run.
pub(crate) const STEP: &str = "test/step";

/// Whether the operator takes it: its types hold it, and no rule is broken.
pub(crate) fn is_valid(spec: &Value) -> bool {
    let object = json!({
        "apiVersion": "inference.candela.dev/v1alpha1", "kind": "InferenceService",
        "metadata": {"name": "demo"}, "spec": spec,
    });
    let service = serde_json::from_value::<InferenceService>(object);
    service.is_ok_and(|service| broken(&service).next().is_none())
}

/// A specification that can be carried out, the `step`-th of its run. With `claims`, the claim of a cache varies, too.
pub(crate) fn valid(random: &mut Rng, step: usize, claims: bool) -> Value {
    loop {
        let mut spec = any(random, claims);
        spec["pod"]["annotations"][STEP] = json!(step.to_string());
        if is_valid(&spec) {
            return spec;
        }
    }
}

/// A specification that cannot be carried out: by a rule, by a bound, by its types, or because the API server refuses a
/// child.
pub(crate) fn invalid(random: &mut Rng) -> Value {
    let refused: Vec<Case> = cases()
        .into_iter()
        .filter(|case| case.object_name.is_none() && !is_valid(&case.spec))
        .collect();
    let builtin = json!({"uri": "builtin://demo"});
    match random.u8(0..6) {
        0 => json!({"model": builtin, "replicas": -5}),
        1 => json!({"replicas": 1}),
        2 => json!({"model": builtin, "stats": "yes"}),
        3 => json!({"model": builtin, "pod": {"labels": {"team": "not a label"}}}),
        _ => refused[random.usize(0..refused.len())].spec.clone(),
    }
}

/// A specification that is carried out but whose pods never come up: those of before keep serving.
pub(crate) fn stuck(random: &mut Rng, step: usize) -> Value {
    let mut spec = valid(random, step, false);
    spec["model"] = json!({"uri": "pvc://absent"});
    if let Some(spec) = spec.as_object_mut() {
        spec.remove("cache");
    }
    spec
}

fn pick(random: &mut Rng, values: &[Value]) -> Value {
    values[random.usize(0..values.len())].clone()
}

/// Sets a field to one of `values`, half of the time.
fn maybe(random: &mut Rng, object: &mut Value, field: &str, values: &[Value]) {
    if random.bool() {
        object[field] = pick(random, values);
    }
}

fn any(random: &mut Rng, claims: bool) -> Value {
    let mut spec = json!({"model": model(random), "replicas": random.u8(0..4)});
    if random.u8(0..4) > 0 {
        spec["stats"] = json!({
            "logging": random.u8(0..4) > 0, "headers": random.bool(),
            "perRequestMetrics": pick(random, &[json!("Never"), json!("OnRequest"), json!("Always")]),
        });
    }
    let resources = [
        json!({"limits": {"memory": "4Gi"}, "requests": {"cpu": "500m"}}),
        json!({"limits": {"nvidia.com/gpu": 1}}),
        json!({"requests": {"memory": "1Gi"}, "claims": [{"name": "gpu"}]}),
    ];
    maybe(random, &mut spec, "resources", &resources);
    let keys = |name: &str| json!({"apiKeySecretRef": {"name": name, "key": "tokens"}});
    maybe(random, &mut spec, "auth", &[keys("keys"), keys("others")]);
    if random.bool() {
        spec["engine"] = engine(random);
    }
    let mut caches = vec![
        json!({"size": "10Gi", "accessModes": ["ReadWriteMany"]}),
        json!({"claimName": "shared"}),
    ];
    if claims {
        caches.push(
            json!({"size": "10Gi", "accessModes": ["ReadWriteMany"], "storageClassName": "fast"}),
        );
        caches.push(json!({"size": "20Gi"}));
    }
    if spec["model"]["uri"]
        .as_str()
        .is_some_and(|uri| uri.starts_with("hf") || uri.starts_with("s3"))
    {
        maybe(random, &mut spec, "cache", &caches);
    }
    if random.bool() {
        spec["rollout"] = rollout(random);
    }
    spec["pod"] = pod(random);
    spec
}

fn model(random: &mut Rng) -> Value {
    let uris = [
        "builtin://demo",
        "builtin://demo",
        "pvc://models/a",
        "hf://org/repo",
        "hf://org/other/file.gguf",
        "s3://bucket/prefix",
        "oci://registry.local/models/a:1",
    ];
    let uri = uris[random.usize(0..uris.len())];
    let mut model = json!({"uri": uri});
    maybe(random, &mut model, "name", &[json!("one"), json!("two")]);
    maybe(
        random,
        &mut model,
        "secretRef",
        &[json!({"name": "token"}), json!({"name": "other"})],
    );
    if uri.starts_with("hf") {
        maybe(
            random,
            &mut model,
            "revision",
            &[json!("main"), json!("0a1b2c")],
        );
    }
    model
}

fn engine(random: &mut Rng) -> Value {
    let mut engine = json!({});
    maybe(
        random,
        &mut engine,
        "image",
        &[json!("mine:1"), json!("mine:2")],
    );
    maybe(
        random,
        &mut engine,
        "contextLength",
        &[json!(2048), json!(4096)],
    );
    maybe(random, &mut engine, "maxSequences", &[json!(8), json!(16)]);
    let arguments = [
        json!(["--seed=1"]),
        json!(["--seed", "2", "--dtype=float32"]),
        json!([]),
    ];
    maybe(random, &mut engine, "extraArgs", &arguments);
    let (a, b) = (
        json!({"name": "A", "value": "1"}),
        json!({"name": "B", "value": "2"}),
    );
    let secret = json!({"name": "C", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}});
    let environments = [json!([a]), json!([b, a]), json!([a, secret, b]), json!([])];
    maybe(random, &mut engine, "env", &environments);
    engine
}

fn rollout(random: &mut Rng) -> Value {
    let mut rollout = json!({});
    maybe(
        random,
        &mut rollout,
        "maxSurge",
        &[json!(0), json!(1), json!(2)],
    );
    maybe(
        random,
        &mut rollout,
        "maxUnavailable",
        &[json!(0), json!(1)],
    );
    maybe(
        random,
        &mut rollout,
        "startupTimeoutSeconds",
        &[json!(10), json!(600)],
    );
    maybe(
        random,
        &mut rollout,
        "drainTimeoutSeconds",
        &[json!(0), json!(3), json!(30)],
    );
    rollout
}

fn pod(random: &mut Rng) -> Value {
    let mut pod = json!({"annotations": {}});
    maybe(
        random,
        &mut pod,
        "annotations",
        &[json!({"note": "a"}), json!({"note": "b", "more": "c"})],
    );
    maybe(
        random,
        &mut pod,
        "labels",
        &[json!({"team": "a"}), json!({"team": "b", "tier": "x"})],
    );
    maybe(
        random,
        &mut pod,
        "nodeSelector",
        &[json!({"disk": "ssd"}), json!({"zone": "a"})],
    );
    let toleration = |key: &str| json!({"key": key, "operator": "Exists", "effect": "NoSchedule"});
    let tolerations = [
        json!([toleration("gpu")]),
        json!([toleration("a"), toleration("b")]),
    ];
    maybe(random, &mut pod, "tolerations", &tolerations);
    let zone = json!({"key": "zone", "operator": "In", "values": ["a"]});
    let terms = json!([{"matchExpressions": [zone]}]);
    let affinity = json!({"nodeAffinity":
        {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}});
    maybe(random, &mut pod, "affinity", &[affinity]);
    let spread = |key: &str| json!({"maxSkew": 1, "topologyKey": key, "whenUnsatisfiable": "ScheduleAnyway"});
    let spreads = [
        json!([spread("zone")]),
        json!([spread("node"), spread("zone")]),
    ];
    maybe(random, &mut pod, "topologySpreadConstraints", &spreads);
    maybe(
        random,
        &mut pod,
        "priorityClassName",
        &[json!("high"), json!("low")],
    );
    maybe(
        random,
        &mut pod,
        "runtimeClassName",
        &[json!("nvidia"), json!("other")],
    );
    maybe(
        random,
        &mut pod,
        "serviceAccountName",
        &[json!("mine"), json!("default")],
    );
    let secrets = [
        json!([{"name": "pull"}]),
        json!([{"name": "more"}, {"name": "pull"}]),
    ];
    maybe(random, &mut pod, "imagePullSecrets", &secrets);
    let claims = [
        json!([{"name": "gpu", "resourceClaimTemplateName": "one-gpu"}]),
        json!([{"name": "gpu", "resourceClaimName": "shared"}]),
    ];
    maybe(random, &mut pod, "resourceClaims", &claims);
    pod
}
