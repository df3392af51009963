//! The program, with an environment that has nothing in it but what a test says.

use std::{
    io::Read,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use crate::hub::{Hub, REPO};

pub(crate) const ENGINE: &str = env!("CARGO_BIN_EXE_candela-engine");
/// Nothing takes longer, on a busy machine either.
const DEADLINE: Duration = Duration::from_secs(60);

/// Waits until something holds.
pub(crate) fn until(what: &str, mut holds: impl FnMut() -> bool) {
    #[expect(clippy::disallowed_methods, reason = "a deadline of a test")]
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < DEADLINE, "waited too long: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A cache, and the environment that programs with it have.
pub(crate) struct Machine {
    folder: tempfile::TempDir,
    environment: Vec<(String, String)>,
}

/// How a program ended.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) log: String,
}

/// A program that runs; killed when dropped.
pub(crate) struct Running(pub(crate) Child);

impl Machine {
    pub(crate) fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            environment: Vec::new(),
        }
    }

    /// One whose hub is this one.
    pub(crate) fn with_hub(hub: &Hub) -> Self {
        Self::new().set("HF_ENDPOINT", &hub.endpoint())
    }

    pub(crate) fn set(mut self, name: &str, value: &str) -> Self {
        self.environment.retain(|(set, _)| set != name);
        self.environment.push((name.into(), value.into()));
        self
    }

    /// The cache.
    pub(crate) fn cache(&self) -> PathBuf {
        self.folder.path().join("cache")
    }

    /// A folder for other files.
    pub(crate) fn home(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(ENGINE);
        command
            .args(args)
            .arg(format!("--download-dir={}", self.cache().display()))
            .env_clear()
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .env("HOME", self.home())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    pub(crate) fn start(&self, args: &[&str]) -> Running {
        Running(self.command(args).spawn().unwrap())
    }

    pub(crate) fn pull(&self, model: &str, more: &[&str]) -> Outcome {
        let args: Vec<&str> = ["pull", model].iter().chain(more).copied().collect();
        self.start(&args).end()
    }

    /// Pulls, and returns where the model is.
    #[track_caller]
    pub(crate) fn pulled(&self, model: &str) -> PathBuf {
        let outcome = self.pull(model, &[]);
        assert!(outcome.status.success(), "{}", outcome.log);
        PathBuf::from(outcome.stdout.trim())
    }

    /// Pulls in vain, and returns what the program said.
    #[track_caller]
    pub(crate) fn refused(&self, model: &str) -> String {
        let outcome = self.pull(model, &[]);
        assert_eq!(outcome.status.code(), Some(1), "{outcome:?}");
        assert_eq!(outcome.stdout, "");
        outcome.log
    }

    /// Where a file of the hub's model is while it is downloaded.
    pub(crate) fn partial(&self, hub: &Hub, name: &str) -> PathBuf {
        let staging = format!("hf/{REPO}/{}.incomplete", hub.commit());
        self.cache()
            .join(staging)
            .join(format!("{name}.incomplete"))
    }
}

impl Running {
    /// Waits for its end.
    pub(crate) fn end(mut self) -> Outcome {
        let (mut stdout, mut log) = (String::new(), String::new());
        self.0
            .stderr
            .take()
            .unwrap()
            .read_to_string(&mut log)
            .unwrap();
        self.0
            .stdout
            .take()
            .unwrap()
            .read_to_string(&mut stdout)
            .unwrap();
        Outcome {
            status: self.0.wait().unwrap(),
            stdout,
            log,
        }
    }

    /// Ends it as a power cut would.
    pub(crate) fn kill(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It has ended already, or it is to.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Bytes of a file, 0 while it is not there.
pub(crate) fn length(path: &Path) -> u64 {
    std::fs::metadata(path).map_or(0, |metadata| metadata.len())
}

/// The files of a folder, sorted.
pub(crate) fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    let mut names: Vec<_> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}
