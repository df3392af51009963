//! `tokenizer.json` and `tokenizer_config.json` of a model in a GGUF file.
//!
//! Two kinds of vocabulary are read: `gpt2`, byte-level BPE with the merges in the file, and `llama`,
//! SentencePiece's BPE, whose merges follow from the scores of the pieces. How text is split before
//! that, the file only names; `pretokenizer.rs` knows the names.

use std::collections::HashMap;

use serde_json::{Map, Value, json};

use super::{error::Problem, metadata::Metadata, pretokenizer::PreTokenizer};

/// Longest piece whose merges are worked out; real ones have up to some hundred bytes.
const PIECE_BYTES_MAX: usize = 1 << 10;
/// SentencePiece's space.
const SPACE: &str = "\u{2581}";
/// Texts of tokens that end an answer, whatever the keys say; llama.cpp knows them too.
const END_TOKENS: [&str; 9] = [
    "<|eot_id|>",
    "<|eom_id|>",
    "<|im_end|>",
    "<|end|>",
    "<end_of_turn>",
    "<|endoftext|>",
    "<|end_of_text|>",
    "<|end_of_role|>",
    "</s>",
];

/// What a token is, by GGUF's numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TokenKind {
    Normal,
    Unknown,
    Control,
    UserDefined,
    Unused,
    Byte,
}

/// The vocabulary of a file.
struct Vocabulary<'a> {
    tokens: &'a [String],
    kinds: Vec<TokenKind>,
}

impl<'a> Vocabulary<'a> {
    fn of(metadata: &'a Metadata) -> Result<Self, Problem> {
        let key = "tokenizer.ggml.tokens";
        let tokens = metadata
            .texts(key)?
            .ok_or_else(|| Problem::Missing(key.to_owned()))?;
        let key = "tokenizer.ggml.token_type";
        let kinds = match metadata.integers(key)? {
            None => vec![TokenKind::Normal; tokens.len()],
            Some(kinds) if kinds.len() == tokens.len() => kinds.iter().map(kind).collect(),
            Some(kinds) => {
                let what = format!("{} types for {} tokens", kinds.len(), tokens.len());
                return Err(Problem::damaged(key, what));
            }
        };
        Ok(Self { tokens, kinds })
    }

    /// Tokens and their ids, those aside that no text has.
    fn used(&self) -> impl Iterator<Item = (usize, &'a str, TokenKind)> {
        let all = self.tokens.iter().zip(&self.kinds).enumerate();
        all.map(|(id, (token, &kind))| (id, token.as_str(), kind))
            .filter(|(_, token, kind)| *kind != TokenKind::Unused && !token.is_empty())
    }

    fn ids(&self) -> Result<Map<String, Value>, Problem> {
        let mut ids = Map::new();
        for (id, token, _) in self.used() {
            if ids.insert(token.to_owned(), json!(id)).is_some() {
                let what = format!("the token {token:?} is there twice");
                return Err(Problem::damaged("tokenizer.ggml.tokens", what));
            }
        }
        Ok(ids)
    }

    /// Tokens that are read wherever they stand in a text.
    fn added(&self) -> Vec<Value> {
        let added = |kind| matches!(kind, TokenKind::Control | TokenKind::UserDefined);
        let entry = |(id, token, kind): (usize, &str, TokenKind)| {
            json!({
                "id": id, "content": token, "special": kind == TokenKind::Control,
                "single_word": false, "lstrip": false, "rstrip": false, "normalized": false,
            })
        };
        self.used()
            .filter(|(_, _, kind)| added(*kind))
            .map(entry)
            .collect()
    }

    /// The token that a key names.
    fn named(&self, metadata: &Metadata, key: &str) -> Result<Option<(usize, &'a str)>, Problem> {
        let key = format!("tokenizer.ggml.{key}_token_id");
        let Some(id) = metadata.size(&key)? else {
            return Ok(None);
        };
        let token = self.tokens.get(id);
        let beyond = || Problem::damaged(key, format!("there is no token {id}"));
        Ok(Some((id, token.ok_or_else(beyond)?.as_str())))
    }
}

fn kind(number: &i64) -> TokenKind {
    match number {
        2 => TokenKind::Unknown,
        3 => TokenKind::Control,
        4 => TokenKind::UserDefined,
        5 => TokenKind::Unused,
        6 => TokenKind::Byte,
        _ => TokenKind::Normal,
    }
}

/// The ids of tokens that end an answer.
pub(super) fn end_token_ids(metadata: &Metadata) -> Result<Vec<usize>, Problem> {
    let vocabulary = Vocabulary::of(metadata)?;
    let mut ids = Vec::new();
    for key in ["eos", "eot", "eom"] {
        ids.extend(vocabulary.named(metadata, key)?.map(|(id, _)| id));
    }
    let known = vocabulary
        .used()
        .filter(|(_, token, kind)| *kind == TokenKind::Control && END_TOKENS.contains(token));
    ids.extend(known.map(|(id, _, _)| id));
    ids.sort_unstable();
    ids.dedup();
    Ok(ids)
}

/// `tokenizer.json`.
pub(super) fn tokenizer_json(metadata: &Metadata) -> Result<Value, Problem> {
    let vocabulary = Vocabulary::of(metadata)?;
    let key = "tokenizer.ggml.model";
    let model = metadata
        .text(key)?
        .ok_or_else(|| Problem::Missing(key.to_owned()))?;
    let mut json = match model {
        "gpt2" => byte_level(metadata, &vocabulary)?,
        "llama" => sentence_piece(metadata, &vocabulary)?,
        other => {
            let (key, value) = (key.to_owned(), other.to_owned());
            return Err(Problem::Unknown {
                key,
                value,
                known: "gpt2, llama".to_owned(),
            });
        }
    };
    json["version"] = json!("1.0");
    json["added_tokens"] = json!(vocabulary.added());
    let bos_by_default = match model {
        "llama" => true,
        _ => PreTokenizer::of(metadata)?.adds_bos(),
    };
    json["post_processor"] = post_processor(metadata, &vocabulary, bos_by_default)?;
    Ok(json)
}

/// Byte-level BPE.
fn byte_level(metadata: &Metadata, vocabulary: &Vocabulary<'_>) -> Result<Value, Problem> {
    let pre_tokenizer = PreTokenizer::of(metadata)?;
    let key = "tokenizer.ggml.merges";
    let merges = metadata
        .texts(key)?
        .ok_or_else(|| Problem::Missing(key.to_owned()))?;
    let pair = |merge: &String| {
        // Byte-level tokens have no spaces: the one between the two is the only one.
        let (left, right) = merge.split_once(' ')?;
        Some(json!([left, right]))
    };
    let merges: Option<Vec<Value>> = merges.iter().map(pair).collect();
    let merges = merges.ok_or_else(|| Problem::damaged(key, "a merge is not of two tokens"))?;
    let add_prefix_space = metadata
        .bool("tokenizer.ggml.add_space_prefix")?
        .unwrap_or(false);
    Ok(json!({
        "normalizer": pre_tokenizer.normalizer(),
        "pre_tokenizer": pre_tokenizer.json(add_prefix_space),
        "decoder": {
            "type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true,
        },
        "model": {
            "type": "BPE", "ignore_merges": pre_tokenizer.ignores_merges(),
            "fuse_unk": false, "byte_fallback": false,
            "vocab": vocabulary.ids()?, "merges": merges,
        },
    }))
}

/// SentencePiece's BPE: the pair whose piece has the highest score is merged first.
fn sentence_piece(metadata: &Metadata, vocabulary: &Vocabulary<'_>) -> Result<Value, Problem> {
    let key = "tokenizer.ggml.scores";
    let scores = metadata
        .floats(key)?
        .ok_or_else(|| Problem::Missing(key.to_owned()))?;
    if scores.len() != vocabulary.tokens.len() {
        let what = format!(
            "{} scores for {} tokens",
            scores.len(),
            vocabulary.tokens.len()
        );
        return Err(Problem::damaged(key, what));
    }
    let prefix = metadata
        .bool("tokenizer.ggml.add_space_prefix")?
        .unwrap_or(true);
    let replace = |from: &str, to: &str| json!({ "type": "Replace", "pattern": { "String": from }, "content": to });
    let mut normalizers = vec![replace(" ", SPACE)];
    let mut decoders = vec![
        replace(SPACE, " "),
        json!({ "type": "ByteFallback" }),
        json!({ "type": "Fuse" }),
    ];
    if prefix {
        normalizers.insert(0, json!({ "type": "Prepend", "prepend": SPACE }));
        decoders.push(json!({ "type": "Strip", "content": " ", "start": 1, "stop": 0 }));
    }
    let unknown = vocabulary
        .used()
        .find(|(_, _, kind)| *kind == TokenKind::Unknown);
    Ok(json!({
        "normalizer": { "type": "Sequence", "normalizers": normalizers },
        "pre_tokenizer": null,
        "decoder": { "type": "Sequence", "decoders": decoders },
        "model": {
            "type": "BPE", "unk_token": unknown.map(|(_, token, _)| token),
            "fuse_unk": true, "byte_fallback": true, "ignore_merges": false,
            "vocab": vocabulary.ids()?, "merges": merges_by_score(vocabulary, scores)?,
        },
    }))
}

/// Every way to put a piece together from two others, best piece first.
fn merges_by_score<'a>(
    vocabulary: &Vocabulary<'a>,
    scores: &[f32],
) -> Result<Vec<[&'a str; 2]>, Problem> {
    let pieces: HashMap<&str, usize> = vocabulary
        .used()
        .filter(|(_, _, kind)| matches!(kind, TokenKind::Normal | TokenKind::UserDefined))
        .map(|(id, token, _)| (token, id))
        .collect();
    let mut merges = Vec::new();
    for (&piece, &id) in &pieces {
        if piece.len() > PIECE_BYTES_MAX {
            let what = format!("token {id} has more than {PIECE_BYTES_MAX} bytes");
            return Err(Problem::damaged("tokenizer.ggml.tokens", what));
        }
        for (at, _) in piece.char_indices().skip(1) {
            let (left, right) = piece.split_at(at);
            if let (Some(left_id), Some(right_id)) = (pieces.get(left), pieces.get(right)) {
                merges.push((scores[id], id, *left_id, *right_id, [left, right]));
            }
        }
    }
    merges.sort_by(|a, b| {
        b.0.total_cmp(&a.0)
            .then((a.1, a.2, a.3).cmp(&(b.1, b.2, b.3)))
    });
    Ok(merges.into_iter().map(|(.., pair)| pair).collect())
}

/// The tokens put before and behind a text.
fn post_processor(
    metadata: &Metadata,
    vocabulary: &Vocabulary<'_>,
    bos_by_default: bool,
) -> Result<Value, Problem> {
    let wanted = |key: &str, default: bool, name: &str| {
        let key = format!("tokenizer.ggml.{key}");
        if !metadata.bool(&key)?.unwrap_or(default) {
            return Ok(None);
        }
        vocabulary.named(metadata, name)
    };
    let bos = wanted("add_bos_token", bos_by_default, "bos")?;
    let eos = wanted("add_eos_token", false, "eos")?;
    if bos.is_none() && eos.is_none() {
        return Ok(Value::Null);
    }
    let special =
        |token: &(usize, &str)| json!({ "SpecialToken": { "id": token.1, "type_id": 0 } });
    let sequence = |id: &str| json!({ "Sequence": { "id": id, "type_id": 0 } });
    let around = |sequences: Vec<Value>| {
        let parts = bos
            .iter()
            .map(special)
            .chain(sequences)
            .chain(eos.iter().map(special));
        parts.collect::<Vec<_>>()
    };
    let tokens = bos.iter().chain(&eos).map(|&(id, token)| {
        (
            token.to_owned(),
            json!({ "id": token, "ids": [id], "tokens": [token] }),
        )
    });
    Ok(json!({
        "type": "TemplateProcessing",
        "single": around(vec![sequence("A")]),
        "pair": around(vec![sequence("A"), sequence("B")]),
        "special_tokens": tokens.collect::<Map<_, _>>(),
    }))
}

/// `tokenizer_config.json`: special tokens by name, and the chat templates.
pub(super) fn tokenizer_config_json(metadata: &Metadata) -> Result<Value, Problem> {
    let vocabulary = Vocabulary::of(metadata)?;
    let mut config = Map::new();
    for (key, name) in [
        ("bos", "bos"),
        ("eos", "eos"),
        ("unknown", "unk"),
        ("padding", "pad"),
    ] {
        if let Some((_, token)) = vocabulary.named(metadata, key)? {
            config.insert(format!("{name}_token"), json!(token));
        }
    }
    let default = metadata.text("tokenizer.chat_template")?;
    let named = metadata
        .texts("tokenizer.chat_templates")?
        .unwrap_or_default();
    let mut templates = Vec::new();
    templates.extend(default.map(|text| json!({ "name": "default", "template": text })));
    for name in named {
        let key = format!("tokenizer.chat_template.{name}");
        let text = metadata.text(&key)?.ok_or(Problem::Missing(key))?;
        templates.push(json!({ "name": name, "template": text }));
    }
    if !templates.is_empty() {
        config.insert("chat_template".to_owned(), json!(templates));
    }
    Ok(Value::Object(config))
}
