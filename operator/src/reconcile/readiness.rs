//! Why a pod does not answer, read from its status. Pure.

use candela_crds::{
    ReadyReason,
    names::{DOWNLOAD_CONTAINER, ENGINE_CONTAINER},
};
use candela_flags::{PullFailed, PullFailure, PullReport};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ContainerStateTerminated, ContainerStatus, Pod};
use kube::ResourceExt;

/// Characters of a container's last words that a condition carries.
const LAST_WORDS_MAX: usize = 1000;

/// Reasons of a waiting container that mean its image is not there.
const IMAGE_REASONS: [&str; 6] = [
    "ErrImagePull",
    "ImagePullBackOff",
    "InvalidImageName",
    "ErrImageNeverPull",
    "ImageInspectError",
    "RegistryUnavailable",
];

/// Reasons of a waiting container that mean it cannot be started as it is written.
const START_REASONS: [&str; 4] = [
    "CreateContainerConfigError",
    "CreateContainerError",
    "RunContainerError",
    "PostStartHookError",
];

/// Whether the pod answers requests.
pub(super) fn is_ready(pod: &Pod) -> bool {
    condition(pod, "Ready").is_some_and(|(status, _)| status == "True") && !is_leaving(pod)
}

/// Whether the pod is being deleted.
pub(super) fn is_leaving(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_some()
}

/// What stands in the way of `pod` at time `now`, or `None` if it is ready, leaving, or simply still
/// starting.
pub(super) fn obstacle(
    pod: &Pod,
    startup_seconds: i32,
    now: Timestamp,
) -> Option<(ReadyReason, String)> {
    if is_ready(pod) || is_leaving(pod) {
        return None;
    }
    let name = pod.name_any();
    if let Some(("False", message)) = condition(pod, "PodScheduled") {
        let volume = message.to_lowercase().contains("persistentvolumeclaim");
        let reason = if volume {
            ReadyReason::VolumeUnavailable
        } else {
            ReadyReason::InsufficientCapacity
        };
        return Some((reason, format!("pod {name} cannot be placed: {message}")));
    }
    let evicted = pod.status.as_ref().filter(|status| {
        status.phase.as_deref() == Some("Failed") && status.reason.as_deref() == Some("Evicted")
    });
    if let Some(message) = evicted.and_then(|status| status.message.as_deref()) {
        let disk = ["ephemeral", "emptydir", "disk"];
        let disk = disk
            .iter()
            .any(|word| message.to_lowercase().contains(word));
        let reason = match disk {
            true => ReadyReason::DiskFull,
            false => ReadyReason::InsufficientCapacity,
        };
        return Some((reason, format!("pod {name} was evicted: {message}")));
    }
    if download(pod).is_some_and(|container| success(container).is_none()) {
        return download_obstacle(pod);
    }
    let container = engine(pod)?;
    cannot_start(&name, container)
        .or_else(|| too_slow(&name, container, startup_seconds, now))
        .or_else(|| Some(death(&name, terminated(container)?, startup_seconds)))
}

/// A container that runs for longer than it may without having started. That is so before the kubelet
/// ends it, and an engine that hangs takes its whole drain to end.
fn too_slow(
    pod: &str,
    container: &ContainerStatus,
    startup_seconds: i32,
    now: Timestamp,
) -> Option<(ReadyReason, String)> {
    let running = container.state.as_ref()?.running.as_ref()?;
    let runs = now.duration_since(running.started_at.as_ref()?.0).as_secs();
    let late = container.started != Some(true) && runs >= i64::from(startup_seconds);
    late.then(|| {
        (
            ReadyReason::StartupTimeout,
            not_in_time(pod, startup_seconds),
        )
    })
}

fn not_in_time(pod: &str, startup_seconds: i32) -> String {
    format!(
        "the engine in pod {pod} was not ready within {startup_seconds} s: raise \
         spec.rollout.startupTimeoutSeconds if it only needs longer"
    )
}

/// What stands in the way of the pod's download, if it has one that is not done.
pub(super) fn download_obstacle(pod: &Pod) -> Option<(ReadyReason, String)> {
    let container = download(pod).filter(|container| success(container).is_none())?;
    let name = pod.name_any();
    let Some((reason, message)) = cannot_start(&name, container) else {
        return Some(failed_download(&name, terminated(container)?));
    };
    // All that a download's container takes from elsewhere is its Secret.
    match reason {
        ReadyReason::CrashLoop if message.contains("secret") => {
            let message = format!("{message}; spec.model.secretRef names the Secret");
            Some((ReadyReason::DownloadUnauthorized, message))
        }
        _ => Some((reason, message)),
    }
}

/// Seconds from the start of the engine's container to the pod's being ready, which Kubernetes tells whole.
pub(super) fn load_seconds(pod: &Pod) -> Option<f64> {
    let running = engine(pod)?.state.as_ref()?.running.as_ref()?;
    let conditions = pod.status.as_ref()?.conditions.as_ref()?;
    let ready = conditions
        .iter()
        .find(|condition| condition.type_ == "Ready")?;
    let (from, to) = (
        &running.started_at.as_ref()?.0,
        &ready.last_transition_time.as_ref()?.0,
    );
    Some(to.duration_since(*from).as_secs_f64().max(0.0))
}

/// Why a container is not even started.
fn cannot_start(name: &str, container: &ContainerStatus) -> Option<(ReadyReason, String)> {
    let waiting = container
        .state
        .as_ref()
        .and_then(|state| state.waiting.as_ref());
    let why = waiting
        .and_then(|waiting| waiting.reason.as_deref())
        .unwrap_or_default();
    let detail = waiting
        .and_then(|waiting| waiting.message.as_deref())
        .unwrap_or_default();
    if IMAGE_REASONS.contains(&why) {
        let image = &container.image;
        let message = format!("pod {name} cannot pull {image}: {why}: {detail}");
        return Some((ReadyReason::ImagePullFailed, message));
    }
    if START_REASONS.contains(&why) {
        let message = format!("pod {name} cannot start its container: {why}: {detail}");
        return Some((ReadyReason::CrashLoop, message));
    }
    None
}

/// Why a download ended: by its own report, or by how it was ended.
fn failed_download(pod: &str, ended: &ContainerStateTerminated) -> (ReadyReason, String) {
    let words = ended.message.as_deref().unwrap_or_default();
    let report = PullReport::of_line(words).and_then(|report| report.failed);
    let Some(PullFailed { kind, message }) = report else {
        let code = ended.exit_code;
        let (reason, how) = match ended.reason.as_deref() {
            Some("OOMKilled") => (
                ReadyReason::OutOfMemory,
                "needed more memory than its limit".to_owned(),
            ),
            _ => (
                ReadyReason::DownloadFailed,
                format!("ended with exit code {code}"),
            ),
        };
        let words = after_colon(ended);
        return (reason, format!("the download in pod {pod} {how}{words}"));
    };
    let reason = match kind {
        PullFailure::Unauthorized => ReadyReason::DownloadUnauthorized,
        PullFailure::NotFound => ReadyReason::ModelNotFound,
        PullFailure::DiskFull => ReadyReason::DiskFull,
        PullFailure::Other => ReadyReason::DownloadFailed,
    };
    let more = match kind {
        PullFailure::Unauthorized => "; spec.model.secretRef names the Secret with the credentials",
        PullFailure::DiskFull => "; spec.cache.size is the size of the cache",
        PullFailure::NotFound | PullFailure::Other => "",
    };
    (
        reason,
        format!("pod {pod} cannot download the model: {message}{more}"),
    )
}

fn death(
    pod: &str,
    ended: &ContainerStateTerminated,
    startup_seconds: i32,
) -> (ReadyReason, String) {
    let words = after_colon(ended);
    if ended.reason.as_deref() == Some("OOMKilled") {
        let message = format!(
            "the engine in pod {pod} needed more memory than its limit: raise \
             spec.resources.limits.memory{words}"
        );
        return (ReadyReason::OutOfMemory, message);
    }
    let ran = match (&ended.started_at, &ended.finished_at) {
        (Some(started), Some(finished)) => finished.0.duration_since(started.0).as_secs(),
        _ => 0,
    };
    if ran >= i64::from(startup_seconds) {
        let message = not_in_time(pod, startup_seconds) + &words;
        return (ReadyReason::StartupTimeout, message);
    }
    let code = ended.exit_code;
    (
        ReadyReason::CrashLoop,
        format!("the engine in pod {pod} ended with exit code {code}{words}"),
    )
}

/// How the engine's container of a pod that is not ready ended last, if it did.
fn terminated(container: &ContainerStatus) -> Option<&ContainerStateTerminated> {
    let now = container
        .state
        .as_ref()
        .and_then(|state| state.terminated.as_ref());
    now.or_else(|| {
        container
            .last_state
            .as_ref()
            .and_then(|state| state.terminated.as_ref())
    })
}

/// What the pod's download brought, by its own report.
pub(super) fn pulled(pod: &Pod) -> Option<PullReport> {
    let ended = download(pod).and_then(success)?;
    PullReport::of_line(ended.message.as_deref().unwrap_or_default())
}

/// How a container ended that did what it was there for.
fn success(container: &ContainerStatus) -> Option<&ContainerStateTerminated> {
    let ended = container.state.as_ref()?.terminated.as_ref()?;
    (ended.exit_code == 0).then_some(ended)
}

/// Whether the pod has a node and its containers are not made yet: what is in the way is told in events alone.
pub(super) fn waits_for_volumes(pod: &Pod) -> bool {
    let creating = |container: &ContainerStatus| {
        let state = container.state.as_ref();
        let waiting = state.and_then(|state| state.waiting.as_ref());
        let reason = waiting.and_then(|waiting| waiting.reason.as_deref());
        matches!(reason, Some("ContainerCreating" | "PodInitializing"))
    };
    let placed = condition(pod, "PodScheduled").is_some_and(|(status, _)| status == "True");
    let first = download(pod).or_else(|| engine(pod));
    placed && first.is_some_and(creating)
}

/// Whether the pod's download runs.
pub(super) fn is_downloading(pod: &Pod) -> bool {
    let state = download(pod).and_then(|container| container.state.as_ref());
    state.is_some_and(|state| state.running.is_some())
}

/// Where the pod is on its way to being ready.
pub(super) fn phase(pod: &Pod) -> &'static str {
    let state = engine(pod).and_then(|container| container.state.as_ref());
    match state {
        _ if is_downloading(pod) => "downloads the model",
        Some(state) if state.running.is_some() => "loads the model",
        _ if pod
            .spec
            .as_ref()
            .is_some_and(|spec| spec.node_name.is_some()) =>
        {
            "starts"
        }
        _ => "waits for a node",
    }
}

fn download(pod: &Pod) -> Option<&ContainerStatus> {
    let containers = pod.status.as_ref()?.init_container_statuses.as_ref()?;
    containers
        .iter()
        .find(|container| container.name == DOWNLOAD_CONTAINER)
}

fn engine(pod: &Pod) -> Option<&ContainerStatus> {
    let containers = pod.status.as_ref()?.container_statuses.as_ref()?;
    containers
        .iter()
        .find(|container| container.name == ENGINE_CONTAINER)
}

fn condition<'a>(pod: &'a Pod, kind: &str) -> Option<(&'a str, &'a str)> {
    let conditions = pod.status.as_ref()?.conditions.as_ref()?;
    let found = conditions
        .iter()
        .find(|condition| condition.type_ == kind)?;
    Some((&found.status, found.message.as_deref().unwrap_or_default()))
}

/// The last words of a container, behind a colon; nothing if it had none.
fn after_colon(ended: &ContainerStateTerminated) -> String {
    match last_words(ended.message.as_deref().unwrap_or_default()) {
        "" => String::new(),
        words => format!(": {words}"),
    }
}

/// The end of what a container wrote: the cause of death is in the last lines.
fn last_words(message: &str) -> &str {
    let message = message.trim();
    let characters = message.chars().count();
    let skipped = characters.saturating_sub(LAST_WORDS_MAX);
    let start = message
        .char_indices()
        .nth(skipped)
        .map_or(message.len(), |(index, _)| index);
    &message[start..]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn last_words_are_the_last_and_whole_characters() {
        let long = format!("{}ü the end", "ä".repeat(2000));
        let words = last_words(&long);
        assert_eq!(words.chars().count(), LAST_WORDS_MAX);
        assert!(words.ends_with("ü the end"));
        assert_eq!(last_words("  short \n"), "short");
    }
}
