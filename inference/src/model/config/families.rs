//! One row of switches per architecture. Defaults of keys that a file leaves out are those of the
//! architecture's configuration class in `transformers` 5.

use super::{Activation, ExpertNames, NormPlacement, QkNorm};

/// When a projection has a bias.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bias {
    Never,
    Always,
    /// As `attention_bias` says.
    Configured,
}

/// Whether scores or logits are capped.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Softcap {
    /// The family has no such key.
    Never,
    /// As the key says; `default` where it is missing, none where it is null.
    Configured { default: Option<f64> },
}

/// Which layers have a sliding window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Windows {
    /// None has.
    Never,
    /// All, where `sliding_window` is set; its value where the key is missing.
    All { default: Option<usize> },
    /// Where `use_sliding_window` is true: all layers.
    AllIfUsed,
    /// Where `use_sliding_window` is true: by `layer_types`, else from `max_window_layers` on.
    FromLayer,
    /// By `layer_types`, else all but each `pattern`-th.
    Alternating { pattern: usize },
    /// Where `use_sliding_window` is true: by `layer_types`, else the layers without rotary
    /// embedding.
    NoRope,
}

/// How a layer's MLPs are many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Experts {
    None,
    /// In every layer, `intermediate_size` wide, normalized.
    Mixtral,
    /// By `decoder_sparse_step` and `mlp_only_layers`, `moe_intermediate_size` wide.
    Qwen,
}

/// The rotary settings' own ways.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct RopeRules {
    /// `rope_theta` of a file that has none.
    pub(super) theta: f64,
    /// Theta of layers with a window, where it is another (Gemma3).
    pub(super) local_theta: Option<f64>,
    /// `partial_rotary_factor` is honoured.
    pub(super) partial: bool,
    /// Some layers have none (SmolLM3).
    pub(super) skips_layers: bool,
}

/// An architecture.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Family {
    pub(super) architecture: &'static str,
    pub(super) head_dim: Option<usize>,
    /// Of a file without the key; `None`: as many as query heads.
    pub(super) kv_heads: Option<usize>,
    pub(super) tied: bool,
    pub(super) norm_eps: f64,
    pub(super) norm_unit_offset: bool,
    pub(super) norm_weight_in_f32: bool,
    pub(super) norm_placement: NormPlacement,
    pub(super) qk_norm: QkNorm,
    pub(super) qkv_bias: Bias,
    pub(super) out_bias: Bias,
    /// `mlp_bias` is honoured.
    pub(super) mlp_bias: bool,
    pub(super) fused: bool,
    pub(super) activation: Activation,
    pub(super) rope: RopeRules,
    pub(super) windows: Windows,
    pub(super) experts: Experts,
    /// Granite's four multipliers.
    pub(super) multipliers: bool,
    /// Default of the key that takes the place of head_dim in the attention's scale (Gemma).
    pub(super) query_pre_attn_scalar: Option<f64>,
    pub(super) attention_softcap: Softcap,
    pub(super) final_softcap: Softcap,
    pub(super) embedding_root_hidden: bool,
}

const PLAIN_ROPE: RopeRules = RopeRules {
    theta: 10_000.0,
    local_theta: None,
    partial: false,
    skips_layers: false,
};

/// Llama: what the others differ from.
const LLAMA: Family = Family {
    architecture: "LlamaForCausalLM",
    head_dim: None,
    kv_heads: None,
    tied: false,
    norm_eps: 1e-6,
    norm_unit_offset: false,
    norm_weight_in_f32: false,
    norm_placement: NormPlacement::Pre,
    qk_norm: QkNorm::None,
    qkv_bias: Bias::Configured,
    out_bias: Bias::Configured,
    mlp_bias: true,
    fused: false,
    activation: Activation::Silu,
    rope: PLAIN_ROPE,
    windows: Windows::Never,
    experts: Experts::None,
    multipliers: false,
    query_pre_attn_scalar: None,
    attention_softcap: Softcap::Never,
    final_softcap: Softcap::Never,
    embedding_root_hidden: false,
};

const UNBIASED: Family = Family {
    qkv_bias: Bias::Never,
    out_bias: Bias::Never,
    mlp_bias: false,
    ..LLAMA
};

const QWEN3: Family = Family {
    architecture: "Qwen3ForCausalLM",
    head_dim: Some(128),
    kv_heads: Some(32),
    qk_norm: QkNorm::PerHead,
    mlp_bias: false,
    windows: Windows::FromLayer,
    ..LLAMA
};

const GEMMA2: Family = Family {
    architecture: "Gemma2ForCausalLM",
    head_dim: Some(256),
    kv_heads: Some(4),
    tied: true,
    norm_unit_offset: true,
    norm_weight_in_f32: true,
    norm_placement: NormPlacement::Sandwich,
    mlp_bias: false,
    activation: Activation::GeluTanh,
    windows: Windows::Alternating { pattern: 2 },
    query_pre_attn_scalar: Some(256.0),
    attention_softcap: Softcap::Configured {
        default: Some(50.0),
    },
    final_softcap: Softcap::Configured {
        default: Some(30.0),
    },
    embedding_root_hidden: true,
    ..LLAMA
};

const FAMILIES: [Family; 12] = [
    LLAMA,
    Family {
        architecture: "MistralForCausalLM",
        kv_heads: Some(8),
        windows: Windows::All {
            default: Some(4096),
        },
        ..UNBIASED
    },
    Family {
        architecture: "Qwen2ForCausalLM",
        kv_heads: Some(32),
        qkv_bias: Bias::Always,
        windows: Windows::FromLayer,
        ..UNBIASED
    },
    QWEN3,
    Family {
        architecture: "Phi3ForCausalLM",
        norm_eps: 1e-5,
        fused: true,
        rope: RopeRules {
            partial: true,
            ..PLAIN_ROPE
        },
        windows: Windows::All { default: None },
        ..UNBIASED
    },
    Family {
        architecture: "GraniteForCausalLM",
        multipliers: true,
        ..LLAMA
    },
    Family {
        architecture: "SmolLM3ForCausalLM",
        kv_heads: Some(4),
        tied: true,
        rope: RopeRules {
            theta: 2_000_000.0,
            skips_layers: true,
            ..PLAIN_ROPE
        },
        windows: Windows::NoRope,
        ..LLAMA
    },
    Family {
        architecture: "Olmo2ForCausalLM",
        norm_eps: 1e-5,
        norm_weight_in_f32: true,
        norm_placement: NormPlacement::Post,
        qk_norm: QkNorm::FullWidth,
        mlp_bias: false,
        ..LLAMA
    },
    GEMMA2,
    Family {
        architecture: "Gemma3ForCausalLM",
        qk_norm: QkNorm::PerHead,
        rope: RopeRules {
            theta: 1_000_000.0,
            local_theta: Some(10_000.0),
            ..PLAIN_ROPE
        },
        windows: Windows::Alternating { pattern: 6 },
        attention_softcap: Softcap::Never,
        final_softcap: Softcap::Configured { default: None },
        ..GEMMA2
    },
    Family {
        architecture: "Qwen3MoeForCausalLM",
        head_dim: None,
        kv_heads: Some(4),
        windows: Windows::AllIfUsed,
        experts: Experts::Qwen,
        ..QWEN3
    },
    Family {
        architecture: "MixtralForCausalLM",
        kv_heads: Some(8),
        norm_eps: 1e-5,
        rope: RopeRules {
            theta: 1_000_000.0,
            ..PLAIN_ROPE
        },
        windows: Windows::All { default: None },
        experts: Experts::Mixtral,
        ..UNBIASED
    },
];

impl Family {
    /// The family of an architecture, and whether it is the model without its LM head (`LlamaModel`).
    pub(super) fn find(architecture: &str) -> Option<(&'static Self, bool)> {
        let find = |name: &str| FAMILIES.iter().find(|family| family.architecture == name);
        let whole = find(architecture).map(|family| (family, false));
        whole.or_else(|| {
            let name = architecture.strip_suffix("Model")?;
            find(&format!("{name}ForCausalLM")).map(|family| (family, true))
        })
    }
}

/// The architectures' names.
pub(super) fn names() -> [&'static str; 12] {
    FAMILIES.map(|family| family.architecture)
}

impl Experts {
    pub(super) const fn names(self) -> ExpertNames {
        match self {
            Self::Mixtral => ExpertNames {
                block: "block_sparse_moe",
                gate: "w1",
                up: "w3",
                down: "w2",
            },
            Self::None | Self::Qwen => ExpertNames {
                block: "mlp",
                gate: "gate_proj",
                up: "up_proj",
                down: "down_proj",
            },
        }
    }
}
