//! Where a model comes from: the URI of `spec.model.uri`, taken apart. Nothing here opens anything.

/// A model's source. Every string is as it stands in the URI.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ModelSource {
    /// `hf://org/repo[/file.gguf]`
    HuggingFace {
        /// `org/repo`.
        repo: String,
        /// One file of it.
        file: Option<String>,
    },
    /// `pvc://claim[/path]`
    Claim {
        /// Name of the volume claim.
        claim: String,
        /// Folder in the volume; empty for its root.
        path: String,
    },
    /// `s3://bucket[/prefix]`
    S3 {
        /// Name of the bucket.
        bucket: String,
        /// Beginning of the keys; empty for all.
        prefix: String,
    },
    /// `oci://registry/repository[:tag|@digest]`
    Oci {
        /// The reference after `oci://`.
        reference: String,
    },
    /// `builtin://demo`: compiled into the engine.
    BuiltinDemo,
}

/// The forms of [`ModelSource`] as one regular expression that Rust, RE2 and CEL read alike.
/// [`ModelSource::parse`] accepts the same strings, but for `..`, which has a rule of its own.
pub(crate) const URI_FORM: &str = concat!(
    "^(hf://[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9._/-]*[.]gguf)?",
    "|pvc://[a-z0-9]([a-z0-9.-]*[a-z0-9])?(/[A-Za-z0-9._/-]*)?",
    "|s3://[a-z0-9][a-z0-9.-]*(/[A-Za-z0-9._/=+-]*)?",
    "|oci://[A-Za-z0-9.-]+(:[0-9]+)?/[a-z0-9._/-]+(:[A-Za-z0-9._-]+|@sha256:[0-9a-f]+)?",
    "|builtin://demo)$"
);

impl ModelSource {
    /// The source that `uri` names, or `None` when it has none of the forms.
    pub fn parse(uri: &str) -> Option<Self> {
        let (scheme, rest) = uri.split_once("://")?;
        match scheme {
            "hf" => hugging_face(rest),
            "pvc" => {
                let (claim, path) = rest.split_once('/').unwrap_or((rest, ""));
                let inner = |c: char| lower_or_digit(c) || matches!(c, '.' | '-');
                let fits = claim.chars().all(inner)
                    && claim.starts_with(lower_or_digit)
                    && claim.ends_with(lower_or_digit)
                    && path.chars().all(|c| word(c) || c == '/');
                fits.then(|| Self::Claim {
                    claim: claim.to_owned(),
                    path: path.to_owned(),
                })
            }
            "s3" => {
                let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
                let fits = bucket.starts_with(lower_or_digit)
                    && bucket
                        .chars()
                        .all(|c| lower_or_digit(c) || matches!(c, '.' | '-'))
                    && prefix
                        .chars()
                        .all(|c| word(c) || matches!(c, '/' | '=' | '+'));
                fits.then(|| Self::S3 {
                    bucket: bucket.to_owned(),
                    prefix: prefix.to_owned(),
                })
            }
            "oci" => is_oci(rest).then(|| Self::Oci {
                reference: rest.to_owned(),
            }),
            "builtin" => (rest == "demo").then_some(Self::BuiltinDemo),
            _ => None,
        }
    }

    /// Whether the engine has the files without a download.
    pub fn needs_no_download(&self) -> bool {
        matches!(self, Self::Claim { .. } | Self::BuiltinDemo)
    }
}

fn lower_or_digit(c: char) -> bool {
    c.is_ascii_lowercase() || c.is_ascii_digit()
}

fn word(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-')
}

fn hugging_face(rest: &str) -> Option<ModelSource> {
    let (org, rest) = rest.split_once('/')?;
    let (repo, file) = match rest.split_once('/') {
        Some((repo, file)) => (repo, Some(file)),
        None => (rest, None),
    };
    let name = |s: &str| s.starts_with(|c: char| c.is_ascii_alphanumeric()) && s.chars().all(word);
    let gguf = |f: &str| f.ends_with(".gguf") && f.chars().all(|c| word(c) || c == '/');
    (name(org) && name(repo) && file.is_none_or(gguf)).then(|| ModelSource::HuggingFace {
        repo: format!("{org}/{repo}"),
        file: file.map(str::to_owned),
    })
}

fn is_oci(reference: &str) -> bool {
    let Some((registry, rest)) = reference.split_once('/') else {
        return false;
    };
    let (host, port) = match registry.split_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (registry, None),
    };
    let (repository, version) = match rest.split_once('@') {
        Some((repository, digest)) => (repository, digest.strip_prefix("sha256:").map(is_hex)),
        None => match rest.split_once(':') {
            Some((repository, tag)) => (repository, Some(some(tag, word))),
            None => (rest, Some(true)),
        },
    };
    some(host, |c| {
        c.is_ascii_alphanumeric() || matches!(c, '.' | '-')
    }) && port.is_none_or(|port| some(port, |c| c.is_ascii_digit()))
        && some(repository, |c| {
            lower_or_digit(c) || matches!(c, '.' | '_' | '/' | '-')
        })
        && version == Some(true)
}

fn is_hex(digest: &str) -> bool {
    some(digest, |c| matches!(c, '0'..='9' | 'a'..='f'))
}

fn some(text: &str, every: impl Fn(char) -> bool) -> bool {
    !text.is_empty() && text.chars().all(every)
}

#[cfg(test)]
mod tests {
    use super::*;
    use kube::core::cel::{Validator, cel};
    use proptest::prelude::*;

    fn matches_form(uri: &str) -> bool {
        let program = cel::Program::compile(&format!("uri.matches('{URI_FORM}')")).unwrap();
        let mut context = cel::Context::default();
        context.add_variable_from_value("uri", uri);
        program.execute(&context).unwrap() == cel::Value::Bool(true)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]
        #[test]
        fn parser_and_expression_accept_the_same_strings(
            uri in "(hf|pvc|s3|oci|builtin|file)://[a-zA-Z0-9:@._/=+-]{0,6}(/[a-z.]{1,3}|demo|)(/|@sha256:|:|)[a-z0-9]{0,2}(.gguf|)"
        ) {
            prop_assert_eq!(ModelSource::parse(&uri).is_some(), matches_form(&uri), "{}", uri);
        }
    }

    #[test]
    fn parts_are_taken_apart() {
        let claim = |claim: &str, path: &str| {
            Some(ModelSource::Claim {
                claim: claim.into(),
                path: path.into(),
            })
        };
        assert_eq!(ModelSource::parse("pvc://models"), claim("models", ""));
        assert_eq!(
            ModelSource::parse("pvc://models/a/b"),
            claim("models", "a/b")
        );
        assert_eq!(ModelSource::parse("builtin://other"), None);
        let _ = Validator::new();
    }
}
