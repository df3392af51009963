//! One file from a source to the disk: continued where an earlier attempt or process stopped, checked as
//! a whole, and given its name only then.

use std::{
    fs::{self, File},
    io::{self, Seek, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

use futures::StreamExt;

use super::{
    FetchError,
    cache::{MarkedFile, at, free_bytes, incomplete, sync_folder},
    digest::{self, Hashes},
    error::Failure,
    limits,
    progress::DownloadProgress,
    remote::{Digest, RemoteFile, Source},
    retry::Attempts,
};

/// Downloads a file into `folder`, or takes what is there already.
///
/// # Guarantees
/// A file under its own name was whole, and had the source's checksum, when it got that name.
pub(super) async fn download<S: Source>(
    source: &S,
    version: &str,
    file: &RemoteFile,
    folder: &Path,
    progress: &Arc<DownloadProgress>,
) -> Result<MarkedFile, FetchError> {
    let path = folder.join(&file.name);
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(|error| at(parent, error))?;
    }
    if let Some(sha256) = finished_before(&path, file)? {
        progress.add(file.size);
        return MarkedFile::of(folder, &file.name, sha256);
    }
    let mut partial = Partial::open(&path, file, progress)?;
    let mut times = 0;
    loop {
        let digest_is_other = partial.fill(source, version).await?;
        let wanted = if digest_is_other {
            &Digest::None
        } else {
            &file.digest
        };
        let sums = partial.hashes.clone().finish();
        match sums.differs(wanted) {
            None => {
                partial.finish(&path)?;
                return MarkedFile::of(folder, &file.name, sums.sha256);
            }
            Some((algorithm, found, wanted)) => {
                times += 1;
                partial.reset()?;
                let error = FetchError::Damaged {
                    file: file.name.clone(),
                    times,
                    algorithm,
                    found,
                    wanted,
                };
                if times >= limits::DAMAGED_MAX {
                    return Err(error);
                }
                tracing::warn!("{error}; fetching it again");
            }
        }
    }
}

/// The SHA-256 of a file that an earlier start finished, if it is still as it should be.
fn finished_before(path: &Path, file: &RemoteFile) -> Result<Option<String>, FetchError> {
    match fs::metadata(path) {
        Ok(metadata) if metadata.len() == file.size => {}
        _ => return Ok(None),
    }
    let read = digest::of_file(path, &file.digest).map_err(|error| at(path, error))?;
    let sums = read.finish();
    // An MD5 that is none of the content would have us fetch it again; that is the safe side.
    Ok(sums.differs(&file.digest).is_none().then_some(sums.sha256))
}

/// A file in progress.
struct Partial<'a> {
    file: &'a RemoteFile,
    path: PathBuf,
    disk: File,
    hashes: Hashes,
    progress: &'a DownloadProgress,
}

impl<'a> Partial<'a> {
    /// Opens what an earlier start left, or nothing.
    fn open(
        path: &Path,
        file: &'a RemoteFile,
        progress: &'a DownloadProgress,
    ) -> Result<Self, FetchError> {
        let path = incomplete(path);
        let opened = File::options()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(&path);
        let mut disk = opened.map_err(|error| at(&path, error))?;
        let hashes = digest::of_reader(&mut disk, &file.digest, file.size)
            .map_err(|error| at(&path, error))?;
        let mut partial = Self {
            file,
            path,
            disk,
            hashes,
            progress,
        };
        progress.add(partial.hashes.bytes());
        if partial.hashes.bytes() > file.size {
            partial.reset()?;
        } else if partial.hashes.bytes() > 0 {
            tracing::info!(
                file = %file.name,
                bytes = partial.hashes.bytes(),
                "continuing a download"
            );
        }
        Ok(partial)
    }

    /// Fetches what is missing. Returns whether the source's digest turned out to be none of the
    /// content.
    async fn fill<S: Source>(&mut self, source: &S, version: &str) -> Result<bool, FetchError> {
        let mut attempts = Attempts::new(limits::ATTEMPTS_MAX);
        let mut digest_is_other = false;
        while self.hashes.bytes() < self.file.size {
            let before = self.hashes.bytes();
            let outcome = self.receive(source, version, &mut digest_is_other).await;
            if self.hashes.bytes() >= before + limits::ATTEMPT_PROGRESS_BYTES {
                attempts.progressed();
            }
            if let Err(failure) = outcome {
                attempts
                    .pause(failure)
                    .await
                    .map_err(|failure| failure.error)?;
            }
        }
        Ok(digest_is_other)
    }

    /// One request, until its end or its failure.
    async fn receive<S: Source>(
        &mut self,
        source: &S,
        version: &str,
        digest_is_other: &mut bool,
    ) -> Result<(), Failure> {
        let offset = self.hashes.bytes();
        let mut body = source.open(version, self.file, offset).await?;
        *digest_is_other = body.digest_is_other;
        if body.start == 0 && offset > 0 {
            self.reset()?;
        } else if body.start != offset {
            return Err(Failure::passing(FetchError::Answer {
                what: self.file.name.clone(),
                reason: format!("asked from byte {offset} on, got it from {}", body.start),
            }));
        }
        while let Some(chunk) = body.chunks.next().await {
            let chunk = chunk?;
            if self.hashes.bytes() + chunk.len() as u64 > self.file.size {
                self.reset()?;
                return Err(Failure::passing(FetchError::Answer {
                    what: self.file.name.clone(),
                    reason: format!("longer than the {} bytes it should have", self.file.size),
                }));
            }
            self.write(&chunk)?;
        }
        if self.hashes.bytes() < self.file.size {
            return Err(Failure::passing(FetchError::Transport {
                what: self.file.name.clone(),
                reason: format!(
                    "the connection ended after {} of {} bytes",
                    self.hashes.bytes(),
                    self.file.size
                ),
            }));
        }
        Ok(())
    }

    fn write(&mut self, chunk: &[u8]) -> Result<(), FetchError> {
        let left = self.file.size - self.hashes.bytes();
        self.disk
            .write_all(chunk)
            .map_err(|error| write_error(&self.path, left, error))?;
        self.hashes.update(chunk);
        self.progress.add(chunk.len() as u64);
        Ok(())
    }

    /// Forgets what there is.
    fn reset(&mut self) -> Result<(), FetchError> {
        self.progress.take_back(self.hashes.bytes());
        self.hashes = Hashes::new(&self.file.digest, self.file.size);
        self.disk
            .set_len(0)
            .and_then(|()| self.disk.rewind())
            .map_err(|error| at(&self.path, error))
    }

    /// Gives the file its name.
    fn finish(self, path: &Path) -> Result<(), FetchError> {
        self.disk
            .sync_all()
            .map_err(|error| write_error(&self.path, 0, error))?;
        fs::rename(&self.path, path).map_err(|error| at(path, error))?;
        path.parent().map_or(Ok(()), sync_folder)
    }
}

/// A full disk is said with the numbers that help.
fn write_error(path: &Path, needed: u64, error: io::Error) -> FetchError {
    if !matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    ) {
        return at(path, error);
    }
    let folder = path.parent().unwrap_or(path);
    FetchError::DiskFull {
        folder: folder.to_owned(),
        needed,
        free: free_bytes(folder),
    }
}

#[cfg(test)]
#[path = "download_tests.rs"]
mod tests;
