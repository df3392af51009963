//! The weights of one layer, and the names they have in the files.

use super::{
    config::{DecoderConfig, ExpertsConfig, MlpConfig, NormPlacement, QkNorm},
    ops::{Expert, Experts, GatedLinear, Linear, RmsNorm},
    weights::{Weights, WeightsError},
};

/// One layer. Which norms there are is the family's.
pub(super) struct Layer {
    /// Before the attention.
    pub(super) attention_norm: Option<RmsNorm>,
    /// Queries, keys and values, one below the other.
    pub(super) qkv: Linear,
    /// Norms of queries and keys: of each head, or of all together.
    pub(super) qk_norm: Option<(RmsNorm, RmsNorm)>,
    pub(super) out: Linear,
    /// After the attention.
    pub(super) attention_out_norm: Option<RmsNorm>,
    /// Before the MLP.
    pub(super) mlp_norm: Option<RmsNorm>,
    pub(super) mlp: Mlp,
    /// After the MLP.
    pub(super) mlp_out_norm: Option<RmsNorm>,
}

/// The second half of a layer.
pub(super) enum Mlp {
    Dense {
        /// Gate, then up.
        gate_up: GatedLinear,
        down: Linear,
    },
    Experts(Experts),
}

/// A norm's weight in the files.
pub(super) struct NormTensor {
    name: String,
    width: usize,
}

impl NormTensor {
    pub(super) fn new(name: impl Into<String>, width: usize) -> Self {
        let name = name.into();
        Self { name, width }
    }

    pub(super) fn load(
        self,
        config: &DecoderConfig,
        weights: &Weights<'_>,
    ) -> Result<RmsNorm, WeightsError> {
        let weight = weights.get(&self.name, &[self.width])?;
        RmsNorm::new(&weight, config.norm).map_err(|error| WeightsError::Tensor {
            name: self.name,
            error,
        })
    }
}

/// Reads one layer.
struct Reader<'a> {
    config: &'a DecoderConfig,
    weights: &'a Weights<'a>,
    index: usize,
}

impl Layer {
    pub(super) fn load(
        config: &DecoderConfig,
        weights: &Weights<'_>,
        index: usize,
    ) -> Result<Self, WeightsError> {
        let reader = Reader {
            config,
            weights,
            index,
        };
        let norm = |part: &str| reader.norm(part, config.hidden).map(Some);
        let (attention_norm, attention_out_norm, mlp_norm, mlp_out_norm) =
            match config.norm_placement {
                NormPlacement::Pre => {
                    let before = norm("input_layernorm")?;
                    (before, None, norm("post_attention_layernorm")?, None)
                }
                NormPlacement::Post => {
                    let after = norm("post_attention_layernorm")?;
                    (None, after, None, norm("post_feedforward_layernorm")?)
                }
                NormPlacement::Sandwich => (
                    norm("input_layernorm")?,
                    norm("post_attention_layernorm")?,
                    norm("pre_feedforward_layernorm")?,
                    norm("post_feedforward_layernorm")?,
                ),
            };
        Ok(Self {
            attention_norm,
            qkv: reader.qkv()?,
            qk_norm: reader.qk_norm()?,
            out: reader.out()?,
            attention_out_norm,
            mlp_norm,
            mlp: reader.mlp()?,
            mlp_out_norm,
        })
    }
}

impl Reader<'_> {
    fn name(&self, part: &str) -> String {
        format!("model.layers.{}.{part}.weight", self.index)
    }

    fn norm(&self, part: &str, width: usize) -> Result<RmsNorm, WeightsError> {
        NormTensor::new(self.name(part), width).load(self.config, self.weights)
    }

    fn linear(
        &self,
        parts: &[&str],
        rows: &[usize],
        columns: usize,
        biased: bool,
    ) -> Result<Linear, WeightsError> {
        let (names, biases) = self.names(parts);
        self.weights
            .linear(&names, rows, columns, biased.then_some(&biases))
    }

    fn gated(
        &self,
        parts: &[&str],
        rows: &[usize],
        columns: usize,
        biased: bool,
    ) -> Result<GatedLinear, WeightsError> {
        let (names, biases) = self.names(parts);
        self.weights
            .gated(&names, rows, columns, biased.then_some(&biases))
    }

    /// Weights and biases.
    fn names(&self, parts: &[&str]) -> (Vec<String>, Vec<String>) {
        let names: Vec<String> = parts.iter().map(|part| self.name(part)).collect();
        let bias = |name: &String| name.replace(".weight", ".bias");
        let biases = names.iter().map(bias).collect();
        (names, biases)
    }

    fn qkv(&self) -> Result<Linear, WeightsError> {
        let &DecoderConfig {
            hidden,
            heads,
            kv_heads,
            head_dim,
            qkv_bias,
            fused,
            ..
        } = self.config;
        let (q, kv) = (heads * head_dim, kv_heads * head_dim);
        if fused {
            return self.linear(&["self_attn.qkv_proj"], &[q + 2 * kv], hidden, qkv_bias);
        }
        let parts = ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"];
        self.linear(&parts, &[q, kv, kv], hidden, qkv_bias)
    }

    fn out(&self) -> Result<Linear, WeightsError> {
        let &DecoderConfig {
            hidden,
            heads,
            head_dim,
            out_bias,
            ..
        } = self.config;
        self.linear(&["self_attn.o_proj"], &[hidden], heads * head_dim, out_bias)
    }

    fn qk_norm(&self) -> Result<Option<(RmsNorm, RmsNorm)>, WeightsError> {
        let &DecoderConfig {
            heads,
            kv_heads,
            head_dim,
            qk_norm,
            ..
        } = self.config;
        let (q, k) = match qk_norm {
            QkNorm::None => return Ok(None),
            QkNorm::PerHead => (head_dim, head_dim),
            QkNorm::FullWidth => (heads * head_dim, kv_heads * head_dim),
        };
        let norms = (
            self.norm("self_attn.q_norm", q)?,
            self.norm("self_attn.k_norm", k)?,
        );
        Ok(Some(norms))
    }

    fn mlp(&self) -> Result<Mlp, WeightsError> {
        let &DecoderConfig {
            hidden,
            mlp_bias,
            fused,
            ..
        } = self.config;
        let intermediate = match &self.config.layers[self.index].mlp {
            MlpConfig::Experts(experts) => return self.experts(experts).map(Mlp::Experts),
            MlpConfig::Dense { intermediate } => *intermediate,
        };
        let gate_up = if fused {
            self.gated(&["mlp.gate_up_proj"], &[2 * intermediate], hidden, mlp_bias)?
        } else {
            let parts = ["mlp.gate_proj", "mlp.up_proj"];
            self.gated(&parts, &[intermediate; 2], hidden, mlp_bias)?
        };
        let down = self.linear(&["mlp.down_proj"], &[hidden], intermediate, mlp_bias)?;
        Ok(Mlp::Dense { gate_up, down })
    }

    fn experts(&self, experts: &ExpertsConfig) -> Result<Experts, WeightsError> {
        let &ExpertsConfig {
            count,
            per_token,
            intermediate,
            normalized,
            names,
        } = experts;
        let hidden = self.config.hidden;
        let router = format!("{}.gate", names.block);
        let router = self.router(&self.name(&router), count, hidden)?;
        let expert = |index: usize| {
            let part = |part: &str| format!("{}.experts.{index}.{part}", names.block);
            let (gate, up, down) = (part(names.gate), part(names.up), part(names.down));
            Ok(Expert {
                gate_up: self.gated(&[&gate, &up], &[intermediate; 2], hidden, false)?,
                down: self.linear(&[&down], &[hidden], intermediate, false)?,
            })
        };
        Ok(Experts {
            router,
            experts: (0..count)
                .map(expert)
                .collect::<Result<_, WeightsError>>()?,
            per_token,
            normalized,
            activation: self.config.activation,
        })
    }

    /// It is dense whatever the others are.
    fn router(&self, name: &str, rows: usize, columns: usize) -> Result<Linear, WeightsError> {
        let weight = self.weights.get(name, &[rows, columns])?;
        Linear::new(&weight, None).map_err(|error| WeightsError::Tensor {
            name: name.to_owned(),
            error,
        })
    }
}
