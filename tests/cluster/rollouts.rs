//! Rollouts under a steady load, on two nodes: no request fails, and never are there fewer pods that answer than was promised.

use anyhow::{Context, ensure};
use candela_tests::bed::NODES;
use serde_json::{Value, json};

use crate::admission::service;
use crate::cluster::Cluster;
use crate::install::{self, chart_with, cpu_image, operators};
use crate::load::Load;
use crate::pods::{Watch, identities, kill, label, run_in_network, wait_for_pods};
use crate::story::Step;

/// The service whose rollouts these are.
const NAME: &str = "steady";
/// The one with a GPU.
const GPU: &str = "steady-gpu";
/// How many pods answer at any time.
const PODS: usize = 2;

pub(crate) const STORY: &[Step] = &[
    ("the images are on both nodes", install::images),
    ("the chart is installed", install::chart),
    ("two pods are ready, one on each node", two_pods),
    ("pods reach each other across nodes", across_nodes),
    ("a change of the specification loses nothing", change),
    ("three quick edits end in the last one", quick_edits),
    ("a revert in mid-rollout ends where it began", revert),
    ("a bad update leaves the old pods serving", bad_update),
    ("a scale-up and a scale-down lose nothing", scale_down),
    ("a node drain loses nothing", drain),
    ("an operator upgrade restarts no pod", operator_upgrade),
    (
        "an operator crash in mid-rollout loses nothing",
        operator_crash,
    ),
    ("one GPU and one replica can update, with a gap", one_gpu),
    (
        "the operator was never refused anything",
        install::rights_suffice,
    ),
];

fn two_pods(cluster: &Cluster<'_>) -> anyhow::Result<()> {
    let spread = json!([{
        "maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": {"matchLabels": {"app.kubernetes.io/instance": NAME}},
    }]);
    let spec = json!({"replicas": PODS, "pod": {"topologySpreadConstraints": spread}});
    cluster.apply(&service(NAME, &spec))?;
    let pods = wait_for_pods(cluster, NAME, PODS, &[])?;
    cluster.wait_ready(NAME)?;
    let nodes: Vec<_> = pods.iter().map(|pod| &pod["spec"]["nodeName"]).collect();
    ensure!(nodes[0] != nodes[1], "both are on {}", nodes[0]);
    Ok(())
}

fn across_nodes(cluster: &Cluster<'_>) -> anyhow::Result<()> {
    let pods = wait_for_pods(cluster, NAME, PODS, &[])?;
    for (from, to) in [(0, 1), (1, 0)] {
        let address = pods[to]["status"]["podIP"].as_str();
        let url = format!("http://{}:8000/health", address.context("no address")?);
        let words = [
            "curl",
            "--silent",
            "--show-error",
            "--fail",
            "--max-time",
            "10",
            &url,
        ];
        run_in_network(cluster, &pods[from], &words)?;
    }
    Ok(())
}

/// Does `what` under load. It returns when nothing changes any more; then all requests must have been answered.
fn under_load(
    cluster: &Cluster<'_>,
    least_ready: usize,
    what: impl FnOnce() -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let watch = Watch::start(cluster, NAME)?;
    let load = Load::start(cluster, NAME)?;
    what()?;
    let outcome = load.finish()?;
    let least = watch.finish()?;
    eprintln!("           {outcome}; at the least {least} pods ready");
    ensure!(outcome.failed() == 0, "requests were lost: {outcome}");
    ensure!(least >= least_ready, "only {least} pods were ready");
    Ok(())
}

/// Changes the specification and waits until all pods are new ones.
fn roll(cluster: &Cluster<'_>, spec: &Value) -> anyhow::Result<()> {
    let before = identities(cluster, NAME)?;
    cluster.patch(NAME, &json!({"spec": spec}))?;
    wait_for_pods(cluster, NAME, PODS, &before)?;
    cluster.wait_ready(NAME)?;
    Ok(())
}

fn change(cluster: &Cluster<'_>) -> anyhow::Result<()> {
    under_load(cluster, PODS, || {
        roll(cluster, &json!({"stats": {"headers": true}}))
    })
}

fn quick_edits(cluster: &Cluster<'_>) -> anyhow::Result<()> {
    under_load(cluster, PODS, || {
        for length in [128, 160] {
            cluster.patch(
                NAME,
                &json!({"spec": {"engine": {"contextLength": length}}}),
            )?;
        }
        roll(cluster, &json!({"engine": {"contextLength": 192}}))?;
        for pod in cluster.list("pods", &label(NAME))? {
            let arguments = pod["spec"]["containers"][0]["args"].to_string();
            ensure!(
                arguments.contains("--max-model-len=192"),
                "a pod runs with {arguments}"
            );
        }
        Ok(())
    })
}

fn revert(cluster: &Cluster<'_>) -> anyhow::Result<()> {
    let template = |cluster: &Cluster<'_>| -> anyhow::Result<Value> {
        Ok(cluster.get("deployment", NAME)?["spec"]["template"].clone())
    };
    let before = template(cluster)?;
    under_load(cluster, PODS, || {
        let old = identities(cluster, NAME)?;
        cluster.patch(NAME, &json!({"spec": {"engine": {"contextLength": 224}}}))?;
        // In the middle: a new pod is there, and old ones are.
        cluster.wait_list("pods", &label(NAME), |pods| pods.len() > old.len())?;
        cluster.patch(NAME, &json!({"spec": {"engine": {"contextLength": 192}}}))?;
        wait_for_pods(cluster, NAME, PODS, &[])?;
        cluster.wait_ready(NAME)?;
        Ok(())
    })?;
    let after = template(cluster)?;
    ensure!(before == after, "the template was {before} and is {after}");
    Ok(())
}

fn bad_update(cluster: &Cluster<'_>) -> anyhow::Result<()> {
    under_load(cluster, PODS, || {
        let old = identities(cluster, NAME)?;
        let image = json!({"spec": {"engine": {"image": "registry.local/no-such-engine:1"}}});
        cluster.patch(NAME, &image)?;
        cluster.wait_reason(NAME, "ImagePullFailed")?;
        cluster.patch(NAME, &json!({"spec": {"engine": {"image": null}}}))?;
        wait_for_pods(cluster, NAME, PODS, &[])?;
        cluster.wait_ready(NAME)?;
        let now = identities(cluster, NAME)?;
        ensure!(
            old.iter().all(|uid| now.contains(uid)),
            "{old:?} became {now:?}"
        );
        Ok(())
    })
}

fn scale_down(cluster: &Cluster<'_>) -> anyhow::Result<()> {
    let to = |replicas: &str| {
        let words = ["scale", "inferenceservice", NAME, "--replicas", replicas];
        cluster.kubectl(&words).map(drop)
    };
    under_load(cluster, PODS, || {
        to("3")?;
        wait_for_pods(cluster, NAME, 3, &[])?;
        to("2")?;
        wait_for_pods(cluster, NAME, PODS, &[])?;
        cluster.wait_ready(NAME)?;
        Ok(())
    })
}

fn drain(cluster: &Cluster<'_>) -> anyhow::Result<()> {
    let node = NODES[1].name;
    // A drain evicts first: the pod's place is taken afterwards, and the budget lets one go.
    under_load(cluster, PODS - 1, || {
        let words = [
            "drain",
            node,
            "--ignore-daemonsets",
            "--delete-emptydir-data",
        ];
        cluster.kubectl(&[&words[..], &["--timeout=240s"]].concat())?;
        let pods = wait_for_pods(cluster, NAME, PODS, &[])?;
        let left = pods.iter().find(|pod| pod["spec"]["nodeName"] == node);
        ensure!(left.is_none(), "a pod is left on {node}");
        cluster.wait_ready(NAME)?;
        Ok(())
    })?;
    cluster.kubectl(&["uncordon", node])?;
    Ok(())
}

/// The chart is given another image for engines and another pod template for the operator.
fn operator_upgrade(cluster: &Cluster<'_>) -> anyhow::Result<()> {
    let next = "registry.local/candela-engine:next";
    cluster.bed.tag_image(&cpu_image(), next)?;
    under_load(cluster, PODS, || {
        let (before, operator) = (identities(cluster, NAME)?, operators(cluster)?);
        let values = [
            "engine.images.cpu.tag=next",
            "operator.podAnnotations.upgraded=yes",
        ];
        chart_with(cluster, &values)?;
        // The new operator leads when it has seen the service: it writes a status for a generation that only it can see.
        let patch = json!({"spec": {"rollout": {"maxSurge": 1, "maxUnavailable": 0}}});
        cluster.patch(NAME, &patch)?;
        cluster.wait_ready(NAME)?;
        install::another_operator(cluster, &operator)?;
        let after = identities(cluster, NAME)?;
        ensure!(before == after, "pods were {before:?} and are {after:?}");
        Ok(())
    })
}

fn operator_crash(cluster: &Cluster<'_>) -> anyhow::Result<()> {
    under_load(cluster, PODS, || {
        let before = identities(cluster, NAME)?;
        cluster.patch(NAME, &json!({"spec": {"engine": {"contextLength": 256}}}))?;
        let operators = operators(cluster)?;
        kill(cluster, operators.first().context("no operator")?)?;
        wait_for_pods(cluster, NAME, PODS, &before)?;
        cluster.wait_ready(NAME)?;
        Ok(())
    })
}

fn one_gpu(cluster: &Cluster<'_>) -> anyhow::Result<()> {
    let capacity = json!({"status": {
        "capacity": {"nvidia.com/gpu": "1"}, "allocatable": {"nvidia.com/gpu": "1"},
    }})
    .to_string();
    let words = ["patch", "node", NODES[0].name, "--subresource=status"];
    cluster.kubectl(&[&words[..], &["--type=merge", "--patch", &capacity]].concat())?;
    let gpu = json!({"resources": {"limits": {"nvidia.com/gpu": 1}}});
    cluster.apply(&service(GPU, &gpu))?;
    cluster.wait_ready(GPU)?;
    let before = identities(cluster, GPU)?;
    let load = Load::start(cluster, GPU)?;
    cluster.patch(GPU, &json!({"spec": {"stats": {"headers": true}}}))?;
    wait_for_pods(cluster, GPU, 1, &before)?;
    cluster.wait_ready(GPU)?;
    // The way to the new pod is open a moment after it is ready.
    let again = Load::start(cluster, GPU)?;
    let outcome = load.finish()?;
    eprintln!("           {outcome}");
    let after = again.finish()?;
    ensure!(after.failed() == 0, "after the update: {after}");
    let gap = outcome.gap_seconds();
    ensure!(gap < f64::MAX, "the gap was not measured");
    Ok(())
}
