//! What a source must be able to do, and what a file of it is.

use std::{collections::HashSet, future::Future};

use bytes::Bytes;
use futures::stream::BoxStream;

use super::{
    error::{Failure, FetchError},
    http, limits,
    uri::is_hex,
};

/// A checksum that a source gives for a file, in lower-case hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Digest {
    /// Of the content.
    Sha256(String),
    /// SHA-1 of the content behind git's header for a blob.
    GitBlob(String),
    /// Of the content.
    Md5(String),
    /// The source gives none that says anything of the content.
    None,
}

impl Digest {
    /// A digest of so many hexadecimal digits, or none.
    pub(super) fn checked(text: &str, digits: usize, make: fn(String) -> Self) -> Option<Self> {
        (text.len() == digits && is_hex(text)).then(|| make(text.to_owned()))
    }
}

/// A file of a source.
#[derive(Debug, Clone)]
pub(super) struct RemoteFile {
    /// Its name below the model's folder; parts are separated by `/`.
    pub(super) name: String,
    /// Bytes.
    pub(super) size: u64,
    /// What its content must be.
    pub(super) digest: Digest,
    /// By what the source finds it.
    pub(super) key: String,
    /// By what the source tells this content from a later one.
    pub(super) tag: Option<String>,
}

/// The content of a file from some byte on.
pub(super) struct Body {
    /// The first byte: the one asked for, or 0 where the server sends the whole file.
    pub(super) start: u64,
    /// The digest of the listing is none of the content, as it turns out.
    pub(super) digest_is_other: bool,
    /// The content.
    pub(super) chunks: BoxStream<'static, Result<Bytes, Failure>>,
}

/// A model at a source.
pub(super) trait Source: Send + Sync + 'static {
    /// The content that the URI itself pins, if it does.
    fn pinned(&self) -> Option<String>;

    /// The content that is there now.
    fn resolve(&self) -> impl Future<Output = Result<String, Failure>> + Send;

    /// The files of a content that [`Source::pinned`] or [`Source::resolve`] gave.
    fn list(&self, version: &str) -> impl Future<Output = Result<Vec<RemoteFile>, Failure>> + Send;

    /// The content of a file from `offset` on.
    fn open(
        &self,
        version: &str,
        file: &RemoteFile,
        offset: u64,
    ) -> impl Future<Output = Result<Body, Failure>> + Send;
}

/// Refuses a listing that is too long.
pub(super) fn check_count(what: &str, files: usize) -> Result<(), FetchError> {
    if files <= limits::FILES_MAX {
        return Ok(());
    }
    Err(FetchError::Answer {
        what: what.to_owned(),
        reason: format!("more than {} files", limits::FILES_MAX),
    })
}

/// Refuses a listing that is too long, names a file that is not inside a folder, or names two files that
/// would be one on the disk: of the same name, or with the name of another while it is in progress.
pub(super) fn check_listing(what: &str, files: &[RemoteFile]) -> Result<(), FetchError> {
    check_count(what, files.len())?;
    let short =
        |name: &str| -> String { name.chars().take(limits::EXPLANATION_CHARS_MAX).collect() };
    let mut names = HashSet::new();
    for RemoteFile { name, .. } in files {
        if !is_safe(name) {
            return Err(FetchError::UnsafeName {
                what: what.to_owned(),
                name: short(name),
            });
        }
        let shown = short(name);
        if name.ends_with(".incomplete") {
            let reason = format!("{shown:?} has the name of a download that is not finished");
            return Err(http::answer(what, reason));
        }
        if !names.insert(name) {
            return Err(http::answer(what, format!("it names {shown:?} twice")));
        }
    }
    Ok(())
}

fn is_safe(name: &str) -> bool {
    let plain =
        |part: &str| !matches!(part, "" | "." | "..") && part.len() <= limits::NAME_PART_BYTES_MAX;
    name.len() <= limits::NAME_BYTES_MAX
        && !name.contains(|c: char| c == '\\' || c.is_control())
        && name.split('/').all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_leave_the_folder_are_refused() {
        for name in ["config.json", "a/b.gguf", ".gitattributes", "a..b", "ä"] {
            assert!(is_safe(name), "{name}");
        }
        let long = "a".repeat(limits::NAME_PART_BYTES_MAX + 1);
        for name in [
            "",
            "/etc/passwd",
            "../x",
            "a/../../x",
            "a//b",
            "a/",
            ".",
            "a\\b",
            "a\nb",
            &long,
        ] {
            assert!(!is_safe(name), "{name}");
        }
    }

    #[test]
    fn files_that_would_be_one_on_the_disk_are_refused() {
        let file = |name: &str| RemoteFile {
            name: name.to_owned(),
            size: 1,
            digest: Digest::None,
            key: name.to_owned(),
            tag: None,
        };
        assert!(check_listing("m", &[file("a"), file("b/a")]).is_ok());
        for (files, said) in [
            ([file("a"), file("a")], "it names \"a\" twice"),
            ([file("a"), file("a.incomplete")], "not finished"),
        ] {
            let error = check_listing("m", &files).unwrap_err().to_string();
            assert!(error.contains(said), "{error}");
        }
        assert!(check_listing("m", &vec![file("a"); limits::FILES_MAX + 1]).is_err());
    }

    #[test]
    fn a_digest_has_its_length_and_its_alphabet() {
        assert!(Digest::checked(&"0f".repeat(16), 32, Digest::Md5).is_some());
        for text in ["0F", "", "0f0f", &"zz".repeat(16), &"0F".repeat(16)] {
            assert_eq!(Digest::checked(text, 32, Digest::Md5), None);
        }
    }
}
