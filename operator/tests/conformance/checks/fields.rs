//! Server-side apply: who owns what, what an applier gives up, whom it takes from, and the status beside the rest.

use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{ConfigMap, Service},
};
use kube::api::{DynamicObject, Patch, PatchParams};
use serde_json::{Value, json};

use super::{NOBODY, On, create, deployment, of_demo, refused, service, typed, version};

fn applied(name: &str, data: Value) -> Patch<Value> {
    Patch::Apply(
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}),
    )
}

fn by(manager: &str) -> PatchParams {
    PatchParams::apply(manager)
}

fn data(config: &ConfigMap) -> Vec<(String, String)> {
    config
        .data
        .clone()
        .unwrap_or_default()
        .into_iter()
        .collect()
}

pub(super) async fn applying_owns_and_gives_up_fields(on: On<'_>) {
    let configs = on.api::<ConfigMap>();
    let made = configs
        .patch(
            "applied",
            &by("one"),
            &applied("applied", json!({"a": "1", "b": "1"})),
        )
        .await
        .unwrap();
    assert!(made.metadata.uid.is_some());
    configs
        .patch(
            "applied",
            &by("two"),
            &applied("applied", json!({"b": "1", "c": "1"})),
        )
        .await
        .unwrap();
    let both = configs.get("applied").await.unwrap();
    assert_eq!(data(&both).len(), 3);
    // Gives up a, which nobody else has, and b, which the other has, too.
    let after = configs
        .patch("applied", &by("one"), &applied("applied", json!({})))
        .await
        .unwrap();
    let pair = |name: &str| (name.to_owned(), "1".to_owned());
    assert_eq!(data(&after), [pair("b"), pair("c")]);
    let deployments = on.api::<Deployment>();
    let lifecycle = |pause: Option<u32>| {
        let hook = pause.map(|seconds| json!({"preStop": {"sleep": {"seconds": seconds}}}));
        let mut container = json!({"name": "engine", "image": "engine:1"});
        if let Some(hook) = hook {
            container["lifecycle"] = hook;
        }
        Patch::Apply(
            json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "given-up"},
            "spec": {"replicas": 0, "selector": {"matchLabels": {"app": "x"}},
                     "template": {"metadata": {"labels": {"app": "x"}}, "spec": {"containers": [container]}}}}),
        )
    };
    deployments
        .patch("given-up", &by("one"), &lifecycle(Some(5)))
        .await
        .unwrap();
    let after = deployments
        .patch("given-up", &by("one"), &lifecycle(None))
        .await
        .unwrap();
    let pod = after.spec.unwrap().template.spec.unwrap();
    assert_eq!(
        pod.containers[0].lifecycle, None,
        "parents go with their last field"
    );
}

pub(super) async fn applying_merges_lists_by_their_keys(on: On<'_>) {
    let deployments = on.api::<Deployment>();
    let with = |containers: Value, volumes: Value| {
        Patch::Apply(
            json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "lists"},
            "spec": {"replicas": 0, "selector": {"matchLabels": {"app": "lists"}},
                     "template": {"metadata": {"labels": {"app": "lists"}},
                                  "spec": {"containers": containers, "volumes": volumes}}}}),
        )
    };
    let volume = |name: &str| json!({"name": name, "emptyDir": {}});
    let env = |names: &[&str]| {
        names
            .iter()
            .map(|name| json!({"name": name, "value": "1"}))
            .collect::<Value>()
    };
    let ports = json!([{"containerPort": 8000, "protocol": "TCP", "name": "http"}]);
    let engine = |env: Value| json!({"name": "engine", "image": "engine:1", "args": ["a"], "env": env, "ports": ports});
    let side = json!([{"name": "side", "image": "side:1"}]);
    let first = with(
        json!([engine(env(&["A", "B"]))]),
        json!([volume("tmp"), volume("more")]),
    );
    deployments
        .patch("lists", &by("one"), &first)
        .await
        .unwrap();
    deployments
        .patch("lists", &by("two"), &with(side, json!([])))
        .await
        .unwrap();
    let second = with(json!([engine(env(&["C", "A"]))]), json!([volume("tmp")]));
    let after = deployments
        .patch("lists", &by("one"), &second)
        .await
        .unwrap();
    let pod = after.spec.unwrap().template.spec.unwrap();
    let names: Vec<&str> = pod
        .containers
        .iter()
        .map(|container| &*container.name)
        .collect();
    assert_eq!(names.len(), 2, "{names:?}");
    let engine = pod
        .containers
        .iter()
        .find(|container| container.name == "engine")
        .unwrap();
    let env: Vec<&str> = engine
        .env
        .iter()
        .flatten()
        .map(|variable| &*variable.name)
        .collect();
    assert_eq!(env, ["C", "A"], "in the order of the one who applied");
    let volumes: Vec<&str> = pod
        .volumes
        .iter()
        .flatten()
        .map(|volume| &*volume.name)
        .collect();
    assert_eq!(volumes, ["tmp"]);
    assert_eq!(engine.image_pull_policy.as_deref(), Some("IfNotPresent"));
}

pub(super) async fn applying_over_others_takes_force(on: On<'_>) {
    let configs = on.api::<ConfigMap>();
    let with = |value: &str| applied("contested", json!({"a": value}));
    configs
        .patch("contested", &by("one"), &with("1"))
        .await
        .unwrap();
    let message = refused(
        configs.patch("contested", &by("two"), &with("2")).await,
        409,
        "Conflict",
    );
    assert!(
        message.contains("Apply failed with 1 conflict"),
        "{message}"
    );
    let forced = configs
        .patch("contested", &by("two").force(), &with("2"))
        .await
        .unwrap();
    assert_eq!(data(&forced)[0].1, "2");
    // The first lost the field with the contest: giving it up removes nothing.
    let after = configs
        .patch("contested", &by("one"), &applied("contested", json!({})))
        .await
        .unwrap();
    assert_eq!(data(&after).len(), 1);
    let edited = Patch::Merge(json!({"data": {"a": "3"}}));
    configs
        .patch(
            "contested",
            &PatchParams {
                field_manager: Some("hand".into()),
                ..Default::default()
            },
            &edited,
        )
        .await
        .unwrap();
    refused(
        configs.patch("contested", &by("two"), &with("2")).await,
        409,
        "Conflict",
    );
}

pub(super) async fn applying_what_is_there_changes_nothing(on: On<'_>) {
    let services = on.api::<Service>();
    let address = Patch::Apply(
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "same"},
        "spec": {"type": "ClusterIP", "selector": {"app": "same"},
                 "ports": [{"name": "http", "port": 80, "targetPort": "http", "protocol": "TCP"}]}}),
    );
    let first = services
        .patch("same", &by("one").force(), &address)
        .await
        .unwrap();
    assert!(
        first.spec.as_ref().unwrap().cluster_ip.is_some(),
        "defaults are filled in"
    );
    let second = services
        .patch("same", &by("one").force(), &address)
        .await
        .unwrap();
    assert_eq!(version(&first), version(&second));
    let deployments = on.api::<Deployment>();
    let mut body = serde_json::to_value(deployment("same", "engine:1")).unwrap();
    body["apiVersion"] = json!("apps/v1");
    body["kind"] = json!("Deployment");
    let first = deployments
        .patch("same", &by("one"), &Patch::Apply(&body))
        .await
        .unwrap();
    let second = deployments
        .patch("same", &by("one"), &Patch::Apply(&body))
        .await
        .unwrap();
    assert_eq!(
        (first.metadata.generation, second.metadata.generation),
        (Some(1), Some(1))
    );
    body["spec"]["template"]["spec"]["containers"][0]["image"] = json!("engine:2");
    let third = deployments
        .patch("same", &by("one"), &Patch::Apply(&body))
        .await
        .unwrap();
    assert_eq!(third.metadata.generation, Some(2));
}

/// A version is looked at first, then the identity: of an object that is there, another is a change that is refused.
pub(super) async fn applying_to_another_object_is_refused(on: On<'_>) {
    let configs = on.api::<ConfigMap>();
    let with = |metadata: Value| {
        let mut body = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"a": "1"}});
        body["metadata"]["name"] = json!("identity");
        Patch::Apply(body)
    };
    let of_nobody = with(json!({"uid": NOBODY}));
    refused(
        configs.patch("identity", &by("one"), &of_nobody).await,
        409,
        "Conflict",
    );
    assert!(
        configs.get_opt("identity").await.unwrap().is_none(),
        "nothing was made"
    );
    let made = configs
        .patch("identity", &by("one"), &with(json!({})))
        .await
        .unwrap();
    let taken = configs.patch("identity", &by("one"), &of_nobody).await;
    refused(taken, 422, "Invalid");
    let merged = Patch::Merge(json!({"metadata": {"uid": NOBODY}}));
    let merged = configs
        .patch("identity", &PatchParams::default(), &merged)
        .await;
    refused(merged, 422, "Invalid");
    let both = with(json!({"uid": NOBODY, "resourceVersion": "1"}));
    let both = configs.patch("identity", &by("one"), &both).await;
    refused(both, 409, "Conflict");
    let own = with(json!({"uid": made.metadata.uid}));
    configs.patch("identity", &by("one"), &own).await.unwrap();
    let changed = configs
        .patch(
            "identity",
            &by("two"),
            &applied("identity", json!({"b": "1"})),
        )
        .await
        .unwrap();
    let late = with(json!({"resourceVersion": version(&made)}));
    refused(
        configs.patch("identity", &by("one"), &late).await,
        409,
        "Conflict",
    );
    let in_time = with(json!({"resourceVersion": version(&changed)}));
    configs
        .patch("identity", &by("one"), &in_time)
        .await
        .unwrap();
    let absent = json!({"apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "not-there", "resourceVersion": "1"}});
    let absent = configs
        .patch("not-there", &by("one"), &Patch::Apply(absent))
        .await;
    assert!(
        absent.is_ok(),
        "a version alone does not keep an object from being made"
    );
}

pub(super) async fn status_is_apart_from_the_specification(on: On<'_>) {
    let services = on.services();
    let mut object = service("status", of_demo(1));
    object["status"] = json!({"url": "http://nowhere"});
    let made = services.create(&create(), &typed(object)).await.unwrap();
    assert_eq!(
        made.data.get("status"),
        None,
        "a status is not made with the object"
    );
    assert_eq!(made.metadata.generation, Some(1));
    let mut status = service("status", of_demo(5));
    status["status"] =
        json!({"url": "http://here", "replicas": 0, "readyReplicas": 0, "updatedReplicas": 0});
    let written = services
        .patch_status("status", &by("one").force(), &Patch::Apply(&status))
        .await
        .unwrap();
    assert_eq!(written.data["status"]["url"], "http://here");
    assert_eq!(
        written.data["spec"]["replicas"], 1,
        "the specification stays"
    );
    assert_eq!(written.metadata.generation, Some(1));
    let again = services
        .patch_status("status", &by("one").force(), &Patch::Apply(&status))
        .await
        .unwrap();
    assert_eq!(version(&again), version(&written));
    let scaled = Patch::Merge(json!({"spec": {"replicas": 2}, "status": {"url": "http://there"}}));
    let scaled = services
        .patch("status", &PatchParams::default(), &scaled)
        .await
        .unwrap();
    assert_eq!(
        (scaled.metadata.generation, &scaled.data["status"]["url"]),
        (Some(2), &json!("http://here"))
    );
    // Only a version tells one object from another of its name here.
    let mut of_nobody = status.clone();
    of_nobody["metadata"]["uid"] = json!(NOBODY);
    let taken = services
        .patch_status("status", &by("one").force(), &Patch::Apply(&of_nobody))
        .await;
    assert_eq!(taken.unwrap().metadata.uid, made.metadata.uid);
    of_nobody["metadata"]["resourceVersion"] = json!("1");
    let of_nobody = services
        .patch_status("status", &by("one").force(), &Patch::Apply(&of_nobody))
        .await;
    refused(of_nobody, 409, "Conflict");
    let mut absent = status;
    absent["metadata"]["name"] = json!("absent");
    let absent = services
        .patch_status("absent", &by("one").force(), &Patch::Apply(&absent))
        .await;
    refused(absent, 404, "NotFound");
    let mut without_version = scaled;
    without_version.metadata.resource_version = None;
    refused(
        services
            .replace("status", &create(), &without_version)
            .await,
        422,
        "Invalid",
    );
}

pub(super) async fn conditions_are_merged_by_their_types(on: On<'_>) {
    let services = on.services();
    services
        .create(&create(), &typed(service("conditions", of_demo(1))))
        .await
        .unwrap();
    let with = |kinds: &[&str]| {
        let conditions: Value = kinds
            .iter()
            .map(|kind| {
                json!({"type": kind, "status": "True", "reason": "Because", "message": "",
                               "lastTransitionTime": "2026-01-01T00:00:00Z"})
            })
            .collect();
        let mut object = service("conditions", of_demo(1));
        object.as_object_mut().unwrap().remove("spec");
        object["status"] = json!({"conditions": conditions, "replicas": 0, "readyReplicas": 0, "updatedReplicas": 0});
        Patch::Apply(object)
    };
    let kinds = |object: &DynamicObject| {
        let conditions = object.data["status"]["conditions"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        conditions
            .iter()
            .map(|c| c["type"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    services
        .patch_status("conditions", &by("one"), &with(&["Ready", "Accepted"]))
        .await
        .unwrap();
    let both = services
        .patch_status("conditions", &by("two"), &with(&["Theirs"]))
        .await
        .unwrap();
    assert_eq!(kinds(&both).len(), 3);
    let after = services
        .patch_status("conditions", &by("one"), &with(&["Accepted"]))
        .await
        .unwrap();
    let mut left = kinds(&after);
    left.sort();
    assert_eq!(left, ["Accepted", "Theirs"]);
}
