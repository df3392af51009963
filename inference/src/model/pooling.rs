//! How a model's hidden states become one vector for a text: whether the model is run for that at all,
//! and which of the states count. Read from the files that `sentence-transformers` writes.

use std::fmt;

use candela_flags::RunnerType;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::{
    config::ModelConfig,
    source::{ModelFiles, SourceError},
};

const MODULES: &str = "modules.json";
const TRANSFORMER: &str = "sentence_bert_config.json";
/// Largest `max_seq_length` we take from a file.
const SEQUENCE_MAX: usize = 1 << 24;

/// A model cannot be run in the way that its files or `--runner` ask for.
#[derive(Debug, thiserror::Error)]
pub enum PoolingError {
    /// A file cannot be had.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// A file is not what it should be.
    #[error("{file}: {error}")]
    Malformed {
        /// The file.
        file: String,
        /// What is wrong.
        error: serde_json::Error,
    },
    /// A file asks for something that is not done here.
    #[error("{file}: {what} is not supported{hint}")]
    Unsupported {
        /// The file.
        file: String,
        /// What it asks for.
        what: String,
        /// What is.
        hint: &'static str,
    },
    /// The model has no LM head.
    #[error(
        "--runner generate: {architecture} has no head that generates text; leave the flag out, and \
         the model serves embeddings"
    )]
    GeneratesNothing {
        /// As `config.json` names it.
        architecture: &'static str,
    },
}

/// Which hidden states make the vector.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PoolingType {
    /// The mean of all tokens.
    Mean,
    /// Their sum over the root of their number.
    MeanSqrtLen,
    /// The greatest number of all tokens, dimension by dimension.
    Max,
    /// The first token.
    Cls,
    /// The last token.
    Last,
}

impl fmt::Display for PoolingType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Mean => "mean of all tokens",
            Self::MeanSqrtLen => "sum of all tokens over the root of their number",
            Self::Max => "greatest of all tokens",
            Self::Cls => "first token",
            Self::Last => "last token",
        })
    }
}

impl PoolingType {
    /// One vector of the hidden states `[n, width]` of a text, n ≥ 1. In f32, token after token.
    pub(super) fn pool(self, states: &[f32], width: usize) -> Vec<f32> {
        let count = states.len() / width;
        match self {
            Self::Cls => states[..width].to_vec(),
            Self::Last => states[states.len() - width..].to_vec(),
            Self::Max => folded(states, width, f32::max),
            Self::Mean | Self::MeanSqrtLen => {
                let mut sums = folded(states, width, |sum, state| sum + state);
                let divisor = match self {
                    Self::Mean => count as f32,
                    _ => (count as f32).sqrt(),
                };
                sums.iter_mut().for_each(|sum| *sum /= divisor);
                sums
            }
        }
    }
}

fn folded(states: &[f32], width: usize, join: fn(f32, f32) -> f32) -> Vec<f32> {
    let (first, rest) = states.split_at(width);
    let mut folded = first.to_vec();
    for row in rest.chunks_exact(width) {
        let pairs = folded.iter_mut().zip(row);
        pairs.for_each(|(folded, state)| *folded = join(*folded, *state));
    }
    folded
}

/// How a model makes embeddings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pooling {
    pub(super) kind: PoolingType,
    /// The vector is made one long unless a request asks otherwise.
    pub(super) normalize: bool,
    /// Tokens of a text that the model was trained for, where that is said.
    pub(super) max_seq_length: Option<usize>,
    /// Texts are written in small letters first.
    pub(super) lowercase: bool,
    /// The vector may be cut to these lengths; to any, where there are none. `None`: it may not.
    pub(super) matryoshka: Option<Vec<usize>>,
}

impl Pooling {
    /// How the model makes embeddings, if it is run for that: with `--runner pooling`; with `auto` where
    /// it is an encoder, has no LM head, or comes with a pooling of `sentence-transformers`.
    pub(super) fn choose(
        files: &ModelFiles,
        config: &ModelConfig,
        runner: RunnerType,
    ) -> Result<Option<Self>, PoolingError> {
        let headless = match config {
            ModelConfig::Encoder(_) => true,
            ModelConfig::Decoder(config) => config.headless,
        };
        let architecture = config.architecture();
        let modules = match runner {
            RunnerType::Generate if headless => {
                return Err(PoolingError::GeneratesNothing { architecture });
            }
            RunnerType::Generate => return Ok(None),
            RunnerType::Auto | RunnerType::Pooling => Modules::read(files)?,
        };
        if runner == RunnerType::Auto && !headless && modules.is_none() {
            return Ok(None);
        }
        let default = match config {
            ModelConfig::Encoder(_) => PoolingType::Cls,
            ModelConfig::Decoder(_) => PoolingType::Last,
        };
        if modules.is_none() {
            tracing::info!("no {MODULES}: embeddings are the normalized state of the {default}");
        }
        let (kind, file, normalize) = match modules {
            Some(modules) => (modules.pooling, modules.file, modules.normalize),
            None => (default, MODULES.to_owned(), true),
        };
        if matches!(config, ModelConfig::Decoder(_)) && kind != PoolingType::Last {
            return Err(PoolingError::Unsupported {
                file,
                what: format!("pooling by the {kind} of a decoder"),
                hint: "; decoders give the last token",
            });
        }
        let transformer: Transformer = optional(files, TRANSFORMER)?.unwrap_or_default();
        let matryoshka: Matryoshka = optional(files, "config.json")?.unwrap_or_default();
        Ok(Some(Self {
            kind,
            normalize,
            max_seq_length: transformer
                .max_seq_length
                .filter(|length| (1..=SEQUENCE_MAX).contains(length)),
            lowercase: transformer.do_lower_case.unwrap_or(false),
            matryoshka: matryoshka.dimensions(),
        }))
    }
}

/// What `modules.json` and the files below it say.
struct Modules {
    pooling: PoolingType,
    normalize: bool,
    /// Where the pooling is described.
    file: String,
}

#[derive(Deserialize)]
struct Module {
    path: String,
    #[serde(rename = "type")]
    kind: String,
}

impl Modules {
    /// `None` where the model has no `modules.json`.
    fn read(files: &ModelFiles) -> Result<Option<Self>, PoolingError> {
        let Some(modules) = optional::<Vec<Module>>(files, MODULES)? else {
            return Ok(None);
        };
        let unsupported = |what: String| PoolingError::Unsupported {
            file: MODULES.to_owned(),
            what,
            hint: "; the modules Transformer, Pooling and Normalize are, in this order",
        };
        let mut found = None;
        let mut normalize = false;
        for (stage, Module { path, kind }) in modules.into_iter().enumerate() {
            match (stage, kind.rsplit('.').next().unwrap_or_default()) {
                (0, "Transformer") if path.is_empty() => {}
                (0, "Transformer") => {
                    return Err(unsupported(format!("a transformer in a folder, {path},")));
                }
                (1, "Pooling") => {
                    let file = format!("{path}/config.json");
                    found = Some((pooling_type(files, &file)?, file));
                }
                (2, "Normalize") => normalize = true,
                _ => return Err(unsupported(format!("the module {kind} at this place"))),
            }
        }
        let (pooling, file) = found.ok_or_else(|| unsupported("a model without Pooling".into()))?;
        Ok(Some(Self {
            pooling,
            normalize,
            file,
        }))
    }
}

/// `1_Pooling/config.json`: one mode by its name, or flags of which one is set.
fn pooling_type(files: &ModelFiles, file: &str) -> Result<PoolingType, PoolingError> {
    const FLAGS: [(&str, &str); 6] = [
        ("pooling_mode_cls_token", "cls"),
        ("pooling_mode_max_tokens", "max"),
        ("pooling_mode_mean_tokens", "mean"),
        ("pooling_mode_mean_sqrt_len_tokens", "mean_sqrt_len_tokens"),
        ("pooling_mode_weightedmean_tokens", "weightedmean"),
        ("pooling_mode_lasttoken", "lasttoken"),
    ];
    let config: Map<String, Value> = parsed(file, &files.read(file)?)?;
    let modes: Vec<&str> = match config.get("pooling_mode") {
        Some(Value::Array(modes)) => modes.iter().map(|m| m.as_str().unwrap_or("?")).collect(),
        Some(mode) => vec![mode.as_str().unwrap_or("?")],
        None => {
            let set = |flag: &str| config.get(flag) == Some(&Value::Bool(true));
            let set = FLAGS.iter().filter(|(flag, _)| set(flag));
            set.map(|(_, mode)| *mode).collect()
        }
    };
    match modes.as_slice() {
        ["mean"] | [] => Ok(PoolingType::Mean),
        ["mean_sqrt_len_tokens"] => Ok(PoolingType::MeanSqrtLen),
        ["max"] => Ok(PoolingType::Max),
        ["cls"] => Ok(PoolingType::Cls),
        ["lasttoken"] => Ok(PoolingType::Last),
        modes => Err(PoolingError::Unsupported {
            file: file.to_owned(),
            what: format!("pooling by {}", modes.join(" and ")),
            hint: "; one of cls, max, mean, mean_sqrt_len_tokens and lasttoken is",
        }),
    }
}

#[derive(Default, Deserialize)]
struct Transformer {
    max_seq_length: Option<usize>,
    do_lower_case: Option<bool>,
}

#[derive(Default, Deserialize)]
struct Matryoshka {
    is_matryoshka: Option<bool>,
    matryoshka_dimensions: Option<Vec<usize>>,
}

impl Matryoshka {
    fn dimensions(self) -> Option<Vec<usize>> {
        match (self.is_matryoshka, self.matryoshka_dimensions) {
            (_, Some(dimensions)) if !dimensions.is_empty() => Some(dimensions),
            (Some(true), _) => Some(Vec::new()),
            _ => None,
        }
    }
}

fn optional<T: for<'a> Deserialize<'a>>(
    files: &ModelFiles,
    file: &str,
) -> Result<Option<T>, PoolingError> {
    let content = files.read_optional(file)?;
    content.map(|content| parsed(file, &content)).transpose()
}

fn parsed<T: for<'a> Deserialize<'a>>(file: &str, content: &[u8]) -> Result<T, PoolingError> {
    serde_json::from_slice(content).map_err(|error| PoolingError::Malformed {
        file: file.to_owned(),
        error,
    })
}

#[cfg(test)]
#[path = "pooling_tests.rs"]
mod tests;
