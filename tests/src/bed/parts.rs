//! The parts of a bed that run as processes: starting them, waiting until they serve, noticing when they end.

use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, TryRecvError};
use std::thread;
use std::time::Duration;

use anyhow::{Context, bail};

use super::without_proxies;
use crate::poll::{Deadline, Seen, wait_for};
use crate::run;

/// How long one part may take to be ready. The whole takes six seconds on an idle machine, and ten times that on a busy one.
const PART_READY: Duration = Duration::from_secs(240);
/// How often the parts are looked after once everything runs.
const WATCH: Duration = Duration::from_secs(1);

struct Part {
    name: &'static str,
    process: Child,
    reported_dead: bool,
}

/// The processes of one bed. They end when this is dropped.
pub(super) struct Parts {
    run_folder: PathBuf,
    programs: PathBuf,
    parts: Vec<Part>,
    started: Deadline,
    /// Disconnected when the owner is gone.
    owner: Receiver<()>,
}

impl Parts {
    pub(super) fn new(run_folder: &Path, programs: &Path) -> Self {
        Self {
            run_folder: run_folder.to_owned(),
            programs: programs.to_owned(),
            parts: Vec::new(),
            started: Deadline::after(PART_READY),
            owner: watch_owner(),
        }
    }

    /// A path in the run folder.
    pub(super) fn path(&self, relative: &str) -> String {
        self.run_folder.join(relative).display().to_string()
    }

    /// A command with the bed's programs on its path and the administrator's rights.
    pub(super) fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        let path = std::env::var("PATH").unwrap_or_default();
        without_proxies(&mut command)
            .env("PATH", format!("{}:{path}", self.programs.display()))
            .env("KUBECONFIG", self.path("pki/admin.kubeconfig"))
            .env("HOME", self.path("home"))
            .stdin(Stdio::null());
        command
    }

    /// Starts a program; its output goes to a log of its name.
    pub(super) fn start(&mut self, name: &'static str, arguments: &[String]) -> anyhow::Result<()> {
        let log = File::create(self.path(&format!("logs/{name}.log"))).context("creating a log")?;
        let mut command = self.command(name);
        command.args(arguments).current_dir("/");
        command
            .stdout(log.try_clone().context("sharing a log")?)
            .stderr(log);
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

    /// Waits until a health page says yes.
    pub(super) fn wait_url(&mut self, what: &str, url: &str) -> anyhow::Result<()> {
        // Some parts sign their own certificates; this is a look at their health, not a secret.
        let words = [
            "curl",
            "--silent",
            "--show-error",
            "--fail",
            "--insecure",
            url,
        ];
        self.wait_ready(what, &words)
    }

    /// Waits until a command succeeds.
    pub(super) fn wait_ready(&mut self, what: &str, words: &[&str]) -> anyhow::Result<()> {
        self.wait_output(what, words, "")
    }

    /// Waits until a command succeeds and prints `wanted`. A part that ends meanwhile ends the waiting.
    pub(super) fn wait_output(
        &mut self,
        what: &str,
        words: &[&str],
        wanted: &str,
    ) -> anyhow::Result<()> {
        wait_for(what, PART_READY, || {
            if let Some(dead) = self.dead()? {
                bail!("{dead} while waiting for {what}");
            }
            if self.owner.try_recv() == Err(TryRecvError::Disconnected) {
                bail!("the owner is gone");
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

    /// Stays until the owner is gone. A part that ends meanwhile is written to the log.
    pub(super) fn watch(&mut self) {
        while let Err(RecvTimeoutError::Timeout) = self.owner.recv_timeout(WATCH) {
            match self.dead() {
                Ok(Some(dead)) => eprintln!("{dead} while the bed was in use"),
                Ok(None) => {}
                Err(error) => eprintln!("{error:#}"),
            }
        }
    }
}

impl Drop for Parts {
    fn drop(&mut self) {
        for Part { name, process, .. } in &mut self.parts {
            if let Err(error) = process.kill().and_then(|()| process.wait()) {
                eprintln!("ending {name}: {error}");
            }
        }
    }
}

/// The owner holds the other end of standard input: it closes when the owner ends, however that happens.
fn watch_owner() -> Receiver<()> {
    let (closed, owner) = mpsc::channel();
    thread::spawn(move || {
        let ended = std::io::stdin().read_to_end(&mut Vec::new());
        drop((ended, closed)); // an error is an end as well
    });
    owner
}

/// One line to the owner.
pub(super) fn report(line: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")
        .and_then(|()| out.flush())
        .context("reporting")
}
