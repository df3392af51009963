//! The weights of one layer, and the names they have in the files. They are held in a
//! [`Form`]: that of the processors (`place.rs`), or that of a GPU.

use super::{
    config::{DecoderConfig, ExpertsConfig, MlpConfig, NormPlacement, QkNorm},
    weights::WeightsError,
};

/// A form that weights are held in, to be computed with.
pub(super) trait Form {
    /// The weight of a norm.
    type Norm;
    /// Matrices one below the other, and their biases.
    type Linear;
    /// The same of gate and up projection.
    type Gated;
    /// A mixture of experts.
    type Experts;
}

/// What takes weights out of the files.
pub(super) trait Place<F: Form> {
    fn norm(&self, name: &str, width: usize) -> Result<F::Norm, WeightsError>;

    fn linear(&self, matrices: &Matrices) -> Result<F::Linear, WeightsError>;

    fn gated(&self, matrices: &Matrices) -> Result<F::Gated, WeightsError>;

    fn experts(&self, experts: &ExpertMatrices) -> Result<F::Experts, WeightsError>;
}

/// Matrices `[rows[i], columns]` one below the other, as the files name them.
pub(super) struct Matrices {
    pub(super) names: Vec<String>,
    pub(super) rows: Vec<usize>,
    pub(super) columns: usize,
    /// One for each matrix, `[rows[i]]`.
    pub(super) biases: Option<Vec<String>>,
}

/// The matrices of a mixture.
pub(super) struct ExpertMatrices {
    /// `[experts, hidden]`; it is dense whatever the others are.
    pub(super) router: Matrices,
    /// Of each expert, gate above up, and down.
    pub(super) experts: Vec<(Matrices, Matrices)>,
    pub(super) config: ExpertsConfig,
}

/// One layer. Which norms there are is the family's.
pub(super) struct Layer<F: Form> {
    /// Before the attention.
    pub(super) attention_norm: Option<F::Norm>,
    /// Queries, keys and values, one below the other.
    pub(super) qkv: F::Linear,
    /// Norms of queries and keys: of each head, or of all together.
    pub(super) qk_norm: Option<QkNorms<F>>,
    pub(super) out: F::Linear,
    /// After the attention.
    pub(super) attention_out_norm: Option<F::Norm>,
    /// Before the MLP.
    pub(super) mlp_norm: Option<F::Norm>,
    pub(super) mlp: Mlp<F>,
    /// After the MLP.
    pub(super) mlp_out_norm: Option<F::Norm>,
}

/// The norms of queries and of keys.
type QkNorms<F> = (<F as Form>::Norm, <F as Form>::Norm);

/// The second half of a layer.
pub(super) enum Mlp<F: Form> {
    Dense {
        /// Gate, then up.
        gate_up: F::Gated,
        down: F::Linear,
    },
    Experts(F::Experts),
}

/// Reads one layer.
struct Reader<'a, F> {
    config: &'a DecoderConfig,
    place: &'a dyn Place<F>,
    index: usize,
}

impl<F: Form> Layer<F> {
    pub(super) fn load(
        config: &DecoderConfig,
        place: &dyn Place<F>,
        index: usize,
    ) -> Result<Self, WeightsError> {
        let reader = Reader {
            config,
            place,
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

impl<F: Form> Reader<'_, F> {
    fn name(&self, part: &str) -> String {
        format!("model.layers.{}.{part}.weight", self.index)
    }

    fn norm(&self, part: &str, width: usize) -> Result<F::Norm, WeightsError> {
        self.place.norm(&self.name(part), width)
    }

    fn linear(
        &self,
        parts: &[&str],
        rows: &[usize],
        columns: usize,
        biased: bool,
    ) -> Result<F::Linear, WeightsError> {
        self.place
            .linear(&self.matrices(parts, rows, columns, biased))
    }

    fn gated(
        &self,
        parts: &[&str],
        rows: &[usize],
        columns: usize,
        biased: bool,
    ) -> Result<F::Gated, WeightsError> {
        self.place
            .gated(&self.matrices(parts, rows, columns, biased))
    }

    fn matrices(&self, parts: &[&str], rows: &[usize], columns: usize, biased: bool) -> Matrices {
        let names: Vec<String> = parts.iter().map(|part| self.name(part)).collect();
        let bias = |name: &String| name.replace(".weight", ".bias");
        Matrices {
            biases: biased.then(|| names.iter().map(bias).collect()),
            names,
            rows: rows.to_vec(),
            columns,
        }
    }

    fn qkv(&self) -> Result<F::Linear, WeightsError> {
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

    fn out(&self) -> Result<F::Linear, WeightsError> {
        let &DecoderConfig {
            hidden,
            heads,
            head_dim,
            out_bias,
            ..
        } = self.config;
        self.linear(&["self_attn.o_proj"], &[hidden], heads * head_dim, out_bias)
    }

    fn qk_norm(&self) -> Result<Option<QkNorms<F>>, WeightsError> {
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

    fn mlp(&self) -> Result<Mlp<F>, WeightsError> {
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

    fn experts(&self, config: &ExpertsConfig) -> Result<F::Experts, WeightsError> {
        let ExpertsConfig {
            count,
            per_token: _,
            intermediate,
            normalized: _,
            names,
        } = *config;
        let hidden = self.config.hidden;
        let expert = |index: usize| {
            let part = |part: &str| format!("{}.experts.{index}.{part}", names.block);
            let (gate, up, down) = (part(names.gate), part(names.up), part(names.down));
            (
                self.matrices(&[&gate, &up], &[intermediate; 2], hidden, false),
                self.matrices(&[&down], &[hidden], intermediate, false),
            )
        };
        let router = format!("{}.gate", names.block);
        self.place.experts(&ExpertMatrices {
            router: self.matrices(&[&router], &[count], hidden, false),
            experts: (0..count).map(expert).collect(),
            config: config.clone(),
        })
    }
}
