//! The parts' configuration, from the templates in `tests/bed/conf`, and the pause image.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::Context;

use super::control_plane::Addresses;
use super::folder::cgroup;
use crate::image::{self, Image};
use crate::stdout_of;

/// The image of the pod sandbox, as `containerd.toml` names it.
const PAUSE_IMAGE: &str = "registry.local/pause:1";
const PAUSE_SOURCE: &str = include_str!("../../bed/pause.rs");

/// Writes the parts' configuration files, with this run's paths in them.
pub(super) fn write(run_folder: &Path, addresses: Addresses) -> anyhow::Result<()> {
    let files = [
        ("conf/etcd.yaml", include_str!("../../bed/conf/etcd.yaml")),
        (
            "conf/containerd.toml",
            include_str!("../../bed/conf/containerd.toml"),
        ),
        (
            "conf/kubelet.yaml",
            include_str!("../../bed/conf/kubelet.yaml"),
        ),
        ("conf/proxy.yaml", include_str!("../../bed/conf/proxy.yaml")),
        ("conf/Corefile", include_str!("../../bed/conf/Corefile")),
        ("conf/dns.yaml", include_str!("../../bed/conf/dns.yaml")),
        (
            "conf/resolv.conf",
            include_str!("../../bed/conf/resolv.conf"),
        ),
        ("conf/no-resolv.conf", ""),
        (
            "cni/bed.conflist",
            include_str!("../../bed/conf/cni.conflist"),
        ),
    ];
    for (path, template) in files {
        let content = template
            .replace("@RUN@", &run_folder.display().to_string())
            .replace("@STATE@", &run_folder.join("state").display().to_string())
            .replace("@CGROUP@", &cgroup(run_folder))
            .replace("@ETCD@", &addresses.etcd_client_port.to_string())
            .replace("@ETCD_PEER@", &addresses.etcd_peer_port.to_string());
        fs::write(run_folder.join(path), content).with_context(|| format!("writing {path}"))?;
    }
    Ok(())
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
    };
    image::write(&image, &run_folder.join("conf/pause.tar"))?;
    Ok(())
}
