//! Images onto the node, and the chart into the cluster.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, bail, ensure};
use candela_tests::poll::{Seen, wait_for};
use candela_tests::stdout_of;
use serde_json::{Value, json};

use crate::PATIENCE;
use crate::cluster::Cluster;
use crate::repository;

/// The release, and the namespace it lives in.
pub(crate) const RELEASE: &str = "candela";
pub(crate) const NAMESPACE: &str = "candela-system";
/// The registry and the repositories the archives of `make images` are named by.
const REGISTRY: &str = "registry.local";
const ENGINE: &str = "registry.local/candela-engine";
pub(crate) const OPERATOR: &str = "registry.local/candela-operator";
/// The GPU image is the CPU image under a second name: what is tested is which one is chosen, not the GPU.
pub(crate) const GPU_IMAGE: &str = "registry.local/candela-engine-gpu:test";

/// Imports both images, and the engine's again under the GPU image's name.
pub(crate) fn images(cluster: &Cluster<'_>) -> anyhow::Result<()> {
    let folder = match std::env::var_os("CANDELA_IMAGES") {
        Some(folder) => PathBuf::from(folder),
        None => {
            let build = repository().join("tests/setup/images.sh");
            stdout_of(&mut Command::new(build))
                .context("building the images")?
                .trim()
                .into()
        }
    };
    for name in ["candela-engine", "candela-operator"] {
        cluster
            .bed
            .import_image(&folder.join(format!("{name}.tar")))?;
    }
    cluster.bed.tag_image(&cpu_image(), GPU_IMAGE)
}

/// The version that the images and the chart carry, which is the workspace's.
fn version() -> &'static str {
    env!("CARGO_PKG_VERSION")
}

/// The engine's image for machines without a GPU.
pub(crate) fn cpu_image() -> String {
    format!("{ENGINE}:{}", version())
}

/// Installs the chart as a user would, and waits for the operator.
pub(crate) fn chart(cluster: &Cluster<'_>) -> anyhow::Result<()> {
    chart_with(cluster, &[])?;
    let pods = cluster.kubectl(&[
        "get",
        "pods",
        "--namespace",
        NAMESPACE,
        "--output=jsonpath={.items[*].spec.containers[*].image}",
    ])?;
    ensure!(
        pods.contains(OPERATOR),
        "the operator's pod is missing: {pods:?}"
    );
    Ok(())
}

/// Installs the chart with further values, or gives an installed one these values, and waits for the operator.
pub(crate) fn chart_with(cluster: &Cluster<'_>, values: &[&str]) -> anyhow::Result<()> {
    install(cluster, values, &["--wait", "--timeout", "240s"])
}

/// The operator's pods.
pub(crate) fn operators(cluster: &Cluster<'_>) -> anyhow::Result<Vec<Value>> {
    let words = ["get", "pods", "--namespace", NAMESPACE, "--output=json"];
    let mut list: Value =
        serde_json::from_str(&cluster.kubectl(&words)?).context("reading pods")?;
    match list["items"].take() {
        Value::Array(pods) => Ok(pods),
        other => bail!("the operator's pods are {other}"),
    }
}

/// Waits until no operator is left.
pub(crate) fn no_operator(cluster: &Cluster<'_>) -> anyhow::Result<()> {
    wait_for("the operators to go", PATIENCE, || {
        let left = operators(cluster)?.len();
        Ok(if left == 0 {
            Seen::Yes(())
        } else {
            Seen::NotYet(format!("{left} left"))
        })
    })
}

/// Fails when every operator that runs now is one of these.
pub(crate) fn another_operator(cluster: &Cluster<'_>, before: &[Value]) -> anyhow::Result<()> {
    let uid = |pod: &Value| pod["metadata"]["uid"].clone();
    let before: Vec<_> = before.iter().map(uid).collect();
    let now = operators(cluster)?;
    let new = now.iter().find(|pod| !before.contains(&uid(pod)));
    new.map(drop).context("the operator is the old one")
}

/// What the operator did so far was all allowed: its log tells of no refusal.
pub(crate) fn rights_suffice(cluster: &Cluster<'_>) -> anyhow::Result<()> {
    let deployment = format!("deployment/{RELEASE}-operator");
    let log = cluster.kubectl(&["logs", &deployment, "--namespace", NAMESPACE])?;
    ensure!(!log.trim().is_empty(), "the operator's log is empty");
    let refusal = log
        .lines()
        .find(|line| line.to_lowercase().contains("forbidden"));
    ensure!(
        refusal.is_none(),
        "the operator was refused: {}",
        refusal.unwrap_or_default()
    );
    Ok(())
}

/// Installs the chart where nothing will run.
pub(crate) fn chart_objects(cluster: &Cluster<'_>) -> anyhow::Result<()> {
    install(cluster, &[], &[])?;
    let definition = "crd/inferenceservices.inference.candela.dev";
    cluster.kubectl(&[
        "wait",
        "--for=condition=Established",
        definition,
        "--timeout=60s",
    ])?;
    Ok(())
}

/// The chart's namespace, under the strictest pod security.
pub(crate) fn namespace(cluster: &Cluster<'_>) -> anyhow::Result<()> {
    cluster.apply(&json!({
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": NAMESPACE, "labels": {
            "pod-security.kubernetes.io/enforce": "restricted",
            "pod-security.kubernetes.io/enforce-version": "latest",
        }},
    }))
}

/// Installs the chart, or upgrades it.
fn install(cluster: &Cluster<'_>, values: &[&str], more: &[&str]) -> anyhow::Result<()> {
    namespace(cluster)?;
    let chart = repository().join("charts/candela").display().to_string();
    let usual = [
        format!("image.registry={REGISTRY}"),
        format!("operator.image.tag={}", version()),
        format!("engine.images.cpu.tag={}", version()),
        "engine.images.gpu.repository=candela-engine-gpu".to_owned(),
        "engine.images.gpu.tag=test".to_owned(),
    ];
    let mut arguments = vec!["upgrade", "--install", RELEASE, &chart];
    arguments.extend(["--namespace", NAMESPACE]);
    arguments.extend(more);
    for value in usual
        .iter()
        .map(String::as_str)
        .chain(values.iter().copied())
    {
        arguments.extend(["--set", value]);
    }
    cluster.run("helm", &arguments)?;
    Ok(())
}
