//! What the operator relies on of an API server. Each check makes its own objects in a namespace that may hold those of
//! others, and panics with what was otherwise.

mod fields;
mod lists;
mod objects;

use std::time::Duration;

use candela_crds::InferenceService;
use k8s_openapi::api::{apps::v1::Deployment, core::v1::ConfigMap};
use kube::{
    Api, Client, Error,
    api::{ApiResource, DynamicObject, PostParams},
    core::NamespaceResourceScope,
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

pub(crate) use objects::owners_take_their_objects_along;

/// How long an event of a watch may take.
const SOON: Duration = Duration::from_secs(30);
/// Nobody is this object.
const NOBODY: &str = "11111111-1111-4111-8111-111111111111";

/// Every check that holds of an API server alone.
pub(crate) async fn all(client: &Client, namespace: &str) {
    let on = On { client, namespace };
    objects::creating_and_reading(on).await;
    objects::replacing_takes_the_version_that_was_read(on).await;
    objects::merging_changes_what_it_names(on).await;
    fields::applying_owns_and_gives_up_fields(on).await;
    fields::applying_merges_lists_by_their_keys(on).await;
    fields::applying_over_others_takes_force(on).await;
    fields::applying_what_is_there_changes_nothing(on).await;
    fields::applying_to_another_object_is_refused(on).await;
    fields::status_is_apart_from_the_specification(on).await;
    fields::conditions_are_merged_by_their_types(on).await;
    objects::deleting_takes_preconditions(on).await;
    objects::finalizers_hold_up_a_deletion(on).await;
    lists::lists_come_in_pages_of_one_version(on).await;
    lists::selectors_select(on).await;
    lists::watches_show_changes_in_order(on).await;
    lists::watches_see_objects_come_into_a_selection_and_leave_it(on).await;
    lists::watches_begin_with_what_is_there(on).await;
    lists::watches_send_bookmarks_and_end(on).await;
    lists::watches_from_too_long_ago_are_gone(on).await;
    objects::leases_are_won_by_one(on).await;
    objects::events_are_made_and_counted(on).await;
}

/// Where a check works.
#[derive(Clone, Copy)]
struct On<'a> {
    client: &'a Client,
    namespace: &'a str,
}

impl On<'_> {
    fn api<K>(self) -> Api<K>
    where
        K: kube::Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        Api::namespaced(self.client.clone(), self.namespace)
    }

    /// InferenceServices as they are stored, whatever they hold.
    fn services(self) -> Api<DynamicObject> {
        let resource = ApiResource::erase::<InferenceService>(&());
        Api::namespaced_with(self.client.clone(), self.namespace, &resource)
    }
}

fn typed<K: DeserializeOwned>(object: Value) -> K {
    serde_json::from_value(object).unwrap()
}

fn config(name: &str, data: Value) -> ConfigMap {
    typed(json!({"metadata": {"name": name}, "data": data}))
}

fn create() -> PostParams {
    PostParams::default()
}

/// Asserts that the server refused with this code and reason.
#[track_caller]
fn refused<T: std::fmt::Debug>(answer: Result<T, Error>, code: u16, reason: &str) -> String {
    match answer {
        Err(Error::Api(status)) => {
            let said = (status.code, status.reason.as_str());
            assert_eq!(said, (code, reason), "{}", status.message);
            status.message.clone()
        }
        other => panic!("expected {code} {reason}, but got {other:?}"),
    }
}

fn version(object: &impl kube::ResourceExt) -> String {
    object.resource_version().unwrap()
}

fn deployment(name: &str, image: &str) -> Deployment {
    typed(json!({"metadata": {"name": name}, "spec": {
        "replicas": 0, "selector": {"matchLabels": {"app": name}},
        "template": {"metadata": {"labels": {"app": name}},
                     "spec": {"containers": [{"name": "engine", "image": image}]}}}}))
}

fn service(name: &str, spec: Value) -> Value {
    json!({"apiVersion": "inference.candela.dev/v1alpha1", "kind": "InferenceService",
           "metadata": {"name": name}, "spec": spec})
}

fn of_demo(replicas: u32) -> Value {
    json!({"model": {"uri": "builtin://demo"}, "replicas": replicas,
           "stats": {"logging": true, "headers": false, "perRequestMetrics": "Never"}})
}
