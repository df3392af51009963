//! What of Kubernetes the machine at hand can run, and why not more.

use std::fmt;
use std::path::Path;
use std::process::Command;

use crate::run;

/// Set to `control-plane` by someone who wants the smaller tier on a machine that could run the larger one.
const WISH: &str = "CANDELA_TEST_TIER";

/// The programs of the cluster tier, each with the Debian package it comes in.
const PROGRAMS: [(&str, &str); 10] = [
    ("unshare", "util-linux"),
    ("nsenter", "util-linux"),
    ("ip", "iproute2"),
    ("curl", "curl"),
    ("containerd", "containerd"),
    ("ctr", "containerd"),
    ("runc", "runc"),
    ("nft", "nftables"),
    ("iptables", "iptables"),
    ("rustc", "rustc"),
];
const BRIDGE_PLUGIN: &str = "/usr/lib/cni/bridge";

/// A way to test against Kubernetes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tier {
    /// Everything: a node that runs pods.
    Cluster,
    /// The API server and the controllers only; no pod ever starts.
    ControlPlane {
        /// What the machine lacks for more.
        because: String,
    },
}

impl Tier {
    /// The best tier of this machine. No cluster that somebody uses is ever looked at, whatever `KUBECONFIG` says.
    pub fn detect() -> Self {
        if std::env::var(WISH).is_ok_and(|wish| wish == "control-plane") {
            return Self::ControlPlane {
                because: format!("{WISH} asks for no more"),
            };
        }
        match lacking() {
            None => Self::Cluster,
            Some(because) => Self::ControlPlane { because },
        }
    }
}

impl fmt::Display for Tier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cluster => write!(f, "cluster (a real node with real pods)"),
            Self::ControlPlane { because } => write!(f, "control plane only, because {because}"),
        }
    }
}

/// The first thing that the cluster tier needs and the machine lacks.
fn lacking() -> Option<String> {
    if !cfg!(target_os = "linux") {
        return Some("containers need Linux".to_owned());
    }
    if !rustix::process::geteuid().is_root() {
        return Some("making namespaces and mounts takes root".to_owned());
    }
    let missing = PROGRAMS.iter().find(|(program, _)| !is_on_path(program));
    if let Some((program, package)) = missing {
        return Some(format!("{program} is missing (Debian package {package})"));
    }
    if !Path::new(BRIDGE_PLUGIN).exists() {
        return Some(format!(
            "{BRIDGE_PLUGIN} is missing (Debian package containernetworking-plugins)"
        ));
    }
    let mut namespaces = Command::new("unshare");
    namespaces.args([
        "--net",
        "--mount",
        "--pid",
        "--fork",
        "--mount-proc",
        "true",
    ]);
    match run(&mut namespaces) {
        Ok(output) if output.status.success() => None,
        Ok(output) => Some(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
        Err(error) => Some(format!("{error:#}")),
    }
}

fn is_on_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).exists())
}
