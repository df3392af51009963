//! Every failure that can be had without a download is named, soon, with the container's last words, and its name goes when it is
//! mended. What someone else owns is never taken.

use std::time::Duration;

use anyhow::{Context, bail, ensure};
use candela_tests::bed::NODES;
use candela_tests::poll::{Deadline, Seen, wait_for};
use serde_json::{Value, json};

use crate::PATIENCE;
use crate::admission::service;
use crate::cluster::{Cluster, condition};
use crate::install;
use crate::story::Step;
use crate::volumes;

/// How long after its cause a reason may take to show: what the documentation promises.
const PROMISED: Duration = Duration::from_secs(30);
/// The volume of the model that takes much memory.
const PADDED: &str = "padded";
/// How much larger its tokenizer is made.
const PADDING: usize = 100 << 20;
/// Startup seconds of the service that is too slow.
const STARTUP: u64 = 10;

pub(crate) const STORY: &[Step] = &[
    ("the images are on the node", install::images),
    ("the chart is installed", install::chart),
    ("every failure is named within 30 s of its cause", named),
    ("once mended, every service becomes Ready", mended),
    ("an object of someone else's is never taken", not_taken),
    (
        "the operator was never refused anything",
        install::rights_suffice,
    ),
];

/// A failure.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) spec: Value,
    pub(crate) reason: &'static str,
    /// What the message must hold.
    pub(crate) words: &'static [&'static str],
    /// Whether the cause is there, by the service's pods.
    pub(crate) cause: fn(&[Value]) -> bool,
    /// How long the cause has to last until it is a failure.
    pub(crate) after: Duration,
    pub(crate) mend: Value,
}

fn cases() -> Vec<Case> {
    let mut cases = not_placed();
    cases.extend(not_started());
    cases.extend(ended());
    cases
}

/// Pods that no container of theirs can be made for.
fn not_placed() -> Vec<Case> {
    let at_once = Duration::ZERO;
    vec![
        Case {
            name: "missing-claim",
            spec: json!({"model": {"uri": "pvc://models"}}),
            reason: "VolumeUnavailable",
            words: &["models", "does not exist"],
            cause: |_| true,
            after: at_once,
            mend: json!({}),
        },
        Case {
            // It shows in the pod's events alone.
            name: "missing-secret",
            spec: json!({"auth": {"apiKeySecretRef": {"name": "no-such-secret", "key": "keys"}}}),
            reason: "VolumeUnavailable",
            words: &["no-such-secret"],
            cause: |pods| pods.iter().any(|pod| !pod["spec"]["nodeName"].is_null()),
            after: at_once,
            mend: json!({"auth": null}),
        },
        Case {
            name: "no-gpu",
            spec: json!({"resources": {"limits": {"nvidia.com/gpu": 1}}}),
            reason: "InsufficientCapacity",
            words: &["nvidia.com/gpu"],
            cause: |pods| pods.iter().any(|pod| pod["spec"]["nodeName"].is_null()),
            after: at_once,
            mend: json!({}),
        },
    ]
}

/// Containers that do not start, or start and are never ready.
fn not_started() -> Vec<Case> {
    let at_once = Duration::ZERO;
    vec![
        Case {
            name: "bad-image",
            spec: json!({"engine": {"image": "registry.local/no-such-engine:1"}}),
            reason: "ImagePullFailed",
            words: &["registry.local/no-such-engine:1"],
            cause: |pods| any_container(pods, |own| !own["state"]["waiting"]["message"].is_null()),
            after: at_once,
            mend: json!({"engine": null}),
        },
        Case {
            name: "slow-start",
            // A program that is no engine, is never ready, and does not hear that it shall end.
            spec: json!({
                "engine": {"image": "registry.local/pause:1"}, "rollout": {"startupTimeoutSeconds": STARTUP},
            }),
            reason: "StartupTimeout",
            words: &["spec.rollout.startupTimeoutSeconds"],
            cause: |pods| any_container(pods, |own| !own["state"]["running"].is_null()),
            after: Duration::from_secs(STARTUP),
            mend: json!({"engine": null, "rollout": null}),
        },
    ]
}

/// Containers that end.
fn ended() -> Vec<Case> {
    let at_once = Duration::ZERO;
    vec![
        Case {
            name: "out-of-memory",
            // The tokenizer's file is larger than this.
            spec: json!({
                "model": {"uri": format!("pvc://{PADDED}")}, "resources": {"limits": {"memory": "64Mi"}},
            }),
            reason: "OutOfMemory",
            words: &["spec.resources.limits.memory"],
            cause: |pods| any_end(pods, |end| end["reason"] == "OOMKilled"),
            after: at_once,
            mend: json!({"resources": {"limits": {"memory": "512Mi"}}}),
        },
        Case {
            name: "crash-loop",
            spec: json!({"engine": {"extraArgs": ["--no-such-flag"]}}),
            reason: "CrashLoop",
            words: &["--no-such-flag"],
            cause: |pods| any_end(pods, |end| end["exitCode"] != 0),
            after: at_once,
            mend: json!({"engine": null}),
        },
    ]
}

fn containers(pods: &[Value]) -> impl Iterator<Item = &Value> {
    let kinds = ["containerStatuses", "initContainerStatuses"];
    pods.iter()
        .flat_map(move |pod| kinds.map(|kind| &pod["status"][kind]))
        .filter_map(Value::as_array)
        .flatten()
}

pub(crate) fn any_container(pods: &[Value], holds: impl Fn(&Value) -> bool) -> bool {
    containers(pods).any(holds)
}

/// Whether a container ended so, now or the last time.
pub(crate) fn any_end(pods: &[Value], holds: impl Fn(&Value) -> bool) -> bool {
    any_container(pods, |own| {
        let mut ends = ["state", "lastState"]
            .iter()
            .map(|state| &own[*state]["terminated"]);
        ends.any(|end| end.is_object() && holds(end))
    })
}

fn named(cluster: &Cluster<'_>) -> anyhow::Result<()> {
    let folder = volumes::folder(cluster, PADDED, None)?;
    volumes::put_model(cluster, &folder)?;
    let pad = format!("head -c {PADDING} /dev/zero | tr '\\0' ' ' >>\"$0\"");
    let tokenizer = folder.join("tokenizer.json").display().to_string();
    cluster.run("sh", &["-c", &pad, &tokenizer])?;
    volumes::volume(cluster, PADDED, &folder)?;
    volumes::claim(cluster, PADDED)?;
    let cases = cases();
    for case in &cases {
        cluster.apply(&service(case.name, &case.spec))?;
    }
    see_named(cluster, &cases)
}

/// Waits until each case has its cause and then its reason, which must follow soon enough.
pub(crate) fn see_named(cluster: &Cluster<'_>, cases: &[Case]) -> anyhow::Result<()> {
    let mut since: Vec<Option<Deadline>> = cases.iter().map(|_| None).collect();
    let mut told = vec![false; cases.len()];
    wait_for("every failure's name", PATIENCE, || {
        let printed = cluster.kubectl(&["get", "pods,inferenceservices", "--output=json"])?;
        let all: Value = serde_json::from_str(&printed).context("reading the lists")?;
        let all = all["items"]
            .as_array()
            .map(Vec::as_slice)
            .unwrap_or_default();
        for ((case, since), told) in cases.iter().zip(&mut since).zip(&mut told) {
            if !*told {
                *told = look(case, all, since)?;
            }
        }
        Ok(if told.iter().all(|told| *told) {
            Seen::Yes(())
        } else {
            let missing = cases.iter().zip(&told).filter(|(_, told)| !**told);
            Seen::NotYet(
                missing
                    .map(|(case, _)| now(case, all))
                    .collect::<Vec<_>>()
                    .join("; "),
            )
        })
    })
}

fn now(case: &Case, all: &[Value]) -> String {
    let ready = of(case, all).and_then(|own| condition(own, "Ready"));
    format!("{} is {}", case.name, ready.unwrap_or(&Value::Null))
}

fn of<'o>(case: &Case, all: &'o [Value]) -> Option<&'o Value> {
    let mut services = all.iter().filter(|own| own["kind"] == "InferenceService");
    services.find(|own| own["metadata"]["name"] == case.name)
}

/// Whether the reason shows. An error when it is too late, or does not say enough.
fn look(case: &Case, all: &[Value], since: &mut Option<Deadline>) -> anyhow::Result<bool> {
    let pods: Vec<_> = all
        .iter()
        .filter(|own| own["kind"] == "Pod")
        .filter(|own| own["metadata"]["labels"]["app.kubernetes.io/instance"] == case.name)
        .cloned()
        .collect();
    if since.is_none() && (case.cause)(&pods) {
        *since = Some(Deadline::after(case.after + PROMISED));
    }
    let ready = of(case, all).and_then(|own| condition(own, "Ready"));
    let ready = ready.cloned().unwrap_or_default();
    if ready["reason"] != case.reason || ready["status"] != "False" {
        if since.as_ref().is_some_and(Deadline::is_over) {
            bail!("{} is not {} in time but {ready}", case.name, case.reason);
        }
        return Ok(false);
    }
    let message = ready["message"].as_str().unwrap_or_default();
    for word in case.words {
        ensure!(
            message.contains(word),
            "{}: no {word} in {message:?}",
            case.name
        );
    }
    let waited = since.as_ref().map(Deadline::elapsed).unwrap_or_default();
    let waited = waited.saturating_sub(case.after).as_secs_f64();
    eprintln!(
        "           {:20} {waited:5.1} s after its cause: {message}",
        case.reason
    );
    Ok(true)
}

fn mended(cluster: &Cluster<'_>) -> anyhow::Result<()> {
    let folder = volumes::folder(cluster, "models", None)?;
    volumes::put_model(cluster, &folder)?;
    volumes::volume(cluster, "models", &folder)?;
    volumes::claim(cluster, "models")?;
    let capacity = json!({"status": {
        "capacity": {"nvidia.com/gpu": "1"}, "allocatable": {"nvidia.com/gpu": "1"},
    }})
    .to_string();
    let words = ["patch", "node", NODES[0].name, "--subresource=status"];
    cluster.kubectl(&[&words[..], &["--type=merge", "--patch", &capacity]].concat())?;
    for case in cases() {
        cluster.patch(case.name, &json!({"spec": case.mend}))?;
    }
    let started = Deadline::after(PATIENCE);
    for case in cases() {
        cluster.wait_ready(case.name)?;
        let seconds = started.elapsed().as_secs_f64();
        eprintln!(
            "           {:20} Ready {seconds:5.1} s after all were mended",
            case.name
        );
    }
    for case in cases() {
        cluster.kubectl(&["delete", "inferenceservice", case.name, "--wait=false"])?;
    }
    Ok(())
}

/// A Service of the wanted name that a person made.
fn not_taken(cluster: &Cluster<'_>) -> anyhow::Result<()> {
    let name = "taken";
    cluster.kubectl(&["create", "service", "clusterip", name, "--tcp=80:8000"])?;
    let before = cluster.get("service", name)?;
    cluster.apply(&service(name, &json!({})))?;
    cluster.wait("inferenceservice", name, |own| {
        let accepted = condition(own, "Accepted").cloned().unwrap_or_default();
        let ready = condition(own, "Ready").cloned().unwrap_or_default();
        let told = accepted["status"] == "False" && accepted["reason"] == "NameConflict";
        if told && ready["status"] == "False" {
            Ok(())
        } else {
            Err(accepted.to_string())
        }
    })?;
    ensure!(
        before == cluster.get("service", name)?,
        "the Service was changed"
    );
    ensure!(
        cluster.get("deployment", name).is_err(),
        "there is a Deployment all the same"
    );
    cluster.kubectl(&["delete", "service", name])?;
    cluster.wait_ready(name)?;
    cluster.kubectl(&["delete", "inferenceservice", name])?;
    Ok(())
}
