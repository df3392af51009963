//! A whole cluster inside the namespaces: mounts and network made ready, then the control plane, then the node.
//! Standard output carries one line per part that is ready and `ready` at the end; standard error is the run's log.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::Context;

use super::control_plane::{self, Addresses, SERVICE_RANGE, client_arguments};
use super::parts::{Parts, report};
use super::{NODE_ADDRESS, NODE_NAME, READY, configuration, pki};
use crate::stdout_of;

/// Prepares the namespaces, starts every part, reports, and stays until standard input closes.
///
/// # Errors
/// When a part does not come up.
pub fn inside(run_folder: &Path, programs: &Path) -> anyhow::Result<()> {
    let addresses = Addresses::usual(NODE_ADDRESS);
    pki::write(&run_folder.join("pki"), addresses).context("making the certificates")?;
    configuration::write(run_folder, addresses)?;
    prepare_mounts(run_folder)?;
    prepare_network()?;
    let mut parts = Parts::new(run_folder, programs);
    parts.start(
        "containerd",
        &["--config".into(), parts.path("conf/containerd.toml")],
    )?;
    control_plane::start(&mut parts, addresses)?;
    start_node(&mut parts)?;
    control_plane::wait(&mut parts, addresses)?;
    wait_for_node(&mut parts)?;
    report(READY)?;
    parts.watch();
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
    for folder in ["state/pod-logs", "state/volume-plugins"] {
        fs::create_dir(run_folder.join(folder)).with_context(|| format!("creating {folder}"))?;
    }
    Ok(())
}

/// One bridge that carries the node's address, and a way to the Service range for the node itself.
fn prepare_network() -> anyhow::Result<()> {
    let address = format!("{NODE_ADDRESS}/24");
    for arguments in [
        &["link", "set", "lo", "up"][..],
        &["link", "add", "bed0", "type", "bridge"],
        &["address", "add", &address, "dev", "bed0"],
        &["link", "set", "bed0", "up"],
        &["route", "add", SERVICE_RANGE, "dev", "bed0"],
    ] {
        stdout_of(Command::new("ip").args(arguments))?;
    }
    fs::write("/proc/sys/net/ipv4/ip_forward", "1").context("turning on forwarding")
}

fn start_node(parts: &mut Parts) -> anyhow::Result<()> {
    parts.start("kube-scheduler", &client_arguments(parts, "scheduler"))?;
    parts.wait_ready("containerd", &["ctr", "version"])?;
    let pause = parts.path("conf/pause.tar");
    stdout_of(
        parts
            .command("ctr")
            .args(["--namespace=k8s.io", "images", "import", &pause]),
    )?;
    let kubelet = [
        format!("--config={}", parts.path("conf/kubelet.yaml")),
        format!("--kubeconfig={}", parts.path("pki/node.kubeconfig")),
        format!("--hostname-override={NODE_NAME}"),
        format!("--node-ip={NODE_ADDRESS}"),
        format!("--root-dir={}", parts.path("state/kubelet")),
        format!("--cert-dir={}", parts.path("pki")),
    ];
    parts.start("kubelet", &kubelet)?;
    parts.start(
        "kube-proxy",
        &["--config".into(), parts.path("conf/proxy.yaml")],
    )?;
    parts.start("coredns", &["-conf".into(), parts.path("conf/Corefile")])
}

fn wait_for_node(parts: &mut Parts) -> anyhow::Result<()> {
    parts.wait_url("kube-scheduler", "https://127.0.0.1:10259/healthz")?;
    let path = r#"jsonpath={.status.conditions[?(@.type=="Ready")].status}"#;
    let node = ["kubectl", "get", "node", NODE_NAME, "--output", path];
    parts.wait_output("node", &node, "True")?;
    parts.wait_url("kube-proxy", "http://127.0.0.1:10256/healthz")?;
    let dns = parts.path("conf/dns.yaml");
    stdout_of(parts.command("kubectl").args(["apply", "--filename", &dns]))?;
    let name = ["getent", "ahostsv4", "kubernetes.default.svc.cluster.local"];
    parts.wait_ready("cluster DNS", &name)
}
