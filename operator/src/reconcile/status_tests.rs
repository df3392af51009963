//! What a person reads in `status` for each state of the cluster.

use candela_crds::{AcceptedReason, InferenceService, InferenceServiceStatus, MetricsWhen, Stats};
use jiff::Timestamp;
use k8s_openapi::api::{apps::v1::Deployment, core::v1::Pod};
use serde_json::{Value, json};

use super::*;

const NOON: i64 = 1_800_000_000;

fn service() -> InferenceService {
    let document = json!({
        "apiVersion": "inference.candela.dev/v1alpha1", "kind": "InferenceService",
        "metadata": {"name": "demo", "namespace": "team-a", "uid": "u-1", "generation": 3},
        "spec": {"model": {"uri": "builtin://demo"}, "rollout": {"startupTimeoutSeconds": 60}},
    });
    candela_crds::check(document).service.unwrap()
}

fn deployment(desired: i32, total: i32, updated: i32, ready: i32) -> Deployment {
    serde_json::from_value(json!({
        "metadata": {"name": "demo", "generation": 2},
        "spec": {"replicas": desired, "selector": {}, "template": {}},
        "status": {"observedGeneration": 2, "replicas": total, "updatedReplicas": updated,
                   "readyReplicas": ready},
    }))
    .unwrap()
}

fn pod(status: Value) -> Pod {
    serde_json::from_value(json!({
        "metadata": {"name": "demo-1"},
        "spec": {"nodeName": "n", "containers": [{
            "name": "engine", "image": "engine:1",
            "args": ["--model=builtin://demo", "--enable-request-stats-headers", "--future-flag"],
        }]},
        "status": status,
    }))
    .unwrap()
}

fn container(state: Value, last: Value) -> Value {
    json!({
        "conditions": [{"type": "Ready", "status": "False"}],
        "containerStatuses": [{"name": "engine", "image": "engine:1", "imageID": "", "ready": false,
                               "restartCount": 1, "state": state, "lastState": last}],
    })
}

fn applied(deployment: Deployment, pods: Vec<Pod>) -> Applied {
    Applied {
        deployment: Some(deployment),
        has_address: true,
        pods,
        ..Default::default()
    }
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(seconds).unwrap()
}

/// Status, reason and message of a condition.
fn condition(status: &InferenceServiceStatus, kind: &str) -> (String, String, String) {
    let found = status
        .conditions
        .iter()
        .find(|condition| condition.type_ == kind)
        .unwrap();
    (
        found.status.clone(),
        found.reason.clone(),
        found.message.clone(),
    )
}

/// Asserts what Ready says with one pod that is not ready.
fn check(pod_status: Value, reason: &str, words: &[&str]) {
    let status = status(
        &service(),
        &applied(deployment(1, 1, 1, 0), vec![pod(pod_status)]),
        at(NOON),
    );
    let (holds, found, message) = condition(&status, "Ready");
    assert_eq!(
        (holds.as_str(), found.as_str()),
        ("False", reason),
        "{message}"
    );
    for word in words {
        assert!(message.contains(word), "{word} is not in: {message}");
    }
}

#[test]
fn each_failure_has_its_own_reason_and_the_last_words() {
    let ended = |reason: &str, code: i32, seconds: i64, message: &str| {
        json!({"terminated": {"reason": reason, "exitCode": code, "message": message,
            "startedAt": "2027-01-01T00:00:00Z",
            "finishedAt": at(1_798_761_600 + seconds).to_string()}})
    };
    let waiting = |reason: &str| json!({"waiting": {"reason": reason, "message": "because"}});
    check(
        json!({"conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable",
                               "message": "0/1 nodes are available: 1 Insufficient nvidia.com/gpu."}]}),
        "InsufficientCapacity",
        &["demo-1", "Insufficient nvidia.com/gpu"],
    );
    check(
        json!({"conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable",
                               "message": "persistentvolumeclaim \"models\" not found"}]}),
        "VolumeUnavailable",
        &["models"],
    );
    check(
        container(waiting("ErrImagePull"), json!({})),
        "ImagePullFailed",
        &["engine:1", "because"],
    );
    check(
        container(waiting("CrashLoopBackOff"), ended("OOMKilled", 137, 5, "")),
        "OutOfMemory",
        &["spec.resources.limits.memory"],
    );
    check(
        container(
            waiting("CrashLoopBackOff"),
            ended("Error", 2, 1, "error: no such folder"),
        ),
        "CrashLoop",
        &["exit code 2", "error: no such folder"],
    );
    check(
        container(json!({"running": {}}), ended("Error", 143, 61, "")),
        "StartupTimeout",
        &["within 60 s", "startupTimeoutSeconds"],
    );
    check(
        container(json!({"running": {}}), json!({})),
        "Loading",
        &["0 of 1", "loads the model"],
    );
    check(
        container(waiting("ContainerCreating"), json!({})),
        "Loading",
        &["starts"],
    );
}

#[test]
fn a_start_that_takes_too_long_is_named_before_the_container_ends() {
    let since = |seconds: i64| json!({"running": {"startedAt": at(NOON - seconds).to_string()}});
    let words = &["within 60 s", "startupTimeoutSeconds"];
    check(container(since(59), json!({})), "Loading", &[]);
    check(container(since(60), json!({})), "StartupTimeout", words);
    let mut started = container(since(3600), json!({}));
    started["containerStatuses"][0]["started"] = json!(true);
    check(started, "Loading", &[]);
}

#[test]
fn ready_only_when_updated_ready_and_desired_agree_and_none_is_old() {
    let reason = |deployment: Deployment| {
        let (holds, reason, _) = condition(
            &status(&service(), &applied(deployment, vec![]), at(NOON)),
            "Ready",
        );
        format!("{holds} {reason}")
    };
    assert_eq!(reason(deployment(2, 2, 2, 2)), "True Serving");
    assert_eq!(reason(deployment(2, 3, 2, 2)), "False RollingOut");
    assert_eq!(reason(deployment(2, 2, 1, 2)), "False RollingOut");
    assert_eq!(reason(deployment(2, 2, 2, 1)), "False Loading");
    assert_eq!(reason(deployment(0, 0, 0, 0)), "False ScaledToZero");
    let mut unseen = deployment(1, 1, 1, 1);
    unseen.metadata.generation = Some(3);
    assert_eq!(reason(unseen), "False RollingOut");
}

#[test]
fn stats_in_effect_are_those_of_the_pod_and_not_of_the_specification() {
    let mut wants_none = service();
    wants_none.spec.stats = Stats {
        headers: false,
        ..Stats::default()
    };
    let running = pod(json!({"conditions": [{"type": "Ready", "status": "True"}]}));
    let status = status(
        &wants_none,
        &applied(deployment(1, 1, 1, 1), vec![running]),
        at(NOON),
    );
    let in_effect = Stats {
        logging: true,
        headers: true,
        per_request_metrics: MetricsWhen::Never,
    };
    assert_eq!(status.stats, Some(in_effect));
    assert_eq!(status.image.as_deref(), Some("engine:1"));
    assert_eq!(status.url.as_deref(), Some("http://demo.team-a.svc/v1"));
}

#[test]
fn times_move_only_with_a_conditions_status() {
    let mut service = service();
    let time = |service: &InferenceService, kind: &str| {
        let conditions = &service.status.as_ref().unwrap().conditions;
        conditions
            .iter()
            .find(|c| c.type_ == kind)
            .unwrap()
            .last_transition_time
            .0
            .as_second()
    };
    let mut step = |applied: &Applied, seconds| {
        service.status = Some(status(&service, applied, at(seconds)));
        (time(&service, "Ready"), time(&service, "Accepted"))
    };
    assert_eq!(
        step(&applied(deployment(1, 1, 1, 0), vec![]), NOON),
        (NOON, NOON)
    );
    let crashed = pod(container(json!({}), json!({"terminated": {"exitCode": 1}})));
    assert_eq!(
        step(&applied(deployment(1, 1, 1, 0), vec![crashed]), NOON + 5),
        (NOON, NOON)
    );
    assert_eq!(
        step(&applied(deployment(1, 1, 1, 1), vec![]), NOON + 9),
        (NOON + 9, NOON)
    );
    assert_eq!(
        step(&applied(deployment(1, 1, 1, 1), vec![]), NOON + 12),
        (NOON + 9, NOON)
    );
}

#[test]
fn a_refused_specification_says_so_and_pods_speak_for_themselves() {
    let refusal = Refusal {
        reason: AcceptedReason::InvalidStats,
        message: "change it".into(),
    };
    let mut refused = applied(deployment(1, 1, 1, 1), vec![]);
    refused.refusal = Some(refusal.clone());
    let still_serving = status(&service(), &refused, at(NOON));
    assert_eq!(
        condition(&still_serving, "Accepted"),
        ("False".into(), "InvalidStats".into(), "change it".into())
    );
    assert_eq!(condition(&still_serving, "Ready").0, "True");
    let nothing = Applied {
        refusal: Some(refusal),
        ..Default::default()
    };
    let nothing = status(&service(), &nothing, at(NOON));
    assert_eq!(condition(&nothing, "Ready").1, "NotAccepted");
    assert_eq!(nothing.url, None);
}

/// A pod whose download is in this state, and was in that one before.
fn downloading(state: Value, last: Value) -> Pod {
    pod(json!({
        "podIP": "10.0.0.1",
        "conditions": [{"type": "Ready", "status": "False"}],
        "initContainerStatuses": [{"name": "download", "image": "engine:1", "imageID": "", "ready": false,
                                   "restartCount": 1, "state": state, "lastState": last}],
    }))
}

fn hub_service() -> InferenceService {
    let mut service = service();
    service.spec.model.uri = "hf://org/repo".into();
    service
}

#[test]
fn a_download_is_told_by_how_far_it_is() {
    let running = json!({"running": {"startedAt": "2027-01-15T08:00:00Z"}});
    let mut applied = applied(
        deployment(1, 1, 1, 0),
        vec![downloading(running, json!({}))],
    );
    applied.coming.progress = Some(Progress {
        phase: "downloading".into(),
        bytes_done: 47,
        bytes_total: 100,
        load_seconds: None,
        first_token_seconds: None,
    });
    let status = status(&hub_service(), &applied, at(NOON));
    let (ready, reason, message) = condition(&status, "Ready");
    assert_eq!((&*ready, &*reason), ("False", "Downloading"));
    assert!(
        message.ends_with("pod demo-1 downloads the model, 45%"),
        "{message}"
    );
    assert_eq!(status.model.unwrap().progress.as_deref(), Some("45%"));
}

#[test]
fn a_volume_that_cannot_be_mounted_is_told_in_the_words_of_its_event() {
    let waiting = json!({
        "conditions": [{"type": "PodScheduled", "status": "True"}],
        "containerStatuses": [{"name": "engine", "image": "engine:1", "imageID": "", "ready": false,
            "restartCount": 0, "state": {"waiting": {"reason": "ContainerCreating"}}}],
    });
    let mut applied = applied(deployment(1, 1, 1, 0), vec![pod(waiting)]);
    let reason = |applied: &Applied| condition(&status(&service(), applied, at(NOON)), "Ready").1;
    assert_eq!(reason(&applied), "Loading");
    applied.coming.events.volume_trouble = Some("secret \"keys\" not found".into());
    let status = status(&service(), &applied, at(NOON));
    let (_, reason, message) = condition(&status, "Ready");
    assert_eq!(reason, "VolumeUnavailable");
    assert!(
        message.ends_with("demo-1 waits for a volume: secret \"keys\" not found"),
        "{message}"
    );
}

#[test]
fn a_start_is_measured_once_and_the_figures_stay_with_their_pod() {
    let ready = json!({"conditions": [{"type": "Ready", "status": "True"}]});
    let mut applied = applied(deployment(1, 1, 1, 1), vec![pod(ready)]);
    let figures = |service: &InferenceService, applied: &Applied| {
        let cold = status(service, applied, at(NOON)).cold_start.unwrap();
        (
            cold.image_pull_seconds,
            cold.load_seconds,
            cold.first_token_seconds,
        )
    };
    applied.started = Heard {
        progress: Some(Progress {
            phase: "ready".into(),
            bytes_done: 1,
            bytes_total: 1,
            load_seconds: Some(0.25),
            first_token_seconds: None,
        }),
        events: PodEvents {
            volume_trouble: None,
            image_pull_seconds: Some(0.4),
        },
    };
    let mut service = service();
    assert_eq!(figures(&service, &applied), (Some(0.4), Some(0.25), None));
    service.status = Some(status(&service, &applied, at(NOON)));
    applied.started = Heard::default();
    assert_eq!(figures(&service, &applied), (Some(0.4), Some(0.25), None));
    applied.pods[0].metadata.name = Some("demo-2".into());
    assert_eq!(figures(&service, &applied), (None, None, None));
}

#[test]
fn a_download_that_failed_is_named_by_its_own_report() {
    for (kind, reason) in [
        ("unauthorized", "DownloadUnauthorized"),
        ("not_found", "ModelNotFound"),
        ("disk_full", "DiskFull"),
        ("other", "DownloadFailed"),
    ] {
        let report = json!({"model": "hf://org/repo", "seconds": 0.2,
                            "failed": {"kind": kind, "message": "the hub said no"}});
        let ended = json!({"terminated": {"exitCode": 1, "message": report.to_string()}});
        let waiting = json!({"waiting": {"reason": "CrashLoopBackOff"}});
        let applied = applied(deployment(1, 1, 1, 0), vec![downloading(waiting, ended)]);
        let status = status(&hub_service(), &applied, at(NOON));
        let (_, found, message) = condition(&status, "Ready");
        assert_eq!(found, reason);
        assert!(message.contains("the hub said no"), "{message}");
        let (available, found, _) = condition(&status, "ModelAvailable");
        assert_eq!((&*available, &*found), ("False", "DownloadFailed"));
    }
    let killed = json!({"terminated": {"exitCode": 137, "reason": "OOMKilled"}});
    let applied = applied(deployment(1, 1, 1, 0), vec![downloading(killed, json!({}))]);
    let (_, reason, message) = condition(&status(&hub_service(), &applied, at(NOON)), "Ready");
    assert_eq!(reason, "OutOfMemory");
    assert!(message.starts_with("the download in pod"), "{message}");
}

#[test]
fn what_was_downloaded_stays_in_the_status() {
    let report = json!({"model": "hf://org/repo", "seconds": 41.25,
                        "pulled": {"version": "7c41", "bytes": 1000}});
    let ready = pod(json!({
        "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": "2027-01-15T08:00:05Z"}],
        "containerStatuses": [{"name": "engine", "image": "engine:1", "imageID": "", "ready": true, "restartCount": 0,
                               "state": {"running": {"startedAt": "2027-01-15T08:00:02Z"}}}],
        "initContainerStatuses": [{"name": "download", "image": "engine:1", "imageID": "", "ready": true,
                                   "restartCount": 0,
                                   "state": {"terminated": {"exitCode": 0, "message": report.to_string()}}}],
    }));
    let mut service = hub_service();
    let first = status(
        &service,
        &applied(deployment(1, 1, 1, 1), vec![ready]),
        at(NOON),
    );
    let model = first.model.clone().unwrap();
    assert_eq!(model.revision.as_deref(), Some("7c41"));
    assert_eq!(model.size_bytes, Some(1000));
    let cold_start = first.cold_start.clone().unwrap();
    assert_eq!(cold_start.download_seconds, Some(41.25));
    assert_eq!(cold_start.load_seconds, Some(3.0));
    service.status = Some(first);
    let scaled_down = status(&service, &applied(deployment(0, 0, 0, 0), vec![]), at(NOON));
    assert_eq!(scaled_down.model.unwrap().revision.as_deref(), Some("7c41"));
    assert_eq!(scaled_down.cold_start, Some(cold_start));
}
