//! A real Kubernetes on this machine, for tests: etcd, control plane, kubelet, containerd, kube-proxy and cluster DNS, with one
//! node named `bed`, or a second named `bed-2`. It needs root on Linux and a handful of Debian packages (`tests/setup/install.sh`).
//!
//! Flow: [`with`] makes a run folder, starts `unshare` with private network, mount and process namespaces, and in them the
//! `bed` program twice: as `init`, which reaps, and as `inside`, which brings the parts up one after another and reports.
//!
//! Guarantees: everything that could outlive the run is inside the namespaces (processes, mounts, interfaces, packet filter rules,
//! and all state, on a tmpfs); killing the first process removes it. `inside` also ends when its standard input closes, so even a
//! killed suite leaves nothing running. What is left, empty control groups, the next start sweeps away.

mod configuration;
mod control_plane;
mod folder;
mod init;
mod inside;
mod node;
mod parts;
mod pki;

use std::cell::RefCell;
use std::fs::{self, File, Permissions};
use std::io::{BufRead, BufReader, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::thread::{self, JoinHandle};

use anyhow::{Context, bail};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::{run, stdout_of};
use folder::RunFolder;

pub use control_plane::control_plane;
pub use init::init;
pub use inside::inside;
pub use node::{NODES, Node};

/// The line by which a bed says that everything runs.
const READY: &str = "ready";
/// The line by which a bed says that an order is carried out.
const DONE: &str = "done";
/// Lines of each log shown when a run fails.
const LOG_LINES_SHOWN: usize = 12;

/// How much of a cluster a bed is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// Everything, with nodes that run pods, in namespaces of its own.
    Cluster {
        /// How many, up to the length of [`NODES`].
        nodes: usize,
    },
    /// The API server and the controllers, on loopback.
    ControlPlane,
}

/// A running bed. Dropping it removes it.
#[derive(Debug)]
pub struct Bed {
    outer: Child,
    /// What the bed says.
    reports: RefCell<BufReader<ChildStdout>>,
    nodes: &'static [Node],
    /// The first process inside the namespaces, as numbered outside; none where there are no namespaces.
    inner: Option<u32>,
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
    extent: Extent,
    program: &Path,
    programs: &Path,
    scenario: impl FnOnce(&Bed) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let mut bed = Bed::start(extent, program, programs)?;
    scenario(&bed)?;
    bed.succeeded = true;
    Ok(())
}

impl Bed {
    fn start(extent: Extent, program: &Path, programs: &Path) -> anyhow::Result<Self> {
        let folder = RunFolder::create()?;
        let nodes = match extent {
            Extent::Cluster { nodes } => &NODES[..nodes.clamp(1, NODES.len())],
            Extent::ControlPlane => &[],
        };
        let mut command = match extent {
            Extent::Cluster { .. } => {
                configuration::write_pause_image(folder.path())?;
                folder
                    .create_cgroups(nodes)
                    .context("making the control groups")?;
                let mut command = Command::new("unshare");
                command.args(["--net", "--mount", "--pid", "--fork", "--mount-proc"]);
                command.args(["--kill-child", "--propagation", "private"]);
                command.arg(program).arg("init");
                command
            }
            Extent::ControlPlane => {
                let mut command = Command::new(program);
                command.arg("control-plane");
                command
            }
        };
        let log = folder.path().join("logs/bed.log");
        let log = File::create(log).context("creating the log")?;
        command.args([folder.path(), programs]);
        if !nodes.is_empty() {
            command.arg(nodes.len().to_string());
        }
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log);
        let mut outer = command
            .spawn()
            .context("starting the bed's first process")?;
        let reports = outer
            .stdout
            .take()
            .context("the bed has no standard output")?;
        let programs = programs.to_owned();
        let mut bed = Self {
            outer,
            reports: RefCell::new(BufReader::new(reports)),
            nodes,
            inner: None,
            programs,
            folder,
            succeeded: false,
        };
        bed.wait_until_ready()?;
        if !nodes.is_empty() {
            bed.inner = Some(child_of(bed.outer.id())?);
        }
        Ok(bed)
    }

    /// Follows what `inside` reports, up to the last line.
    fn wait_until_ready(&self) -> anyhow::Result<()> {
        loop {
            let line = self.next_report()?;
            if line == READY {
                return Ok(());
            }
            eprintln!("bed: {line}");
        }
    }

    fn next_report(&self) -> anyhow::Result<String> {
        let mut line = String::new();
        let read = self.reports.borrow_mut().read_line(&mut line);
        if read.context("reading the bed's reports")? == 0 {
            bail!(
                "the bed ended; its logs are in {}",
                self.folder.path().display()
            );
        }
        Ok(line.trim_end().to_owned())
    }

    /// Ends a part of the bed, such as `kube-apiserver`, at once.
    ///
    /// # Errors
    /// When there is no such part.
    pub fn stop(&self, part: &str) -> anyhow::Result<()> {
        self.order(&format!("stop {part}"))
    }

    /// Starts a part again that was stopped. Whether it serves is another question.
    ///
    /// # Errors
    /// When there is no such part, or it cannot be started.
    pub fn start_again(&self, part: &str) -> anyhow::Result<()> {
        self.order(&format!("start {part}"))
    }

    fn order(&self, order: &str) -> anyhow::Result<()> {
        let mut ear = self.outer.stdin.as_ref().context("the bed hears nothing")?;
        writeln!(ear, "{order}").context("telling the bed")?;
        let answer = self.next_report()?;
        if answer != DONE {
            bail!("{order}: {answer}");
        }
        Ok(())
    }

    /// Does `work` on a thread of this process whose sockets are the bed's.
    ///
    /// # Errors
    /// When the bed has no network of its own. That it cannot be entered is the thread's error.
    pub fn in_network(
        &self,
        work: impl FnOnce() -> anyhow::Result<()> + Send + 'static,
    ) -> anyhow::Result<JoinHandle<anyhow::Result<()>>> {
        let inner = self.inner.context("the bed has no network of its own")?;
        let network = File::open(format!("/proc/{inner}/ns/net")).context("finding the network")?;
        Ok(thread::spawn(move || {
            let kind = Some(LinkNameSpaceType::Network);
            move_into_link_name_space(network.as_fd(), kind).context("entering the network")?;
            work()
        }))
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
        let mut command = match self.inner {
            Some(inner) => {
                let mut command = Command::new("nsenter");
                command.args(["--target", &inner.to_string(), "--mount", "--net", "--pid"]);
                command.arg(program);
                command
            }
            None => Command::new(program),
        };
        let path = std::env::var("PATH").unwrap_or_default();
        without_proxies(&mut command)
            .env("PATH", format!("{}:{path}", self.programs.display()))
            .env("KUBECONFIG", self.kubeconfig())
            .env("HOME", self.folder.path().join("home"))
            .stdin(Stdio::null());
        command
    }

    /// Writes a script that runs its arguments inside the bed, for a person at a terminal.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write_enter_script(&self) -> anyhow::Result<PathBuf> {
        let path = self.folder().join("enter");
        let enter = self.inner.map_or(String::new(), |inner| {
            format!("nsenter --target {inner} --mount --net --pid ")
        });
        let script = format!(
            "#!/bin/sh\n\
             export PATH='{}':\"$PATH\" KUBECONFIG='{}'\n\
             exec {enter}sh -c 'cd \"$0\" && exec \"$@\"' \"$PWD\" \"$@\"\n",
            self.programs.display(),
            self.kubeconfig().display(),
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

    /// What the operator asked of the API server: one audit event a line.
    pub fn audit_log(&self) -> PathBuf {
        self.folder().join(control_plane::AUDIT_LOG)
    }

    /// Puts an image archive into every node's image store.
    ///
    /// # Errors
    /// When `ctr` fails, with what it said.
    pub fn import_image(&self, archive: &Path) -> anyhow::Result<()> {
        for node in self.nodes {
            self.ctr(node, &["images", "import", &archive.to_string_lossy()])?;
        }
        Ok(())
    }

    /// Gives an image a second name on every node.
    ///
    /// # Errors
    /// When `ctr` fails, with what it said.
    pub fn tag_image(&self, reference: &str, second: &str) -> anyhow::Result<()> {
        for node in self.nodes {
            self.ctr(node, &["images", "tag", "--force", reference, second])?;
        }
        Ok(())
    }

    /// What `ctr` prints about the containers of a node.
    ///
    /// # Errors
    /// When it fails, with what it said.
    pub fn ctr(&self, node: &Node, arguments: &[&str]) -> anyhow::Result<String> {
        let mut command = self.command("ctr");
        command.args(["--address", &node.socket(), "--namespace", "k8s.io"]);
        stdout_of(command.args(arguments))
    }

    /// Prints what a reader of a failed run wants to see first, and keeps the pods' logs.
    fn tell_what_was_wrong(&self) {
        eprintln!(
            "bed: the run failed; logs are kept in {}",
            self.folder.path().display()
        );
        if self.inner.is_some() {
            for arguments in [
                &["get", "pods", "--all-namespaces", "--output=wide"][..],
                &[
                    "get",
                    "events",
                    "--all-namespaces",
                    "--sort-by=.lastTimestamp",
                ],
            ] {
                let said = match run(self.command("kubectl").args(arguments)) {
                    Ok(output) => String::from_utf8_lossy(&output.stdout).into_owned(),
                    Err(error) => format!("{error:#}"),
                };
                eprintln!("bed: kubectl {}\n{said}", arguments.join(" "));
            }
            for node in self.nodes {
                let from = format!("state/{}/pod-logs", node.name);
                let to = format!("logs/pods-on-{}", node.name);
                let mut copy = self.command("cp");
                copy.arg("--recursive")
                    .args([from, to].map(|path| self.folder().join(path)));
                if let Err(error) = stdout_of(&mut copy) {
                    eprintln!("bed: the pods' logs could not be kept: {error:#}");
                }
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
        // Without namespaces the parts must be ended one by one: that is done by the process that watches its standard input.
        drop(self.outer.stdin.take());
        let ended = match self.inner {
            Some(_) => self.outer.kill().and_then(|()| self.outer.wait()),
            None => self.outer.wait(),
        };
        if let Err(error) = ended {
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

/// The only child of a process, as numbered here.
fn child_of(parent: u32) -> anyhow::Result<u32> {
    let path = format!("/proc/{parent}/task/{parent}/children");
    let children = fs::read_to_string(&path).with_context(|| format!("reading {path}"))?;
    children
        .trim()
        .parse()
        .with_context(|| format!("{path} says {children:?}, not one process"))
}

/// Prints the last lines of every log in a folder and those below it.
fn show_logs(folder: &Path) {
    let Ok(entries) = fs::read_dir(folder) else {
        return;
    };
    for path in entries.flatten().map(|entry| entry.path()) {
        if path.is_dir() {
            show_logs(&path);
            continue;
        }
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

/// Nothing in a bed is behind a proxy.
fn without_proxies(command: &mut Command) -> &mut Command {
    for name in ["HTTPS_PROXY", "HTTP_PROXY", "https_proxy", "http_proxy"] {
        command.env_remove(name);
    }
    command
}
