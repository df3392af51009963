//! The engine as a child process: found, started, listened to, and ended in any case.

use std::{
    collections::VecDeque,
    io,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use candela_crds::names::ENGINE_PROGRAM;
use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, BufReader},
    process::{Child, Command},
    task::JoinHandle,
    time::timeout,
};

use super::Plan;

/// Lines of the engine's output that are kept for an error message.
const LAST_LINES: usize = 12;
/// Wait for the engine after each SIGTERM, before it is killed: the first lets it drain, which an
/// engine that serves one person needs no time for; the second ends it at once.
const PATIENCE: [Duration; 2] = [Duration::from_millis(300), Duration::from_secs(5)];

/// A running engine. Dropping it kills the process; [`Engine::end`] asks it first.
#[derive(Debug)]
pub struct Engine {
    child: Child,
    output: Output,
    readers: Vec<JoinHandle<()>>,
}

/// The end of what the engine wrote, and whether the terminal gets it, too.
#[derive(Debug, Clone, Default)]
struct Output(Arc<Mutex<Recorded>>);

#[derive(Debug, Default)]
struct Recorded {
    last: VecDeque<String>,
    shown: bool,
}

/// The engine's program, which is nowhere.
#[derive(Debug, thiserror::Error)]
#[error(
    "there is no {ENGINE_PROGRAM} beside this program ({beside}) and none on PATH: build it with \
     `cargo build --release`, or give its path with --engine"
)]
pub struct NoEngine {
    beside: String,
}

/// The engine's program: `given`, else beside this program, else on PATH.
///
/// # Errors
/// [`NoEngine`].
pub fn find_engine(given: Option<PathBuf>) -> Result<PathBuf, NoEngine> {
    if let Some(given) = given {
        return Ok(given);
    }
    let own = std::env::current_exe().unwrap_or_default();
    let beside = own.with_file_name(ENGINE_PROGRAM);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let candidates = std::iter::once(beside.clone())
        .chain(std::env::split_paths(&path).map(|folder| folder.join(ENGINE_PROGRAM)));
    let found = candidates.into_iter().find(|candidate| candidate.is_file());
    found.ok_or_else(|| NoEngine {
        beside: beside
            .parent()
            .unwrap_or(Path::new("."))
            .display()
            .to_string(),
    })
}

impl Engine {
    /// Starts `program` as `plan` says, with nothing else in its environment.
    ///
    /// # Errors
    /// When the program cannot be started.
    pub fn start(program: &Path, plan: &Plan, show_output: bool) -> io::Result<Self> {
        let mut child = Command::new(program)
            .args(&plan.args)
            .env_clear()
            .envs(plan.env.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let output = Output::default();
        output.show(show_output);
        let readers = [
            child
                .stdout
                .take()
                .map(|stream| tokio::spawn(output.clone().read(stream))),
            child
                .stderr
                .take()
                .map(|stream| tokio::spawn(output.clone().read(stream))),
        ];
        Ok(Self {
            child,
            output,
            readers: readers.into_iter().flatten().collect(),
        })
    }

    /// Whether the engine has ended, and how.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Waits until the engine ends by itself.
    ///
    /// # Errors
    /// When the process cannot be waited for.
    pub async fn wait(&mut self) -> io::Result<ExitStatus> {
        self.child.wait().await
    }

    /// From now on, what the engine writes is shown on standard error.
    pub fn show_output(&self) {
        self.output.show(true);
    }

    /// The end of what an ended engine wrote.
    pub async fn last_words(&mut self) -> String {
        for reader in self.readers.drain(..) {
            // An orphan of the engine may hold the pipe open; its words are not waited for.
            let _ = timeout(Duration::from_secs(1), reader).await;
        }
        let recorded = self.output.lock();
        recorded
            .last
            .iter()
            .map(|line| format!("\n  {line}"))
            .collect()
    }

    /// Ends the engine: asks it, asks again, then kills it.
    pub async fn end(mut self) {
        self.output.show(false);
        for patience in PATIENCE {
            let id = self
                .child
                .id()
                .and_then(|id| i32::try_from(id).ok())
                .and_then(Pid::from_raw);
            let Some(id) = id else { return };
            if kill_process(id, Signal::TERM).is_err() {
                break;
            }
            if timeout(patience, self.child.wait()).await.is_ok() {
                return;
            }
        }
        let _ = self.child.kill().await;
    }
}

impl Output {
    async fn read(self, stream: impl AsyncRead + Unpin) {
        let mut lines = BufReader::new(stream).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            let mut recorded = self.lock();
            if recorded.shown {
                eprintln!("engine | {line}");
            }
            if recorded.last.len() == LAST_LINES {
                recorded.last.pop_front();
            }
            recorded.last.push_back(line);
        }
    }

    fn show(&self, shown: bool) {
        self.lock().shown = shown;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Recorded> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
