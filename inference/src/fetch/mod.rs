//! Models that are not on this machine: from a hub (`hf://`), a bucket (`s3://`) or a registry (`oci://`)
//! into a cache on disk, where the model is opened as a folder or a `.gguf` file.
//!
//! Flow: the URI is taken apart (`uri.rs`), the source says which content is meant (`hub.rs`, `s3.rs`,
//! `oci.rs` behind `remote.rs`), the cache is looked at (`cache.rs`), and what is missing is chosen
//! (`selection.rs`) and downloaded (`download.rs`) under a lock. It knows nothing of models but the
//! names of their files, and nothing of the rest of the engine.

mod cache;
mod digest;
mod download;
mod error;
mod http;
mod hub;
pub mod limits;
mod obtain;
mod oci;
mod progress;
mod remote;
mod retry;
mod s3;
mod selection;
mod uri;

use std::{
    env,
    path::{Path, PathBuf},
    sync::{Arc, atomic::Ordering::Relaxed},
};

pub use error::FetchError;
pub use progress::DownloadProgress;
pub use uri::{ModelUri, OciVersion};

use hub::HubSettings;
use obtain::{Job, obtain};

/// How a model is fetched.
#[derive(Debug, Clone, Default)]
pub struct FetchOptions {
    /// Where downloads are kept; without, `candela/models` in the user's cache.
    pub download_dir: Option<PathBuf>,
    /// Other machines may be asked without encryption.
    pub plain_http: bool,
    /// Read every file of a model that is in the cache, and compare it with its checksum.
    pub verify: bool,
}

/// A model on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetched {
    /// A folder, or one `.gguf` file.
    pub path: PathBuf,
    /// Commit, digest or fingerprint of its content.
    pub version: String,
    /// Bytes of its files.
    pub bytes: u64,
}

/// Brings a model to this machine, unless it is here already. `None`: `model` names no source of ours,
/// but a folder, a file, or a model in the program. Blocks; for a thread of its own.
///
/// # Guarantees
/// The path is of a whole model, each file with the checksum that the source gave. Of several processes
/// that share a cache, one downloads. What an interrupted download brought is not fetched again.
///
/// # Errors
/// [`FetchError`], saying what to do.
pub fn fetch(
    model: &str,
    options: &FetchOptions,
    progress: &Arc<DownloadProgress>,
) -> Result<Option<Fetched>, FetchError> {
    let Some(uri) = ModelUri::parse(model)? else {
        if uri::looks_like_repo(model) && !Path::new(model).exists() {
            return Err(FetchError::LooksLikeRepo {
                text: model.to_owned(),
            });
        }
        return Ok(None);
    };
    let cache = match &options.download_dir {
        Some(folder) => folder.clone(),
        None => default_cache().ok_or(FetchError::NoDownloadDir)?,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(limits::THREADS)
        .thread_name("fetch")
        .enable_all()
        .build()
        .map_err(FetchError::Thread)?;
    progress.active.store(true, Relaxed);
    let outcome = runtime.block_on(from_source(model, uri, &cache, options, progress));
    progress.active.store(false, Relaxed);
    outcome.map(Some)
}

async fn from_source(
    model: &str,
    uri: ModelUri,
    cache: &Path,
    options: &FetchOptions,
    progress: &Arc<DownloadProgress>,
) -> Result<Fetched, FetchError> {
    let job = |folder: PathBuf, reference: &str, file: Option<String>, offline: bool| Job {
        what: model.to_owned(),
        folder,
        reference: reference.to_owned(),
        file,
        offline,
        verify: options.verify,
        progress: Arc::clone(progress),
    };
    match uri {
        ModelUri::Hub {
            repo,
            file,
            revision,
        } => {
            let settings = HubSettings::from_environment()?;
            let folder = cache.join("hf").join(&repo);
            let job = job(folder, &revision, file, settings.offline);
            let hub = hub::Hub::new(settings, repo, revision, options.plain_http)?;
            obtain(hub, job).await
        }
        ModelUri::S3 { bucket, prefix } => {
            let source = s3::Bucket::new(&bucket, &prefix, options.plain_http)?;
            let folder = cache.join("s3").join(&source.service).join(&bucket);
            // The folder of a prefix does not collide with that of another.
            let folder = folder.join(format!("prefix-{}", cache::escape(&prefix)));
            obtain(source, job(folder, "latest", None, false)).await
        }
        ModelUri::Oci {
            registry,
            repository,
            version,
        } => {
            let source = oci::Artifact::new(&registry, &repository, &version, options.plain_http)?;
            let folder = cache.join("oci").join(cache::escape(&registry));
            let folder = folder.join(cache::escape(&repository));
            let reference = match &version {
                OciVersion::Tag(tag) => tag,
                OciVersion::Digest(digest) => digest,
            };
            obtain(source, job(folder, reference, None, false)).await
        }
    }
}

/// `candela/models` in `XDG_CACHE_HOME`, else in `.cache` of the home folder.
fn default_cache() -> Option<PathBuf> {
    let folder = |name| {
        env::var_os(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    let cache = folder("XDG_CACHE_HOME").or_else(|| Some(folder("HOME")?.join(".cache")))?;
    Some(cache.join("candela/models"))
}
