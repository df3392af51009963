//! Why a model cannot be fetched, and whether it is worth trying again.

use std::{io, path::PathBuf, time::Duration};

use indicatif::DecimalBytes;

/// A model cannot be fetched.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// A URI is not of the form that its scheme has.
    #[error("--model {uri}: not of the form {form}")]
    Uri {
        /// What was asked for.
        uri: String,
        /// The form.
        form: &'static str,
    },
    /// Something that is no folder, but could be a repository on a hub.
    #[error(
        "--model {text}: there is no such folder; to download the model of that name from a hub, \
         give hf://{text}"
    )]
    LooksLikeRepo {
        /// What was asked for.
        text: String,
    },
    /// There is nowhere to keep downloads.
    #[error("there is no folder to keep downloads in: give --download-dir, or set HOME")]
    NoDownloadDir,
    /// A setting in the environment is not usable.
    #[error("{name}: {reason}")]
    Setting {
        /// The variable.
        name: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// A plain connection that nobody asked for.
    #[error(
        "{url}: refusing to fetch a model over plain http from another machine; use https, or give \
         --download-plain-http"
    )]
    PlainHttp {
        /// Where from.
        url: String,
    },
    /// The server wants to know who asks, or knows and refuses.
    #[error("{what}: {reason}; {remedy}")]
    Denied {
        /// What was asked for.
        what: String,
        /// What the server said.
        reason: String,
        /// What to do.
        remedy: String,
    },
    /// The server has no such thing.
    #[error("{what}: {reason}")]
    NotFound {
        /// What was asked for.
        what: String,
        /// What the server said, and what to look at.
        reason: String,
    },
    /// The server answered with an error.
    #[error("{what}: the server answered {reason}")]
    Status {
        /// What was asked for.
        what: String,
        /// Status and explanation.
        reason: String,
    },
    /// The server cannot be reached, or the connection broke.
    #[error("{what}: {reason}")]
    Transport {
        /// What was asked for.
        what: String,
        /// What happened.
        reason: String,
    },
    /// An answer is not what the protocol says it is.
    #[error("{what}: not an answer we can use: {reason}")]
    Answer {
        /// What was asked for.
        what: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A file's name would leave the folder it belongs in.
    #[error("{what}: the server names a file {name:?}, which is not a name inside a folder")]
    UnsafeName {
        /// What was asked for.
        what: String,
        /// The name.
        name: String,
    },
    /// The source has no model that we can read.
    #[error("{what}: {reason}")]
    NoModel {
        /// What was asked for.
        what: String,
        /// What is missing, or what to choose from.
        reason: String,
    },
    /// A file arrived damaged, again and again.
    #[error(
        "{file}: arrived damaged {times} times: its {algorithm} is {found}, it should be {wanted}"
    )]
    Damaged {
        /// The file.
        file: String,
        /// How often it was fetched.
        times: u32,
        /// Which checksum.
        algorithm: &'static str,
        /// That of what arrived.
        found: String,
        /// What the server says it should be.
        wanted: String,
    },
    /// A file in the cache is damaged, and cannot be fetched again now.
    #[error("{}: {reason}, and HF_HUB_OFFLINE forbids to fetch it again", file.display())]
    DamagedOffline {
        /// The file.
        file: PathBuf,
        /// How that was seen.
        reason: String,
    },
    /// The disk does not hold the model.
    #[error(
        "{}: the disk is too full: {} more are needed, {} are free; free some space, or give \
         --download-dir a folder on a larger disk",
        folder.display(), DecimalBytes(*needed), DecimalBytes(*free)
    )]
    DiskFull {
        /// The folder of the cache.
        folder: PathBuf,
        /// Bytes that are still to be written.
        needed: u64,
        /// Bytes that are free.
        free: u64,
    },
    /// A file of the cache cannot be read or written.
    #[error("{}: {error}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        error: io::Error,
    },
    /// The cache does not have it, and nothing may be asked.
    #[error("{what} is not in {}, and HF_HUB_OFFLINE forbids to download it", folder.display())]
    Offline {
        /// What was asked for.
        what: String,
        /// The cache.
        folder: PathBuf,
    },
    /// Connections cannot be made secure, or not at all.
    #[error("preparing connections: {0}")]
    Client(String),
    /// A thread could not be started.
    #[error("starting the threads of the download: {0}")]
    Thread(io::Error),
}

/// A request that failed.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) error: FetchError,
    pub(super) retry: Retry,
}

/// Whether the same request may succeed later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Retry {
    /// It will fail again.
    Never,
    /// It may, after a pause of our choice.
    Later,
    /// Not in the next minutes; what the cache has may serve until then.
    NotSoon,
    /// It may, after the pause that the server asks for.
    After(Duration),
}

impl Failure {
    /// A failure that another attempt may not have.
    pub(super) fn passing(error: FetchError) -> Self {
        Self {
            error,
            retry: Retry::Later,
        }
    }
}

impl From<FetchError> for Failure {
    fn from(error: FetchError) -> Self {
        Self {
            error,
            retry: Retry::Never,
        }
    }
}
