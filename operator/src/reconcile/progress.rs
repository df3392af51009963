//! How far a pod is on its way to being ready, and what its start cost: asked of the pod itself, which serves `GET /progress`
//! from its first moment on, and of its events.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use candela_crds::{
    ColdStart, InferenceService,
    names::{DOWNLOAD_CONTAINER, ENGINE_CONTAINER, ENGINE_PORT},
};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use kube::ResourceExt;
use serde::Deserialize;
use tokio::time::{Instant, timeout};

use super::{
    pod_events::{EventCaches, PodEvents},
    readiness::{is_leaving, is_ready, waits_for_volumes},
};
use crate::http;

/// A pod is not asked again sooner, however often its service is reconciled.
pub const ASK_INTERVAL: Duration = Duration::from_secs(10);
/// How long an answer is waited for.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);
/// Progress is told in steps of so many percent, so that a status is not written for less.
const STEP_PERCENT: u64 = 5;
/// Pods whose answers are remembered; beyond, all are forgotten and asked anew.
const REMEMBERED_MAX: usize = 100_000;
/// A ready pod is asked what its start cost for so long: by then somebody has sent a first request, or it does not matter.
const MEASURED_FOR_SECONDS: i64 = 600;

/// What a pod said.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Progress {
    /// `downloading` or `loading`, or what comes after.
    pub phase: String,
    /// Of the download, or of the weights.
    pub bytes_done: u64,
    /// 0 while it is unknown.
    pub bytes_total: u64,
    /// From the start of its process to its being ready.
    #[serde(default)]
    pub load_seconds: Option<f64>,
    /// What its first request waited for its first token.
    #[serde(default)]
    pub first_token_seconds: Option<f64>,
}

/// All that is known of a pod beyond its status.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Heard {
    /// From itself; `None` if it did not answer.
    pub progress: Option<Progress>,
    /// From its events.
    pub events: PodEvents,
}

/// What pods on their way (`false`) and ready ones (`true`) said, by their uid, and when.
#[derive(Debug, Default)]
pub struct Asked(Mutex<Answers>);

type Answers = HashMap<(String, bool), (Instant, Option<Progress>)>;

impl Progress {
    /// Whole steps that are done, such as `45%`; `None` while it is unknown how much there is.
    pub fn percent(&self) -> Option<String> {
        let percent =
            (self.bytes_done.min(self.bytes_total) * 100).checked_div(self.bytes_total)?;
        Some(format!("{}%", percent / STEP_PERCENT * STEP_PERCENT))
    }
}

impl Asked {
    /// Of the newest pod that is on its way to being ready.
    pub(super) async fn of_coming(&self, events: &EventCaches, pods: &[Pod]) -> Heard {
        let mut pods = pods.iter();
        let Some(pod) = pods.find(|pod| !is_ready(pod) && !is_leaving(pod)) else {
            return Heard::default();
        };
        Heard {
            progress: self.of(pod).await,
            events: match waits_for_volumes(pod) {
                true => events.of(pod),
                false => PodEvents::default(),
            },
        }
    }

    /// Of the newest pod that is ready, if `service` does not say yet what its start cost.
    pub(super) async fn of_started(
        &self,
        events: &EventCaches,
        service: &InferenceService,
        pods: &[Pod],
    ) -> Heard {
        match pods.iter().find(|pod| is_ready(pod)) {
            Some(pod) if is_unmeasured(service, pod) => Heard {
                progress: self.of(pod).await,
                events: events.of(pod),
            },
            _ => Heard::default(),
        }
    }

    async fn of(&self, pod: &Pod) -> Option<Progress> {
        let key = (pod.uid().unwrap_or_default(), is_ready(pod));
        let now = Instant::now();
        if let Some((at, said)) = self.lock().get(&key)
            && now.duration_since(*at) < ASK_INTERVAL
        {
            return said.clone();
        }
        let progress = async {
            let asked = http::send(address(pod)?, "/progress", None, None);
            let answer = timeout(ANSWER_TIMEOUT, asked).await.ok()?.ok()?;
            serde_json::from_value(answer.body).ok()
        };
        let said: Option<Progress> = progress.await;
        let mut asked = self.lock();
        if asked.len() >= REMEMBERED_MAX {
            asked.clear();
        }
        asked.insert(key, (now, said.clone()));
        said
    }

    fn lock(&self) -> MutexGuard<'_, Answers> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether the start of `pod`, which is ready, still has a figure that the status of `service` lacks and may get.
pub(super) fn is_unmeasured(service: &InferenceService, pod: &Pod) -> bool {
    let created = pod.metadata.creation_timestamp.as_ref();
    let age = created.map(|created| Timestamp::now().as_second() - created.0.as_second());
    let young = age.is_none_or(|seconds| seconds < MEASURED_FOR_SECONDS);
    match known(service, pod) {
        None => true,
        Some(known) => young && service.spec.stats.logging && known.first_token_seconds.is_none(),
    }
}

/// What the status of `service` says of the start of `pod`.
fn known<'a>(service: &'a InferenceService, pod: &Pod) -> Option<&'a ColdStart> {
    let known = service.status.as_ref()?.cold_start.as_ref();
    known.filter(|known| known.pod.is_some() && known.pod == pod.metadata.name)
}

/// Where a pod serves, if one of its containers runs.
fn address(pod: &Pod) -> Option<SocketAddr> {
    let status = pod.status.as_ref()?;
    let runs = |containers: &Option<Vec<ContainerStatus>>, name: &str| {
        let mut containers = containers.iter().flatten();
        containers.any(|container| {
            let state = container.state.as_ref();
            container.name == name && state.is_some_and(|state| state.running.is_some())
        })
    };
    let serves = runs(&status.init_container_statuses, DOWNLOAD_CONTAINER)
        || runs(&status.container_statuses, ENGINE_CONTAINER);
    let ip = status.pod_ip.as_ref()?.parse().ok()?;
    serves.then(|| SocketAddr::new(ip, ENGINE_PORT))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percent_is_told_in_steps_and_never_too_high() {
        let percent = |done, total| {
            let progress = Progress {
                phase: "loading".into(),
                bytes_done: done,
                bytes_total: total,
                load_seconds: None,
                first_token_seconds: None,
            };
            progress.percent()
        };
        for (done, total, text) in [
            (0, 10, Some("0%")),
            (49, 1000, Some("0%")),
            (999, 1000, Some("95%")),
            (1000, 1000, Some("100%")),
            (2000, 1000, Some("100%")),
            (5, 0, None),
        ] {
            assert_eq!(percent(done, total).as_deref(), text, "{done} of {total}");
        }
    }
}
