//! Where a model's files are: a folder, a GGUF file, or the demo model that is compiled in.

use std::{
    fs,
    io::{self, Read},
    path::{Component, Path, PathBuf},
    sync::Arc,
};

use super::gguf::{GgufError, GgufModel};

/// Largest file of a model that is read as a whole: configuration, index, tokenizer. The largest
/// tokenizers in use have 35 MB. Weights are mapped.
pub const MODEL_FILE_BYTES_MAX: u64 = 128 << 20;

/// A file of a model cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The URI is of no form we know.
    #[error(
        "--model {uri}: not a model this engine can load: give a folder with config.json, \
         tokenizer.json and *.safetensors, a *.gguf file, an hf://, s3:// or oci:// address, or \
         builtin://demo"
    )]
    UnknownForm {
        /// What was asked for.
        uri: String,
    },
    /// There is no such folder.
    #[error("--model {}: {error}", folder.display())]
    Folder {
        /// What was asked for.
        folder: PathBuf,
        /// The system's answer.
        error: io::Error,
    },
    /// A GGUF file cannot be used.
    #[error(transparent)]
    Gguf(#[from] GgufError),
    /// A folder has several GGUF files.
    #[error("--model {}: there are several GGUF files; give one of them: {}", folder.display(), files.join(", "))]
    SeveralGguf {
        /// What was asked for.
        folder: PathBuf,
        /// Those in it.
        files: Vec<String>,
    },
    /// A file is missing or cannot be read.
    #[error("{file}: {error}")]
    File {
        /// The file, with its folder.
        file: String,
        /// The system's answer.
        error: io::Error,
    },
}

/// The files of one model.
#[derive(Debug, Clone)]
pub struct ModelFiles(Source);

#[derive(Debug, Clone)]
enum Source {
    Folder(PathBuf),
    Gguf(Arc<GgufModel>),
    Builtin(&'static [(&'static str, &'static [u8])]),
}

macro_rules! builtin_files {
    ($folder:literal: $($name:literal),*) => {
        &[$((
            $name,
            include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/models/", $folder, "/", $name)),
        )),*]
    };
}

/// The demo model; its card is `models/demo/README.md`.
static DEMO: &[(&str, &[u8])] = builtin_files!("demo":
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "model.safetensors"
);

/// Finds a model: `builtin://demo`, a folder, or a GGUF file, which may also lie alone in a folder.
///
/// # Errors
/// [`SourceError`] for an unknown form, a folder that is not there, or a GGUF file that is damaged or
/// holds a model we do not run.
pub fn open(uri: &str) -> Result<ModelFiles, SourceError> {
    if uri == "builtin://demo" {
        return Ok(ModelFiles(Source::Builtin(DEMO)));
    }
    if uri.contains("://") {
        return Err(SourceError::UnknownForm {
            uri: uri.to_owned(),
        });
    }
    let mut folder = PathBuf::from(uri);
    if folder.is_symlink() {
        // What it leads to has the name by which files are told apart. A link to nowhere is named as it was given.
        folder = fs::canonicalize(&folder).unwrap_or(folder);
    }
    match fs::metadata(&folder) {
        Ok(metadata) if metadata.is_dir() => match only_gguf(&folder)? {
            Some(file) => Ok(ModelFiles(Source::Gguf(Arc::new(GgufModel::open(&file)?)))),
            None => Ok(ModelFiles(Source::Folder(folder))),
        },
        Ok(_) if is_gguf(&folder) => Ok(ModelFiles(Source::Gguf(Arc::new(GgufModel::open(
            &folder,
        )?)))),
        Ok(_) => Err(SourceError::UnknownForm {
            uri: uri.to_owned(),
        }),
        Err(error) => Err(SourceError::Folder { folder, error }),
    }
}

/// The GGUF file of a folder that has one and no `config.json`.
fn only_gguf(folder: &Path) -> Result<Option<PathBuf>, SourceError> {
    if folder.join("config.json").is_file() {
        return Ok(None);
    }
    let entries = fs::read_dir(folder).map_err(|error| at(folder, error))?;
    let mut found: Vec<PathBuf> = entries
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| path.is_file() && is_gguf(path))
        .collect();
    found.sort_unstable();
    if found.len() > 1 {
        let name = |path: &PathBuf| path.display().to_string();
        let (folder, files) = (folder.to_owned(), found.iter().map(name).collect());
        return Err(SourceError::SeveralGguf { folder, files });
    }
    Ok(found.pop())
}

fn is_gguf(path: &Path) -> bool {
    path.extension()
        .is_some_and(|extension| extension.eq_ignore_ascii_case("gguf"))
}

/// A file as it lies: on disk, or in the program.
pub(super) enum Location {
    /// To be mapped.
    Disk(PathBuf),
    /// Compiled in.
    Memory(&'static [u8]),
}

impl ModelFiles {
    /// The content of a file of the model.
    ///
    /// # Errors
    /// [`SourceError::File`] when it is missing or cannot be read.
    pub fn read(&self, name: &str) -> Result<Vec<u8>, SourceError> {
        if let Source::Gguf(model) = &self.0
            && let Some(content) = model.read(name)
        {
            return Ok(content?);
        }
        match self.locate(name)? {
            Location::Memory(bytes) => Ok(bytes.to_vec()),
            Location::Disk(path) => {
                let read = || {
                    let mut bytes = Vec::new();
                    let file = fs::File::open(&path)?;
                    file.take(MODEL_FILE_BYTES_MAX + 1)
                        .read_to_end(&mut bytes)?;
                    if bytes.len() as u64 > MODEL_FILE_BYTES_MAX {
                        let message = format!("more than {MODEL_FILE_BYTES_MAX} bytes");
                        return Err(io::Error::new(io::ErrorKind::FileTooLarge, message));
                    }
                    Ok(bytes)
                };
                read().map_err(|error| at(&path, error))
            }
        }
    }

    /// The content of a file that a model may lack.
    ///
    /// # Errors
    /// [`SourceError::File`] when it is there and cannot be read.
    pub fn read_optional(&self, name: &str) -> Result<Option<Vec<u8>>, SourceError> {
        match self.read(name) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(SourceError::File { error, .. }) if error.kind() == io::ErrorKind::NotFound => {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// The GGUF file, if the model is one.
    pub(super) fn gguf(&self) -> Option<&Arc<GgufModel>> {
        match &self.0 {
            Source::Gguf(model) => Some(model),
            Source::Folder(_) | Source::Builtin(_) => None,
        }
    }

    /// Where a file is. `name` is a file's name, or its way below the model's folder, never out of it.
    pub(super) fn locate(&self, name: &str) -> Result<Location, SourceError> {
        let missing = || io::Error::new(io::ErrorKind::NotFound, "there is no such file");
        match &self.0 {
            Source::Folder(folder) => {
                let inside = |part| matches!(part, Component::Normal(_));
                let path = folder.join(name);
                let there = Path::new(name).components().all(inside) && path.is_file();
                there
                    .then_some(Location::Disk(path))
                    .ok_or_else(|| at(&folder.join(name), missing()))
            }
            Source::Gguf(_) => Err(SourceError::File {
                file: format!("GGUF model: {name}"),
                error: missing(),
            }),
            Source::Builtin(files) => {
                let found = files.iter().find(|(file, _)| *file == name);
                found
                    .map(|(_, bytes)| Location::Memory(bytes))
                    .ok_or_else(|| SourceError::File {
                        file: format!("builtin model: {name}"),
                        error: missing(),
                    })
            }
        }
    }
}

pub(super) fn at(path: &Path, error: io::Error) -> SourceError {
    SourceError::File {
        file: path.display().to_string(),
        error,
    }
}
