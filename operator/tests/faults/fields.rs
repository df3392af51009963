//! Every field of a specification alone: it shows in a child, and without it everything is as before.

use std::collections::BTreeSet;

use candela_crds::object_schema;
use fastrand::Rng;
use serde_json::{Value, json};

use crate::{
    in_virtual_time,
    oracle::difference,
    specs,
    world::{REST, World, fresh, snapshot},
};

/// A specification, and a field that is added to it.
fn added() -> Vec<(&'static str, Value, Value)> {
    let builtin = json!({"model": {"uri": "builtin://demo"}});
    let hub = json!({"model": {"uri": "hf://org/repo"}});
    let mut cached = hub.clone();
    cached["cache"] = json!({"size": "10Gi", "accessModes": ["ReadWriteMany"]});
    let of_builtin = [
        ("/model/name", json!("other")),
        ("/replicas", json!(3)),
        ("/resources", json!({"limits": {"memory": "4Gi"}})),
        ("/stats", json!({"logging": false})),
        ("/stats", json!({"headers": true})),
        ("/stats", json!({"perRequestMetrics": "OnRequest"})),
        (
            "/auth",
            json!({"apiKeySecretRef": {"name": "keys", "key": "tokens"}}),
        ),
        ("/engine/image", json!("mine:1")),
        ("/engine/contextLength", json!(2048)),
        ("/engine/maxSequences", json!(7)),
        ("/engine/extraArgs", json!(["--seed=1"])),
        ("/engine/env", json!([{"name": "A", "value": "b"}])),
        ("/rollout/maxSurge", json!(3)),
        ("/rollout/maxUnavailable", json!(1)),
        ("/rollout/startupTimeoutSeconds", json!(77)),
        ("/rollout/drainTimeoutSeconds", json!(7)),
        ("/pod/labels", json!({"team": "a"})),
        ("/pod/annotations", json!({"note": "a"})),
        ("/pod/nodeSelector", json!({"disk": "ssd"})),
        (
            "/pod/tolerations",
            json!([{"key": "gpu", "operator": "Exists"}]),
        ),
        ("/pod/affinity", json!({"podAntiAffinity": {}})),
        (
            "/pod/topologySpreadConstraints",
            json!([{"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "ScheduleAnyway"}]),
        ),
        ("/pod/priorityClassName", json!("high")),
        ("/pod/runtimeClassName", json!("nvidia")),
        ("/pod/serviceAccountName", json!("mine")),
        ("/pod/imagePullSecrets", json!([{"name": "pull"}])),
        (
            "/pod/resourceClaims",
            json!([{"name": "gpu", "resourceClaimTemplateName": "one-gpu"}]),
        ),
    ];
    let of_hub = [
        ("/model/revision", json!("main")),
        ("/model/secretRef", json!({"name": "token"})),
        (
            "/cache",
            json!({"size": "10Gi", "accessModes": ["ReadWriteMany"]}),
        ),
        ("/cache", json!({"claimName": "shared"})),
    ];
    let of_cached = [("/cache/storageClassName", json!("fast"))];
    let with = |spec: &Value, fields: &[(&'static str, Value)]| {
        let fields = fields
            .iter()
            .map(|(path, value)| (*path, spec.clone(), value.clone()));
        fields.collect::<Vec<_>>()
    };
    let mut added = with(&builtin, &of_builtin);
    added.extend(with(&hub, &of_hub));
    added.extend(with(&cached, &of_cached));
    added
}

fn set(spec: &mut Value, path: &str, value: Value) {
    let names = path.trim_start_matches('/').split('/');
    *names.fold(spec, |spec, name| &mut spec[name]) = value;
}

#[test]
fn every_field_alone_shows_in_a_child_and_goes_without_a_trace() {
    for (path, without, value) in added() {
        let mut with = without.clone();
        set(&mut with, path, value);
        assert!(specs::is_valid(&with), "{with}");
        let problem = in_virtual_time(0, async {
            let mut world = World::start();
            world.store(&without);
            world.pass(REST).await;
            let before = world.snapshot();
            world.store(&with);
            world.pass(REST).await;
            let children = |world: &World| {
                let mut children = world.snapshot();
                children.retain(|key, _| !matches!(key.resource, "inferenceservices" | "pods"));
                children
            };
            let changed = children(&world);
            let shows = before
                .iter()
                .any(|(key, object)| changed.get(key).is_some_and(|now| now != object))
                || changed.keys().any(|key| !before.contains_key(key))
                || before
                    .keys()
                    .any(|key| key.resource == "serviceaccounts" && !changed.contains_key(key));
            // A claim is not changed into another: it has to go first.
            if path == "/cache/storageClassName" {
                return (world.condition("Accepted").1 != "InvalidSpec")
                    .then(|| "was taken".to_owned());
            }
            world.store(&without);
            world.pass(REST).await;
            let after = world.snapshot();
            match (shows, after == before) {
                (true, true) => None,
                (false, _) => Some("shows in no child".to_owned()),
                (_, false) => Some(difference(&after, &before)),
            }
        });
        assert_eq!(problem, None, "{path}");
    }
}

#[test]
fn random_specifications_have_every_field_of_the_schema() {
    let schema = object_schema();
    let mut wanted = BTreeSet::new();
    let blocks = [
        "model", "stats", "auth", "engine", "cache", "rollout", "pod",
    ];
    for (name, field) in schema["properties"]["spec"]["properties"]
        .as_object()
        .unwrap()
    {
        match field["properties"].as_object() {
            Some(inner) if blocks.contains(&&**name) => {
                wanted.extend(inner.keys().map(|inner| format!("{name}.{inner}")));
            }
            _ => drop(wanted.insert(name.clone())),
        }
    }
    let mut random = Rng::with_seed(1);
    for step in 0..2000 {
        let spec = specs::valid(&mut random, step, true);
        for (name, field) in spec.as_object().unwrap() {
            wanted.remove(name);
            for inner in field.as_object().into_iter().flatten() {
                wanted.remove(&format!("{name}.{}", inner.0));
            }
        }
    }
    assert!(wanted.is_empty(), "{wanted:?}");
}

#[test]
fn the_same_specification_gives_the_same_bytes() {
    for seed in 0..50 {
        let spec = specs::valid(&mut Rng::with_seed(seed), 0, true);
        let bytes = in_virtual_time(seed, async {
            let mut world = World::start();
            world.store(&spec);
            world.pass(REST).await;
            format!("{:?}", world.snapshot())
        });
        assert_eq!(bytes, format!("{:?}", fresh(&spec)), "{spec}");
    }
}

#[test]
fn another_source_leaves_no_revision_behind() {
    in_virtual_time(0, async {
        let mut world = World::start();
        world.store(&json!({"model": {"uri": "hf://org/repo"}}));
        world.pass(REST).await;
        let model = |world: &World| {
            let service = world.fake.get("InferenceService", "demo").unwrap();
            service["status"]["model"].clone()
        };
        assert!(model(&world)["revision"].is_string(), "{}", model(&world));
        world.store(&json!({"model": {"uri": "builtin://demo"}}));
        world.pass(REST).await;
        assert_eq!(model(&world)["revision"], Value::Null, "of another model");
        assert_eq!(model(&world)["sizeBytes"], Value::Null, "of another model");
        assert!(!snapshot(&world.fake).is_empty());
    });
}
