//! A service that asks for a GPU, on a node that claims to have one.

use anyhow::{Context, ensure};
use candela_tests::bed::NODES;
use serde_json::json;

use crate::admission::service;
use crate::cluster::Cluster;
use crate::install::GPU_IMAGE;

/// The service of this part of the story.
pub(crate) const NAME: &str = "with-gpu";

/// A service that asks for a GPU gets the GPU image, and a rollout that needs no second GPU.
pub(crate) fn deployment(cluster: &Cluster<'_>) -> anyhow::Result<()> {
    let gpu = json!({"resources": {"limits": {"nvidia.com/gpu": 1}}});
    cluster.apply(&service(NAME, &gpu))?;
    let deployment = cluster.wait("deployment", NAME, |_| Ok(()))?;
    let spec = &deployment["spec"];
    let container = &spec["template"]["spec"]["containers"][0];
    ensure!(
        container["image"] == GPU_IMAGE,
        "the image is {}",
        container["image"]
    );
    let rollout = &spec["strategy"]["rollingUpdate"];
    ensure!(
        rollout["maxSurge"] == 0 && rollout["maxUnavailable"] == 1,
        "the rollout is {rollout}"
    );
    let limits = &container["resources"]["limits"];
    ensure!(limits["nvidia.com/gpu"] == "1", "the limits are {limits}");
    let owner = &deployment["metadata"]["ownerReferences"][0];
    ensure!(
        owner["kind"] == "InferenceService" && owner["name"] == NAME,
        "the owner is {owner}"
    );
    Ok(())
}

/// Without a GPU the service says so. Then the node gets one in its status, and the pod is placed and becomes ready.
pub(crate) fn schedules(cluster: &Cluster<'_>) -> anyhow::Result<()> {
    cluster.wait("inferenceservice", NAME, |service| {
        let conditions = service["status"]["conditions"].to_string();
        if conditions.contains("InsufficientCapacity") {
            Ok(())
        } else {
            Err(conditions)
        }
    })?;
    let capacity = json!({"status": {
        "capacity": {"nvidia.com/gpu": "1"}, "allocatable": {"nvidia.com/gpu": "1"},
    }});
    let capacity = capacity.to_string();
    cluster.kubectl(&[
        "patch",
        "node",
        NODES[0].name,
        "--subresource=status",
        "--type=merge",
        "--patch",
        &capacity,
    ])?;
    cluster.wait_condition(NAME, "Ready")?;
    let pods = cluster.list("pods", &format!("app.kubernetes.io/instance={NAME}"))?;
    let pod = pods.first().context("no pod")?;
    ensure!(
        pod["spec"]["nodeName"] == NODES[0].name,
        "the pod is on {}",
        pod["spec"]["nodeName"]
    );
    Ok(())
}
