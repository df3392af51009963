//! What goes when a service goes, and what stays when the chart goes.

use anyhow::ensure;
use candela_tests::poll::{Seen, wait_for};
use serde_json::Value;

use crate::PATIENCE;
use crate::cluster::Cluster;
use crate::demo;
use crate::gpu;
use crate::install::{NAMESPACE, RELEASE, no_operator};

/// Every kind of object that the operator makes, or that comes of one.
const KINDS: &str = "deployments,replicasets,pods,services,endpointslices,serviceaccounts,\
                     poddisruptionbudgets,persistentvolumeclaims,networkpolicies";

/// Deletes the GPU service: everything with its label goes.
pub(crate) fn of_a_service(cluster: &Cluster<'_>) -> anyhow::Result<()> {
    let label = format!("app.kubernetes.io/instance={}", gpu::NAME);
    ensure!(
        !cluster.list(KINDS, &label)?.is_empty(),
        "there is nothing to remove"
    );
    cluster.kubectl(&["delete", "inferenceservice", gpu::NAME, "--timeout=60s"])?;
    wait_for("its children to go", PATIENCE, || {
        let left = cluster.list(KINDS, &label)?;
        Ok(if left.is_empty() {
            Seen::Yes(())
        } else {
            Seen::NotYet(names(&left))
        })
    })
}

/// Uninstalls the chart: the operator goes, the demo, its definition and its pods stay, the very same ones, and still answer.
pub(crate) fn of_the_chart(cluster: &Cluster<'_>) -> anyhow::Result<()> {
    let name = demo::name()?;
    let label = format!("app.kubernetes.io/instance={name}");
    let before = identities(&cluster.list(KINDS, &label)?);
    cluster.run(
        "helm",
        &["uninstall", RELEASE, "--namespace", NAMESPACE, "--wait"],
    )?;
    no_operator(cluster)?;
    let service = cluster.get("inferenceservice", &name)?;
    let after = identities(&cluster.list(KINDS, &label)?);
    ensure!(
        before == after,
        "objects of the demo changed: {before:?} -> {after:?}"
    );
    let url = service["status"]["url"].as_str().unwrap_or_default();
    let model = service["status"]["model"]["name"].as_str().unwrap_or(&name);
    crate::chat::ask(cluster, url, model)?;

    cluster.kubectl(&["delete", "inferenceservice", &name, "--timeout=60s"])?;
    wait_for(
        "the demo's children to go without an operator",
        PATIENCE,
        || {
            let left = cluster.list(KINDS, &label)?;
            Ok(if left.is_empty() {
                Seen::Yes(())
            } else {
                Seen::NotYet(names(&left))
            })
        },
    )
}

fn identities(objects: &[Value]) -> Vec<String> {
    let mut identities: Vec<_> = objects
        .iter()
        .map(|object| object["metadata"]["uid"].to_string())
        .collect();
    identities.sort_unstable();
    identities
}

fn names(objects: &[Value]) -> String {
    let name = |object: &Value| format!("{}/{}", object["kind"], object["metadata"]["name"]);
    objects.iter().map(name).collect::<Vec<_>>().join(" ")
}
