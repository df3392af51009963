//! How text is split before BPE, by the names that GGUF files give to the ways of the model families
//! (`tokenizer.ggml.pre`). The patterns are those of the families' own tokenizers.

use serde_json::{Value, json};

use super::{error::Problem, metadata::Metadata};

/// A way to split text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PreTokenizer {
    /// Llama 3: digits by threes; whole words of the vocabulary are taken as they are.
    Llama3,
    /// Llama 3's pattern, words merged as usual (OLMo 2, SmolLM3, Phi 4).
    Cl100k,
    /// Qwen 2 and 3: digits one by one, text in Unicode's NFC.
    Qwen2,
    Gpt2,
    /// GPT-2's pattern behind a split of digits one by one (SmolLM, Granite).
    Digits,
    /// Mistral's Tekken: words split where capitals begin.
    Tekken,
    /// Phi 4 mini: Tekken's words with contractions, digits by threes.
    Gpt4o,
}

const NAMES: [(&str, PreTokenizer); 21] = [
    ("llama3", PreTokenizer::Llama3),
    ("llama-v3", PreTokenizer::Llama3),
    ("llama-bpe", PreTokenizer::Llama3),
    ("falcon3", PreTokenizer::Llama3),
    ("dbrx", PreTokenizer::Cl100k),
    ("smaug-bpe", PreTokenizer::Cl100k),
    ("qwen2", PreTokenizer::Qwen2),
    ("deepseek-r1-qwen", PreTokenizer::Qwen2),
    ("megrez", PreTokenizer::Qwen2),
    ("gpt-2", PreTokenizer::Gpt2),
    ("phi-2", PreTokenizer::Gpt2),
    ("mpt", PreTokenizer::Gpt2),
    ("olmo", PreTokenizer::Gpt2),
    ("smollm", PreTokenizer::Digits),
    ("refact", PreTokenizer::Digits),
    ("starcoder", PreTokenizer::Digits),
    ("command-r", PreTokenizer::Digits),
    ("codeshell", PreTokenizer::Digits),
    ("tekken", PreTokenizer::Tekken),
    ("gpt-4o", PreTokenizer::Gpt4o),
    ("llama4", PreTokenizer::Gpt4o),
];

const CONTRACTIONS: &str = "(?i:'s|'t|'re|'ve|'m|'ll|'d)";
const SPACES: &str = r"\s*[\r\n]+|\s+(?!\S)|\s+";
/// A word, with one sign before it that is no letter, digit or line end.
const WORD: &str = r"[^\r\n\p{L}\p{N}]?\p{L}+";

impl PreTokenizer {
    /// The one that the file names.
    pub(super) fn of(metadata: &Metadata) -> Result<Self, Problem> {
        let key = "tokenizer.ggml.pre";
        let name = metadata
            .text(key)?
            .ok_or_else(|| Problem::Missing(key.to_owned()))?;
        let found = NAMES.iter().find(|(known, _)| *known == name);
        found.map(|(_, pre)| *pre).ok_or_else(|| Problem::Unknown {
            key: key.to_owned(),
            value: name.to_owned(),
            known: NAMES.map(|(known, _)| known).join(", "),
        })
    }

    /// A word that is in the vocabulary is its token, whatever the merges make of it.
    pub(super) fn ignores_merges(self) -> bool {
        matches!(self, Self::Llama3 | Self::Tekken)
    }

    /// Texts begin with the beginning-of-sequence token, unless the file says otherwise.
    pub(super) fn adds_bos(self) -> bool {
        matches!(self, Self::Llama3 | Self::Tekken)
    }

    pub(super) fn normalizer(self) -> Value {
        match self {
            Self::Qwen2 => json!({ "type": "NFC" }),
            _ => Value::Null,
        }
    }

    pub(super) fn json(self, add_prefix_space: bool) -> Value {
        let bytes = |use_regex: bool| {
            json!({
                "type": "ByteLevel", "add_prefix_space": add_prefix_space,
                "trim_offsets": true, "use_regex": use_regex,
            })
        };
        let sequence = |first: Value, use_regex: bool| json!({ "type": "Sequence", "pretokenizers": [first, bytes(use_regex)] });
        match self {
            Self::Gpt2 => bytes(true),
            Self::Digits => sequence(json!({ "type": "Digits", "individual_digits": true }), true),
            _ => {
                let pattern = json!({ "Regex": self.pattern() });
                let split = json!({
                    "type": "Split", "pattern": pattern, "behavior": "Isolated", "invert": false,
                });
                sequence(split, false)
            }
        }
    }

    fn pattern(self) -> String {
        // Words of capitals and small letters, which each may be absent but not both.
        let (capitals, small) = (r"\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}", r"\p{Ll}\p{Lm}\p{Lo}\p{M}");
        let cased = |ending: &str| {
            format!(
                r"[^\r\n\p{{L}}\p{{N}}]?[{capitals}]*[{small}]+{ending}|[^\r\n\p{{L}}\p{{N}}]?[{capitals}]+[{small}]*{ending}"
            )
        };
        let signs = |ends: &str| format!(r" ?[^\s\p{{L}}\p{{N}}]+[{ends}]*");
        let (plain_signs, path_signs) = (signs(r"\r\n"), signs(r"\r\n/"));
        match self {
            Self::Qwen2 => format!(r"{CONTRACTIONS}|{WORD}|\p{{N}}|{plain_signs}|{SPACES}"),
            Self::Tekken => format!(r"{}|\p{{N}}|{path_signs}|{SPACES}", cased("")),
            Self::Gpt4o => {
                let words = cased(&format!("{CONTRACTIONS}?"));
                format!(r"{words}|\p{{N}}{{1,3}}|{path_signs}|{SPACES}")
            }
            Self::Llama3 | Self::Cl100k | Self::Gpt2 | Self::Digits => {
                format!(r"{CONTRACTIONS}|{WORD}|\p{{N}}{{1,3}}|{plain_signs}|{SPACES}")
            }
        }
    }
}
