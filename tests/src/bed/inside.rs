//! A whole cluster inside the namespaces: mounts and network made ready, then the control plane, then the nodes.
//! Standard output carries one line per part that is ready and `ready` at the end; standard error is the run's log.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::Context;

use super::control_plane::{self, Addresses, client_arguments};
use super::node::{NODES, Node};
use super::parts::{Parts, report};
use super::{READY, configuration, pki};
use crate::stdout_of;

/// Prepares the namespaces, starts every part, with so many nodes, reports, and obeys until standard input closes.
///
/// # Errors
/// When a part does not come up.
pub fn inside(run_folder: &Path, programs: &Path, nodes: usize) -> anyhow::Result<()> {
    let nodes = &NODES[..nodes.clamp(1, NODES.len())];
    let addresses = Addresses::usual(nodes[0].address);
    pki::write(&run_folder.join("pki"), addresses, nodes).context("making the certificates")?;
    configuration::write(run_folder, addresses, nodes)?;
    prepare_mounts(run_folder)?;
    for node in nodes {
        node.prepare(run_folder, nodes)?;
    }
    let mut parts = Parts::new(run_folder, programs);
    for node in nodes {
        node.start_containerd(&mut parts)?;
    }
    control_plane::start(&mut parts, addresses)?;
    parts.start("kube-scheduler", &client_arguments(&parts, "scheduler"))?;
    for node in nodes {
        node.start_kubelet(&mut parts)?;
    }
    parts.start("coredns", &["-conf".into(), parts.path("conf/Corefile")])?;
    control_plane::wait(&mut parts, addresses)?;
    wait(&mut parts, nodes)?;
    report(READY)?;
    parts.obey();
    Ok(())
}

/// Makes every folder that a part would write to outside the run folder private to this run.
fn prepare_mounts(run_folder: &Path) -> anyhow::Result<()> {
    // The kubelet wants shared propagation; this mount table is already a private copy.
    stdout_of(Command::new("mount").args(["--make-rshared", "/"]))?;
    fs::create_dir_all("/var/lib/cni").context("creating the folder of the network plugins")?;
    for folder in [
        run_folder.join("state"),
        "/run".into(),
        "/var/log".into(),
        "/var/lib/cni".into(),
    ] {
        let mut mount = Command::new("mount");
        stdout_of(
            mount
                .args(["-t", "tmpfs", "-o", "mode=755", "tmpfs"])
                .arg(folder),
        )?;
    }
    let resolver = run_folder.join("conf/resolv.conf");
    stdout_of(
        Command::new("mount")
            .arg("--bind")
            .arg(resolver)
            .arg("/etc/resolv.conf"),
    )?;
    Ok(())
}

fn wait(parts: &mut Parts, nodes: &[Node]) -> anyhow::Result<()> {
    parts.wait_url("kube-scheduler", "https://127.0.0.1:10259/healthz")?;
    for node in nodes {
        node.wait(parts)?;
    }
    let dns = parts.path("conf/dns.yaml");
    stdout_of(parts.command("kubectl").args(["apply", "--filename", &dns]))?;
    let name = ["getent", "ahostsv4", "kubernetes.default.svc.cluster.local"];
    parts.wait_ready("cluster DNS", &name)
}
