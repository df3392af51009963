//! Lists and watches: pages, selectors, the order of changes, bookmarks, and the end of what is remembered.

use std::pin::Pin;

use futures::{Stream, StreamExt};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api, Error,
    api::{DeleteParams, ListParams, Patch, PatchParams, VersionMatch, WatchEvent, WatchParams},
};
use serde::de::DeserializeOwned;
use serde_json::json;
use tokio::time::timeout;

use super::{On, SOON, config, create, typed, version};

pub(super) async fn lists_come_in_pages_of_one_version(on: On<'_>) {
    let configs = on.api::<ConfigMap>();
    for index in 0..5 {
        let mut page = config(&format!("page-{index}"), json!({}));
        page.metadata.labels = Some([("check".to_owned(), "pages".to_owned())].into());
        configs.create(&create(), &page).await.unwrap();
    }
    let some = ListParams::default().labels("check=pages").limit(2);
    let first = configs.list(&some).await.unwrap();
    assert_eq!(first.items.len(), 2);
    configs
        .delete("page-4", &DeleteParams::default())
        .await
        .unwrap();
    let token = first.metadata.continue_.clone().unwrap();
    let second = configs
        .list(&some.clone().continue_token(&token))
        .await
        .unwrap();
    assert_eq!(
        second.metadata.resource_version,
        first.metadata.resource_version
    );
    let token = second.metadata.continue_.clone().unwrap();
    let third = configs
        .list(&some.clone().continue_token(&token))
        .await
        .unwrap();
    assert_eq!(third.metadata.continue_.as_deref().unwrap_or_default(), "");
    let pages = [first.items, second.items, third.items].concat();
    let names: Vec<String> = pages
        .into_iter()
        .filter_map(|config| config.metadata.name)
        .collect();
    assert_eq!(
        names,
        ["page-0", "page-1", "page-2", "page-3", "page-4"],
        "of the version of the first page"
    );
    let whole = ListParams::default().labels("check=pages");
    assert_eq!(configs.list(&whole).await.unwrap().items.len(), 4);
    let cached = ListParams {
        resource_version: Some("0".to_owned()),
        version_match: Some(VersionMatch::NotOlderThan),
        ..whole
    };
    assert!(
        configs
            .list(&cached)
            .await
            .unwrap()
            .metadata
            .resource_version
            .is_some()
    );
    let everywhere: Api<ConfigMap> = Api::all(on.client.clone());
    let everywhere = everywhere
        .list(&ListParams::default().labels("check=pages"))
        .await
        .unwrap();
    assert!(everywhere.items.len() >= 4);
}

pub(super) async fn selectors_select(on: On<'_>) {
    let configs = on.api::<ConfigMap>();
    for (name, labels) in [
        ("select-a", json!({"check": "select", "tier": "x"})),
        ("select-b", json!({"check": "select"})),
    ] {
        let object = json!({"metadata": {"name": name, "labels": labels}});
        configs.create(&create(), &typed(object)).await.unwrap();
    }
    for (labels, fields, wanted) in [
        ("check=select", "", &["select-a", "select-b"][..]),
        ("check=select,tier=x", "", &["select-a"]),
        ("check==select,tier!=x", "", &["select-b"]),
        ("check=select,tier", "", &["select-a"]),
        ("check=select,!tier", "", &["select-b"]),
        ("check in (select,other),tier notin (x)", "", &["select-b"]),
        ("check=select", "metadata.name=select-b", &["select-b"]),
        ("check=nothing", "", &[]),
    ] {
        let selected = ListParams::default().labels(labels).fields(fields);
        let selected = configs.list(&selected).await.unwrap();
        let names: Vec<&str> = selected
            .items
            .iter()
            .filter_map(|config| config.metadata.name.as_deref())
            .collect();
        assert_eq!(names, wanted, "{labels} {fields}");
    }
}

pub(super) type Events<K> = Pin<Box<dyn Stream<Item = Result<WatchEvent<K>, Error>> + Send>>;

pub(super) async fn watch<K>(api: &Api<K>, params: &WatchParams, version: &str) -> Events<K>
where
    K: Clone + DeserializeOwned + std::fmt::Debug + Send + 'static,
{
    api.watch(params, version).await.unwrap().boxed()
}

/// The next event that is no bookmark, as its type and the object's name.
pub(super) async fn next<K: kube::ResourceExt>(
    events: &mut Events<K>,
) -> (&'static str, String, Option<K>) {
    loop {
        let event = timeout(SOON, events.next())
            .await
            .expect("an event comes")
            .expect("the watch goes on");
        return match event.unwrap() {
            WatchEvent::Added(object) => ("ADDED", object.name_any(), Some(object)),
            WatchEvent::Modified(object) => ("MODIFIED", object.name_any(), Some(object)),
            WatchEvent::Deleted(object) => ("DELETED", object.name_any(), Some(object)),
            WatchEvent::Error(status) => ("ERROR", status.code.to_string(), None),
            WatchEvent::Bookmark(_) => continue,
        };
    }
}

pub(super) fn labelled(check: &str) -> WatchParams {
    WatchParams::default().labels(&format!("check={check}"))
}

pub(super) async fn watches_show_changes_in_order(on: On<'_>) {
    let configs = on.api::<ConfigMap>();
    let before = configs.list(&ListParams::default()).await.unwrap();
    let from = before.metadata.resource_version.unwrap();
    let labels = json!({"check": "watch"});
    let object = json!({"metadata": {"name": "watched", "labels": labels}});
    let made = configs.create(&create(), &typed(object)).await.unwrap();
    let mut events = watch(&configs, &labelled("watch"), &from).await;
    let (kind, name, object) = next(&mut events).await;
    assert_eq!(
        (kind, &*name),
        ("ADDED", "watched"),
        "also what happened before the watch began"
    );
    assert_eq!(object.unwrap(), made);
    let patch = Patch::Merge(json!({"data": {"a": "1"}}));
    let changed = configs
        .patch("watched", &PatchParams::default(), &patch)
        .await
        .unwrap();
    let (kind, _, object) = next(&mut events).await;
    assert_eq!(
        (kind, version(&object.unwrap())),
        ("MODIFIED", version(&changed))
    );
    configs
        .delete("watched", &DeleteParams::default())
        .await
        .unwrap();
    let (kind, _, object) = next(&mut events).await;
    assert_eq!(kind, "DELETED");
    let number = |version: String| version.parse::<u64>().unwrap();
    assert!(
        number(version(&object.unwrap())) > number(version(&changed)),
        "a deletion has a version of its own"
    );
}

pub(super) async fn watches_see_objects_come_into_a_selection_and_leave_it(on: On<'_>) {
    let configs = on.api::<ConfigMap>();
    let made = configs
        .create(&create(), &config("wanders", json!({})))
        .await
        .unwrap();
    let mut events = watch(&configs, &labelled("wanders"), &version(&made)).await;
    for (label, wanted) in [(json!("wanders"), "ADDED"), (json!("elsewhere"), "DELETED")] {
        let patch = Patch::Merge(json!({"metadata": {"labels": {"check": label}}}));
        configs
            .patch("wanders", &PatchParams::default(), &patch)
            .await
            .unwrap();
        assert_eq!(next(&mut events).await.0, wanted);
    }
}

pub(super) async fn watches_begin_with_what_is_there(on: On<'_>) {
    let configs = on.api::<ConfigMap>();
    let object = json!({"metadata": {"name": "initial", "labels": {"check": "initial"}}});
    configs.create(&create(), &typed(object)).await.unwrap();
    let mut events = watch(&configs, &labelled("initial"), "0").await;
    assert_eq!(next(&mut events).await.0, "ADDED");
    let mut events = watch(&configs, &labelled("initial").initial_events(), "").await;
    assert_eq!(next(&mut events).await.0, "ADDED");
    let end = timeout(SOON, events.next())
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    let WatchEvent::Bookmark(bookmark) = end else {
        panic!("no bookmark ends what is there: {end:?}");
    };
    assert_eq!(
        bookmark.metadata.annotations["k8s.io/initial-events-end"],
        "true"
    );
    let patch = Patch::Merge(json!({"data": {"a": "1"}}));
    configs
        .patch("initial", &PatchParams::default(), &patch)
        .await
        .unwrap();
    assert_eq!(next(&mut events).await.0, "MODIFIED");
}

pub(super) async fn watches_send_bookmarks_and_end(on: On<'_>) {
    // There is no bookmark of a kind that has not changed since the watch began.
    let configs = on.api::<ConfigMap>();
    let object = config("bookmarked", json!({}));
    let from = version(&configs.create(&create(), &object).await.unwrap());
    let mut events = watch(&configs, &labelled("bookmarks").timeout(6), &from).await;
    let newer = config("bookmarked-later", json!({}));
    configs.create(&create(), &newer).await.unwrap();
    let mut bookmarks = 0;
    while let Some(event) = timeout(SOON, events.next())
        .await
        .expect("a watch ends when it said")
    {
        if let WatchEvent::Bookmark(bookmark) = event.unwrap() {
            assert!(
                bookmark.metadata.resource_version.parse::<u64>().unwrap() >= from.parse().unwrap()
            );
            bookmarks += 1;
        }
    }
    assert!(bookmarks > 0, "a last bookmark comes before the end");
}

pub(super) async fn watches_from_too_long_ago_are_gone(on: On<'_>) {
    let services = on.services();
    let mut events = watch(&services, &WatchParams::default(), "1").await;
    let (kind, code, _) = next(&mut events).await;
    assert_eq!((kind, &*code), ("ERROR", "410"));
}
