//! A real Kubernetes on this machine, for tests: etcd, control plane, kubelet, containerd, kube-proxy and cluster DNS, with one
//! node named `bed`. It needs root on Linux and a handful of Debian packages (`tests/setup/install.sh`).
//!
//! Flow: [`with`] makes a run folder, starts `unshare` with private network, mount and process namespaces, and in them the
//! `bed` program twice: as `init`, which reaps, and as `inside`, which brings the parts up one after another and reports.
//!
//! Guarantees: everything that could outlive the run is inside the namespaces (processes, mounts, interfaces, packet filter rules,
//! and all state, on a tmpfs); killing the first process removes it. `inside` also ends when its standard input closes, so even a
//! killed suite leaves nothing running. What is left, empty control groups, the next start sweeps away.

mod folder;
mod init;
mod inside;
mod pki;

use std::fs::{self, File, Permissions};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, bail};

use crate::image::{self, Image};
use crate::{run, stdout_of};
use folder::RunFolder;

pub use init::init;
pub use inside::inside;

/// The node's name.
pub const NODE_NAME: &str = "bed";
/// The node's address, in a network of its own.
const NODE_ADDRESS: &str = "172.30.0.1";
const API_SERVER: &str = "https://172.30.0.1:6443";
/// The line by which `inside` says that everything runs.
const READY: &str = "ready";
/// The image of the pod sandbox, as `conf/containerd.toml` names it.
const PAUSE_IMAGE: &str = "registry.local/pause:1";
const PAUSE_SOURCE: &str = include_str!("../../bed/pause.rs");
/// Lines of each log shown when a run fails.
const LOG_LINES_SHOWN: usize = 12;

/// A running bed. Dropping it removes it.
#[derive(Debug)]
pub struct Bed {
    outer: Child,
    /// The first process inside the namespaces, as numbered outside.
    inner: u32,
    programs: PathBuf,
    folder: RunFolder,
    succeeded: bool,
}

/// Starts a bed, hands it to `scenario`, and removes it. `program` is the `bed` binary of this crate, `programs` the folder with
/// kube-apiserver and the rest. When the scenario fails, the logs' last lines are printed and the run's folder stays.
///
/// # Errors
/// When the bed does not come up, and the scenario's own.
pub fn with(
    program: &Path,
    programs: &Path,
    scenario: impl FnOnce(&Bed) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let mut bed = Bed::start(program, programs)?;
    scenario(&bed)?;
    bed.succeeded = true;
    Ok(())
}

impl Bed {
    fn start(program: &Path, programs: &Path) -> anyhow::Result<Self> {
        let folder = RunFolder::create()?;
        let run_folder = folder.path().to_owned();
        pki::write(&run_folder.join("pki")).context("making the certificates")?;
        write_configuration(&run_folder, &folder.cgroup())?;
        write_pause_image(&run_folder)?;
        folder.create_cgroup().context("making the control group")?;

        let log = File::create(run_folder.join("logs/bed.log")).context("creating the log")?;
        let mut outer = Command::new("unshare")
            .args([
                "--net",
                "--mount",
                "--pid",
                "--fork",
                "--mount-proc",
                "--kill-child",
            ])
            .args(["--propagation", "private"])
            .arg(program)
            .arg("init")
            .args([run_folder.as_path(), programs])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .context("starting unshare")?;
        let reports = outer
            .stdout
            .take()
            .context("unshare has no standard output")?;
        let mut bed = Self {
            outer,
            inner: 0,
            programs: programs.to_owned(),
            folder,
            succeeded: false,
        };
        bed.wait_until_ready(BufReader::new(reports))?;
        bed.inner = child_of(bed.outer.id())?;
        Ok(bed)
    }

    /// Follows what `inside` reports, up to the last line.
    fn wait_until_ready(&self, reports: impl BufRead) -> anyhow::Result<()> {
        for line in reports.lines() {
            let line = line.context("reading the bed's reports")?;
            if line == READY {
                return Ok(());
            }
            eprintln!("bed: {line}");
        }
        bail!(
            "the bed did not come up; its logs are in {}",
            self.folder.path().display()
        )
    }

    /// The folder of this run: configuration, certificates and logs.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The administrator's kubeconfig. It is of use inside the bed's network only.
    pub fn kubeconfig(&self) -> PathBuf {
        self.folder.path().join("pki/admin.kubeconfig")
    }

    /// A command that will run inside the bed: its network, its mounts, kubectl and helm on its path, and a home of its own.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        let path = std::env::var("PATH").unwrap_or_default();
        command
            .args([
                "--target",
                &self.inner.to_string(),
                "--mount",
                "--net",
                "--pid",
                program,
            ])
            .env("PATH", format!("{}:{path}", self.programs.display()))
            .env("KUBECONFIG", self.kubeconfig())
            .env("HOME", self.folder.path().join("home"))
            .env_remove("HTTPS_PROXY")
            .env_remove("HTTP_PROXY")
            .env_remove("https_proxy")
            .env_remove("http_proxy")
            .stdin(Stdio::null());
        command
    }

    /// Writes a script that runs its arguments inside the bed, for a person at a terminal.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write_enter_script(&self) -> anyhow::Result<PathBuf> {
        let path = self.folder().join("enter");
        let script = format!(
            "#!/bin/sh\n\
             export PATH='{}':\"$PATH\" KUBECONFIG='{}'\n\
             exec nsenter --target {} --mount --net --pid \\\n    \
             sh -c 'cd \"$0\" && exec \"$@\"' \"$PWD\" \"$@\"\n",
            self.programs.display(),
            self.kubeconfig().display(),
            self.inner
        );
        fs::write(&path, script).context("writing the script")?;
        fs::set_permissions(&path, Permissions::from_mode(0o755)).context("marking the script")?;
        Ok(path)
    }

    /// What `kubectl` prints.
    ///
    /// # Errors
    /// When it fails, with what it said.
    pub fn kubectl(&self, arguments: &[&str]) -> anyhow::Result<String> {
        stdout_of(self.command("kubectl").args(arguments))
    }

    /// Puts an image archive into the node's image store.
    ///
    /// # Errors
    /// When `ctr` fails, with what it said.
    pub fn import_image(&self, archive: &Path) -> anyhow::Result<()> {
        let mut command = self.command("ctr");
        stdout_of(
            command
                .args(["--namespace", "k8s.io", "images", "import"])
                .arg(archive),
        )?;
        Ok(())
    }

    /// Gives an image of the node a second name.
    ///
    /// # Errors
    /// When `ctr` fails, with what it said.
    pub fn tag_image(&self, reference: &str, second: &str) -> anyhow::Result<()> {
        let mut command = self.command("ctr");
        command.args([
            "--namespace",
            "k8s.io",
            "images",
            "tag",
            "--force",
            reference,
            second,
        ]);
        stdout_of(&mut command)?;
        Ok(())
    }

    /// Prints what a reader of a failed run wants to see first, and keeps the pods' logs.
    fn tell_what_was_wrong(&self) {
        eprintln!(
            "bed: the run failed; logs are kept in {}",
            self.folder.path().display()
        );
        if self.inner != 0 {
            for arguments in [
                &["get", "pods", "--all-namespaces", "--output=wide"][..],
                &[
                    "get",
                    "events",
                    "--all-namespaces",
                    "--sort-by=.lastTimestamp",
                ],
            ] {
                let said = run(self.command("kubectl").args(arguments));
                let said = said.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
                eprintln!(
                    "bed: kubectl {}\n{}",
                    arguments.join(" "),
                    said.unwrap_or_default()
                );
            }
            let mut copy = self.command("cp");
            copy.arg("--recursive")
                .args(["state/pod-logs", "logs/pods"].map(|p| self.folder().join(p)));
            if let Err(error) = stdout_of(&mut copy) {
                eprintln!("bed: the pods' logs could not be kept: {error:#}");
            }
        }
        show_logs(&self.folder.path().join("logs"));
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        if !self.succeeded {
            self.tell_what_was_wrong();
        }
        let killed = self.outer.kill().and_then(|()| self.outer.wait());
        if let Err(error) = killed {
            eprintln!("bed: ending process {}: {error}", self.outer.id());
        }
        if let Err(error) = self.folder.remove_cgroup() {
            eprintln!("bed: removing the control groups: {error:#}");
        }
        if self.succeeded
            && let Err(error) = fs::remove_dir_all(self.folder.path())
        {
            eprintln!("bed: removing {}: {error}", self.folder.path().display());
        }
    }
}

/// Writes the parts' configuration files, with this run's paths in them.
fn write_configuration(run_folder: &Path, cgroup: &str) -> anyhow::Result<()> {
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
            .replace("@CGROUP@", cgroup);
        fs::write(run_folder.join(path), content).with_context(|| format!("writing {path}"))?;
    }
    Ok(())
}

/// Compiles the pause program and makes its image.
fn write_pause_image(run_folder: &Path) -> anyhow::Result<()> {
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

/// The only child of a process, as numbered here.
fn child_of(parent: u32) -> anyhow::Result<u32> {
    let path = format!("/proc/{parent}/task/{parent}/children");
    let children = fs::read_to_string(&path).with_context(|| format!("reading {path}"))?;
    children
        .trim()
        .parse()
        .with_context(|| format!("{path} says {children:?}, not one process"))
}

/// Prints the last lines of every log.
fn show_logs(logs: &Path) {
    let Ok(entries) = fs::read_dir(logs) else {
        return;
    };
    for path in entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.is_file())
    {
        let text = fs::read(&path).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<_> = text.lines().collect();
        let tail = &lines[lines.len().saturating_sub(LOG_LINES_SHOWN)..];
        eprintln!(
            "--- {} (last {} of {} lines)",
            path.display(),
            tail.len(),
            lines.len()
        );
        for line in tail {
            eprintln!("{line}");
        }
    }
}
