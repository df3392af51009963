//! Status, computed from applied children and the previous status alone. Pure: the same inputs give
//! the same status, and a time moves only when a condition's status does.

use candela_crds::{
    AcceptedReason, ColdStart, ConditionType, InferenceService, InferenceServiceStatus,
    ModelReason, ModelSource, ModelStatus, ProgressingReason, ReadyReason, Stats,
    names::{ENGINE_CONTAINER, selector_text},
};
use candela_flags::{owner_of, parse_engine_flags};
use jiff::Timestamp;
use k8s_openapi::{
    api::{apps::v1::Deployment, core::v1::Pod},
    apimachinery::pkg::apis::meta::v1::{Condition, Time},
};

use super::{
    Applied, Heard, Progress, Refusal,
    observe::named_claim,
    pod::startup_seconds,
    readiness::{
        download_obstacle, is_downloading, is_leaving, is_ready, load_seconds, obstacle, phase,
        pulled, waits_for_volumes,
    },
};

/// The status of `service`, whose children are `applied`, at time `now`.
pub fn status(
    service: &InferenceService,
    applied: &Applied,
    now: Timestamp,
) -> InferenceServiceStatus {
    let before = service.status.clone().unwrap_or_default();
    let name = service.metadata.name.as_deref().unwrap_or_default();
    let namespace = service.metadata.namespace.as_deref().unwrap_or_default();
    let mut counts = Counts::of(applied.deployment.as_ref());
    // A write that changes no pod, such as a newer operator's, is no rollout; if it is one, the counts say so in a moment.
    counts.current |= was_ready(&before, service.metadata.generation);
    let accepted = accepted(applied.refusal.as_ref());
    let ready = match (&applied.deployment, &applied.refusal) {
        (None, Some(refusal)) => {
            Verdict::no(ReadyReason::NotAccepted.as_str(), refusal.message.clone())
        }
        _ => ready(service, applied, &counts, now),
    };
    let verdicts = [
        (ConditionType::Ready, ready),
        (ConditionType::Accepted, accepted),
        (
            ConditionType::ModelAvailable,
            model_available(service, applied),
        ),
        (ConditionType::Progressing, progressing(applied, &counts)),
    ];
    let generation = service.metadata.generation;
    let conditions = verdicts
        .into_iter()
        .map(|(kind, verdict)| verdict.into_condition(kind, generation, &before.conditions, now))
        .collect();
    InferenceServiceStatus {
        observed_generation: generation,
        url: applied
            .has_address
            .then(|| format!("http://{name}.{namespace}.svc/v1")),
        replicas: counts.replicas,
        ready_replicas: counts.ready,
        updated_replicas: counts.updated,
        selector: Some(selector_text(name)),
        image: image(applied),
        model: Some(model_status(service, applied, before.model)),
        cold_start: cold_start(applied, before.cold_start),
        stats: running(applied).and_then(stats_in_effect),
        conditions,
    }
}

/// Whether this specification was served when it was looked at last.
fn was_ready(before: &InferenceServiceStatus, generation: Option<i64>) -> bool {
    let mut conditions = before.conditions.iter();
    let ready = conditions.find(|condition| condition.type_ == ConditionType::Ready.as_str());
    before.observed_generation == generation && ready.is_some_and(|ready| ready.status == "True")
}

fn model_status(
    service: &InferenceService,
    applied: &Applied,
    before: Option<ModelStatus>,
) -> ModelStatus {
    let model = &service.spec.model;
    let uri = model.uri_with_revision();
    let before = before.filter(|before| before.uri.as_ref() == Some(&uri));
    let before = before.unwrap_or_default();
    // Pods may still be there that pulled what was asked for before.
    let mut reports = applied.pods.iter().filter_map(pulled);
    let report = reports.find(|report| report.model == uri && report.pulled.is_some());
    let pulled = report.and_then(|report| report.pulled);
    let progress = match &applied.coming.progress {
        Some(progress) => progress.percent(),
        None => (applied.pods.iter().any(is_ready)).then(|| "100%".to_owned()),
    };
    ModelStatus {
        name: model.name.clone().or(service.metadata.name.clone()),
        uri: Some(uri),
        revision: pulled
            .as_ref()
            .map(|pulled| pulled.version.clone())
            .or(before.revision),
        size_bytes: pulled
            .and_then(|pulled| i64::try_from(pulled.bytes).ok())
            .or(before.size_bytes),
        progress,
    }
}

/// Of the newest pod that has been through it; what is known already stays, since a pod is not asked twice.
fn cold_start(applied: &Applied, before: Option<ColdStart>) -> Option<ColdStart> {
    let Some(pod) = applied.pods.iter().find(|pod| is_ready(pod)) else {
        return before;
    };
    let name = pod.metadata.name.clone();
    let before = before
        .filter(|before| before.pod == name)
        .unwrap_or_default();
    let Heard { progress, events } = &applied.started;
    let said = progress.as_ref();
    let download_seconds = pulled(pod).and_then(|report| report.pulled.map(|_| report.seconds));
    let milliseconds = |seconds: Option<f64>| seconds.map(|s| (s * 1000.0).round() / 1000.0);
    Some(ColdStart {
        pod: name,
        image_pull_seconds: milliseconds(events.image_pull_seconds).or(before.image_pull_seconds),
        download_seconds: milliseconds(download_seconds).or(before.download_seconds),
        load_seconds: milliseconds(said.and_then(|said| said.load_seconds))
            .or(before.load_seconds)
            .or_else(|| load_seconds(pod)),
        first_token_seconds: milliseconds(said.and_then(|said| said.first_token_seconds))
            .or(before.first_token_seconds),
    })
}

/// The counts of a Deployment's status.
struct Counts {
    desired: i32,
    replicas: i32,
    updated: i32,
    ready: i32,
    /// Whether the Deployment's controller has seen its last change; if not, counts are of before.
    current: bool,
    deadline_exceeded: bool,
    replica_failure: Option<String>,
}

impl Counts {
    fn of(deployment: Option<&Deployment>) -> Self {
        let spec = deployment.and_then(|deployment| deployment.spec.as_ref());
        let status = deployment
            .and_then(|d| d.status.clone())
            .unwrap_or_default();
        let generation = deployment.and_then(|deployment| deployment.metadata.generation);
        let condition = |kind: &str| {
            status
                .conditions
                .iter()
                .flatten()
                .find(|condition| condition.type_ == kind)
        };
        Self {
            desired: spec.and_then(|spec| spec.replicas).unwrap_or(0),
            replicas: status.replicas.unwrap_or(0),
            updated: status.updated_replicas.unwrap_or(0),
            ready: status.ready_replicas.unwrap_or(0),
            current: generation.is_none() || status.observed_generation >= generation,
            deadline_exceeded: condition("Progressing")
                .is_some_and(|c| c.reason.as_deref() == Some("ProgressDeadlineExceeded")),
            replica_failure: condition("ReplicaFailure")
                .filter(|c| c.status == "True")
                .and_then(|c| c.message.clone()),
        }
    }

    fn complete(&self) -> bool {
        let Self {
            desired,
            replicas,
            updated,
            ready,
            current,
            ..
        } = *self;
        current && updated == desired && ready == desired && replicas == desired
    }
}

/// One condition before it has a time.
struct Verdict {
    holds: &'static str,
    reason: &'static str,
    message: String,
}

impl Verdict {
    fn yes(reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            holds: "True",
            reason,
            message: message.into(),
        }
    }

    fn no(reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            holds: "False",
            reason,
            message: message.into(),
        }
    }

    fn unknown(reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            holds: "Unknown",
            reason,
            message: message.into(),
        }
    }

    fn into_condition(
        self,
        kind: ConditionType,
        generation: Option<i64>,
        before: &[Condition],
        now: Timestamp,
    ) -> Condition {
        let earlier = before
            .iter()
            .find(|condition| condition.type_ == kind.as_str());
        let since = earlier
            .filter(|earlier| earlier.status == self.holds)
            .map_or(Time(whole_seconds(now)), |earlier| {
                earlier.last_transition_time.clone()
            });
        Condition {
            type_: kind.as_str().to_owned(),
            status: self.holds.to_owned(),
            reason: self.reason.to_owned(),
            message: self.message,
            observed_generation: generation,
            last_transition_time: since,
        }
    }
}

/// Conditions carry whole seconds; a fraction would differ from what the API server gives back.
fn whole_seconds(now: Timestamp) -> Timestamp {
    Timestamp::from_second(now.as_second()).unwrap_or(now)
}

/// The condition that `refusal` makes of Accepted.
pub(super) fn refused(
    refusal: &Refusal,
    generation: Option<i64>,
    before: &[Condition],
    now: Timestamp,
) -> Condition {
    accepted(Some(refusal)).into_condition(ConditionType::Accepted, generation, before, now)
}

fn accepted(refusal: Option<&Refusal>) -> Verdict {
    match refusal {
        None => Verdict::yes(
            AcceptedReason::Valid.as_str(),
            "the specification is carried out",
        ),
        Some(Refusal { reason, message }) => Verdict::no(reason.as_str(), message.clone()),
    }
}

fn ready(
    service: &InferenceService,
    applied: &Applied,
    counts: &Counts,
    now: Timestamp,
) -> Verdict {
    let Counts {
        desired,
        replicas,
        updated,
        ready,
        ..
    } = *counts;
    if desired == 0 && replicas == 0 {
        let message = "spec.replicas is 0: no pods are asked for";
        return Verdict::no(ReadyReason::ScaledToZero.as_str(), message);
    }
    let tally = format!("{ready} of {desired} pods answer requests");
    if counts.complete() {
        return Verdict::yes(ReadyReason::Serving.as_str(), tally);
    }
    let (reason, message) = why_not_ready(service, applied, counts, now).unwrap_or_else(|| {
        match updated < replicas || (!counts.current && ready > 0) {
            true => {
                let message = format!("{tally}; pods of the old specification are being replaced");
                (ReadyReason::RollingOut, message)
            }
            false => {
                let downloads = applied.pods.iter().any(is_downloading) && ready == 0;
                let reason = match downloads {
                    true => ReadyReason::Downloading,
                    false => ReadyReason::Loading,
                };
                (reason, format!("{tally}{}", slowest(applied)))
            }
        }
    });
    Verdict::no(reason.as_str(), message)
}

/// What stands in the way of pods, if anything does: of the newest pod first, since an older one may
/// be on its way out.
fn why_not_ready(
    service: &InferenceService,
    applied: &Applied,
    counts: &Counts,
    now: Timestamp,
) -> Option<(ReadyReason, String)> {
    if let Some(message) = missing_claim(service, applied) {
        return Some((ReadyReason::VolumeUnavailable, message));
    }
    let startup = startup_seconds(&service.spec);
    let found = |pod| obstacle(pod, startup, now);
    if let Some(found) = applied.pods.iter().find_map(found) {
        return Some(found);
    }
    if let Some(trouble) = &applied.coming.events.volume_trouble
        && let Some(pod) = applied.pods.iter().find(|pod| waits_for_volumes(pod))
    {
        let pod = pod.metadata.name.as_deref().unwrap_or_default();
        let message = format!("pod {pod} waits for a volume: {trouble}");
        return Some((ReadyReason::VolumeUnavailable, message));
    }
    if let Some(message) = &counts.replica_failure {
        let message = format!("pods cannot be created: {message}");
        return Some((ReadyReason::InsufficientCapacity, message));
    }
    counts.deadline_exceeded.then(|| {
        let message = format!(
            "pods were not ready within {startup} s: raise spec.rollout.startupTimeoutSeconds if \
             they only need longer"
        );
        (ReadyReason::StartupTimeout, message)
    })
}

fn missing_claim(service: &InferenceService, applied: &Applied) -> Option<String> {
    let claim = named_claim(service)?;
    let field = match ModelSource::parse(&service.spec.model.uri) {
        Some(ModelSource::Claim { .. }) => "spec.model.uri",
        _ => "spec.cache.claimName",
    };
    let phase = applied
        .claim
        .as_ref()
        .map(|claim| claim.status.clone().unwrap_or_default().phase);
    match phase {
        None => Some(format!(
            "{field} names the volume claim {claim}, which does not exist"
        )),
        Some(phase) if phase.as_deref() == Some("Lost") => {
            Some(format!("the volume of claim {claim} is lost"))
        }
        Some(_) => None,
    }
}

fn slowest(applied: &Applied) -> String {
    let waiting = applied
        .pods
        .iter()
        .find(|pod| !is_ready(pod) && !is_leaving(pod));
    waiting.map_or_else(String::new, |pod| {
        let name = pod.metadata.name.as_deref().unwrap_or_default();
        let percent = applied.coming.progress.as_ref();
        let percent = percent.and_then(Progress::percent);
        let percent = percent.map_or_else(String::new, |percent| format!(", {percent}"));
        format!("; pod {name} {}{percent}", phase(pod))
    })
}

fn model_available(service: &InferenceService, applied: &Applied) -> Verdict {
    if service.spec.model.uri == "builtin://demo" {
        return Verdict::yes(
            ModelReason::BuiltIn.as_str(),
            "the model is part of the engine",
        );
    }
    if applied.deployment.is_none() && applied.refusal.is_some() {
        let message = "the specification is not accepted, so nothing was tried";
        return Verdict::unknown(ModelReason::NotAccepted.as_str(), message);
    }
    if applied.pods.iter().any(is_ready) {
        return Verdict::yes(ModelReason::Loaded.as_str(), "a pod has loaded the model");
    }
    if let Some(message) = missing_claim(service, applied) {
        return Verdict::no(ModelReason::VolumeUnavailable.as_str(), message);
    }
    let failed = applied.pods.iter().find_map(download_obstacle);
    if let Some((_, message)) = failed {
        return Verdict::no(ModelReason::DownloadFailed.as_str(), message);
    }
    if applied.pods.iter().any(is_downloading) {
        let message = "a pod downloads the model";
        return Verdict::unknown(ModelReason::Downloading.as_str(), message);
    }
    Verdict::unknown(
        ModelReason::NotLoaded.as_str(),
        "no pod has loaded the model yet",
    )
}

fn progressing(applied: &Applied, counts: &Counts) -> Verdict {
    if applied.deployment.is_none() {
        let message = "the specification is not accepted, so nothing changes";
        return Verdict::no(ProgressingReason::NotAccepted.as_str(), message);
    }
    let tally = format!(
        "{} of {} pods are of this specification",
        counts.updated, counts.desired
    );
    if counts.complete() {
        Verdict::no(ProgressingReason::Complete.as_str(), tally)
    } else if counts.deadline_exceeded {
        Verdict::no(ProgressingReason::DeadlineExceeded.as_str(), tally)
    } else {
        Verdict::yes(ProgressingReason::RollingOut.as_str(), tally)
    }
}

/// The pod that speaks for what runs: the newest that is ready, else the newest.
fn running(applied: &Applied) -> Option<&Pod> {
    let staying = || applied.pods.iter().filter(|pod| !is_leaving(pod));
    staying()
        .find(|pod| is_ready(pod))
        .or_else(|| staying().next())
}

fn image(applied: &Applied) -> Option<String> {
    let template = applied
        .deployment
        .as_ref()
        .and_then(|d| d.spec.as_ref()?.template.spec.as_ref());
    let spec = running(applied)
        .and_then(|pod| pod.spec.as_ref())
        .or(template)?;
    let engine = spec
        .containers
        .iter()
        .find(|container| container.name == ENGINE_CONTAINER)?;
    engine.image.clone()
}

/// The stats settings that a pod runs with, read from its arguments by the engine's own parser. Only
/// the flags that the API owns are parsed: others may be of a version that this one does not know.
pub(super) fn stats_in_effect(pod: &Pod) -> Option<Stats> {
    let spec = pod.spec.as_ref()?;
    let engine = spec
        .containers
        .iter()
        .find(|container| container.name == ENGINE_CONTAINER)?;
    let is_stats =
        |arg: &&String| owner_of(arg).is_some_and(|o| o.field.starts_with("spec.stats."));
    let stats = engine.args.iter().flatten().filter(is_stats).cloned();
    let line = ["candela-engine", "--model=any"]
        .map(String::from)
        .into_iter()
        .chain(stats);
    let flags = parse_engine_flags(line.map(Into::into)).ok()?;
    Some(Stats {
        logging: !flags.disable_log_stats,
        headers: flags.enable_request_stats_headers,
        per_request_metrics: flags.enable_per_request_metrics.into(),
    })
}
