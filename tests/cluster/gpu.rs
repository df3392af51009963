//! A service that asks for a GPU, on a node that claims to have one.

use anyhow::{Context, ensure};
use candela_tests::bed::NODE_NAME;
use serde_json::json;

use crate::admission::service;
use crate::cluster::Cluster;
use crate::install::GPU_IMAGE;

const NAME: &str = "with-gpu";

/// The node gets one GPU in its status; the service gets the GPU image and rollout, and its pod is placed and becomes ready.
pub(crate) fn schedules(cluster: &Cluster<'_>) -> anyhow::Result<()> {
    let gpu = json!({"resources": {"limits": {"nvidia.com/gpu": 1}}});
    cluster.apply(&service(NAME, &gpu))?;
    cluster.wait("inferenceservice", NAME, |service| {
        let conditions = service["status"]["conditions"].to_string();
        if conditions.contains("InsufficientCapacity") {
            Ok(())
        } else {
            Err(conditions)
        }
    })?;

    let deployment = cluster.get("deployment", NAME)?;
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
    ensure!(
        container["resources"]["limits"]["nvidia.com/gpu"] == "1",
        "{}",
        container["resources"]
    );

    let capacity = json!({"status": {
        "capacity": {"nvidia.com/gpu": "1"}, "allocatable": {"nvidia.com/gpu": "1"},
    }});
    let capacity = capacity.to_string();
    cluster.kubectl(&[
        "patch",
        "node",
        NODE_NAME,
        "--subresource=status",
        "--type=merge",
        "--patch",
        &capacity,
    ])?;
    cluster.wait_condition(NAME, "Ready")?;
    let pods = cluster.list("pods", &format!("app.kubernetes.io/instance={NAME}"))?;
    let pod = pods.first().context("no pod")?;
    ensure!(
        pod["spec"]["nodeName"] == NODE_NAME,
        "the pod is on {}",
        pod["spec"]["nodeName"]
    );
    Ok(())
}
