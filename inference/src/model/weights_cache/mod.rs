//! The folder of `--weights-cache-dir`: matrices as the kernels read them, so that a start neither packs nor quantizes, nor takes
//! memory of its own for them. A file is named by a digest of what it was made of, and is complete or not there:
//!
//! ```text
//! <key>.weights             mapped as long as the engine runs
//! <key>.weights.incomplete  being written by whoever has its lock
//! ```
//!
//! Whatever goes wrong here costs time, never the start: the weights are made as if there were no folder.

mod file;

use std::{
    collections::HashMap,
    fs::{self, File, TryLockError},
    io,
    ops::Range,
    path::{Path, PathBuf},
    sync::Arc,
    thread,
};

use memmap2::Mmap;

use super::{
    mapped::{MappedBytes, map},
    ops::Matrix,
};
pub(super) use file::Key;

/// Files that a folder may have. None is removed to make room: others may use them.
pub(super) const CACHED_WEIGHTS_MAX: usize = 32;
const SUFFIX: &str = "weights";
const INCOMPLETE: &str = "incomplete";

/// Weights cannot be kept.
#[derive(Debug, thiserror::Error)]
pub(super) enum KeepError {
    #[error("{}: {error}", path.display())]
    File { path: PathBuf, error: io::Error },
    #[error(
        "{} has {CACHED_WEIGHTS_MAX} files of weights: remove those that are no longer used",
        folder.display()
    )]
    Full { folder: PathBuf },
}

/// What became of weights that were to be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kept {
    /// They are in the folder.
    Written,
    /// Someone else writes them, or just did.
    Elsewhere,
}

/// What a packed matrix of these tensors is called.
pub(super) fn packed_name(
    tensors: &[String],
    (rows, columns): (usize, usize),
    gated: bool,
) -> String {
    let gated = if gated { " gated" } else { "" };
    format!("{} [{rows}, {columns}]{gated}", tensors.join(" + "))
}

/// A place in the folder for the weights of one model.
#[derive(Debug, Clone)]
pub(super) struct WeightsCache {
    folder: PathBuf,
    key: Key,
}

/// Matrices of a mapped file, by name.
#[derive(Debug, Clone)]
pub(super) struct CachedWeights {
    map: Arc<Mmap>,
    places: Arc<HashMap<String, Range<usize>>>,
}

impl CachedWeights {
    pub(super) fn matrix(&self, name: &str) -> Option<MappedBytes> {
        let place = self.places.get(name)?.clone();
        let map = Arc::clone(&self.map);
        Some(MappedBytes { map, place })
    }

    /// Bytes of the file.
    pub(super) fn bytes(&self) -> usize {
        self.map.len()
    }
}

impl WeightsCache {
    pub(super) fn new(folder: PathBuf, key: Key) -> Self {
        Self { folder, key }
    }

    /// The weights, if they are there and whole. A damaged file is named in a warning.
    pub(super) fn find(&self) -> Option<CachedWeights> {
        let path = self.published();
        let map = match self.mapped() {
            Ok(map) => map,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => {
                tracing::warn!("--weights-cache-dir: {}: {error}", path.display());
                return None;
            }
        };
        // Where the system keeps files in large pages, they are mapped as such.
        #[cfg(target_os = "linux")]
        let _ = map.advise(memmap2::Advice::HugePage);
        match file::read(&map, self.key) {
            Ok(places) => {
                // Else done by those who write, of whom there may be no more.
                let _ = self.sweep();
                Some(CachedWeights {
                    map: Arc::new(map),
                    places: Arc::new(places),
                })
            }
            Err(damage) => {
                let path = path.display();
                tracing::warn!("--weights-cache-dir: {path}: {damage}; it is written again");
                None
            }
        }
    }

    /// Writes the weights, in place of what has their name and is damaged. Returns at once when someone else does, or did.
    ///
    /// # Guarantees
    /// A file under its own name is complete. Processes that begin at the same time leave one of their files, which are equal.
    ///
    /// # Errors
    /// [`KeepError`]; nothing is left behind then.
    pub(super) fn keep(&self, matrices: &[(&str, &[u8])]) -> Result<Kept, KeepError> {
        fs::create_dir_all(&self.folder).map_err(|error| at(&self.folder, error))?;
        self.sweep()?;
        let path = self.published().with_added_extension(INCOMPLETE);
        let failed = |error| at(&path, error);
        let Some(file) = lock(&path, true).map_err(failed)? else {
            return Ok(Kept::Elsewhere);
        };
        // Whoever had the lock before may have written them, after we looked.
        if self.is_whole() {
            fs::remove_file(&path).map_err(failed)?;
            return Ok(Kept::Elsewhere);
        }
        let written = file
            .set_len(0)
            .and_then(|()| file::write(&file, self.key, matrices))
            .and_then(|()| file.sync_all())
            .and_then(|()| fs::rename(&path, self.published()));
        if let Err(error) = written {
            // What cannot be removed now is removed by the next who writes.
            let _ = fs::remove_file(&path);
            return Err(failed(error));
        }
        // The name reaches the disk by the folder; without it the file is made again.
        let _ = File::open(&self.folder).and_then(|folder| folder.sync_all());
        Ok(Kept::Written)
    }

    /// Writes the weights on a thread of its own, while they are used.
    pub(super) fn keep_later(self, matrices: Vec<(String, Matrix)>) {
        let keep = move || {
            let bytes = |(name, matrix)| (String::as_str(name), Matrix::bytes(matrix));
            let matrices: Vec<(&str, &[u8])> =
                matrices.iter().map(|(n, m)| bytes((n, m))).collect();
            match self.keep(&matrices) {
                Ok(Kept::Written) => {
                    let path = self.published();
                    tracing::info!(path = %path.display(), "--weights-cache-dir: the weights are kept");
                }
                Ok(Kept::Elsewhere) => {
                    tracing::info!("--weights-cache-dir: another process keeps the weights");
                }
                Err(error) => {
                    tracing::warn!("--weights-cache-dir: the weights cannot be kept: {error}");
                }
            }
        };
        let thread = thread::Builder::new().name("weights-cache".to_owned());
        if let Err(error) = thread.spawn(keep) {
            tracing::warn!("--weights-cache-dir: the weights cannot be kept: {error}");
        }
    }

    fn is_whole(&self) -> bool {
        self.mapped()
            .is_ok_and(|map| file::read(&map, self.key).is_ok())
    }

    fn mapped(&self) -> io::Result<Mmap> {
        let file = options().read(true).open(self.published())?;
        map(&file)
    }

    fn published(&self) -> PathBuf {
        self.folder.join(format!("{:032x}.{SUFFIX}", self.key.0))
    }

    /// Removes what writers that died left, and counts what there is.
    fn sweep(&self) -> Result<(), KeepError> {
        let entries = fs::read_dir(&self.folder).map_err(|error| at(&self.folder, error))?;
        let mut others = 0;
        for path in entries.filter_map(|entry| entry.ok().map(|entry| entry.path())) {
            let ends_in = |suffix: &str| path.extension().is_some_and(|found| found == suffix);
            if ends_in(SUFFIX) && path != self.published() {
                others += 1;
            }
            // The lock is held until the file is gone: nobody begins to write it meanwhile.
            if ends_in(INCOMPLETE)
                && let Ok(Some(_held)) = lock(&path, false)
            {
                let _ = fs::remove_file(&path);
            }
        }
        if others >= CACHED_WEIGHTS_MAX {
            let folder = self.folder.clone();
            return Err(KeepError::Full { folder });
        }
        Ok(())
    }
}

fn at(path: &Path, error: io::Error) -> KeepError {
    let path = path.to_owned();
    KeepError::File { path, error }
}

/// The file at `path`, made where there is none if `create`, with its lock; `None`: someone else has it, or had it until now and gave the
/// file its own name. The system releases the lock when the process that holds it dies.
fn lock(path: &Path, create: bool) -> io::Result<Option<File>> {
    let file = options()
        .create(create)
        .truncate(false)
        .write(true)
        .open(path)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Ok(None),
        Err(TryLockError::Error(error)) => return Err(error),
    }
    Ok(is_at(&file, path)?.then_some(file))
}

/// Opens no link, which might lead out of the folder, and waits for nobody at a pipe.
fn options() -> fs::OpenOptions {
    let mut options = File::options();
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;

        use rustix::fs::OFlags;

        options.custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits() as i32);
    }
    options
}

/// Whether `path` still names this file.
#[cfg(unix)]
fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    use std::os::unix::fs::MetadataExt;
    let id = |metadata: &fs::Metadata| (metadata.dev(), metadata.ino());
    match fs::metadata(path) {
        Ok(found) => Ok(id(&found) == id(&file.metadata()?)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(not(unix))]
fn is_at(_: &File, path: &Path) -> io::Result<bool> {
    // A file that is open cannot be renamed here.
    fs::exists(path)
}

#[cfg(test)]
mod tests;
