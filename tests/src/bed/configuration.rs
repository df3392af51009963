//! The parts' configuration, from the templates in `tests/bed/conf`, and the pause image.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::Context;

use super::control_plane::Addresses;
use super::folder::cgroup;
use super::node::Node;
use crate::image::{self, Image};
use crate::stdout_of;

/// The image of the pod sandbox, as `containerd.toml` names it.
const PAUSE_IMAGE: &str = "registry.local/pause:1";
const PAUSE_SOURCE: &str = include_str!("../../bed/pause.rs");

/// What there is one of, whatever the number of nodes.
const SHARED: [(&str, &str); 6] = [
    ("conf/etcd.yaml", include_str!("../../bed/conf/etcd.yaml")),
    ("conf/audit.yaml", include_str!("../../bed/conf/audit.yaml")),
    ("conf/Corefile", include_str!("../../bed/conf/Corefile")),
    ("conf/dns.yaml", include_str!("../../bed/conf/dns.yaml")),
    (
        "conf/resolv.conf",
        include_str!("../../bed/conf/resolv.conf"),
    ),
    ("conf/no-resolv.conf", ""),
];
/// What every node has.
const OF_A_NODE: [(&str, &str); 4] = [
    (
        "conf/@NODE@/containerd.toml",
        include_str!("../../bed/conf/containerd.toml"),
    ),
    (
        "conf/@NODE@/kubelet.yaml",
        include_str!("../../bed/conf/kubelet.yaml"),
    ),
    (
        "conf/@NODE@/proxy.yaml",
        include_str!("../../bed/conf/proxy.yaml"),
    ),
    (
        "cni/@NODE@/bed.conflist",
        include_str!("../../bed/conf/cni.conflist"),
    ),
];

/// Writes the parts' configuration files, with this run's paths in them.
pub(super) fn write(run_folder: &Path, addresses: Addresses, nodes: &[Node]) -> anyhow::Result<()> {
    let of_the_run = |text: &str| {
        text.replace("@RUN@", &run_folder.display().to_string())
            .replace("@STATE@", &run_folder.join("state").display().to_string())
            .replace("@CGROUP@", &cgroup(run_folder))
            .replace("@ETCD@", &addresses.etcd_client_port.to_string())
            .replace("@ETCD_PEER@", &addresses.etcd_peer_port.to_string())
    };
    for (path, template) in SHARED {
        put(run_folder, path, &of_the_run(template))?;
    }
    for node in nodes {
        let of_the_node = |text: &str| {
            of_the_run(text)
                .replace("@NODE@", node.name)
                .replace("@ADDRESS@", &node.address.to_string())
                .replace("@SOCKET@", &node.socket())
                .replace("@PODS@", node.pods)
        };
        for (path, template) in OF_A_NODE {
            put(run_folder, &of_the_node(path), &of_the_node(template))?;
        }
    }
    Ok(())
}

fn put(run_folder: &Path, path: &str, content: &str) -> anyhow::Result<()> {
    let path = run_folder.join(path);
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).with_context(|| format!("creating {}", folder.display()))?;
    }
    fs::write(&path, content).with_context(|| format!("writing {}", path.display()))
}

/// Compiles the pause program and makes its image.
pub(super) fn write_pause_image(run_folder: &Path) -> anyhow::Result<()> {
    let (source, program) = (
        run_folder.join("conf/pause.rs"),
        run_folder.join("conf/pause"),
    );
    fs::write(&source, PAUSE_SOURCE).context("writing the pause program")?;
    let mut compile = Command::new("rustc");
    compile.args([
        "--edition=2024",
        "-Copt-level=s",
        "-Cpanic=abort",
        "-Cstrip=symbols",
    ]);
    compile
        .args(["-Ctarget-feature=+crt-static", "-o"])
        .args([&program, &source]);
    stdout_of(&mut compile).context("compiling the pause program")?;
    let image = Image {
        reference: PAUSE_IMAGE.into(),
        program,
        ca_certificates: false,
        libraries: Vec::new(),
        environment: Vec::new(),
    };
    image::write(&image, &run_folder.join("conf/pause.tar"))?;
    Ok(())
}
