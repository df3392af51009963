//! Why a manifest was not served to the end, in words that say what to do.

use std::process::ExitStatus;

use super::{PlanError, process::NoEngine};
use crate::http::ClientError;
use crate::lint;

/// Why a manifest was not served to the end.
#[derive(Debug, thiserror::Error)]
pub enum LocalError {
    /// The manifest could not be read.
    #[error(transparent)]
    Read(#[from] lint::LintError),
    /// The manifest is refused; the findings with their places.
    #[error("{0}")]
    Refused(String),
    /// The manifest holds none, or several, InferenceServices.
    #[error("{file} holds {count} InferenceServices, and one is run at a time: give it one")]
    NotOne {
        /// The file.
        file: String,
        /// How many it holds.
        count: usize,
    },
    /// The pod cannot become a process here.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The engine's program is nowhere.
    #[error(transparent)]
    NoEngine(#[from] NoEngine),
    /// A file that stands in for a Secret cannot be read or holds no key.
    #[error("no API key can be read from {0}: it must hold one key a line")]
    ApiKeys(String),
    /// The port is taken.
    #[error("port {port} cannot be listened on ({source}): give another with --port, or 0 for any")]
    Port {
        /// The port.
        port: u16,
        /// Why.
        source: std::io::Error,
    },
    /// The engine could not be started.
    #[error("could not start {program}: {source}")]
    Start {
        /// The program.
        program: String,
        /// Why.
        source: std::io::Error,
    },
    /// The engine ended by itself.
    #[error("the engine ended ({status}) {when}{words}")]
    Ended {
        /// How it ended.
        status: ExitStatus,
        /// What was going on.
        when: &'static str,
        /// Its last words, one an indented line.
        words: String,
    },
    /// The engine was not ready in the time that the manifest allows.
    #[error("the engine was not ready within {0} s: see spec.rollout.startupTimeoutSeconds")]
    NotReady(u64),
    /// The question had no response.
    #[error("the question had no answer: {0}")]
    Ask(#[from] ClientError),
    /// The question was refused.
    #[error("the engine answered the question with {status}: {message}")]
    Answer {
        /// The response's status.
        status: u16,
        /// The response's message.
        message: String,
    },
    /// The terminal, a signal handler or a process failed.
    #[error("{0}")]
    System(#[from] std::io::Error),
}
