//! What Kubernetes tells of a pod in events and nowhere else: what keeps its volumes from being mounted, and how long its
//! image took.

use k8s_openapi::api::core::v1::{Event, Pod};
use kube::{Api, Client, ResourceExt, api::ListParams};

/// Events of one pod that are read.
const EVENTS_MAX: u32 = 100;
/// Reasons of events that say why a pod's containers are not created.
const TROUBLE: [&str; 3] = ["FailedMount", "FailedAttachVolume", "FailedMapVolume"];

/// What the events of a pod say.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PodEvents {
    /// Why its volumes are not there, last heard.
    pub volume_trouble: Option<String>,
    /// Seconds that its images took to pull; 0 if they were there.
    pub image_pull_seconds: Option<f64>,
}

impl PodEvents {
    /// Reads the events of `pod`. Events are a courtesy: if they cannot be read, there are none.
    pub(super) async fn of(client: &Client, pod: &Pod) -> Self {
        let namespace = pod.namespace().unwrap_or_default();
        let api: Api<Event> = Api::namespaced(client.clone(), &namespace);
        let field = format!("involvedObject.uid={}", pod.uid().unwrap_or_default());
        let events = api
            .list(&ListParams::default().fields(&field).limit(EVENTS_MAX))
            .await;
        match events {
            Ok(list) => Self::from_events(&list.items),
            Err(error) => {
                tracing::debug!(%error, pod = pod.name_any(), "events could not be read");
                Self::default()
            }
        }
    }

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
