//! The decoder's forward pass as a list of launches on the device's one stream. Nothing in here waits for the device, asks it for memory, or
//! depends on the numbers in it: the same list can be recorded as a graph.

use candela_cuda::arguments::{
    AttentionDecode, AttentionPlan, AttentionPrefill, Elementwise, ExpertsMatmul, ExpertsRoute,
    Gated, Gather, Heads, Pointer, Residual, RmsNorm, Scores,
};
use candle_core::DType;

use super::{
    buffers::{Parts, SPLIT_TOKENS, SPLITS_MAX, window},
    error::GpuError,
    inputs::OnDevice,
    kernels::Kernels,
    memory::Memory,
    multiply::{Multiply, Rows},
    weights::{Mixture, Model, Norm},
};
use crate::model::{
    config::{Activation, QkNorm},
    layer::Mlp,
    runner::BLOCK_TOKENS,
};

/// A model with all that its passes need.
pub(super) struct Decoder {
    pub(super) model: Model,
    pub(super) kernels: Kernels,
    pub(super) multiply: Multiply,
    pub(super) parts: Parts,
    pub(super) cache: Cache,
    pub(super) dtype: DType,
}

/// Keys and values: of every layer `[blocks, 2, kv_heads, 32, head_dim]`.
pub(super) struct Cache {
    pub(super) memory: Memory,
    pub(super) blocks: usize,
    pub(super) layer_bytes: usize,
}

/// What a pass goes over.
#[derive(Debug, Clone, Copy)]
pub(super) struct Step {
    pub(super) inputs: OnDevice,
    /// Tokens and padding.
    pub(super) rows: usize,
    /// Some sequences have one token in it.
    pub(super) decodes: bool,
    /// Some have several.
    pub(super) prefills: bool,
}

impl Decoder {
    /// Token ids → hidden states of all rows behind the last norm, in `parts.normed`.
    pub(super) fn states(&mut self, step: &Step) -> Result<(), GpuError> {
        self.embed(step)?;
        self.plans(step)?;
        for index in 0..self.model.layers.len() {
            self.attention(index, step)?;
            self.mlp(index, step)?;
        }
        Ok(())
    }

    /// Logits of `rows` rows of `states`, f32, in `parts.logits`.
    pub(super) fn logits(&mut self, states: Pointer, rows: usize) -> Result<(), GpuError> {
        let config = &self.model.config;
        let logits = self.parts.logits;
        let head = self.model.lm_head.as_ref();
        let head = head.expect("a model without an LM head is asked for hidden states only");
        self.multiply.begin(
            head,
            Rows {
                wide: true,
                ..of(states, logits, rows)
            },
        )?;
        let (divisor, softcap) = (config.logits_divisor, config.final_softcap.unwrap_or(0.0));
        if divisor == 1.0 && softcap == 0.0 {
            return Ok(());
        }
        self.kernels.logits_scale(&Elementwise {
            factor: divisor,
            softcap,
            ..elementwise(logits, logits, rows * config.vocab)
        })
    }

    /// The wanted rows' hidden states from the `first` on, in `parts.wanted`.
    pub(super) fn wanted(&self, step: &Step, first: usize, rows: usize) -> Result<(), GpuError> {
        self.kernels.gather(
            rows as u32,
            &Gather {
                matrix: self.parts.normed,
                ids: step.inputs.logits_from(first),
                out: self.parts.wanted,
                matrix_rows: step.rows as u32,
                width: self.model.config.hidden as u32,
                scale: 1.0,
            },
        )
    }

    /// The same in f32, in `parts.logits`.
    pub(super) fn wide_states(&self, rows: usize) -> Result<(), GpuError> {
        let count = rows * self.model.config.hidden;
        self.kernels
            .widen(&elementwise(self.parts.wanted, self.parts.logits, count))
    }

    fn embed(&self, step: &Step) -> Result<(), GpuError> {
        let model = &self.model;
        self.multiply.gather(
            &self.kernels,
            &model.embedding,
            (step.inputs.ids, self.parts.x, step.rows),
            model.embedding_scale,
        )?;
        let Some(norm) = model.layers.first().and_then(|l| l.attention_norm.as_ref()) else {
            return Ok(());
        };
        let hidden = model.config.hidden;
        self.norm(
            step,
            norm,
            (self.parts.x, self.parts.normed),
            hidden,
            hidden,
        )
    }

    /// RMS norm of `width` numbers of each row; rows begin `stride` numbers apart.
    fn norm(
        &self,
        step: &Step,
        norm: &Norm,
        (x, out): (Pointer, Pointer),
        width: usize,
        stride: usize,
    ) -> Result<(), GpuError> {
        let config = self.model.config.norm;
        self.kernels.rms_norm(
            step.rows as u32,
            &RmsNorm {
                x,
                weight: norm.address(),
                out,
                width: width as u32,
                x_stride: stride as u32,
                out_stride: stride as u32,
                eps: config.eps,
                weight_in_f32: u32::from(config.weight_in_f32),
            },
        )
    }

    /// What the attention's blocks do, for each window.
    fn plans(&self, step: &Step) -> Result<(), GpuError> {
        let Some(tile_rows) = self.kernels.tile_rows() else {
            return Ok(());
        };
        for &(window, plan) in &self.parts.plans {
            self.kernels.plan(&AttentionPlan {
                sequences: step.inputs.sequences,
                plan,
                window,
                split_tokens: SPLIT_TOKENS,
                splits_max: SPLITS_MAX,
                tile_rows,
            })?;
        }
        Ok(())
    }

    /// The first half of a layer.
    fn attention(&mut self, index: usize, step: &Step) -> Result<(), GpuError> {
        let layer = &self.model.layers[index];
        let parts = &self.parts;
        let input = normed(parts, layer.attention_norm.as_ref());
        let qkv = of(input, parts.qkv, step.rows);
        self.multiply.begin(&layer.qkv, qkv)?;
        self.heads(index, step)?;
        self.attend(index, step)?;
        let layer = &self.model.layers[index];
        let out = of(self.parts.attended, self.parts.y, step.rows);
        self.multiply.begin(&layer.out, out)?;
        self.join(
            step,
            layer.attention_out_norm.as_ref(),
            layer.mlp_norm.as_ref(),
        )
    }

    /// Queries, normed and turned; keys and values into the cache.
    fn heads(&self, index: usize, step: &Step) -> Result<(), GpuError> {
        let (model, parts) = (&self.model, &self.parts);
        let config = &model.config;
        let layer = &model.layers[index];
        let (mut q_weight, mut k_weight) = (0, 0);
        match (&layer.qk_norm, config.qk_norm) {
            (None, _) | (_, QkNorm::None) => {}
            (Some((q, k)), QkNorm::PerHead) => (q_weight, k_weight) = (q.address(), k.address()),
            (Some((q, k)), QkNorm::FullWidth) => {
                let (heads, kv_heads) = (config.heads, config.kv_heads);
                let stride = (heads + 2 * kv_heads) * config.head_dim;
                let queries = heads * config.head_dim;
                let keys = parts.qkv + (queries * self.dtype.size_in_bytes()) as u64;
                self.norm(step, q, (parts.qkv, parts.qkv), queries, stride)?;
                self.norm(step, k, (keys, keys), kv_heads * config.head_dim, stride)?;
            }
        }
        let rope = config.layers[index].rope;
        self.kernels.heads(
            step.rows as u32,
            &Heads {
                product: parts.qkv,
                positions: step.inputs.positions,
                slots: step.inputs.slots,
                table: rope.map_or(0, |rope| model.rope_tables[rope].address),
                q_weight,
                k_weight,
                queries: parts.queries,
                cache: self.cache.layer(index),
                slot_count: (self.cache.blocks * BLOCK_TOKENS) as u64,
                heads: config.heads as u32,
                kv_heads: config.kv_heads as u32,
                head_dim: config.head_dim as u32,
                rotary_dim: rope.map_or(0, |rope| config.ropes[rope].dim as u32),
                // The files' rows are ordered for halves; those of GGUF files would be put in that order.
                interleaved: 0,
                weight_in_f32: u32::from(config.norm.weight_in_f32),
                eps: config.norm.eps,
            },
        )
    }

    fn attend(&self, index: usize, step: &Step) -> Result<(), GpuError> {
        let (config, parts) = (&self.model.config, &self.parts);
        let window = window(config.layers[index].window);
        let plan = parts.plans.iter().find(|(of, _)| *of == window);
        let (_, plan) = *plan.expect("each layer's window has a plan");
        let scores = Scores {
            scale: config.attention_scale,
            softcap: config.attention_softcap.unwrap_or(0.0),
            window,
            causal: 1,
        };
        let cache = self.cache.layer(index);
        let (heads, kv_heads) = (config.heads as u32, config.kv_heads as u32);
        let head_dim = config.head_dim as u32;
        let sequences = step.inputs.sequences;
        let decode = AttentionDecode {
            sequences,
            scores,
            plan,
            queries: parts.queries,
            cache,
            out: parts.attended,
            partial: parts.partial,
            partial_state: parts.partial_state,
            heads,
            kv_heads,
            head_dim,
            split_tokens: SPLIT_TOKENS,
            splits_max: SPLITS_MAX,
        };
        let prefill = AttentionPrefill {
            sequences,
            scores,
            plan,
            queries: parts.queries,
            cache,
            out: parts.attended,
            heads,
            kv_heads,
            head_dim,
            single: 1,
        };
        let over = (step.rows as u32, step.decodes, step.prefills);
        self.kernels.attention(over, &decode, &prefill)
    }

    /// The second half of a layer. It ends with the norm that comes next: the next layer's first, or the last of all.
    fn mlp(&mut self, index: usize, step: &Step) -> Result<(), GpuError> {
        let layer = &self.model.layers[index];
        let input = normed(&self.parts, layer.mlp_norm.as_ref());
        match &layer.mlp {
            Mlp::Dense { gate_up, down } => {
                let parts = &self.parts;
                let up = of(input, parts.gate_up, step.rows);
                self.multiply.begin(gate_up, up)?;
                self.gate(step.rows, down.inputs)?;
                let rows = of(parts.gated, parts.y, step.rows);
                self.multiply.begin(down, rows)?;
            }
            Mlp::Experts(mixture) => {
                let logits = self.parts.mixture.map_or(0, |parts| parts.logits);
                self.multiply.begin(
                    &mixture.router,
                    Rows {
                        wide: true,
                        ..of(input, logits, step.rows)
                    },
                )?;
                self.experts(mixture, input, step)?;
            }
        }
        let model = &self.model;
        let next = match model.layers.get(index + 1) {
            Some(layer) => layer.attention_norm.as_ref(),
            None => Some(&model.norm),
        };
        self.join(step, model.layers[index].mlp_out_norm.as_ref(), next)
    }

    fn experts(&self, mixture: &Mixture, input: Pointer, step: &Step) -> Result<(), GpuError> {
        let (parts, rows) = (&self.parts, step.rows as u32);
        let own = parts.mixture.expect("a mixture has its parts");
        let hidden = self.model.config.hidden as u32;
        let config = &mixture.config;
        let (experts, per_token) = (config.count as u32, config.per_token as u32);
        self.kernels.route(&ExpertsRoute {
            logits: own.logits,
            live_rows: step.inputs.tokens,
            to: own.assignments,
            rows,
            experts,
            per_token,
            normalized: u32::from(config.normalized),
        })?;
        let up = ExpertsMatmul {
            x: input,
            weight: mixture.gate_up.address,
            out: parts.gate_up,
            by: own.assignments,
            experts,
            per_token,
            columns: 2 * config.intermediate as u32,
            inner: hidden,
            by_assignment: 0,
        };
        self.kernels.experts_matmul(rows, &up)?;
        self.gate(step.rows * config.per_token, config.intermediate)?;
        let down = ExpertsMatmul {
            x: parts.gated,
            weight: mixture.down.address,
            out: own.out,
            columns: hidden,
            inner: config.intermediate as u32,
            by_assignment: 1,
            ..up
        };
        self.kernels.experts_matmul(rows, &down)?;
        self.kernels.experts_combine(
            rows,
            &ExpertsMatmul {
                x: own.out,
                out: parts.y,
                ..down
            },
        )
    }

    /// Gate and up → their product, `width` numbers of each row.
    fn gate(&self, rows: usize, width: usize) -> Result<(), GpuError> {
        let activation = match self.model.config.activation {
            Activation::Silu => 0,
            Activation::Gelu => 1,
            Activation::GeluTanh => 2,
            Activation::Relu => 3,
        };
        self.kernels.gated(
            rows as u32,
            &Gated {
                x: self.parts.gate_up,
                out: self.parts.gated,
                width: width as u32,
                activation,
            },
        )
    }

    /// `y`, normed if there is a norm, joins the residual stream, which is then normed for what comes next.
    fn join(&self, step: &Step, norm: Option<&Norm>, next: Option<&Norm>) -> Result<(), GpuError> {
        let (config, parts) = (&self.model.config, &self.parts);
        self.kernels.residual(
            step.rows as u32,
            &Residual {
                x: parts.x,
                y: parts.y,
                y_weight: norm.map_or(0, Norm::address),
                weight: next.map_or(0, Norm::address),
                sum: parts.x,
                out: next.map_or(0, |_| parts.normed),
                width: config.hidden as u32,
                scale: config.residual_scale,
                eps: config.norm.eps,
                weight_in_f32: u32::from(config.norm.weight_in_f32),
            },
        )
    }
}

impl Cache {
    fn layer(&self, index: usize) -> Pointer {
        self.memory.address + (index * self.layer_bytes) as u64
    }
}

/// What a half of a layer begins with: the residual stream, or what the launch before made of it.
fn normed(parts: &Parts, norm: Option<&Norm>) -> Pointer {
    match norm {
        Some(_) => parts.normed,
        None => parts.x,
    }
}

/// Rows whose result is of their type.
fn of(x: Pointer, out: Pointer, count: usize) -> Rows {
    Rows {
        x,
        out,
        count,
        wide: false,
    }
}

fn elementwise(x: Pointer, out: Pointer, count: usize) -> Elementwise {
    Elementwise {
        x,
        y: 0,
        out,
        count: count as u64,
        width: 0,
        activation: 0,
        factor: 1.0,
        softcap: 0.0,
    }
}
