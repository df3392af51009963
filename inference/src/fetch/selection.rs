//! Which files of a source an engine needs: configuration, tokenizer, chat template, what
//! `sentence-transformers` says of embeddings, and either the safetensors that the index names or one GGUF
//! file. Nothing else is downloaded.

use std::collections::{BTreeSet, HashMap};

use serde::Deserialize;

use super::{FetchError, limits, remote::RemoteFile};

/// The index of a model in several files.
pub(super) const INDEX: &str = "model.safetensors.index.json";
const SINGLE: &str = "model.safetensors";
const GGUF_SHOWN_MAX: usize = 10;

/// What is to be fetched first.
#[derive(Debug)]
pub(super) enum First<'a> {
    /// These; the weights follow from the index, if it is among them.
    Small(Vec<&'a RemoteFile>),
    /// This one, which holds the whole model.
    Gguf(&'a RemoteFile),
}

/// The files that do not depend on others, from a listing; `file` is the GGUF file that was asked for.
pub(super) fn first<'a>(
    what: &str,
    files: &'a [RemoteFile],
    file: Option<&str>,
) -> Result<First<'a>, FetchError> {
    if let Some(wanted) = file {
        let found = files.iter().find(|file| file.name == wanted);
        return found.map(First::Gguf).ok_or_else(|| FetchError::NotFound {
            what: what.to_owned(),
            reason: format!("there is no file {wanted}{}", choices(files)),
        });
    }
    let safetensors = files.iter().any(|file| is_weights(&file.name));
    let gguf: Vec<_> = files.iter().filter(|f| f.name.ends_with(".gguf")).collect();
    match (safetensors, gguf.as_slice()) {
        (true, _) => {}
        (false, [only]) => return Ok(First::Gguf(only)),
        (false, []) => {
            return Err(no_model(
                what,
                "it has neither *.safetensors nor *.gguf files",
            ));
        }
        (false, _) => {
            let reason = format!("it has several GGUF files, name one{}", choices(files));
            return Err(no_model(what, reason));
        }
    }
    let small: Vec<_> = files.iter().filter(|file| is_small(&file.name)).collect();
    for needed in ["config.json", "tokenizer.json"] {
        if !small.iter().any(|file| file.name == needed) {
            return Err(no_model(what, format!("it has no {needed}")));
        }
    }
    Ok(First::Small(small))
}

#[derive(Deserialize)]
struct Index {
    weight_map: HashMap<String, String>,
}

/// The files with the weights: those that the index names, else the one file.
pub(super) fn weights<'a>(
    what: &str,
    files: &'a [RemoteFile],
    index: Option<&[u8]>,
) -> Result<Vec<&'a RemoteFile>, FetchError> {
    let names = match index {
        None => BTreeSet::from([SINGLE.to_owned()]),
        Some(json) => {
            let index: Index =
                serde_json::from_slice(json).map_err(|error| FetchError::Answer {
                    what: format!("{what}: {INDEX}"),
                    reason: error.to_string(),
                })?;
            index.weight_map.into_values().collect()
        }
    };
    let find = |name: &String| {
        let found = files.iter().find(|file| file.name == *name);
        found.ok_or_else(|| no_model(what, format!("it has no {name}")))
    };
    names.iter().map(find).collect()
}

/// Bytes that a model in safetensors has, as far as can be known without its index.
pub(super) fn likely_bytes(files: &[RemoteFile]) -> u64 {
    let wanted = files
        .iter()
        .filter(|file| is_small(&file.name) || is_weights(&file.name));
    // Sizes are what a server says.
    wanted.fold(0, |sum, file| sum.saturating_add(file.size))
}

/// Whether a file can matter to an engine at all.
pub(super) fn is_candidate(name: &str) -> bool {
    is_small(name) || is_weights(name) || name.ends_with(".gguf")
}

fn is_small(name: &str) -> bool {
    let listed = [
        "config.json",
        "generation_config.json",
        "modules.json",
        "sentence_bert_config.json",
        INDEX,
    ]
    .contains(&name);
    let begins = ["tokenizer", "chat_template"]
        .iter()
        .any(|beginning| name.starts_with(beginning));
    !name.contains('/') && (listed || begins) || is_module(name)
}

/// The settings of one of the modules behind the model, as in `1_Pooling/config.json`.
fn is_module(name: &str) -> bool {
    name.strip_suffix("/config.json")
        .is_some_and(is_module_folder)
}

/// Whether a folder may be that of a module: a number, and its kind.
pub(super) fn is_module_folder(folder: &str) -> bool {
    folder.split_once('_').is_some_and(|(number, kind)| {
        let digits = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
        digits && !kind.is_empty() && kind.bytes().all(|byte| byte.is_ascii_alphanumeric())
    })
}

fn is_weights(name: &str) -> bool {
    !name.contains('/') && name.ends_with(".safetensors")
}

fn choices(files: &[RemoteFile]) -> String {
    let names: Vec<_> = files
        .iter()
        .map(|file| file.name.as_str())
        .filter(|name| name.ends_with(".gguf"))
        .take(GGUF_SHOWN_MAX)
        .collect();
    if names.is_empty() {
        String::new()
    } else {
        format!(" (there are {})", names.join(", "))
    }
}

fn no_model(what: &str, reason: impl ToString) -> FetchError {
    FetchError::NoModel {
        what: what.to_owned(),
        reason: reason.to_string(),
    }
}

/// An index longer than this is not read.
pub(super) fn check_index_size(what: &str, file: &RemoteFile) -> Result<(), FetchError> {
    if file.size <= limits::INDEX_BYTES_MAX {
        return Ok(());
    }
    Err(no_model(
        what,
        format!("{INDEX} is longer than {} bytes", limits::INDEX_BYTES_MAX),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fetch::remote::Digest;

    fn listing(names: &[&str]) -> Vec<RemoteFile> {
        let file = |name: &&str| RemoteFile {
            name: (*name).to_owned(),
            size: 1,
            digest: Digest::None,
            key: String::new(),
            tag: None,
        };
        names.iter().map(file).collect()
    }

    fn names(files: &[&RemoteFile]) -> Vec<String> {
        files.iter().map(|file| file.name.clone()).collect()
    }

    #[test]
    fn what_an_engine_needs_is_chosen_and_nothing_else() {
        let files = listing(&[
            ".gitattributes",
            "1_Pooling/config.json",
            "1_Pooling/more/config.json",
            "2_Dense/model.safetensors",
            "README.md",
            "config.json",
            "consolidated.safetensors",
            "model-00001-of-00002.safetensors",
            "model-00002-of-00002.safetensors",
            INDEX,
            "modules.json",
            "onnx/config.json",
            "original/model.safetensors",
            "pytorch_model.bin",
            "sentence_bert_config.json",
            "tokenizer.json",
            "tokenizer_config.json",
            "chat_template.jinja",
        ]);
        let First::Small(small) = first("m", &files, None).unwrap() else {
            panic!("safetensors were there")
        };
        let wanted = [
            "1_Pooling/config.json",
            "config.json",
            INDEX,
            "modules.json",
            "sentence_bert_config.json",
            "tokenizer.json",
            "tokenizer_config.json",
            "chat_template.jinja",
        ];
        assert_eq!(names(&small), wanted);
        let index = br#"{"metadata": {}, "weight_map": {
            "a": "model-00002-of-00002.safetensors", "b": "model-00001-of-00002.safetensors",
            "c": "model-00002-of-00002.safetensors"}}"#;
        let shards = weights("m", &files, Some(index)).unwrap();
        let wanted = [
            "model-00001-of-00002.safetensors",
            "model-00002-of-00002.safetensors",
        ];
        assert_eq!(names(&shards), wanted);
    }

    #[test]
    fn gguf_files_are_taken_when_named_or_alone() {
        let one = listing(&["README.md", "m-q8_0.gguf"]);
        let found = first("m", &one, None).unwrap();
        assert!(matches!(found, First::Gguf(file) if file.name == "m-q8_0.gguf"));
        let two = listing(&["config.json", "m-q4.gguf", "m-q8.gguf"]);
        let error = first("m", &two, None).unwrap_err().to_string();
        assert!(error.contains("m-q4.gguf, m-q8.gguf"), "{error}");
        let found = first("m", &two, Some("m-q8.gguf")).unwrap();
        assert!(matches!(found, First::Gguf(file) if file.name == "m-q8.gguf"));
        let error = first("m", &two, Some("m-q5.gguf")).unwrap_err().to_string();
        assert!(
            error.contains("no file m-q5.gguf (there are m-q4"),
            "{error}"
        );
    }

    #[test]
    fn what_is_missing_is_named() {
        for (files, missing) in [
            (&["config.json", "tokenizer.json"][..], "neither"),
            (&["model.safetensors", "tokenizer.json"], "config.json"),
            (&["model.safetensors", "config.json"], "tokenizer.json"),
        ] {
            let error = first("m", &listing(files), None).unwrap_err().to_string();
            assert!(error.contains(missing), "{error}");
        }
        let files = listing(&["other.safetensors"]);
        let error = weights("m", &files, None).unwrap_err().to_string();
        assert!(error.contains("no model.safetensors"), "{error}");
        let index = br#"{"weight_map": {"a": "../x"}}"#;
        let error = weights("m", &files, Some(index)).unwrap_err().to_string();
        assert!(error.contains("no ../x"), "{error}");
        assert!(weights("m", &files, Some(b"{")).is_err());
    }
}
