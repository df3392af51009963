//! Brings the parts up inside the namespaces, in the order they need each other, and watches over them.
//! Standard output carries one line per part that is ready and `ready` at the end; standard error is the run's log.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use anyhow::{Context, bail};

use super::{NODE_ADDRESS, NODE_NAME, READY};
use crate::poll::{Deadline, Seen, wait_for};
use crate::{run, stdout_of};

/// How long one part may take to be ready. The whole takes six seconds on an idle machine, and ten times that on a busy one.
const PART_READY: Duration = Duration::from_secs(240);
/// How often the parts are looked after once everything runs.
const WATCH: Duration = Duration::from_secs(1);
const SERVICE_RANGE: &str = "10.96.0.0/16";

/// A part of the bed that runs as a process.
struct Part {
    name: &'static str,
    process: Child,
    reported_dead: bool,
}

struct Inside {
    run_folder: PathBuf,
    programs: PathBuf,
    parts: Vec<Part>,
    started: Deadline,
}

/// Prepares the namespaces, starts every part, reports, and stays until standard input closes.
///
/// # Errors
/// When a part does not come up.
pub fn inside(run_folder: &Path, programs: &Path) -> anyhow::Result<()> {
    prepare_mounts(run_folder)?;
    prepare_network()?;
    let mut inside = Inside {
        run_folder: run_folder.to_owned(),
        programs: programs.to_owned(),
        parts: Vec::new(),
        started: Deadline::after(PART_READY),
    };
    inside.bring_up()?;
    report(READY)?;
    inside.watch();
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

impl Inside {
    fn bring_up(&mut self) -> anyhow::Result<()> {
        self.start("etcd", "etcd", &[self.path("conf/etcd.yaml")])?;
        self.start(
            "containerd",
            "containerd",
            &["--config".into(), self.path("conf/containerd.toml")],
        )?;
        self.wait_url("etcd", "http://127.0.0.1:2379/health")?;
        self.start(
            "kube-apiserver",
            "kube-apiserver",
            &self.apiserver_arguments(),
        )?;
        self.wait_ready("kube-apiserver", &["kubectl", "get", "--raw", "/readyz"])?;

        self.start(
            "kube-controller-manager",
            "kube-controller-manager",
            &self.controller_manager_arguments(),
        )?;
        self.start(
            "kube-scheduler",
            "kube-scheduler",
            &self.scheduler_arguments(),
        )?;
        self.wait_ready("containerd", &["ctr", "version"])?;
        let pause = self.path("conf/pause.tar");
        stdout_of(
            self.command("ctr")
                .args(["--namespace=k8s.io", "images", "import", &pause]),
        )?;
        self.start("kubelet", "kubelet", &self.kubelet_arguments())?;
        self.start(
            "kube-proxy",
            "kube-proxy",
            &["--config".into(), self.path("conf/proxy.yaml")],
        )?;
        self.start(
            "coredns",
            "coredns",
            &["-conf".into(), self.path("conf/Corefile")],
        )?;

        self.wait_url("kube-controller-manager", "https://127.0.0.1:10257/healthz")?;
        self.wait_url("kube-scheduler", "https://127.0.0.1:10259/healthz")?;
        self.wait_ready(
            "default service account",
            &["kubectl", "get", "serviceaccount", "default"],
        )?;
        let path = r#"jsonpath={.status.conditions[?(@.type=="Ready")].status}"#;
        self.wait_output(
            "node",
            &["kubectl", "get", "node", NODE_NAME, "--output", path],
            "True",
        )?;
        self.wait_url("kube-proxy", "http://127.0.0.1:10256/healthz")?;
        let dns = self.path("conf/dns.yaml");
        stdout_of(self.command("kubectl").args(["apply", "--filename", &dns]))?;
        self.wait_ready(
            "cluster DNS",
            &["getent", "ahostsv4", "kubernetes.default.svc.cluster.local"],
        )
    }

    fn apiserver_arguments(&self) -> Vec<String> {
        let file = |name: &str| self.path(&format!("pki/{name}"));
        let mut arguments = [
            ("etcd-servers", "http://127.0.0.1:2379".to_owned()),
            ("bind-address", NODE_ADDRESS.to_owned()),
            ("advertise-address", NODE_ADDRESS.to_owned()),
            ("tls-cert-file", file("apiserver.crt")),
            ("tls-private-key-file", file("apiserver.key")),
            ("client-ca-file", file("ca.crt")),
            ("kubelet-client-certificate", file("apiserver-kubelet.crt")),
            ("kubelet-client-key", file("apiserver-kubelet.key")),
            ("kubelet-certificate-authority", file("ca.crt")),
            ("kubelet-preferred-address-types", "InternalIP".to_owned()),
            (
                "service-account-issuer",
                "https://kubernetes.default.svc".to_owned(),
            ),
            ("service-account-key-file", file("sa.pub")),
            ("service-account-signing-key-file", file("sa.key")),
            ("service-cluster-ip-range", SERVICE_RANGE.to_owned()),
            ("authorization-mode", "Node,RBAC".to_owned()),
            ("enable-admission-plugins", "NodeRestriction".to_owned()),
        ]
        .map(|(flag, value)| format!("--{flag}={value}"))
        .to_vec();
        arguments.push("--profiling=false".to_owned());
        arguments
    }

    fn controller_manager_arguments(&self) -> Vec<String> {
        let file = |name: &str| self.path(&format!("pki/{name}"));
        let mut arguments = self.client_arguments("controller-manager");
        arguments.extend([
            "--use-service-account-credentials".to_owned(),
            format!("--service-account-private-key-file={}", file("sa.key")),
            format!("--root-ca-file={}", file("ca.crt")),
            format!("--cluster-signing-cert-file={}", file("ca.crt")),
            format!("--cluster-signing-key-file={}", file("ca.key")),
            // The default throttles the start of so many controllers for five seconds.
            "--kube-api-qps=500".to_owned(),
            "--kube-api-burst=1000".to_owned(),
        ]);
        arguments
    }

    fn scheduler_arguments(&self) -> Vec<String> {
        self.client_arguments("scheduler")
    }

    /// What the controller manager and the scheduler have in common.
    fn client_arguments(&self, name: &str) -> Vec<String> {
        let kubeconfig = self.path(&format!("pki/{name}.kubeconfig"));
        vec![
            format!("--kubeconfig={kubeconfig}"),
            format!("--authentication-kubeconfig={kubeconfig}"),
            format!("--authorization-kubeconfig={kubeconfig}"),
            "--bind-address=127.0.0.1".to_owned(),
            "--leader-elect=false".to_owned(),
            "--profiling=false".to_owned(),
        ]
    }

    fn kubelet_arguments(&self) -> Vec<String> {
        vec![
            format!("--config={}", self.path("conf/kubelet.yaml")),
            format!("--kubeconfig={}", self.path("pki/node.kubeconfig")),
            format!("--hostname-override={NODE_NAME}"),
            format!("--node-ip={NODE_ADDRESS}"),
            format!("--root-dir={}", self.path("state/kubelet")),
            format!("--cert-dir={}", self.path("pki")),
        ]
    }

    fn path(&self, relative: &str) -> String {
        self.run_folder.join(relative).display().to_string()
    }

    /// A command with the bed's programs on its path and the administrator's rights.
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        let path = std::env::var("PATH").unwrap_or_default();
        command
            .env("PATH", format!("{}:{path}", self.programs.display()))
            .env("KUBECONFIG", self.path("pki/admin.kubeconfig"))
            .env("HOME", self.path("home"))
            .stdin(Stdio::null());
        for proxy in ["HTTPS_PROXY", "HTTP_PROXY", "https_proxy", "http_proxy"] {
            command.env_remove(proxy);
        }
        command
    }

    fn start(
        &mut self,
        name: &'static str,
        program: &str,
        arguments: &[String],
    ) -> anyhow::Result<()> {
        let log = File::create(self.path(&format!("logs/{name}.log")))?;
        let mut command = self.command(program);
        command
            .args(arguments)
            .stdout(log.try_clone()?)
            .stderr(log)
            .current_dir("/");
        let process = command
            .spawn()
            .with_context(|| format!("starting {name}"))?;
        self.parts.push(Part {
            name,
            process,
            reported_dead: false,
        });
        Ok(())
    }

    fn wait_url(&mut self, what: &str, url: &str) -> anyhow::Result<()> {
        // The parts' own certificates are made by themselves; this is a look at their health, not a secret.
        self.wait_ready(
            what,
            &[
                "curl",
                "--silent",
                "--show-error",
                "--fail",
                "--insecure",
                url,
            ],
        )
    }

    fn wait_ready(&mut self, what: &str, words: &[&str]) -> anyhow::Result<()> {
        self.wait_output(what, words, "")
    }

    /// Runs a command until it succeeds and prints `wanted`, or a part dies.
    fn wait_output(&mut self, what: &str, words: &[&str], wanted: &str) -> anyhow::Result<()> {
        wait_for(what, PART_READY, || {
            if let Some(dead) = self.dead()? {
                bail!("{dead} while waiting for {what}");
            }
            let output = run(self.command(words[0]).args(&words[1..]))?;
            let said = String::from_utf8_lossy(&output.stdout);
            if output.status.success() && said.contains(wanted) {
                return Ok(Seen::Yes(()));
            }
            let error = String::from_utf8_lossy(&output.stderr);
            Ok(Seen::NotYet(format!("{}{}", said.trim(), error.trim())))
        })?;
        report(&format!(
            "{:6.2} s  {what}",
            self.started.elapsed().as_secs_f64()
        ))
    }

    /// The first part that has ended and was not reported yet.
    fn dead(&mut self) -> anyhow::Result<Option<String>> {
        for part in self.parts.iter_mut().filter(|part| !part.reported_dead) {
            if let Some(status) = part.process.try_wait().context("looking after a part")? {
                part.reported_dead = true;
                return Ok(Some(format!("{} ended ({status})", part.name)));
            }
        }
        Ok(None)
    }

    /// Stays until standard input closes, which is when the owner is gone. A part that dies meanwhile is written to the log.
    fn watch(&mut self) {
        let (closed, owner) = mpsc::channel::<()>();
        thread::spawn(move || {
            let _ = std::io::stdin().read_to_end(&mut Vec::new());
            drop(closed);
        });
        while let Err(RecvTimeoutError::Timeout) = owner.recv_timeout(WATCH) {
            match self.dead() {
                Ok(Some(dead)) => eprintln!("{dead} while the bed was in use"),
                Ok(None) => {}
                Err(error) => eprintln!("{error:#}"),
            }
        }
    }
}

fn report(line: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")
        .and_then(|()| out.flush())
        .context("reporting")
}
