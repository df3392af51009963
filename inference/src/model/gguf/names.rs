//! Tensor names: Hugging Face's to those that llama.cpp gives, and what its converter changed in
//! each tensor.

use super::{error::Problem, reader::Header};
use crate::model::saved::Undo;

/// A family of models that is read from GGUF files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Family {
    /// As in `general.architecture`.
    pub(super) gguf: &'static str,
    /// As in `architectures` of `config.json`.
    pub(super) architecture: &'static str,
    /// Rows of queries and keys lie in pairs, for llama.cpp's rotation of neighbours.
    paired_rows: bool,
    /// There are norms behind attention and MLP; `ffn_norm` is the one before the MLP.
    post_norms: bool,
    /// Norms have one added.
    one_added: bool,
}

const PLAIN: Family = Family {
    gguf: "",
    architecture: "",
    paired_rows: false,
    post_norms: false,
    one_added: false,
};

const fn family(gguf: &'static str, architecture: &'static str) -> Family {
    Family {
        gguf,
        architecture,
        ..PLAIN
    }
}

pub(super) const FAMILIES: [Family; 10] = [
    Family {
        paired_rows: true,
        ..family("llama", "LlamaForCausalLM")
    },
    family("qwen2", "Qwen2ForCausalLM"),
    family("qwen3", "Qwen3ForCausalLM"),
    family("qwen3moe", "Qwen3MoeForCausalLM"),
    family("phi3", "Phi3ForCausalLM"),
    Family {
        paired_rows: true,
        ..family("granite", "GraniteForCausalLM")
    },
    Family {
        paired_rows: true,
        ..family("smollm3", "SmolLM3ForCausalLM")
    },
    Family {
        post_norms: true,
        ..family("olmo2", "Olmo2ForCausalLM")
    },
    Family {
        post_norms: true,
        one_added: true,
        ..family("gemma2", "Gemma2ForCausalLM")
    },
    Family {
        post_norms: true,
        one_added: true,
        ..family("gemma3", "Gemma3ForCausalLM")
    },
];

impl Family {
    pub(super) fn paired_rows(self) -> bool {
        self.paired_rows
    }
}

/// Parts of a layer.
const PARTS: [(&str, &str); 14] = [
    ("self_attn.q_proj", "attn_q"),
    ("self_attn.k_proj", "attn_k"),
    ("self_attn.v_proj", "attn_v"),
    ("self_attn.qkv_proj", "attn_qkv"),
    ("self_attn.o_proj", "attn_output"),
    ("self_attn.q_norm", "attn_q_norm"),
    ("self_attn.k_norm", "attn_k_norm"),
    ("mlp.gate_proj", "ffn_gate"),
    ("mlp.up_proj", "ffn_up"),
    ("mlp.gate_up_proj", "ffn_up"),
    ("mlp.down_proj", "ffn_down"),
    ("mlp.gate", "ffn_gate_inp"),
    ("block_sparse_moe.gate", "ffn_gate_inp"),
    ("input_layernorm", "attn_norm"),
];

/// Parts of an expert, by the names of Qwen3-MoE and of Mixtral.
const EXPERT_PARTS: [(&str, &str); 6] = [
    ("gate_proj", "ffn_gate_exps"),
    ("up_proj", "ffn_up_exps"),
    ("down_proj", "ffn_down_exps"),
    ("w1", "ffn_gate_exps"),
    ("w3", "ffn_up_exps"),
    ("w2", "ffn_down_exps"),
];

/// The names of one file's tensors.
#[derive(Debug, Clone, Copy)]
pub(super) struct Names {
    pub(super) family: Family,
    head_dim: usize,
}

/// Where a tensor of Hugging Face is in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) tensor: String,
    /// The tensor has all experts; this one is meant.
    pub(super) expert: Option<usize>,
    pub(super) undo: Undo,
}

impl Names {
    /// By the architecture that the file names.
    pub(super) fn of(header: &Header) -> Result<Self, Problem> {
        let metadata = &header.metadata;
        let key = "general.architecture";
        let name = metadata
            .text(key)?
            .ok_or_else(|| Problem::Missing(key.to_owned()))?;
        let family = FAMILIES.iter().find(|family| family.gguf == name);
        let family = *family.ok_or_else(|| Problem::Unknown {
            key: key.to_owned(),
            value: name.to_owned(),
            known: FAMILIES.map(|family| family.gguf).join(", "),
        })?;
        if let Some(parts) = metadata.size("split.count")?.filter(|&parts| parts > 1) {
            let (key, value) = ("split.count".to_owned(), parts.to_string());
            return Err(Problem::Unsupported { key, value });
        }
        let head_dim = head_dim(header, family)?;
        if head_dim == 0 || family.paired_rows && !head_dim.is_multiple_of(2) {
            let key = format!("{name}.attention.key_length");
            return Err(Problem::Unsupported {
                key,
                value: head_dim.to_string(),
            });
        }
        Ok(Self { family, head_dim })
    }

    pub(super) fn head_dim(&self) -> usize {
        self.head_dim
    }

    pub(super) fn place(&self, name: &str) -> Option<Place> {
        let plain = |tensor: String| Place {
            tensor,
            expert: None,
            undo: self.undo(name),
        };
        match name {
            "model.embed_tokens.weight" => return Some(plain("token_embd.weight".to_owned())),
            "model.norm.weight" => return Some(plain("output_norm.weight".to_owned())),
            "lm_head.weight" => return Some(plain("output.weight".to_owned())),
            _ => {}
        }
        let (layer, part) = name.strip_prefix("model.layers.")?.split_once('.')?;
        let layer: usize = layer.parse().ok()?;
        let (part, kind) = part.rsplit_once('.')?;
        if let Some((_, expert)) = part.split_once(".experts.") {
            let (expert, part) = expert.split_once('.')?;
            let tensor = format!("blk.{layer}.{}.{kind}", mapped(&EXPERT_PARTS, part)?);
            let expert = Some(expert.parse().ok()?);
            return Some(Place {
                expert,
                ..plain(tensor)
            });
        }
        let part = match part {
            "post_attention_layernorm" if self.family.post_norms => "post_attention_norm",
            "post_attention_layernorm" | "pre_feedforward_layernorm" => "ffn_norm",
            "post_feedforward_layernorm" => "post_ffw_norm",
            part => mapped(&PARTS, part)?,
        };
        Some(plain(format!("blk.{layer}.{part}.{kind}")))
    }

    fn undo(&self, name: &str) -> Undo {
        let rotated = [".q_proj.", ".k_proj."]
            .iter()
            .any(|part| name.contains(part));
        if self.family.paired_rows && rotated {
            return Undo::PairedRows {
                head_dim: self.head_dim,
            };
        }
        if self.family.one_added && name.ends_with("norm.weight") {
            return Undo::OneAdded;
        }
        Undo::Nothing
    }
}

fn mapped(list: &[(&str, &'static str)], name: &str) -> Option<&'static str> {
    list.iter()
        .find(|(known, _)| *known == name)
        .map(|(_, tensor)| *tensor)
}

/// Dimensions of a head: as the file says, or an equal share of the hidden ones.
fn head_dim(header: &Header, family: Family) -> Result<usize, Problem> {
    let metadata = &header.metadata;
    let key = |name: &str| format!("{}.{name}", family.gguf);
    if let Some(dim) = metadata.size(&key("attention.key_length"))? {
        return Ok(dim);
    }
    let heads = metadata.needed_size(&key("attention.head_count"))?;
    Ok(metadata.needed_size(&key("embedding_length"))? / heads.max(1))
}
