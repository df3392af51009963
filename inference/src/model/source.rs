//! Where a model's files are: a folder, or the demo model that is compiled in.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// A file of a model cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The URI is of no form we know.
    #[error(
        "--model {uri}: not a model this engine can load: give a folder with config.json, \
         tokenizer.json and *.safetensors, an hf://, s3:// or oci:// address, or builtin://demo"
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

/// Finds a model: `builtin://demo`, or a folder.
///
/// # Errors
/// [`SourceError`] for an unknown form, or a folder that is not there.
pub fn open(uri: &str) -> Result<ModelFiles, SourceError> {
    if uri == "builtin://demo" {
        return Ok(ModelFiles(Source::Builtin(DEMO)));
    }
    if uri.contains("://") {
        return Err(SourceError::UnknownForm {
            uri: uri.to_owned(),
        });
    }
    let folder = PathBuf::from(uri);
    match fs::metadata(&folder) {
        Ok(metadata) if metadata.is_dir() => Ok(ModelFiles(Source::Folder(folder))),
        Ok(_) => Err(SourceError::UnknownForm {
            uri: uri.to_owned(),
        }),
        Err(error) => Err(SourceError::Folder { folder, error }),
    }
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
        match self.locate(name)? {
            Location::Memory(bytes) => Ok(bytes.to_vec()),
            Location::Disk(path) => fs::read(&path).map_err(|error| at(&path, error)),
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

    /// Where a file is. `name` is a file's name, never a path.
    pub(super) fn locate(&self, name: &str) -> Result<Location, SourceError> {
        let missing = || io::Error::new(io::ErrorKind::NotFound, "there is no such file");
        match &self.0 {
            Source::Folder(folder) => {
                let plain = Path::new(name).file_name().is_some_and(|file| file == name);
                let path = folder.join(name);
                let there = plain && path.is_file();
                there
                    .then_some(Location::Disk(path))
                    .ok_or_else(|| at(&folder.join(name), missing()))
            }
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
