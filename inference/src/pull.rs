//! `candela-engine pull`: brings a model to this machine, gives it a name that stays, and says what came of it.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use candela_flags::{PullFailed, PullFailure, PullFlags, PullReport, Pulled};

use crate::{
    fetch::{self, DownloadProgress, FetchError, FetchOptions, Fetched},
    server::serve_pull_progress,
};

/// A model was not pulled.
#[derive(Debug, thiserror::Error)]
pub enum PullError {
    /// It cannot be fetched.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// It is not from elsewhere.
    #[error("{model} is no hf://, s3:// or oci:// model: there is nothing to download")]
    NothingToDownload {
        /// What was asked for.
        model: String,
    },
    /// It is here, but has no name that stays.
    #[error("--link {}: {error}", path.display())]
    Link {
        /// The link.
        path: PathBuf,
        /// The system's answer.
        error: io::Error,
    },
    /// Nobody could be told how far it is.
    #[error("--listen {address}: {error}")]
    Listen {
        /// Where.
        address: std::net::SocketAddr,
        /// The system's answer.
        error: io::Error,
    },
}

impl PullError {
    fn kind(&self) -> PullFailure {
        match self {
            Self::Fetch(error) => fetch_failure(error),
            Self::Link { error, .. } if error.kind() == io::ErrorKind::StorageFull => {
                PullFailure::DiskFull
            }
            _ => PullFailure::Other,
        }
    }
}

fn fetch_failure(error: &FetchError) -> PullFailure {
    match error {
        FetchError::Denied { .. } => PullFailure::Unauthorized,
        FetchError::NotFound { .. } | FetchError::NoModel { .. } | FetchError::Offline { .. } => {
            PullFailure::NotFound
        }
        FetchError::DiskFull { .. } => PullFailure::DiskFull,
        FetchError::File { error, .. } if error.kind() == io::ErrorKind::StorageFull => {
            PullFailure::DiskFull
        }
        _ => PullFailure::Other,
    }
}

/// Pulls the model of `flags`, and returns where it is. `elapsed` says since when.
///
/// # Guarantees
/// The link, if one is asked for, leads to a whole model at any time: to the former one, or to this one. The report is written
/// whatever happens.
///
/// # Errors
/// [`PullError`], saying what to do.
pub fn pull(flags: &PullFlags, elapsed: impl Fn() -> Duration) -> Result<PathBuf, PullError> {
    let outcome = pull_and_link(flags);
    if let Some(path) = &flags.report {
        let report = PullReport {
            model: flags.model.clone(),
            seconds: (elapsed().as_secs_f64() * 1000.0).round() / 1000.0,
            pulled: outcome.as_ref().ok().map(|fetched| Pulled {
                version: fetched.version.clone(),
                bytes: fetched.bytes,
            }),
            failed: outcome.as_ref().err().map(|error| PullFailed {
                kind: error.kind(),
                message: error.to_string(),
            }),
        };
        // In place: it may be a file that another has mounted here.
        if let Err(error) = fs::write(path, report.to_line()) {
            tracing::warn!("--report {}: {error}", path.display());
        }
    }
    outcome.map(|fetched| fetched.path)
}

fn pull_and_link(flags: &PullFlags) -> Result<Fetched, PullError> {
    let progress = Arc::new(DownloadProgress::default());
    if let Some(address) = flags.listen {
        serve_pull_progress(address, Arc::clone(&progress))
            .map_err(|error| PullError::Listen { address, error })?;
    }
    let options = FetchOptions {
        download_dir: flags.download_dir.clone(),
        plain_http: flags.download_plain_http,
        verify: flags.verify,
    };
    let fetched = fetch::fetch(&flags.model, &options, &progress)?;
    let fetched = fetched.ok_or_else(|| PullError::NothingToDownload {
        model: flags.model.clone(),
    })?;
    if let Some(path) = &flags.link {
        link(path, &fetched.path).map_err(|error| PullError::Link {
            path: path.clone(),
            error,
        })?;
    }
    Ok(fetched)
}

/// Makes `link` lead to `model`, in one step.
fn link(link: &Path, model: &Path) -> io::Result<()> {
    let model = model.canonicalize()?;
    let new = link.with_added_extension("new");
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    #[cfg(unix)]
    std::os::unix::fs::symlink(model, &new)?;
    #[cfg(windows)]
    std::os::windows::fs::symlink_dir(model, &new)?;
    fs::rename(&new, link)
}
