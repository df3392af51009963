//! What others do to children, to names and to services: ours comes back, theirs stays, and nobody waits for a neighbour.

use std::{sync::Arc, time::Duration};

use candela_crds::InferenceService;
use kube::{
    Api,
    api::{DynamicObject, Patch, PatchParams},
    core::ApiResource,
};
use serde_json::{Value, json};

use crate::{
    fake::{Fake, NAMESPACE, cluster},
    in_virtual_time,
    oracle::{QUIET, breaches, comes_to_rest},
    specs::STEP,
    world::{NAME, OPERATOR, REST, World, condition, store},
};

/// How soon a change that a watch shows is undone.
const SOON: Duration = Duration::from_secs(15);

fn spec(replicas: u32) -> Value {
    json!({"model": {"uri": "hf://org/repo"}, "replicas": replicas,
           "cache": {"size": "10Gi", "accessModes": ["ReadWriteMany"]},
           "pod": {"annotations": {STEP: "0"}}})
}

#[test]
fn children_that_somebody_deletes_come_back_at_once() {
    in_virtual_time(1, async {
        let mut world = World::start();
        world.store(&spec(2));
        world.pass(REST).await;
        let before = world.snapshot();
        for kind in [
            "Deployment",
            "Service",
            "ServiceAccount",
            "PodDisruptionBudget",
            "PersistentVolumeClaim",
        ] {
            world.fake.remove(kind, NAME, "somebody");
            world.pass(SOON).await;
            assert!(world.fake.get(kind, NAME).is_some(), "{kind}");
        }
        comes_to_rest(&mut world, &before, REST).await.unwrap();
        assert_eq!(breaches(&world), [""; 0]);
    });
}

#[test]
fn fields_that_are_ours_are_restored_and_others_are_kept() {
    in_virtual_time(2, async {
        let mut world = World::start();
        world.store(&spec(2));
        world.pass(REST).await;
        let before = world.snapshot();
        world.fake.edit("Deployment", NAME, "somebody", |child| {
            child["spec"]["replicas"] = json!(9);
            child["spec"]["paused"] = json!(true);
            child["spec"]["template"]["spec"]["containers"][0]["image"] = json!("theirs");
            child["metadata"]["annotations"]["theirs"] = json!("kept");
        });
        world.fake.edit("Service", NAME, "somebody", |child| {
            child["spec"]["selector"] = json!({"app": "theirs"});
            child["metadata"]["labels"]["theirs"] = json!("kept");
        });
        world
            .fake
            .edit("PodDisruptionBudget", NAME, "somebody", |child| {
                child["spec"]["maxUnavailable"] = json!(0)
            });
        world
            .fake
            .edit("ServiceAccount", NAME, "somebody", |child| {
                child["automountServiceAccountToken"] = json!(true)
            });
        world.pass(REST).await;
        let after = world.fake.get("Deployment", NAME).unwrap();
        assert_eq!(after["spec"]["paused"], true);
        assert_eq!(after["metadata"]["annotations"]["theirs"], "kept");
        let address = world.fake.get("Service", NAME).unwrap();
        assert_eq!(address["metadata"]["labels"]["theirs"], "kept");
        world.fake.edit("Deployment", NAME, "somebody", |child| {
            child["spec"].as_object_mut().unwrap().remove("paused");
            child["metadata"]["annotations"]
                .as_object_mut()
                .unwrap()
                .remove("theirs");
        });
        world.fake.edit("Service", NAME, "somebody", |child| {
            child["metadata"]["labels"]
                .as_object_mut()
                .unwrap()
                .remove("theirs");
        });
        comes_to_rest(&mut world, &before, REST).await.unwrap();
    });
}

#[test]
fn a_name_that_somebody_else_has_is_left_alone_until_it_is_free() {
    for kind in [
        "Deployment",
        "Service",
        "ServiceAccount",
        "PodDisruptionBudget",
        "PersistentVolumeClaim",
    ] {
        in_virtual_time(3, async {
            let mut world = World::start();
            let theirs = json!({"metadata": {"name": NAME, "labels": {"a": "b"}},
                                "spec": {"replicas": 0, "accessModes": ["ReadOnlyMany"]}});
            world.fake.put(kind, theirs, "somebody");
            let before = world.fake.get(kind, NAME).unwrap();
            world.store(&spec(2));
            world.pass(REST).await;
            assert_eq!(
                world.condition("Accepted"),
                ("False".into(), "NameConflict".into()),
                "{kind}"
            );
            let strip = |object: Arc<Value>| {
                let mut object = (*object).clone();
                object["metadata"]
                    .as_object_mut()
                    .unwrap()
                    .remove("resourceVersion");
                object.as_object_mut().unwrap().remove("status");
                object
            };
            assert_eq!(
                strip(world.fake.get(kind, NAME).unwrap()),
                strip(before),
                "{kind}"
            );
            let ours = world.fake.writes(OPERATOR);
            assert!(
                ours.iter()
                    .all(|change| matches!(change.key.resource, "inferenceservices" | "events"))
            );
            world.fake.remove(kind, NAME, "somebody");
            world.pass(REST).await;
            assert_eq!(world.condition("Accepted").0, "True", "{kind}");
            assert_eq!(world.condition("Ready").0, "True", "{kind}");
        });
    }
}

#[test]
fn a_steady_state_needs_no_write_while_an_autoscaler_looks_on() {
    in_virtual_time(4, async {
        let mut world = World::start();
        world.store(&spec(1));
        world.pass(REST).await;
        let services: Api<DynamicObject> = Api::namespaced_with(
            world.client("autoscaler"),
            NAMESPACE,
            &ApiResource::erase::<InferenceService>(&()),
        );
        let scale = |replicas: u32| json!({"spec": {"replicas": replicas}});
        let merge = PatchParams::default();
        services
            .patch(NAME, &merge, &Patch::Merge(scale(3)))
            .await
            .unwrap();
        world.pass(REST).await;
        assert_eq!(
            world.fake.get("Deployment", NAME).unwrap()["spec"]["replicas"],
            3
        );
        let writes = |fake: &Fake| {
            fake.calls()
                .iter()
                .filter(|call| call.by == OPERATOR && call.verb.is_write())
                .count()
        };
        let before = writes(&world.fake);
        for _ in 0..QUIET.as_secs() / 15 {
            let seen = services.get(NAME).await.unwrap();
            assert_eq!(seen.data["status"]["readyReplicas"], 3);
            services
                .patch(NAME, &merge, &Patch::Merge(scale(3)))
                .await
                .unwrap();
            world.pass(Duration::from_secs(15)).await;
        }
        assert_eq!(writes(&world.fake), before);
        assert_eq!(breaches(&world), [""; 0]);
    });
}

#[test]
fn a_newer_operator_restarts_nothing_until_something_else_does() {
    in_virtual_time(5, async {
        let mut world = World::start();
        world.store(&spec(1));
        world.pass(REST).await;
        let template =
            |world: &World| world.fake.get("Deployment", NAME).unwrap()["spec"]["template"].clone();
        let image = |world: &World| template(world)["spec"]["containers"][0]["image"].clone();
        let before = template(&world);
        world.restart("engine:2");
        world.pass(REST).await;
        assert_eq!(template(&world), before);
        world.store(&spec(3));
        world.pass(REST).await;
        assert_eq!(template(&world), before, "a change of replicas");
        let mut changed = spec(3);
        changed["engine"] = json!({"maxSequences": 7});
        world.store(&changed);
        world.pass(REST).await;
        assert_eq!(image(&world), "engine:2");
    });
}

#[test]
fn a_service_that_cannot_be_carried_out_delays_no_other() {
    const NAMES: [&str; 20] = [
        "a0", "a1", "a2", "a3", "a4", "a5", "a6", "a7", "a8", "a9", "b0", "b1", "b2", "b3", "b4",
        "b5", "b6", "b7", "b8", "b9",
    ];
    let poisons = [
        json!({"replicas": 1}),
        json!({"model": "yes"}),
        json!({"model": {"uri": "builtin://demo"}, "replicas": -1}),
        json!({"model": {"uri": "builtin://demo"}, "pod": {"labels": {"team": "not a label"}}}),
    ];
    in_virtual_time(6, async {
        let mut world = World::start();
        for (index, poison) in poisons.iter().enumerate() {
            store(&world.fake, &format!("poison{index}"), poison);
        }
        world.pass(REST).await;
        for name in NAMES {
            store(
                &world.fake,
                name,
                &json!({"model": {"uri": "builtin://demo"}}),
            );
        }
        world.pass(SOON).await;
        for name in NAMES {
            assert_eq!(condition(&world.fake, name, "Ready").0, "True", "{name}");
        }
        for index in 0..poisons.len() {
            let (accepted, _) = condition(&world.fake, &format!("poison{index}"), "Accepted");
            assert_eq!(accepted, "False", "poison{index}");
        }
    });
}

#[test]
fn deletion_works_with_the_operator_down_and_is_not_undone() {
    in_virtual_time(7, async {
        let mut world = World::start();
        world.store(&spec(2));
        world.pass(REST).await;
        world.stop();
        world.fake.remove("InferenceService", NAME, "user");
        for _ in 0..5 {
            cluster::step(&world.fake);
        }
        let left: Vec<_> = world
            .snapshot()
            .into_keys()
            .filter(|key| key.name.starts_with(NAME))
            .collect();
        assert!(left.is_empty(), "{left:?}");
        world.restart("engine:1");
        world.pass(REST).await;
        let left: Vec<_> = world
            .snapshot()
            .into_keys()
            .filter(|key| key.name.starts_with(NAME))
            .collect();
        assert!(left.is_empty(), "{left:?}");
    });
}

#[test]
fn a_claim_that_cannot_shrink_is_refused_in_words_and_may_be_taken_back() {
    in_virtual_time(8, async {
        let mut world = World::start();
        world.store(&spec(2));
        world.pass(REST).await;
        let before = world.snapshot();
        let mut smaller = spec(2);
        smaller["cache"]["size"] = json!("5Gi");
        world.store(&smaller);
        world.pass(REST).await;
        assert_eq!(
            world.condition("Accepted"),
            ("False".into(), "InvalidSpec".into())
        );
        assert_eq!(world.condition("Ready").0, "True");
        world.store(&spec(2));
        comes_to_rest(&mut world, &before, REST).await.unwrap();
    });
}
