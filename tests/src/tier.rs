//! What of Kubernetes the machine at hand can run, and why not more.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::run;

/// Set to `yes` by someone whose cluster, the one of `KUBECONFIG`, may be written to.
pub const MAY_WRITE: &str = "CANDELA_TEST_MAY_WRITE_TO_CLUSTER";

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
    /// A cluster that someone offers.
    Offered {
        /// How to reach it.
        kubeconfig: PathBuf,
    },
}

impl Tier {
    /// The best tier of this machine. A cluster is taken only when both its kubeconfig and the permission are given.
    pub fn detect() -> Self {
        let offered = std::env::var_os("KUBECONFIG");
        let allowed = std::env::var(MAY_WRITE).is_ok_and(|answer| answer == "yes");
        if let (Some(kubeconfig), true) = (offered, allowed) {
            return Self::Offered {
                kubeconfig: kubeconfig.into(),
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
            Self::Offered { kubeconfig } => {
                write!(
                    f,
                    "the cluster of {} (allowed by {MAY_WRITE})",
                    kubeconfig.display()
                )
            }
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
