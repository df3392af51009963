//! Where a model is to be fetched from: the URI of `--model`, taken apart. Nothing here opens
//! anything. The forms are those of the InferenceService's `spec.model.uri`, and `@revision` for
//! hubs, which the API has as a field of its own.

use super::FetchError;

/// A model that is not on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ModelUri {
    /// `hf://org/repo[/file.gguf][@revision]`
    Hub {
        /// `org/repo`.
        repo: String,
        /// One file of it.
        file: Option<String>,
        /// Branch, tag or commit.
        revision: String,
    },
    /// `s3://bucket[/prefix]`
    S3 {
        /// Name of the bucket.
        bucket: String,
        /// Beginning of the keys, without a slash at its end; empty for all.
        prefix: String,
    },
    /// `oci://registry/repository[:tag|@digest]`
    Oci {
        /// Host, and port if it is given.
        registry: String,
        /// The repository.
        repository: String,
        /// What of the repository.
        version: OciVersion,
    },
}

/// What of a repository in a registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OciVersion {
    /// A name that can be moved.
    Tag(String),
    /// `sha256:…`, the content itself.
    Digest(String),
}

const HUB_FORM: &str = "hf://org/repo, hf://org/repo@revision or hf://org/repo/file.gguf@revision";
const S3_FORM: &str = "s3://bucket/prefix or s3://bucket/path/file.gguf";
const OCI_FORM: &str = "oci://registry/repository:tag or oci://registry/repository@sha256:digest";

impl ModelUri {
    /// Takes a value of `--model` apart. `None`: a folder, a file, or a model in the program.
    ///
    /// # Errors
    /// [`FetchError::Uri`], with the form that the value should have.
    pub fn parse(text: &str) -> Result<Option<Self>, FetchError> {
        let Some((scheme, rest)) = text.split_once("://") else {
            return Ok(None);
        };
        let (parsed, form) = match scheme {
            "hf" => (hub(rest), HUB_FORM),
            "s3" => (s3(rest), S3_FORM),
            "oci" => (oci(rest), OCI_FORM),
            _ => return Ok(None),
        };
        let no_form = || FetchError::Uri {
            uri: text.to_owned(),
            form,
        };
        parsed.map(Some).ok_or_else(no_form)
    }
}

/// A value that was meant as a repository on a hub: two names that fit one.
pub(super) fn looks_like_repo(text: &str) -> bool {
    matches!(text.split_once('/'), Some((org, repo)) if name(org) && name(repo))
}

/// A commit of a hub, rather than a branch or a tag.
pub(super) fn is_commit(revision: &str) -> bool {
    revision.len() == 40 && is_hex(revision)
}

/// Lower-case hexadecimal digits, at least one.
pub(super) fn is_hex(text: &str) -> bool {
    some(text, |c| matches!(c, '0'..='9' | 'a'..='f'))
}

fn hub(rest: &str) -> Option<ModelUri> {
    let (path, revision) = rest.split_once('@').unwrap_or((rest, "main"));
    let (org, path) = path.split_once('/')?;
    let (repo, file) = match path.split_once('/') {
        Some((repo, file)) => (repo, Some(file)),
        None => (path, None),
    };
    let gguf = |file: &str| {
        file.ends_with(".gguf") && parts_are_plain(file) && some(file, |c| word(c) || c == '/')
    };
    let fits = name(org)
        && name(repo)
        && file.is_none_or(gguf)
        && parts_are_plain(revision)
        && some(revision, |c| word(c) || c == '/');
    fits.then(|| ModelUri::Hub {
        repo: format!("{org}/{repo}"),
        file: file.map(str::to_owned),
        revision: revision.to_owned(),
    })
}

fn s3(rest: &str) -> Option<ModelUri> {
    let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    let prefix = prefix.trim_end_matches('/');
    let fits = bucket.starts_with(lower_or_digit)
        && some(bucket, |c| lower_or_digit(c) || matches!(c, '.' | '-'))
        && (prefix.is_empty() || parts_are_plain(prefix))
        && prefix
            .chars()
            .all(|c| word(c) || matches!(c, '/' | '=' | '+'));
    fits.then(|| ModelUri::S3 {
        bucket: bucket.to_owned(),
        prefix: prefix.to_owned(),
    })
}

fn oci(reference: &str) -> Option<ModelUri> {
    let (registry, rest) = reference.split_once('/')?;
    let (host, port) = match registry.split_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (registry, None),
    };
    let (repository, version) = match rest.split_once('@') {
        Some((repository, digest)) => {
            let hex = digest.strip_prefix("sha256:")?;
            let digest = (hex.len() == 64 && is_hex(hex)).then(|| digest.to_owned())?;
            (repository, OciVersion::Digest(digest))
        }
        None => {
            let (repository, tag) = rest.split_once(':').unwrap_or((rest, "latest"));
            some(tag, word).then_some(())?;
            (repository, OciVersion::Tag(tag.to_owned()))
        }
    };
    let fits = some(host, |c| {
        c.is_ascii_alphanumeric() || matches!(c, '.' | '-')
    }) && port.is_none_or(|port| some(port, |c| c.is_ascii_digit()))
        && parts_are_plain(repository)
        && some(repository, |c| {
            lower_or_digit(c) || matches!(c, '.' | '_' | '/' | '-')
        });
    fits.then(|| ModelUri::Oci {
        registry: registry.to_owned(),
        repository: repository.to_owned(),
        version,
    })
}

/// No part between slashes is empty, `.` or `..`.
fn parts_are_plain(path: &str) -> bool {
    path.split('/').all(|part| !matches!(part, "" | "." | ".."))
}

fn name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphanumeric()) && text.chars().all(word)
}

fn lower_or_digit(c: char) -> bool {
    c.is_ascii_lowercase() || c.is_ascii_digit()
}

fn word(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-')
}

fn some(text: &str, every: impl Fn(char) -> bool) -> bool {
    !text.is_empty() && text.chars().all(every)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hub(repo: &str, file: Option<&str>, revision: &str) -> ModelUri {
        ModelUri::Hub {
            repo: repo.into(),
            file: file.map(str::to_owned),
            revision: revision.into(),
        }
    }

    #[test]
    fn forms_are_taken_apart() {
        let digest = format!("sha256:{}", "0a".repeat(32));
        let oci = |registry: &str, repository: &str, version| ModelUri::Oci {
            registry: registry.into(),
            repository: repository.into(),
            version,
        };
        let s3 = |bucket: &str, prefix: &str| ModelUri::S3 {
            bucket: bucket.into(),
            prefix: prefix.into(),
        };
        for (text, wanted) in [
            ("hf://Qwen/Qwen3-8B", hub("Qwen/Qwen3-8B", None, "main")),
            ("hf://a/b@v1.0", hub("a/b", None, "v1.0")),
            ("hf://a/b@refs/pr/1", hub("a/b", None, "refs/pr/1")),
            ("hf://a/b/x.gguf", hub("a/b", Some("x.gguf"), "main")),
            ("hf://a/b/c/x.gguf@r", hub("a/b", Some("c/x.gguf"), "r")),
            ("s3://models", s3("models", "")),
            ("s3://models/a/b/", s3("models", "a/b")),
            (
                "oci://localhost:5000/a/b",
                oci("localhost:5000", "a/b", OciVersion::Tag("latest".into())),
            ),
            (
                "oci://r.example/a:v1",
                oci("r.example", "a", OciVersion::Tag("v1".into())),
            ),
            (
                &format!("oci://r.example/a@{digest}"),
                oci("r.example", "a", OciVersion::Digest(digest.clone())),
            ),
        ] {
            assert_eq!(ModelUri::parse(text).unwrap(), Some(wanted), "{text}");
        }
    }

    #[test]
    fn what_has_no_form_is_refused_with_the_form_it_should_have() {
        for (text, form) in [
            ("hf://gpt2", "hf://org/repo"),
            ("hf://a/b/model.bin", ".gguf"),
            ("hf://a/b/../x.gguf", ".gguf"),
            ("hf://a/b@../../c", "revision"),
            ("hf://a/b@", "revision"),
            ("hf://../b", "hf://"),
            ("s3://", "s3://bucket"),
            ("s3://b/../c", "s3://bucket"),
            ("oci://registry", "oci://"),
            ("oci://registry/a@sha256:12", "sha256"),
            ("oci://registry/../a:t", "oci://"),
        ] {
            let error = ModelUri::parse(text).unwrap_err().to_string();
            assert!(error.contains(text) && error.contains(form), "{error}");
        }
    }

    #[test]
    fn other_values_are_not_ours() {
        for text in ["/models/a", "a/b", "builtin://demo", "pvc://claim/a", ""] {
            assert_eq!(ModelUri::parse(text).unwrap(), None, "{text}");
        }
        assert!(looks_like_repo("Qwen/Qwen3-8B"));
        for text in ["/a/b", "./a", "a/b/c", "a", "../b"] {
            assert!(!looks_like_repo(text), "{text}");
        }
    }
}
