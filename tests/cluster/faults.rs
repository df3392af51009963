//! What others do to the operator and its objects: deleted and edited children, a paused leader, an API server that is away, a
//! service deleted while no operator runs; and, when nobody does anything, no write.

use std::time::Duration;

use anyhow::{Context, ensure};
use candela_tests::poll::{Deadline, Seen, hold, wait_for};
use candela_tests::stdout_of;
use serde_json::{Value, json};

use crate::PATIENCE;
use crate::admission::service;
use crate::audit::{self, Call};
use crate::cluster::Cluster;
use crate::install::{self, NAMESPACE, RELEASE, chart_with, operators};
use crate::load::Load;
use crate::pods::{freeze, identities, label, wait_for_pods};
use crate::story::Step;

const NAME: &str = "steadfast";
/// What the operator makes for a service of several pods.
const CHILDREN: [&str; 5] = [
    "deployment",
    "service",
    "serviceaccount",
    "poddisruptionbudget",
    "networkpolicy",
];
/// Pods, once the autoscaler has spoken.
const PODS: usize = 3;

pub(crate) const STORY: &[Step] = &[
    ("the images are on the node", install::images),
    (
        "two operators are installed, one of which leads",
        two_operators,
    ),
    ("two pods are ready", two_pods),
    ("children that someone deletes come back", deleted),
    (
        "what someone edits is restored, what is not ours stays",
        edited,
    ),
    ("an autoscaler decides how many pods there are", autoscaled),
    ("in a steady state nothing is written", steady),
    (
        "a leader that was paused past its lease writes nothing",
        paused,
    ),
    ("while the API server is away, requests are answered", away),
    ("children without a use are removed", removed),
    ("a volume that cannot be mounted is named", volume_named),
    (
        "the operator uses the chart's rights, all of them",
        audit::rights_are_those_used,
    ),
    ("a service is deleted while no operator runs", deleted_alone),
];

/// How long a state has to last: a minute, or as many as `make soak` asks for.
fn long() -> anyhow::Result<Duration> {
    let minutes = match std::env::var("CANDELA_SOAK") {
        Ok(minutes) => minutes
            .parse()
            .context("CANDELA_SOAK is a number of minutes")?,
        Err(_) => 1,
    };
    Ok(Duration::from_secs(60 * minutes))
}

fn two_operators(cluster: &Cluster<'_>) -> anyhow::Result<()> {
    chart_with(
        cluster,
        &["operator.replicas=2", "networkPolicy.enabled=true"],
    )?;
    leader(cluster).map(drop)
}

/// The pod that holds the lease.
fn leader(cluster: &Cluster<'_>) -> anyhow::Result<Value> {
    wait_for("a leader", PATIENCE, || {
        let words = [
            "get",
            "lease",
            &format!("{RELEASE}-operator"),
            "--namespace",
            NAMESPACE,
        ];
        let path = "--output=jsonpath={.spec.holderIdentity}";
        let holder = cluster
            .kubectl(&[&words[..], &[path]].concat())
            .unwrap_or_default();
        let mut pods = operators(cluster)?.into_iter();
        Ok(
            match pods.find(|pod| pod["metadata"]["name"] == holder.trim()) {
                Some(pod) => Seen::Yes(pod),
                None => Seen::NotYet(format!("the lease is held by {holder:?}")),
            },
        )
    })
}

fn two_pods(cluster: &Cluster<'_>) -> anyhow::Result<()> {
    cluster.apply(&service(NAME, &json!({"replicas": 2})))?;
    wait_for_pods(cluster, NAME, 2, &[])?;
    cluster.wait_ready(NAME)?;
    Ok(())
}

fn deleted(cluster: &Cluster<'_>) -> anyhow::Result<()> {
    for kind in CHILDREN {
        let before = cluster.get(kind, NAME)?["metadata"]["uid"].take();
        cluster.kubectl(&["delete", kind, NAME, "--wait=false"])?;
        cluster.wait(kind, NAME, |own| {
            let uid = &own["metadata"]["uid"];
            if *uid == before {
                Err(format!("still {uid}"))
            } else {
                Ok(())
            }
        })?;
    }
    wait_for_pods(cluster, NAME, 2, &[])?;
    cluster.wait_ready(NAME)?;
    Ok(())
}

fn edited(cluster: &Cluster<'_>) -> anyhow::Result<()> {
    let foreign = json!({"metadata": {"annotations": {"example.org/note": "mine"}}});
    let edits = [
        (
            "deployment",
            json!({"spec": {"minReadySeconds": 1, "progressDeadlineSeconds": 7}}),
        ),
        (
            "service",
            json!({"spec": {"sessionAffinity": "ClientIP", "selector": {"app.kubernetes.io/instance": "other"}}}),
        ),
        (
            "serviceaccount",
            json!({"automountServiceAccountToken": true}),
        ),
        (
            "poddisruptionbudget",
            json!({"spec": {"maxUnavailable": 2}}),
        ),
        (
            "networkpolicy",
            json!({"spec": {"podSelector": {"matchLabels": {"app.kubernetes.io/instance": "other"}}}}),
        ),
    ];
    for (kind, edit) in edits {
        let before = cluster.get(kind, NAME)?;
        for patch in [&foreign, &edit] {
            let patch = patch.to_string();
            cluster.kubectl(&["patch", kind, NAME, "--type=merge", "--patch", &patch])?;
        }
        cluster.wait(kind, NAME, |own| {
            if own["metadata"]["annotations"]["example.org/note"] != "mine" {
                return Err("the annotation is gone".to_owned());
            }
            // What was never ours stays as it was made.
            let mut expected = before.clone();
            for field in [
                "minReadySeconds",
                "sessionAffinity",
                "sessionAffinityConfig",
            ] {
                if !own["spec"][field].is_null() {
                    expected["spec"][field] = own["spec"][field].clone();
                }
            }
            let (mut expected, mut own) = (expected, own.clone());
            for object in [&mut expected, &mut own] {
                object["metadata"].take();
                object["status"].take();
            }
            if own == expected {
                Ok(())
            } else {
                Err(format!("{own} and not {expected}"))
            }
        })?;
    }
    let deployment = cluster.get("deployment", NAME)?;
    ensure!(
        deployment["spec"]["minReadySeconds"] == 1,
        "a foreign field is gone"
    );
    let address = cluster.get("service", NAME)?;
    ensure!(
        address["spec"]["sessionAffinity"] == "ClientIP",
        "a foreign field is gone"
    );
    cluster.wait_ready(NAME)?;
    Ok(())
}

/// Without metrics an autoscaler still holds to its least number.
fn autoscaled(cluster: &Cluster<'_>) -> anyhow::Result<()> {
    cluster.apply(&json!({
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": NAME, "namespace": "default"},
        "spec": {
            "scaleTargetRef": {
                "apiVersion": "inference.candela.dev/v1alpha1", "kind": "InferenceService", "name": NAME,
            },
            "minReplicas": PODS,
            "maxReplicas": PODS + 2,
            "metrics": [{"type": "Resource", "resource": {
                "name": "cpu", "target": {"type": "AverageValue", "averageValue": "1"},
            }}],
        },
    }))?;
    wait_for_pods(cluster, NAME, PODS, &[])?;
    let object = cluster.wait_ready(NAME)?;
    ensure!(
        object["spec"]["replicas"] == PODS,
        "replicas: {}",
        object["spec"]
    );
    Ok(())
}

/// The versions of a service and of all that was made for it.
fn versions(cluster: &Cluster<'_>) -> anyhow::Result<Vec<String>> {
    let mut kinds = CHILDREN.to_vec();
    kinds.push("inferenceservice");
    let version =
        |kind: &&str| Ok(cluster.get(kind, NAME)?["metadata"]["resourceVersion"].to_string());
    kinds.iter().map(version).collect()
}

fn writes(cluster: &Cluster<'_>) -> anyhow::Result<Vec<Call>> {
    Ok(audit::calls(cluster)?
        .into_iter()
        .filter(Call::is_write)
        .collect())
}

fn steady(cluster: &Cluster<'_>) -> anyhow::Result<()> {
    // Pods count as available a second after they are ready, by the foreign field of above.
    cluster.wait("deployment", NAME, |own| {
        let available = &own["status"]["availableReplicas"];
        if *available == PODS {
            Ok(())
        } else {
            Err(format!("{available} are available"))
        }
    })?;
    let (before, written) = (versions(cluster)?, writes(cluster)?.len());
    hold("the state", long()?, || {
        let now = versions(cluster)?;
        ensure!(now == before, "versions were {before:?} and are {now:?}");
        let more = writes(cluster)?.split_off(written);
        ensure!(more.is_empty(), "the operator wrote {more:?}");
        Ok(())
    })
}

/// The leader is frozen in the middle of its work, another takes over and finishes it, and the first wakes up.
fn paused(cluster: &Cluster<'_>) -> anyhow::Result<()> {
    let before = identities(cluster, NAME)?;
    let old = leader(cluster)?;
    let name = old["metadata"]["name"]
        .as_str()
        .context("no name")?
        .to_owned();
    cluster.patch(NAME, &json!({"spec": {"engine": {"contextLength": 192}}}))?;
    freeze(cluster, &old, "pause")?;
    cluster.patch(NAME, &json!({"spec": {"engine": {"contextLength": 160}}}))?;
    wait_for("another leader", PATIENCE, || {
        let now = leader(cluster)?["metadata"]["name"].clone();
        Ok(if now == name.as_str() {
            Seen::NotYet(format!("still {now}"))
        } else {
            Seen::Yes(())
        })
    })?;
    let written = writes(cluster)?.len();
    freeze(cluster, &old, "resume")?;
    wait_for_pods(cluster, NAME, PODS, &before)?;
    cluster.wait_ready(NAME)?;
    // It has noticed when it has ended, and was started again.
    wait_for("the old leader's end", PATIENCE, || {
        let restarts = |pods: Vec<Value>| {
            let pod = pods
                .into_iter()
                .find(|pod| pod["metadata"]["name"] == name.as_str());
            pod.map(|pod| pod["status"]["containerStatuses"][0]["restartCount"].clone())
        };
        let count = restarts(operators(cluster)?);
        Ok(match count.as_ref().and_then(Value::as_u64) {
            Some(count) if count > 0 => Seen::Yes(()),
            _ => Seen::NotYet(format!("restarts: {count:?}")),
        })
    })?;
    let later = writes(cluster)?.split_off(written);
    let late: Vec<_> = later
        .iter()
        .filter(|call| call.pod == name && call.succeeded())
        .collect();
    let tried = later.iter().filter(|call| call.pod == name).count();
    eprintln!(
        "           it tried to write {tried} times after it woke up, {} with success",
        late.len()
    );
    for pod in cluster.list("pods", &label(NAME))? {
        let arguments = pod["spec"]["containers"][0]["args"].to_string();
        ensure!(
            arguments.contains("--max-model-len=160"),
            "a pod runs with {arguments}"
        );
    }
    ensure!(late.is_empty(), "it wrote {late:?}");
    Ok(())
}

fn away(cluster: &Cluster<'_>) -> anyhow::Result<()> {
    let before = identities(cluster, NAME)?;
    let load = Load::start(cluster, NAME)?;
    cluster.bed.stop("kube-apiserver")?;
    hold("its absence", long()?, || {
        ensure!(
            cluster.kubectl(&["get", "--raw", "/readyz"]).is_err(),
            "it is there"
        );
        Ok(())
    })?;
    cluster.bed.start_again("kube-apiserver")?;
    wait_for("the API server", PATIENCE, || {
        Ok(match cluster.kubectl(&["get", "--raw", "/readyz"]) {
            Ok(_) => Seen::Yes(()),
            Err(error) => Seen::NotYet(error.to_string()),
        })
    })?;
    let back = Deadline::after(PATIENCE);
    let now = identities(cluster, NAME)?;
    ensure!(before == now, "pods were {before:?} and are {now:?}");
    // The operator is back when it carries out what is asked for now.
    cluster.patch(NAME, &json!({"spec": {"engine": {"contextLength": 128}}}))?;
    cluster.wait("deployment", NAME, |own| {
        let arguments = &own["spec"]["template"]["spec"]["containers"][0]["args"];
        if arguments.to_string().contains("--max-model-len=128") {
            Ok(())
        } else {
            Err(arguments.to_string())
        }
    })?;
    let seconds = back.elapsed().as_secs();
    // Kubernetes' own parts take up to a minute to look again, unless they are new. The proxy is first: as long as it is blind it
    // sends requests to pods that are gone, which no Deployment can help.
    for part in ["kube-proxy", "kube-controller-manager", "kube-scheduler"] {
        cluster.bed.stop(part)?;
        cluster.bed.start_again(part)?;
        if part == "kube-proxy" {
            proxy_sees(cluster)?;
        }
    }
    wait_for_pods(cluster, NAME, PODS, &before)?;
    cluster.wait_ready(NAME)?;
    let outcome = load.finish()?;
    eprintln!("           {outcome}; a change was carried out {seconds} s after its return");
    ensure!(outcome.failed() == 0, "requests were lost: {outcome}");
    Ok(())
}

/// kube-proxy has put the endpoints of now into effect.
fn proxy_sees(cluster: &Cluster<'_>) -> anyhow::Result<()> {
    wait_for("kube-proxy", PATIENCE, || {
        let mut health = cluster.bed.command("curl");
        health.args(["--silent", "--show-error", "--fail"]);
        health.arg("http://127.0.0.1:10256/healthz");
        Ok(match stdout_of(&mut health) {
            Ok(_) => Seen::Yes(()),
            Err(error) => Seen::NotYet(error.to_string()),
        })
    })
}

/// A budget for one pod, an account beside another, a claim without a cache, policies that the chart no longer asks for.
fn removed(cluster: &Cluster<'_>) -> anyhow::Result<()> {
    let name = "removed";
    let spec = json!({
        "replicas": 2,
        "model": {"uri": "hf://org/model"},
        "cache": {"size": "1Gi", "accessModes": ["ReadWriteMany"]},
    });
    cluster.apply(&service(name, &spec))?;
    let spare = [
        "persistentvolumeclaim",
        "poddisruptionbudget",
        "serviceaccount",
    ];
    for kind in spare {
        cluster.wait(kind, name, |_| Ok(()))?;
    }
    let less = json!({"spec": {
        "replicas": 1, "cache": null, "model": {"uri": "builtin://demo"},
        "pod": {"serviceAccountName": "default"},
    }});
    cluster.patch(name, &less)?;
    for kind in spare {
        gone(cluster, kind, name)?;
    }
    cluster.wait_ready(name)?;
    cluster.kubectl(&["delete", "inferenceservice", name])?;
    chart_with(
        cluster,
        &["operator.replicas=2", "networkPolicy.enabled=false"],
    )?;
    gone(cluster, "networkpolicy", NAME)
}

fn gone(cluster: &Cluster<'_>, kind: &str, name: &str) -> anyhow::Result<()> {
    wait_for(&format!("the end of {kind}/{name}"), PATIENCE, || {
        Ok(match cluster.get(kind, name) {
            Err(_) => Seen::Yes(()),
            Ok(own) => Seen::NotYet(own["metadata"].to_string()),
        })
    })
}

/// It shows in the pod's events alone.
fn volume_named(cluster: &Cluster<'_>) -> anyhow::Result<()> {
    let name = "without-keys";
    let keys = json!({"auth": {"apiKeySecretRef": {"name": "no-such-secret", "key": "keys"}}});
    cluster.apply(&service(name, &keys))?;
    cluster.wait_reason(name, "VolumeUnavailable")?;
    cluster.kubectl(&["delete", "inferenceservice", name])?;
    Ok(())
}

fn deleted_alone(cluster: &Cluster<'_>) -> anyhow::Result<()> {
    let operator = format!("deployment/{RELEASE}-operator");
    cluster.kubectl(&["scale", &operator, "--namespace", NAMESPACE, "--replicas=0"])?;
    install::no_operator(cluster)?;
    cluster.kubectl(&["delete", "inferenceservice", NAME, "--timeout=60s"])?;
    let kinds = format!("{},pods,replicasets", CHILDREN.join(","));
    cluster.wait_list(&kinds, &label(NAME), <[Value]>::is_empty)?;
    Ok(())
}
