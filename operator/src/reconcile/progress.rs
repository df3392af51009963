//! How far a pod is on its way to being ready: asked of the pod itself, which serves `GET /progress` from its first moment on.

use std::{collections::HashMap, net::SocketAddr, sync::Mutex, time::Duration};

use candela_crds::names::{DOWNLOAD_CONTAINER, ENGINE_CONTAINER, ENGINE_PORT};
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use kube::ResourceExt;
use serde::Deserialize;
use tokio::time::{Instant, timeout};

use super::readiness::{is_leaving, is_ready};
use crate::http;

/// A pod is not asked again sooner, however often its service is reconciled.
pub const ASK_INTERVAL: Duration = Duration::from_secs(10);
/// How long an answer is waited for.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);
/// Progress is told in steps of so many percent, so that a status is not written for less.
const STEP_PERCENT: u64 = 5;
/// Pods whose answers are remembered; beyond, all are forgotten and asked anew.
const REMEMBERED_MAX: usize = 100_000;

/// What a pod said.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Progress {
    /// `downloading` or `loading`, or what comes after.
    pub phase: String,
    /// Of the download, or of the weights.
    pub bytes_done: u64,
    /// 0 while it is unknown.
    pub bytes_total: u64,
}

/// Answers of pods, by their uid, and when they were asked.
#[derive(Debug, Default)]
pub struct Asked(Mutex<HashMap<String, (Instant, Option<Progress>)>>);

impl Progress {
    /// Whole steps that are done, such as `45%`; `None` while it is unknown how much there is.
    pub fn percent(&self) -> Option<String> {
        let percent =
            (self.bytes_done.min(self.bytes_total) * 100).checked_div(self.bytes_total)?;
        Some(format!("{}%", percent / STEP_PERCENT * STEP_PERCENT))
    }
}

impl Asked {
    /// How far the newest pod is that is on its way. `None` where there is none, or it does not answer.
    pub(super) async fn newest(&self, pods: &[Pod]) -> Option<Progress> {
        let pod = pods.iter().find(|pod| !is_ready(pod) && !is_leaving(pod))?;
        let (uid, address) = (pod.uid()?, address(pod)?);
        let now = Instant::now();
        if let Some((at, answer)) = self.lock().get(&uid)
            && now.duration_since(*at) < ASK_INTERVAL
        {
            return answer.clone();
        }
        let answer = timeout(ANSWER_TIMEOUT, http::send(address, "/progress", None, None)).await;
        let answer = answer.ok().and_then(Result::ok);
        let answer = answer.and_then(|answer| serde_json::from_value(answer.body).ok());
        let mut asked = self.lock();
        if asked.len() >= REMEMBERED_MAX {
            asked.clear();
        }
        asked.insert(uid, (now, answer.clone()));
        answer
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, (Instant, Option<Progress>)>> {
        self.0
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
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
