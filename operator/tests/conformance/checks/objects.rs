//! Single objects: made, read, replaced, merged, deleted, and what goes with them.

use std::time::Duration;

use k8s_openapi::api::{apps::v1::Deployment, coordination::v1::Lease, core::v1::ConfigMap};
use kube::{
    Api, Client, Error,
    api::{DeleteParams, ListParams, Patch, PatchParams, Preconditions},
};
use serde_json::json;
use tokio::time::timeout;

use super::{
    NOBODY, On, config, create, deployment,
    lists::{labelled, next, watch},
    of_demo, refused, service, typed, version,
};

pub(super) async fn creating_and_reading(on: On<'_>) {
    let configs = on.api::<ConfigMap>();
    refused(configs.get("made").await, 404, "NotFound");
    assert!(configs.get_opt("made").await.unwrap().is_none());
    let made = configs
        .create(&create(), &config("made", json!({"a": "1"})))
        .await
        .unwrap();
    let metadata = &made.metadata;
    assert!(metadata.uid.is_some() && metadata.creation_timestamp.is_some());
    assert!(version(&made).parse::<u64>().is_ok());
    assert_eq!(metadata.namespace.as_deref(), Some(on.namespace));
    assert_eq!(configs.get("made").await.unwrap(), made);
    refused(
        configs.create(&create(), &config("made", json!({}))).await,
        409,
        "AlreadyExists",
    );
    let deployments = on.api::<Deployment>();
    let made = deployments
        .create(&create(), &deployment("made", "engine:1"))
        .await
        .unwrap();
    assert_eq!(made.metadata.generation, Some(1));
    let unknown = on.client.request_text(
        http::Request::get("/apis/nowhere/v1/things")
            .body(vec![])
            .unwrap(),
    );
    assert!(unknown.await.is_err());
}

pub(super) async fn replacing_takes_the_version_that_was_read(on: On<'_>) {
    let configs = on.api::<ConfigMap>();
    let old = configs
        .create(&create(), &config("replaced", json!({"a": "1"})))
        .await
        .unwrap();
    let mut new = old.clone();
    new.data = Some([("a".to_owned(), "2".to_owned())].into());
    let newer = configs.replace("replaced", &create(), &new).await.unwrap();
    assert_ne!(version(&newer), version(&old));
    refused(
        configs.replace("replaced", &create(), &new).await,
        409,
        "Conflict",
    );
    let same = configs
        .replace("replaced", &create(), &newer)
        .await
        .unwrap();
    assert_eq!(version(&same), version(&newer), "nothing changed");
    let mut other = newer.clone();
    other.metadata.uid = Some(NOBODY.to_owned());
    refused(
        configs.replace("replaced", &create(), &other).await,
        409,
        "Conflict",
    );
    let absent = config("absent", json!({}));
    refused(
        configs.replace("absent", &create(), &absent).await,
        404,
        "NotFound",
    );
    let deployments = on.api::<Deployment>();
    let mut made = deployments
        .create(&create(), &deployment("replaced", "engine:1"))
        .await
        .unwrap();
    made.metadata.labels = Some([("a".to_owned(), "b".to_owned())].into());
    let labelled = replaced(&deployments, made).await;
    assert_eq!(
        labelled.metadata.generation,
        Some(1),
        "a label is no specification"
    );
    let mut scaled = labelled;
    scaled.spec.as_mut().unwrap().min_ready_seconds = Some(1);
    assert_eq!(
        replaced(&deployments, scaled).await.metadata.generation,
        Some(2)
    );
}

/// Replaces a Deployment whose status a controller may be writing: again if it was quicker.
pub(super) async fn replaced(deployments: &Api<Deployment>, mut wanted: Deployment) -> Deployment {
    loop {
        match deployments.replace("replaced", &create(), &wanted).await {
            Err(Error::Api(status)) if status.code == 409 => {
                wanted.metadata.resource_version = deployments
                    .get("replaced")
                    .await
                    .unwrap()
                    .metadata
                    .resource_version;
            }
            answer => return answer.unwrap(),
        }
    }
}

pub(super) async fn merging_changes_what_it_names(on: On<'_>) {
    let configs = on.api::<ConfigMap>();
    let made = configs
        .create(&create(), &config("merged", json!({"a": "1", "b": "1"})))
        .await
        .unwrap();
    let patch = Patch::Merge(json!({"data": {"a": null, "c": "1"}}));
    let merged = configs
        .patch("merged", &PatchParams::default(), &patch)
        .await
        .unwrap();
    let names: Vec<String> = merged.data.clone().unwrap().into_keys().collect();
    assert_eq!(names, ["b", "c"]);
    let again = configs
        .patch("merged", &PatchParams::default(), &patch)
        .await
        .unwrap();
    assert_eq!(version(&again), version(&merged));
    let late = json!({"metadata": {"resourceVersion": version(&made)}, "data": {"d": "1"}});
    let late = configs
        .patch("merged", &PatchParams::default(), &Patch::Merge(late))
        .await;
    refused(late, 409, "Conflict");
    let absent = configs
        .patch("absent", &PatchParams::default(), &patch)
        .await;
    refused(absent, 404, "NotFound");
}

pub(super) async fn deleting_takes_preconditions(on: On<'_>) {
    let configs = on.api::<ConfigMap>();
    let made = configs
        .create(&create(), &config("deleted", json!({})))
        .await
        .unwrap();
    let only = |uid: Option<&str>, version: Option<&str>| DeleteParams {
        preconditions: Some(Preconditions {
            uid: uid.map(str::to_owned),
            resource_version: version.map(str::to_owned),
        }),
        ..Default::default()
    };
    refused(
        configs
            .delete("deleted", &only(Some(NOBODY), None))
            .await
            .map(drop),
        409,
        "Conflict",
    );
    refused(
        configs
            .delete("deleted", &only(None, Some("1")))
            .await
            .map(drop),
        409,
        "Conflict",
    );
    let right = only(
        made.metadata.uid.as_deref(),
        made.metadata.resource_version.as_deref(),
    );
    configs.delete("deleted", &right).await.unwrap();
    refused(
        configs
            .delete("deleted", &DeleteParams::default())
            .await
            .map(drop),
        404,
        "NotFound",
    );
    let again = configs
        .create(&create(), &config("deleted", json!({})))
        .await
        .unwrap();
    assert_ne!(again.metadata.uid, made.metadata.uid);
}

pub(super) async fn finalizers_hold_up_a_deletion(on: On<'_>) {
    let configs = on.api::<ConfigMap>();
    let mut held = config("held", json!({}));
    held.metadata.finalizers = Some(vec!["candela.dev/test".to_owned()]);
    configs.create(&create(), &held).await.unwrap();
    configs
        .delete("held", &DeleteParams::default())
        .await
        .unwrap();
    let leaving = configs.get("held").await.unwrap();
    assert!(leaving.metadata.deletion_timestamp.is_some());
    let freed = Patch::Merge(json!({"metadata": {"finalizers": null}}));
    configs
        .patch("held", &PatchParams::default(), &freed)
        .await
        .unwrap();
    refused(configs.get("held").await, 404, "NotFound");
}

pub(super) async fn leases_are_won_by_one(on: On<'_>) {
    let leases = on.api::<Lease>();
    let held = |holder: &str| json!({"metadata": {"name": "lease"}, "spec": {"holderIdentity": holder, "leaseDurationSeconds": 15}});
    let made = leases.create(&create(), &typed(held("one"))).await.unwrap();
    refused(
        leases.create(&create(), &typed(held("two"))).await,
        409,
        "AlreadyExists",
    );
    let with = |holder: &str| {
        let mut lease = made.clone();
        lease.spec.as_mut().unwrap().holder_identity = Some(holder.to_owned());
        lease
    };
    leases
        .replace("lease", &create(), &with("two"))
        .await
        .unwrap();
    refused(
        leases.replace("lease", &create(), &with("three")).await,
        409,
        "Conflict",
    );
    let holder = leases
        .get("lease")
        .await
        .unwrap()
        .spec
        .unwrap()
        .holder_identity;
    assert_eq!(holder.as_deref(), Some("two"));
}

pub(super) async fn events_are_made_and_counted(on: On<'_>) {
    use k8s_openapi::api::events::v1::Event;
    let events = on.api::<Event>();
    let regarding =
        json!({"apiVersion": "v1", "kind": "Pod", "name": "told", "namespace": on.namespace});
    let event = json!({"metadata": {"name": "told.1"}, "eventTime": "2026-01-01T00:00:00.000000Z",
        "reportingController": "test", "reportingInstance": "test", "action": "Test", "reason": "Tested",
        "regarding": regarding, "note": "it was", "type": "Normal"});
    events.create(&create(), &typed(event)).await.unwrap();
    let series = Patch::Merge(
        json!({"series": {"count": 2, "lastObservedTime": "2026-01-01T00:00:01.000000Z"}}),
    );
    let counted = events
        .patch("told.1", &PatchParams::default(), &series)
        .await
        .unwrap();
    assert_eq!(counted.series.unwrap().count, 2);
    let of_core = on.api::<k8s_openapi::api::core::v1::Event>();
    let about = ListParams::default().fields("involvedObject.kind=Pod,involvedObject.name=told");
    let about = of_core.list(&about).await.unwrap().items;
    assert_eq!(about.len(), 1);
    assert_eq!(about[0].message.as_deref(), Some("it was"));
}

/// Where controllers run: what an owner owns goes with it.
pub(crate) async fn owners_take_their_objects_along(client: &Client, namespace: &str) {
    let on = On { client, namespace };
    let services = on.services();
    let owner = services
        .create(&create(), &typed(service("owner", of_demo(0))))
        .await
        .unwrap();
    let configs = on.api::<ConfigMap>();
    let owned = json!({"metadata": {"name": "owned", "labels": {"check": "owned"}, "ownerReferences": [{
        "apiVersion": "inference.candela.dev/v1alpha1", "kind": "InferenceService", "name": "owner",
        "uid": owner.metadata.uid, "controller": true, "blockOwnerDeletion": true}]}});
    let made = configs.create(&create(), &typed(owned)).await.unwrap();
    let mut events = watch(&configs, &labelled("owned").timeout(120), &version(&made)).await;
    services
        .delete("owner", &DeleteParams::default())
        .await
        .unwrap();
    let gone = timeout(Duration::from_secs(120), next(&mut events))
        .await
        .unwrap();
    assert_eq!(gone.0, "DELETED");
}
