//! The parts of a bed that run as processes: starting them, waiting until they serve, noticing when they end.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, TryRecvError};
use std::thread;
use std::time::Duration;

use anyhow::{Context, bail};

use super::{DONE, without_proxies};
use crate::poll::{Deadline, Seen, wait_for};
use crate::run;

/// How long one part may take to be ready. The whole takes six seconds on an idle machine, and ten times that on a busy one.
const PART_READY: Duration = Duration::from_secs(240);
/// How often the parts are looked after once everything runs.
const WATCH: Duration = Duration::from_secs(1);

struct Part {
    name: &'static str,
    words: Vec<String>,
    process: Child,
    reported_dead: bool,
}

/// The processes of one bed. They end when this is dropped.
pub(super) struct Parts {
    run_folder: PathBuf,
    programs: PathBuf,
    parts: Vec<Part>,
    started: Deadline,
    /// What the owner asks for; disconnected when it is gone.
    owner: Receiver<String>,
}

impl Parts {
    pub(super) fn new(run_folder: &Path, programs: &Path) -> Self {
        Self {
            run_folder: run_folder.to_owned(),
            programs: programs.to_owned(),
            parts: Vec::new(),
            started: Deadline::after(PART_READY),
            owner: listen_to_owner(),
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
        let program = std::iter::once(name.to_owned());
        self.start_words(name, program.chain(arguments.iter().cloned()).collect())
    }

    /// Starts a command line; its output goes to a log of that name.
    pub(super) fn start_words(
        &mut self,
        name: &'static str,
        words: Vec<String>,
    ) -> anyhow::Result<()> {
        let process = self.spawn(name, &words)?;
        self.parts.push(Part {
            name,
            words,
            process,
            reported_dead: false,
        });
        Ok(())
    }

    fn spawn(&self, name: &str, words: &[String]) -> anyhow::Result<Child> {
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.path(&format!("logs/{name}.log")))
            .context("opening a log")?;
        let mut command = self.command(&words[0]);
        command.args(&words[1..]).current_dir("/");
        command
            .stdout(log.try_clone().context("sharing a log")?)
            .stderr(log);
        command.spawn().with_context(|| format!("starting {name}"))
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

    /// Stops and starts parts as the owner asks, until it is gone. A part that ends unasked is written to the log.
    pub(super) fn obey(&mut self) {
        loop {
            match self.owner.recv_timeout(WATCH) {
                Ok(order) => {
                    let outcome = self.carry_out(&order);
                    let outcome = outcome.map_or_else(|e| format!("{e:#}"), |()| DONE.to_owned());
                    if let Err(error) = report(&outcome) {
                        eprintln!("{error:#}");
                    }
                }
                Err(RecvTimeoutError::Timeout) => match self.dead() {
                    Ok(Some(dead)) => eprintln!("{dead} while the bed was in use"),
                    Ok(None) => {}
                    Err(error) => eprintln!("{error:#}"),
                },
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// `stop NAME` ends a part as a power cut does; `start NAME` starts it again as it was started.
    fn carry_out(&mut self, order: &str) -> anyhow::Result<()> {
        let (verb, name) = order.split_once(' ').context("an order has two words")?;
        let index = self.parts.iter().position(|part| part.name == name);
        let index = index.with_context(|| format!("there is no part {name}"))?;
        match verb {
            "stop" => {
                let part = &mut self.parts[index];
                part.reported_dead = true;
                part.process.kill().context("ending it")?;
                part.process.wait().context("waiting for its end")?;
            }
            "start" => {
                let process = self.spawn(name, &self.parts[index].words)?;
                let part = &mut self.parts[index];
                part.process = process;
                part.reported_dead = false;
            }
            other => bail!("an order to {other} is unknown"),
        }
        Ok(())
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
fn listen_to_owner() -> Receiver<String> {
    let (said, owner) = mpsc::channel();
    thread::spawn(move || {
        for line in std::io::stdin().lines().map_while(Result::ok) {
            if said.send(line).is_err() {
                break;
            }
        }
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
