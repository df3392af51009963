//! API keys: from a file, one a line, re-read when it changes, compared in constant time. They are in
//! no argument, no environment variable, and no log line. What is kept of them is their SHA-256, so that
//! every comparison is of the same length and a dump of memory holds no key.

use std::{fmt, fs, io, path::PathBuf, sync::Arc};

use arc_swap::ArcSwap;
use http::{HeaderMap, StatusCode, header};
use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};

use super::{error::ApiError, limits};

/// The keys cannot be read; the server does not start.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// Not readable.
    #[error("--api-key-file {}: {error}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        error: io::Error,
    },
    /// Too large to be a list of keys.
    #[error("--api-key-file {}: more than {} bytes", path.display(), limits::KEY_FILE_BYTES_MAX)]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// Nobody could ever call.
    #[error("--api-key-file {}: no key in it; write one key a line", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
}

/// What is kept of a key.
type KeyDigest = [u8; 32];

/// The keys that are valid now.
pub(super) struct ApiKeys {
    path: PathBuf,
    keys: ArcSwap<Vec<KeyDigest>>,
}

impl fmt::Debug for ApiKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiKeys")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

impl ApiKeys {
    /// Reads the file.
    ///
    /// # Errors
    /// [`KeyFileError`] when it cannot be read or holds no key.
    pub(super) fn open(path: PathBuf) -> Result<Self, KeyFileError> {
        let keys = read(&path)?;
        if keys.is_empty() {
            return Err(KeyFileError::Empty { path });
        }
        Ok(Self {
            path,
            keys: ArcSwap::from_pointee(keys),
        })
    }

    /// Follows the file for as long as the server runs. While it cannot be read the last keys stay;
    /// when it holds none, nobody passes.
    pub(super) async fn follow(self: Arc<Self>) {
        let mut failing = false;
        loop {
            tokio::time::sleep(limits::KEY_FILE_POLL).await;
            let this = Arc::clone(&self);
            let fresh = tokio::task::spawn_blocking(move || read(&this.path)).await;
            match fresh {
                Ok(Ok(keys)) => {
                    failing = false;
                    self.replace(keys);
                }
                Ok(Err(error)) if !failing => {
                    failing = true;
                    tracing::error!(%error, "API keys not re-read; the last ones stay valid");
                }
                _ => {}
            }
        }
    }

    fn replace(&self, keys: Vec<KeyDigest>) {
        if **self.keys.load() != keys {
            tracing::info!(keys = keys.len(), file = %self.path.display(), "API keys re-read");
            self.keys.store(Arc::new(keys));
        }
    }

    /// Lets a request pass that brings one of the keys.
    ///
    /// # Errors
    /// 401.
    pub(super) fn check(&self, headers: &HeaderMap) -> Result<(), ApiError> {
        let given = headers
            .get(header::AUTHORIZATION)
            .map_or(&b""[..], |value| value.as_bytes());
        let token = match given.split_at_checked(7) {
            Some((scheme, token)) if scheme.eq_ignore_ascii_case(b"Bearer ") => token,
            _ => {
                return Err(refusal(
                    "the request brings no API key: send Authorization: Bearer …",
                ));
            }
        };
        // Every key is compared, so that the time tells neither which matched nor how far.
        let token = digest(token);
        let known = self.keys.load().iter().fold(Choice::from(0), |known, key| {
            known | key.as_slice().ct_eq(&token)
        });
        if known.into() {
            Ok(())
        } else {
            Err(refusal("the API key is not valid"))
        }
    }
}

fn refusal(message: &str) -> ApiError {
    ApiError::new(StatusCode::UNAUTHORIZED, message)
}

fn digest(key: &[u8]) -> KeyDigest {
    Sha256::digest(key).into()
}

fn read(path: &PathBuf) -> Result<Vec<KeyDigest>, KeyFileError> {
    let at = |error| KeyFileError::Read {
        path: path.clone(),
        error,
    };
    if fs::metadata(path).map_err(at)?.len() > limits::KEY_FILE_BYTES_MAX {
        return Err(KeyFileError::TooLarge { path: path.clone() });
    }
    let bytes = fs::read(path).map_err(at)?;
    let lines = bytes.split(|&byte| byte == b'\n').map(<[u8]>::trim_ascii);
    Ok(lines.filter(|line| !line.is_empty()).map(digest).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bearer(value: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(header::AUTHORIZATION, value.parse().unwrap());
        headers
    }

    #[test]
    fn any_line_of_the_file_is_a_key_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys");
        fs::write(&path, "first\r\n\n second \n").unwrap();
        let keys = ApiKeys::open(path).unwrap();
        for good in ["Bearer first", "bearer second"] {
            keys.check(&bearer(good)).unwrap();
        }
        for bad in [
            "Bearer ",
            "Bearer firs",
            "Bearer firstt",
            "Basic first",
            "first",
            "",
        ] {
            assert_eq!(keys.check(&bearer(bad)).unwrap_err().status, 401, "{bad}");
        }
        assert!(keys.check(&HeaderMap::new()).is_err());
        assert!(!format!("{keys:?}").contains("first"));
        assert_eq!(**keys.keys.load(), [digest(b"first"), digest(b"second")]);
    }

    #[test]
    fn a_file_without_keys_does_not_start_a_server() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys");
        assert!(matches!(
            ApiKeys::open(path.clone()),
            Err(KeyFileError::Read { .. })
        ));
        fs::write(&path, "\n \n").unwrap();
        assert!(matches!(
            ApiKeys::open(path),
            Err(KeyFileError::Empty { .. })
        ));
    }
}
