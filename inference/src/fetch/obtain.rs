//! From a source to a published folder of the cache: which content, is it here, and if not, under a lock,
//! what is missing of it.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{Arc, atomic::Ordering::Relaxed},
};

use indicatif::DecimalBytes;
use tokio::{sync::Semaphore, task::JoinSet};

use super::{
    FetchError, Fetched,
    cache::{self, Check, Found, MarkedFile, Marker, Place},
    download::download,
    error::Retry,
    limits,
    progress::{DownloadProgress, Report},
    remote::{self, RemoteFile, Source},
    retry::repeat,
    selection::{self, First},
};

/// What is to be obtained, and how.
pub(super) struct Job {
    /// The URI.
    pub(super) what: String,
    /// Where the cache keeps the contents of this source.
    pub(super) folder: PathBuf,
    /// The name of the content: a branch, a tag.
    pub(super) reference: String,
    /// One GGUF file of it.
    pub(super) file: Option<String>,
    /// Nothing may be asked.
    pub(super) offline: bool,
    /// Read the files that the cache has.
    pub(super) verify: bool,
    pub(super) progress: Arc<DownloadProgress>,
}

/// Obtains a model.
pub(super) async fn obtain<S: Source>(source: S, job: Job) -> Result<Fetched, FetchError> {
    let version = which(&source, &job).await?;
    let folder = match &job.file {
        None => version.clone(),
        Some(file) => format!("{version}-{}", cache::escape(file)),
    };
    let place = Place::new(job.folder.clone(), folder);
    let check = if job.verify {
        Check::Whole
    } else {
        Check::Quick
    };
    let found = look(&place, check)?;
    let marker = match found {
        Found::Complete(marker) => {
            tracing::info!(model = %job.what, %version, "found in the cache");
            marker
        }
        Found::Damaged(files) if job.offline => return Err(damaged_offline(&place, files)),
        Found::Nothing if job.offline => return Err(offline(&job)),
        Found::Damaged(_) | Found::Nothing => {
            fetch_missing(Arc::new(source), &job, &version, &place, check).await?
        }
    };
    cache::write_ref(&job.folder, &job.reference, &version);
    let bytes = marker.bytes();
    for counter in [&job.progress.bytes_done, &job.progress.bytes_total] {
        counter.store(bytes, Relaxed);
    }
    Ok(Fetched {
        path: path_of(&place, &marker),
        version,
        bytes,
    })
}

/// Which content the name means: what the URI pins, what the source says, or, where the source cannot
/// be asked, what it said last time.
async fn which<S: Source>(source: &S, job: &Job) -> Result<String, FetchError> {
    if let Some(version) = source.pinned() {
        return Ok(version);
    }
    let cached = cache::read_ref(&job.folder, &job.reference);
    if job.offline {
        return cached.ok_or_else(|| offline(job));
    }
    let attempts = match cached {
        Some(_) => limits::ATTEMPTS_WITH_CACHE_MAX,
        None => limits::ATTEMPTS_MAX,
    };
    match (
        repeat(attempts, async || source.resolve().await).await,
        cached,
    ) {
        (Ok(version), _) => Ok(version),
        (Err(failure), Some(cached)) if failure.retry != Retry::Never => {
            tracing::warn!(
                version = %cached,
                "{}; going on with what {} was last time",
                failure.error,
                job.reference
            );
            Ok(cached)
        }
        (Err(failure), _) => Err(failure.error),
    }
}

/// Looks at a place, and says what is damaged there.
fn look(place: &Place, check: Check) -> Result<Found, FetchError> {
    let found = place.look(check)?;
    if let Found::Damaged(files) = &found {
        for (name, reason) in files {
            let file = place.published().join(name);
            tracing::warn!(file = %file.display(), "damaged: {reason}");
        }
    }
    Ok(found)
}

/// Downloads, or waits for another process that does.
async fn fetch_missing<S: Source>(
    source: Arc<S>,
    job: &Job,
    version: &str,
    place: &Place,
    check: Check,
) -> Result<Marker, FetchError> {
    let report = Report::start(job.what.clone(), Arc::clone(&job.progress));
    let lock = place
        .lock(|first| {
            if first {
                tracing::info!(model = %job.what, "another process downloads it; waiting");
            }
            let bytes = folder_bytes(&place.staging());
            job.progress.bytes_done.store(bytes, Relaxed);
        })
        .await?;
    job.progress.bytes_done.store(0, Relaxed);
    let damaged = match place.look(check)? {
        Found::Complete(marker) => return Ok(marker),
        Found::Damaged(files) => files,
        Found::Nothing => Vec::new(),
    };
    let staging = place.begin(&damaged)?;
    let download = Download {
        source,
        version: version.to_owned(),
        staging,
        progress: Arc::clone(&job.progress),
    };
    let files = download.all(job).await?;
    let marker = Marker::new(job.what.clone(), version.to_owned(), files);
    place.publish(&marker)?;
    drop(report);
    drop(lock);
    tracing::info!(
        model = %job.what,
        version,
        files = marker.files.len(),
        "downloaded {}",
        DecimalBytes(marker.bytes())
    );
    Ok(marker)
}

/// A download into a folder that nobody else writes.
struct Download<S> {
    source: Arc<S>,
    version: String,
    staging: PathBuf,
    progress: Arc<DownloadProgress>,
}

impl<S: Source> Download<S> {
    async fn all(&self, job: &Job) -> Result<Vec<MarkedFile>, FetchError> {
        let listed = repeat(limits::ATTEMPTS_MAX, async || {
            self.source.list(&self.version).await
        });
        let files = listed.await.map_err(|failure| failure.error)?;
        remote::check_listing(&job.what, &files)?;
        let small = match selection::first(&job.what, &files, job.file.as_deref())? {
            First::Gguf(file) => {
                self.progress.bytes_total.store(file.size, Relaxed);
                return self.some(job, vec![file]).await;
            }
            First::Small(small) => small,
        };
        let likely = selection::likely_bytes(&files);
        self.progress.bytes_total.store(likely, Relaxed);
        let index = small.iter().find(|file| file.name == selection::INDEX);
        if let Some(index) = index {
            selection::check_index_size(&job.what, index)?;
        }
        let has_index = index.is_some();
        let small_bytes = bytes_of(&small);
        let mut marked = self.some(job, small).await?;
        let path = self.staging.join(selection::INDEX);
        let index = has_index.then(|| fs::read(&path)).transpose();
        let index = index.map_err(|error| cache::at(&path, error))?;
        let weights = selection::weights(&job.what, &files, index.as_deref())?;
        let exact = small_bytes.saturating_add(bytes_of(&weights));
        self.progress.bytes_total.store(exact, Relaxed);
        marked.extend(self.some(job, weights).await?);
        Ok(marked)
    }

    /// Some files, a few at once.
    async fn some(
        &self,
        job: &Job,
        files: Vec<&RemoteFile>,
    ) -> Result<Vec<MarkedFile>, FetchError> {
        let bytes = bytes_of(&files);
        let present = cache::bytes_present(&self.staging, &files);
        cache::check_space(&self.staging, bytes.saturating_sub(present))?;
        tracing::info!(
            model = %job.what,
            files = files.len(),
            "downloading {}, {} of them here already",
            DecimalBytes(bytes),
            DecimalBytes(present)
        );
        let slots = Arc::new(Semaphore::new(limits::PARALLEL_FILES));
        let mut tasks = JoinSet::new();
        for file in files {
            let (source, version) = (Arc::clone(&self.source), self.version.clone());
            let (staging, progress) = (self.staging.clone(), Arc::clone(&self.progress));
            let (slots, file) = (Arc::clone(&slots), file.clone());
            tasks.spawn(async move {
                let _slot = slots.acquire().await;
                download(source.as_ref(), &version, &file, &staging, &progress).await
            });
        }
        let mut marked = Vec::new();
        // The first error drops the set, which stops the others; what they wrote is kept.
        while let Some(joined) = tasks.join_next().await {
            match joined {
                Ok(file) => marked.push(file?),
                Err(panic) => return Err(FetchError::Client(panic.to_string())),
            }
        }
        Ok(marked)
    }
}

fn bytes_of(files: &[&RemoteFile]) -> u64 {
    // Sizes are what a server says.
    files
        .iter()
        .fold(0, |sum, file| sum.saturating_add(file.size))
}

fn path_of(place: &Place, marker: &Marker) -> PathBuf {
    match marker.files.as_slice() {
        [only] if only.name.ends_with(".gguf") => place.published().join(&only.name),
        _ => place.published(),
    }
}

fn offline(job: &Job) -> FetchError {
    FetchError::Offline {
        what: job.what.clone(),
        folder: job.folder.clone(),
    }
}

fn damaged_offline(place: &Place, files: Vec<(String, String)>) -> FetchError {
    let (name, reason) = files.into_iter().next().unwrap_or_default();
    FetchError::DamagedOffline {
        file: place.published().join(name),
        reason,
    }
}

/// Bytes of all files below a folder, as far as they can be seen.
fn folder_bytes(folder: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(folder) else {
        return 0;
    };
    let bytes = entries.flatten().map(|entry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => folder_bytes(&entry.path()),
        Ok(metadata) => metadata.len(),
        Err(_) => 0,
    });
    bytes.sum()
}
