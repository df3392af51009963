//! What Kubernetes tells of a pod in events and nowhere else: what keeps its volumes from being mounted, and how long its
//! image took.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Event, Pod};
use kube::{Api, ResourceExt, runtime::watcher};

use crate::cache::{Cache, ServiceKey, Watched};

/// Reasons of events that say why a pod's containers are not created.
const TROUBLE: [&str; 2] = ["FailedMount", "FailedAttachVolume"];
/// What is watched of the events of all pods. The API server has no index of events, so that a list for one pod is one of all;
/// containers are named, as others pull images, too.
const SELECTORS: [&str; 4] = [
    "involvedObject.kind=Pod,reason=FailedMount",
    "involvedObject.kind=Pod,reason=FailedAttachVolume",
    "involvedObject.kind=Pod,reason=Pulled,involvedObject.fieldPath=spec.initContainers{download}",
    "involvedObject.kind=Pod,reason=Pulled,involvedObject.fieldPath=spec.containers{engine}",
];

/// Wait after a watch failed: what follows is a list of all events.
const RETRY: Duration = Duration::from_secs(10);

/// What watches have shown of events, by pod; clones share it.
#[derive(Debug, Clone, Default)]
pub struct EventCaches([Cache<Event>; SELECTORS.len()]);

/// What the events of a pod say.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PodEvents {
    /// Why its volumes are not there, last heard.
    pub volume_trouble: Option<String>,
    /// Seconds that its images took to pull; 0 if they were there.
    pub image_pull_seconds: Option<f64>,
}

impl EventCaches {
    /// What keeps up with them for ever, one future for each kind of event. Nobody is told of changes: a service whose pods
    /// are on their way is looked at again and again.
    pub fn follow(
        &self,
        api: &Api<Event>,
    ) -> impl Iterator<Item = impl Future<Output = ()> + use<>> {
        let caches = self.0.clone().into_iter().zip(SELECTORS);
        caches.map({
            let api = api.clone();
            move |(cache, selector)| {
                let watched = Watched {
                    api: api.clone(),
                    config: watcher::Config::default().fields(selector),
                    service: of_pod,
                    trim,
                    retry: RETRY,
                };
                cache.follow(watched, None)
            }
        })
    }

    /// What is known of `pod`. Events are a courtesy: if none came, there are none.
    pub(super) fn of(&self, pod: &Pod) -> PodEvents {
        let key = key(pod.namespace(), pod.uid());
        let events = self.0.iter().flat_map(|cache| cache.of(&key));
        PodEvents::from_events(&events.collect::<Vec<_>>())
    }
}

/// Events are kept by the pod that they are about, in whose key its uid has the place of a service's name.
fn of_pod(event: &Event) -> Option<ServiceKey> {
    let about = &event.involved_object;
    Some(key(about.namespace.clone(), about.uid.clone()))
}

fn key(namespace: Option<String>, uid: Option<String>) -> ServiceKey {
    ServiceKey {
        namespace: namespace.unwrap_or_default(),
        name: uid.unwrap_or_default(),
    }
}

/// Only what is read stays: there may be many events of other people's pods.
fn trim(event: &mut Event) {
    let whole = std::mem::take(event);
    event.metadata.name = whole.metadata.name;
    event.metadata.namespace = whole.metadata.namespace;
    event.metadata.resource_version = whole.metadata.resource_version;
    event.involved_object.namespace = whole.involved_object.namespace;
    event.involved_object.uid = whole.involved_object.uid;
    event.reason = whole.reason;
    event.message = whole.message;
    event.last_timestamp = whole.last_timestamp;
}

impl PodEvents {
    fn from_events(events: &[Event]) -> Self {
        let message = |event: &Event| event.message.clone().unwrap_or_default();
        let is = |event: &&Event, reasons: &[&str]| {
            let reason = event.reason.as_deref().unwrap_or_default();
            reasons.contains(&reason)
        };
        let trouble = events.iter().filter(|event| is(event, &TROUBLE));
        let last = trouble.max_by_key(|event| event.last_timestamp.as_ref().map(|time| time.0));
        let pulls = events.iter().filter(|event| is(event, &["Pulled"]));
        let pulls = pulls.filter_map(|event| pull_seconds(&message(event)));
        Self {
            volume_trouble: last.map(message),
            image_pull_seconds: pulls.reduce(|sum, seconds| sum + seconds),
        }
    }
}

/// Seconds of a pull, from the kubelet's words for it.
fn pull_seconds(message: &str) -> Option<f64> {
    if message.contains("already present on machine") {
        return Some(0.0);
    }
    let (_, rest) = message
        .strip_prefix("Successfully pulled image")?
        .split_once(" in ")?;
    go_duration_seconds(rest.split(' ').next()?)
}

/// Seconds of a duration as Go writes it, such as `1m2.5s` or `412ms`.
fn go_duration_seconds(text: &str) -> Option<f64> {
    let mut rest = text;
    let mut seconds = 0.0;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !(c.is_ascii_digit() || c == '.'))?;
        let number: f64 = rest[..end].parse().ok()?;
        rest = &rest[end..];
        let end = rest
            .find(|c: char| c.is_ascii_digit())
            .unwrap_or(rest.len());
        seconds += match &rest[..end] {
            "h" => number * 3600.0,
            "m" => number * 60.0,
            "s" => number,
            "ms" => number / 1e3,
            "µs" | "us" => number / 1e6,
            "ns" => number / 1e9,
            _ => return None,
        };
        rest = &rest[end..];
    }
    Some(seconds)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn events(reasons: &[(&str, &str, &str)]) -> PodEvents {
        let event = |(reason, time, message): &(&str, &str, &str)| {
            serde_json::from_value(json!({
                "metadata": {}, "involvedObject": {}, "reason": reason, "message": message,
                "lastTimestamp": time,
            }))
            .unwrap()
        };
        PodEvents::from_events(&reasons.iter().map(event).collect::<Vec<_>>())
    }

    #[test]
    fn pulls_of_all_containers_add_up() {
        let pulled = "Successfully pulled image \"r/e:1\" in 1m2.5s (1m3s including waiting). \
                      Image size: 26 bytes.";
        let present = "Container image \"r/e:1\" already present on machine";
        let at = "2026-01-01T00:00:00Z";
        let seen = events(&[("Pulled", at, pulled), ("Pulled", at, present)]);
        assert_eq!(seen.image_pull_seconds, Some(62.5));
        assert_eq!(
            events(&[("Pulled", at, present)]).image_pull_seconds,
            Some(0.0)
        );
        assert_eq!(
            events(&[("Pulled", at, "in another form")]).image_pull_seconds,
            None
        );
        assert_eq!(go_duration_seconds("412ms"), Some(0.412));
        assert_eq!(go_duration_seconds("4x"), None);
    }

    #[test]
    fn the_last_trouble_counts() {
        let seen = events(&[
            ("FailedMount", "2026-01-01T00:00:09Z", "secret not found"),
            ("FailedMount", "2026-01-01T00:00:01Z", "timed out"),
            ("Scheduled", "2026-01-01T00:00:59Z", "assigned"),
        ]);
        assert_eq!(seen.volume_trouble.as_deref(), Some("secret not found"));
    }
}
