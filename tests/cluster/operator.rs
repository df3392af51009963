//! The operator as a process of this machine, for the tier that runs no pods; with no more rights than its pod would have.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Child, Command};

use anyhow::Context;
use candela_tests::stdout_of;
use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::install::{GPU_IMAGE, NAMESPACE, RELEASE, cpu_image};
use crate::repository;

/// A process that ends with the story.
pub(crate) struct Running(Child);

impl Running {
    pub(crate) fn of(process: Child) -> Self {
        Self(process)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Err(error) = self.0.kill().and_then(|()| self.0.wait()) {
            eprintln!("ending a process: {error}");
        }
    }
}

/// Starts the operator with a token of the chart's service account.
pub(crate) fn start(cluster: &Cluster<'_>) -> anyhow::Result<()> {
    let folder = cluster.bed.folder();
    let kubeconfig = folder.join("pki/operator.kubeconfig");
    fs::write(&kubeconfig, operator_kubeconfig(cluster)?.to_string())
        .context("writing the operator's kubeconfig")?;
    let program = programs()?.join("candela-operator");
    let log = File::create(folder.join("logs/operator.log")).context("creating a log")?;
    let mut command = cluster.bed.command(&program.to_string_lossy());
    command
        .args([
            "run",
            "--listen=127.0.0.1:0",
            "--lease-namespace",
            NAMESPACE,
        ])
        .args([
            "--engine-image-cpu",
            &cpu_image(),
            "--engine-image-gpu",
            GPU_IMAGE,
        ])
        .env("KUBECONFIG", kubeconfig)
        .stdout(log.try_clone().context("sharing a log")?)
        .stderr(log);
    let process = command.spawn().context("starting the operator")?;
    cluster.keep(Running::of(process));
    Ok(())
}

/// The folder of both programs; built here unless someone has.
fn programs() -> anyhow::Result<PathBuf> {
    if let Some(folder) = std::env::var_os("CANDELA_PROGRAMS") {
        return Ok(folder.into());
    }
    let build = repository().join("tests/setup/release.sh");
    let printed = stdout_of(&mut Command::new(build)).context("building the operator")?;
    Ok(printed.trim().into())
}

/// The administrator's kubeconfig with the service account in the administrator's place.
fn operator_kubeconfig(cluster: &Cluster<'_>) -> anyhow::Result<Value> {
    let text = fs::read(cluster.bed.kubeconfig()).context("reading the kubeconfig")?;
    let mut kubeconfig: Value = serde_json::from_slice(&text).context("reading the kubeconfig")?;
    let account = format!("{RELEASE}-operator");
    let token = cluster.kubectl(&["create", "token", &account, "--namespace", NAMESPACE])?;
    kubeconfig["users"][0]["user"] = json!({"token": token.trim()});
    Ok(kubeconfig)
}
