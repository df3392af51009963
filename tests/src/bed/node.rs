//! The nodes of a bed: their names and addresses, and what makes a node of a network namespace: containerd, kubelet, kube-proxy.
//!
//! The first node shares the network of the control plane, whose bridge `bed0` carries its address. Each further one has a network
//! namespace of its own, joined to the bridge by a pair of virtual interfaces; mounts are shared, paths differ.

use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Command;

use anyhow::Context;

use super::control_plane::SERVICE_RANGE;
use super::parts::Parts;
use crate::stdout_of;

/// A node.
#[derive(Debug, Clone, Copy)]
pub struct Node {
    /// Its name in the cluster.
    pub name: &'static str,
    /// Its address on the bridge.
    pub address: Ipv4Addr,
    /// The addresses of its pods.
    pub(super) pods: &'static str,
    /// The name of its network namespace; none for the one that the control plane is in.
    network: Option<&'static str>,
    logs: [&'static str; 3],
}

/// Every node that a bed may have, in the order in which they are started.
pub const NODES: [Node; 2] = [
    Node {
        name: "bed",
        address: Ipv4Addr::new(172, 30, 0, 1),
        pods: "10.244.0.0/24",
        network: None,
        logs: ["containerd", "kubelet", "kube-proxy"],
    },
    Node {
        name: "bed-2",
        address: Ipv4Addr::new(172, 30, 0, 2),
        pods: "10.244.1.0/24",
        network: Some("bed-2"),
        logs: ["containerd-2", "kubelet-2", "kube-proxy-2"],
    },
];

impl Node {
    /// The socket of its containerd.
    pub(super) fn socket(&self) -> String {
        format!("/run/{}/containerd.sock", self.name)
    }

    /// The words that run a command in its network.
    fn enter(&self) -> Vec<String> {
        let enter = |name| vec!["nsenter".to_owned(), format!("--net=/run/netns/{name}")];
        self.network.map_or_else(Vec::new, enter)
    }

    /// Runs a command in its network to its end.
    fn run(&self, words: &[&str]) -> anyhow::Result<()> {
        let words = self
            .enter()
            .into_iter()
            .chain(words.iter().map(|word| (*word).to_owned()));
        let words: Vec<_> = words.collect();
        stdout_of(Command::new(&words[0]).args(&words[1..]))?;
        Ok(())
    }

    /// Makes its folders and its network, with routes to the pods of the others.
    pub(super) fn prepare(&self, run_folder: &Path, all: &[Self]) -> anyhow::Result<()> {
        for folder in ["pod-logs", "volume-plugins"] {
            let folder = run_folder.join("state").join(self.name).join(folder);
            fs::create_dir_all(&folder)
                .with_context(|| format!("creating {}", folder.display()))?;
        }
        fs::create_dir_all(format!("/run/{}", self.name)).context("creating a runtime folder")?;
        let address = format!("{}/24", self.address);
        let interface = if let Some(network) = self.network {
            let outer = format!("to-{network}");
            for words in [
                &["ip", "netns", "add", network][..],
                &[
                    "ip", "link", "add", &outer, "type", "veth", "peer", "name", "up0", "netns",
                    network,
                ],
                &["ip", "link", "set", &outer, "master", "bed0", "up"],
            ] {
                stdout_of(Command::new(words[0]).args(&words[1..]))?;
            }
            "up0"
        } else {
            self.run(&["ip", "link", "add", "bed0", "type", "bridge"])?;
            "bed0"
        };
        for words in [
            &["ip", "link", "set", "lo", "up"][..],
            &["ip", "address", "add", &address, "dev", interface],
            &["ip", "link", "set", interface, "up"],
            &["ip", "route", "add", SERVICE_RANGE, "dev", interface],
            &["sh", "-c", "echo 1 >/proc/sys/net/ipv4/ip_forward"],
        ] {
            self.run(words)?;
        }
        for other in all.iter().filter(|other| other.name != self.name) {
            let via = other.address.to_string();
            self.run(&[
                "ip", "route", "add", other.pods, "via", &via, "dev", interface,
            ])?;
        }
        Ok(())
    }

    /// Starts its containerd, which needs nobody.
    pub(super) fn start_containerd(&self, parts: &mut Parts) -> anyhow::Result<()> {
        let configuration = parts.path(&format!("conf/{}/containerd.toml", self.name));
        self.start(
            parts,
            0,
            "containerd",
            vec!["--config".into(), configuration],
        )
    }

    /// Starts the rest.
    pub(super) fn start_kubelet(&self, parts: &mut Parts) -> anyhow::Result<()> {
        let socket = self.socket();
        parts.wait_ready(self.logs[0], &["ctr", "--address", &socket, "version"])?;
        let pause = parts.path("conf/pause.tar");
        stdout_of(parts.command("ctr").args([
            "--address",
            &socket,
            "--namespace=k8s.io",
            "images",
            "import",
            &pause,
        ]))?;
        let name = self.name;
        let kubelet = vec![
            format!(
                "--config={}",
                parts.path(&format!("conf/{name}/kubelet.yaml"))
            ),
            format!(
                "--kubeconfig={}",
                parts.path(&format!("pki/{name}.kubeconfig"))
            ),
            format!("--hostname-override={name}"),
            format!("--node-ip={}", self.address),
            format!(
                "--root-dir={}",
                parts.path(&format!("state/{name}/kubelet"))
            ),
            format!("--cert-dir={}", parts.path("pki")),
        ];
        self.start(parts, 1, "kubelet", kubelet)?;
        let configuration = parts.path(&format!("conf/{name}/proxy.yaml"));
        self.start(
            parts,
            2,
            "kube-proxy",
            vec!["--config".into(), configuration],
        )
    }

    fn start(
        &self,
        parts: &mut Parts,
        log: usize,
        program: &str,
        arguments: Vec<String>,
    ) -> anyhow::Result<()> {
        let mut words = self.enter();
        words.push(program.to_owned());
        words.extend(arguments);
        parts.start_words(self.logs[log], words)
    }

    /// Waits until it takes pods, and packets for Services.
    pub(super) fn wait(&self, parts: &mut Parts) -> anyhow::Result<()> {
        let path = r#"jsonpath={.status.conditions[?(@.type=="Ready")].status}"#;
        let node = ["kubectl", "get", "node", self.name, "--output", path];
        parts.wait_output(&format!("node {}", self.name), &node, "True")?;
        let mut words = self.enter();
        words.extend(["curl", "--silent", "--show-error", "--fail"].map(str::to_owned));
        words.push("http://127.0.0.1:10256/healthz".to_owned());
        let words: Vec<_> = words.iter().map(String::as_str).collect();
        parts.wait_ready(self.logs[2], &words)
    }
}
