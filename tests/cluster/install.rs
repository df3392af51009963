//! Images onto the node, and the chart into the cluster.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, ensure};
use candela_tests::stdout_of;
use serde_json::json;

use crate::cluster::Cluster;
use crate::repository;

/// The release, and the namespace it lives in.
pub(crate) const RELEASE: &str = "candela";
pub(crate) const NAMESPACE: &str = "candela-system";
/// The registry and the repositories the archives of `make images` are named by.
const REGISTRY: &str = "registry.local";
const ENGINE: &str = "registry.local/candela-engine";
const OPERATOR: &str = "registry.local/candela-operator";
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
    install(cluster, &["--wait", "--timeout", "240s"])?;
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
    install(cluster, &[])?;
    let definition = "crd/inferenceservices.inference.candela.dev";
    cluster.kubectl(&[
        "wait",
        "--for=condition=Established",
        definition,
        "--timeout=60s",
    ])?;
    Ok(())
}

/// `helm install` into a namespace under the strictest pod security.
fn install(cluster: &Cluster<'_>, more: &[&str]) -> anyhow::Result<()> {
    cluster.apply(&json!({
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": NAMESPACE, "labels": {
            "pod-security.kubernetes.io/enforce": "restricted",
            "pod-security.kubernetes.io/enforce-version": "latest",
        }},
    }))?;
    let chart = repository().join("charts/candela").display().to_string();
    let values = [
        format!("image.registry={REGISTRY}"),
        format!("operator.image.tag={}", version()),
        format!("engine.images.cpu.tag={}", version()),
        "engine.images.gpu.repository=candela-engine-gpu".to_owned(),
        "engine.images.gpu.tag=test".to_owned(),
    ];
    let mut arguments = vec!["install", RELEASE, &chart, "--namespace", NAMESPACE];
    arguments.extend(more);
    for value in &values {
        arguments.extend(["--set", value]);
    }
    cluster.run("helm", &arguments)?;
    Ok(())
}
