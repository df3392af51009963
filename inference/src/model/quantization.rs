//! What `--quantization` makes of each matrix of a safetensors model.

use std::{collections::BTreeMap, fmt};

use candela_flags::Quantization;

use super::ops::BlockType;

/// Routers of mixtures of experts stay as they are: a little error there changes which experts run.
const ROUTERS: [&str; 2] = ["mlp.gate.weight", "block_sparse_moe.gate.weight"];
/// Embedding and LM head suffer most from few bits: they get eight whatever is asked.
const EIGHT_BITS: [&str; 5] = [
    "embed_tokens.weight",
    "lm_head.weight",
    "word_embeddings.weight",
    "position_embeddings.weight",
    "token_type_embeddings.weight",
];

/// How one matrix is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Choice {
    /// None: dense.
    pub(super) block_type: Option<BlockType>,
    /// Why it is not what was asked for, if it is not.
    reason: Option<Reason>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Reason {
    Router,
    EmbeddingOrHead,
    RowLength,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Router => "routers",
            Self::EmbeddingOrHead => "embedding or LM head",
            Self::RowLength => "rows are not whole blocks",
        })
    }
}

impl Choice {
    /// For the matrix `name` with rows of `columns` weights.
    pub(super) fn of(name: &str, columns: usize, asked: Quantization) -> Self {
        let ends_with = |list: &[&str]| list.iter().any(|end| name.ends_with(end));
        let dense = |reason| Self {
            block_type: None,
            reason: Some(reason),
        };
        let (wanted, reason) = match asked {
            Quantization::None => {
                return Self {
                    block_type: None,
                    reason: None,
                };
            }
            _ if ends_with(&ROUTERS) => return dense(Reason::Router),
            Quantization::Q8_0 => (BlockType::Q8_0, None),
            Quantization::Q4K if ends_with(&EIGHT_BITS) => {
                (BlockType::Q8_0, Some(Reason::EmbeddingOrHead))
            }
            Quantization::Q4K => (BlockType::Q4K, None),
        };
        for kind in [wanted, BlockType::Q8_0] {
            if columns.is_multiple_of(kind.block_len()) {
                let changed = (kind != wanted).then_some(Reason::RowLength);
                return Self {
                    block_type: Some(kind),
                    reason: changed.or(reason),
                };
            }
        }
        dense(Reason::RowLength)
    }
}

/// How many matrices became what.
#[derive(Debug, Default)]
pub(super) struct Tally(BTreeMap<(String, Option<Reason>), usize>);

impl Tally {
    pub(super) fn add(&mut self, choice: &Choice) {
        let kind = choice
            .block_type
            .map_or("dense".to_owned(), |kind| kind.to_string());
        *self.0.entry((kind, choice.reason)).or_default() += 1;
    }

    /// As in "100 matrices in q4_k; 1 in q8_0 (embedding or LM head)".
    pub(super) fn summary(&self) -> Option<String> {
        let part = |((kind, reason), count): (&(String, Option<Reason>), &usize)| match reason {
            None => format!("{count} in {kind}"),
            Some(reason) => format!("{count} in {kind} ({reason})"),
        };
        let parts: Vec<String> = self.0.iter().map(part).collect();
        (!parts.is_empty()).then(|| format!("matrices: {}", parts.join("; ")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(name: &str, columns: usize, asked: Quantization) -> Option<BlockType> {
        Choice::of(name, columns, asked).block_type
    }

    #[test]
    fn rows_that_are_no_whole_blocks_take_smaller_blocks_or_stay_dense() {
        let name = "model.layers.0.mlp.up_proj.weight";
        assert_eq!(of(name, 512, Quantization::Q4K), Some(BlockType::Q4K));
        assert_eq!(of(name, 288, Quantization::Q4K), Some(BlockType::Q8_0));
        assert_eq!(of(name, 72, Quantization::Q4K), None);
        assert_eq!(of(name, 512, Quantization::Q8_0), Some(BlockType::Q8_0));
        assert_eq!(of(name, 512, Quantization::None), None);
    }

    #[test]
    fn routers_stay_dense_and_the_head_keeps_eight_bits() {
        assert_eq!(
            of("model.layers.0.mlp.gate.weight", 512, Quantization::Q8_0),
            None
        );
        assert_eq!(
            of("lm_head.weight", 512, Quantization::Q4K),
            Some(BlockType::Q8_0)
        );
    }

    #[test]
    fn the_summary_says_what_was_not_done_and_why() {
        let mut tally = Tally::default();
        assert_eq!(tally.summary(), None);
        for name in ["a", "b", "lm_head.weight"] {
            tally.add(&Choice::of(name, 256, Quantization::Q4K));
        }
        let summary = tally.summary().unwrap();
        assert_eq!(
            summary,
            "matrices: 2 in q4_k; 1 in q8_0 (embedding or LM head)"
        );
    }
}
