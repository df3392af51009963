//! The folder of downloads. A model in it is complete or not there at all:
//!
//! ```text
//! hf/org/repo/<commit>/             the files, and .candela.json, which says what they are
//! hf/org/repo/<commit>.incomplete/  a download that is not finished; a file in progress ends in .incomplete
//! hf/org/repo/<commit>.lock         held by whoever downloads
//! hf/org/repo/refs/main             the commit that `main` was when it was last asked for
//! ```

use std::{
    fs::{self, File, TryLockError},
    io,
    path::{Path, PathBuf},
    time::UNIX_EPOCH,
};

use serde::{Deserialize, Serialize};

use super::{
    FetchError, digest, limits,
    remote::{Digest, RemoteFile},
};

const MARKER: &str = ".candela.json";
const FORMAT: u32 = 1;

/// What a published folder holds.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Marker {
    format: u32,
    /// The URI it came from, for people.
    pub(super) source: String,
    /// Commit, digest or fingerprint.
    pub(super) version: String,
    pub(super) files: Vec<MarkedFile>,
}

/// A file of a published folder.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct MarkedFile {
    pub(super) name: String,
    pub(super) size: u64,
    pub(super) sha256: String,
    /// Unix nanoseconds; a file with another time is read again before it is believed.
    modified: u64,
}

impl Marker {
    pub(super) fn new(source: String, version: String, files: Vec<MarkedFile>) -> Self {
        Self {
            format: FORMAT,
            source,
            version,
            files,
        }
    }

    pub(super) fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.size).sum()
    }
}

impl MarkedFile {
    /// A file of `folder` that was just verified.
    pub(super) fn of(folder: &Path, name: &str, sha256: String) -> Result<Self, FetchError> {
        let path = folder.join(name);
        let metadata = fs::metadata(&path).map_err(|error| at(&path, error))?;
        Ok(Self {
            name: name.to_owned(),
            size: metadata.len(),
            sha256,
            modified: modified(&metadata),
        })
    }
}

/// How thoroughly a published folder is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Check {
    /// Sizes; content only of files whose time has changed.
    Quick,
    /// The content of every file.
    Whole,
}

/// What is in the place of a model.
#[derive(Debug)]
pub(super) enum Found {
    /// The model, and whether files had other times than the marker says.
    Complete(Marker),
    /// A published folder with damaged files: each with how that was seen.
    Damaged(Vec<(String, String)>),
    /// Nothing that was published.
    Nothing,
}

/// Where one content of one source is kept.
#[derive(Debug, Clone)]
pub(super) struct Place {
    source: PathBuf,
    version: String,
}

impl Place {
    /// `source` is the folder of all contents of a source; `version` one of them, as a folder's name.
    pub(super) fn new(source: PathBuf, version: String) -> Self {
        Self { source, version }
    }

    pub(super) fn published(&self) -> PathBuf {
        self.source.join(&self.version)
    }

    pub(super) fn staging(&self) -> PathBuf {
        self.source.join(format!("{}.incomplete", self.version))
    }

    fn lock_file(&self) -> PathBuf {
        self.source.join(format!("{}.lock", self.version))
    }

    /// Looks at the published folder.
    pub(super) fn look(&self, check: Check) -> Result<Found, FetchError> {
        let folder = self.published();
        let marker = match read_marker(&folder) {
            Ok(marker) => marker,
            Err(error) if error.kind() == io::ErrorKind::NotFound && !folder.exists() => {
                return Ok(Found::Nothing);
            }
            Err(error) => {
                return Ok(Found::Damaged(vec![(MARKER.to_owned(), error.to_string())]));
            }
        };
        let mut damaged = Vec::new();
        let mut touched = false;
        for file in &marker.files {
            match look_at(&folder, file, check) {
                Ok(read) => touched |= read,
                Err(reason) => damaged.push((file.name.clone(), reason)),
            }
        }
        if !damaged.is_empty() {
            return Ok(Found::Damaged(damaged));
        }
        if touched && check == Check::Quick {
            self.note_times(&marker);
        }
        Ok(Found::Complete(marker))
    }

    /// Writes the times of verified files into the marker, so that they are not read again next time.
    /// A cache that cannot be written goes on without.
    fn note_times(&self, marker: &Marker) {
        let folder = self.published();
        let files = marker.files.iter();
        let files = files.map(|file| MarkedFile::of(&folder, &file.name, file.sha256.clone()));
        let Ok(files) = files.collect() else { return };
        let marker = Marker::new(marker.source.clone(), marker.version.clone(), files);
        if let Err(error) = write_marker(&folder, &marker) {
            tracing::debug!("{error}");
        }
    }

    /// Takes the lock, waiting for whoever has it. `waiting` is called at every look, first with true.
    /// The system releases the lock when the process that holds it dies.
    pub(super) async fn lock(&self, mut waiting: impl FnMut(bool)) -> Result<File, FetchError> {
        fs::create_dir_all(&self.source).map_err(|error| at(&self.source, error))?;
        let path = self.lock_file();
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(|error| at(&path, error))?;
        let mut first = true;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(file),
                Err(TryLockError::WouldBlock) => waiting(first),
                Err(TryLockError::Error(error)) => return Err(at(&path, error)),
            }
            first = false;
            tokio::time::sleep(limits::LOCK_LOOK).await;
        }
    }

    /// Makes the folder for a download; files of a damaged publication move there, but for those named.
    /// For the holder of the lock.
    pub(super) fn begin(&self, damaged: &[(String, String)]) -> Result<PathBuf, FetchError> {
        let (published, staging) = (self.published(), self.staging());
        if !damaged.is_empty() && published.exists() {
            remove_dir(&staging)?;
            fs::rename(&published, &staging).map_err(|error| at(&published, error))?;
            for (name, _) in damaged {
                let path = staging.join(name);
                match fs::remove_file(&path) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => {
                        return Err(at(&path, error));
                    }
                    _ => {}
                }
            }
        }
        fs::create_dir_all(&staging).map_err(|error| at(&staging, error))?;
        Ok(staging)
    }

    /// Makes a finished download visible, in one step.
    pub(super) fn publish(&self, marker: &Marker) -> Result<(), FetchError> {
        let (published, staging) = (self.published(), self.staging());
        write_marker(&staging, marker)?;
        sync_folder(&staging)?;
        fs::rename(&staging, &published).map_err(|error| at(&published, error))?;
        sync_folder(&self.source)
    }
}

/// The content that a name meant when it was last asked for.
pub(super) fn read_ref(source: &Path, name: &str) -> Option<String> {
    let text = fs::read_to_string(source.join("refs").join(escape(name))).ok()?;
    let text = text.trim();
    (!text.is_empty() && escape(text) == text).then(|| text.to_owned())
}

/// Notes what a name means. A cache that cannot be written goes on without.
pub(super) fn write_ref(source: &Path, name: &str, version: &str) {
    if read_ref(source, name).as_deref() == Some(version) {
        return;
    }
    let folder = source.join("refs");
    let write = || -> Result<(), FetchError> {
        fs::create_dir_all(&folder).map_err(|error| at(&folder, error))?;
        replace(&folder.join(escape(name)), version.as_bytes())
    };
    if let Err(error) = write() {
        tracing::debug!("{error}");
    }
}

/// A text as a folder's name: letters, digits, `_`, `-` and inner dots stand for themselves, every
/// other byte as `%` and two digits.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for (i, byte) in text.bytes().enumerate() {
        match byte {
            b'.' if i > 0 => escaped.push('.'),
            b'_' | b'-' => escaped.push(char::from(byte)),
            _ if byte.is_ascii_alphanumeric() => escaped.push(char::from(byte)),
            _ => escaped.push_str(&format!("%{byte:02X}")),
        }
    }
    escaped
}

/// Bytes of a download that are on the disk already.
pub(super) fn bytes_present(staging: &Path, files: &[&RemoteFile]) -> u64 {
    let present = |file: &&RemoteFile| {
        let done = fs::metadata(staging.join(&file.name));
        let partial = || fs::metadata(incomplete(&staging.join(&file.name)));
        done.or_else(|_| partial())
            .map_or(0, |metadata| metadata.len().min(file.size))
    };
    files.iter().map(present).sum()
}

/// The name of a file in progress.
pub(super) fn incomplete(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".incomplete");
    PathBuf::from(name)
}

/// Refuses what the disk does not hold.
pub(super) fn check_space(folder: &Path, needed: u64) -> Result<(), FetchError> {
    let free = free_bytes(folder);
    if needed == 0 || free >= needed.saturating_add(limits::FREE_BYTES_MIN) {
        return Ok(());
    }
    Err(FetchError::DiskFull {
        folder: folder.to_owned(),
        needed,
        free,
    })
}

/// Bytes that we may still write below a folder; without an answer from the system, any number.
pub(super) fn free_bytes(folder: &Path) -> u64 {
    rustix::fs::statvfs(folder).map_or(u64::MAX, |fs| fs.f_bavail.saturating_mul(fs.f_frsize))
}

pub(super) fn at(path: &Path, error: io::Error) -> FetchError {
    FetchError::File {
        path: path.to_owned(),
        error,
    }
}

/// Makes renames in a folder outlive a crash, where its file system can do that: some behind CIFS or FUSE
/// cannot.
pub(super) fn sync_folder(folder: &Path) -> Result<(), FetchError> {
    use io::ErrorKind::{InvalidInput, Unsupported};
    let synced = File::open(folder).and_then(|folder| folder.sync_all());
    match synced {
        Err(error) if !matches!(error.kind(), InvalidInput | Unsupported) => Err(at(folder, error)),
        _ => Ok(()),
    }
}

fn read_marker(folder: &Path) -> io::Result<Marker> {
    let path = folder.join(MARKER);
    if fs::metadata(&path)?.len() > limits::MARKER_BYTES_MAX {
        return Err(io::Error::other("too long"));
    }
    let marker: Marker = serde_json::from_slice(&fs::read(&path)?)?;
    if marker.format != FORMAT || marker.files.is_empty() {
        return Err(io::Error::other(
            "written by another version of this program",
        ));
    }
    Ok(marker)
}

fn write_marker(folder: &Path, marker: &Marker) -> Result<(), FetchError> {
    let path = folder.join(MARKER);
    let json = serde_json::to_vec_pretty(marker).map_err(|error| at(&path, error.into()))?;
    replace(&path, &json)
}

/// Writes a small file in one step. The name until then is drawn at random: process ids are the same in
/// many pods with one cache.
fn replace(path: &Path, content: &[u8]) -> Result<(), FetchError> {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{:016x}.new", rand::random::<u64>()));
    let new = PathBuf::from(name);
    fs::write(&new, content)
        .and_then(|()| File::open(&new)?.sync_all())
        .and_then(|()| fs::rename(&new, path))
        .map_err(|error| {
            // It may not be there.
            let _ = fs::remove_file(&new);
            at(path, error)
        })
}

/// Whether the file's content was read, or what is wrong with the file.
fn look_at(folder: &Path, file: &MarkedFile, check: Check) -> Result<bool, String> {
    let path = folder.join(&file.name);
    let metadata = fs::metadata(&path).map_err(|error| error.to_string())?;
    if metadata.len() != file.size {
        return Err(format!(
            "{} bytes long, it should be {}",
            metadata.len(),
            file.size
        ));
    }
    if check == Check::Quick && modified(&metadata) == file.modified {
        return Ok(false);
    }
    let read = digest::of_file(&path, &Digest::Sha256(file.sha256.clone()));
    let sums = read.map_err(|error| error.to_string())?.finish();
    if sums.sha256 == file.sha256 {
        return Ok(true);
    }
    Err(format!(
        "its SHA-256 is {}, it should be {}",
        sums.sha256, file.sha256
    ))
}

fn modified(metadata: &fs::Metadata) -> u64 {
    let since = metadata
        .modified()
        .ok()
        .and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    since.map_or(0, |since| {
        u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
    })
}

fn remove_dir(folder: &Path) -> Result<(), FetchError> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(at(folder, error)),
        _ => Ok(()),
    }
}

#[cfg(test)]
#[path = "cache_tests.rs"]
mod tests;
