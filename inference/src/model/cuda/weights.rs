//! A decoder's weights in the device's memory: rows of numbers of one type, or of blocks.

use std::sync::Arc;

use candela_cuda::{arguments::Pointer, cudarc::driver::CudaStream};
use candle_core::DType;
use half::{bf16, f16};

use super::{
    blocks::{InBlocks, Layout},
    error::GpuError,
    memory::Memory,
};
use crate::model::{
    config::{DecoderConfig, EmbeddingScale, ExpertsConfig},
    layer::{ExpertMatrices, Form, Layer, Matrices, Place},
    ops::BlockType,
    weights::{Weights, WeightsError},
};

/// The form that a GPU computes with.
pub(super) enum OnDevice {}

impl Form for OnDevice {
    type Norm = Norm;
    type Linear = Matrix;
    type Gated = Matrix;
    type Experts = Mixture;
}

/// The weight of a norm, in f32, Gemma's one added.
pub(super) struct Norm(Memory);

/// A matrix `[outputs, inputs]`, and a bias `[outputs]`.
pub(super) struct Matrix {
    /// One below the other.
    pub(super) parts: Vec<Part>,
    bias: Option<Memory>,
    pub(super) inputs: usize,
    pub(super) outputs: usize,
}

/// Rows of a matrix that are held alike.
#[derive(Clone)]
pub(super) struct Part {
    pub(super) held: Held,
    pub(super) outputs: usize,
}

/// What a part is held in.
#[derive(Clone)]
pub(super) enum Held {
    Numbers(Arc<Memory>),
    Blocks(InBlocks),
}

/// A mixture of experts.
pub(super) struct Mixture {
    pub(super) router: Matrix,
    /// `[experts, 2 · intermediate, hidden]`: gate above up.
    pub(super) gate_up: Memory,
    /// `[experts, hidden, intermediate]`
    pub(super) down: Memory,
    pub(super) config: ExpertsConfig,
}

impl Norm {
    pub(super) fn address(&self) -> Pointer {
        self.0.address
    }
}

impl Matrix {
    /// 0: it has none.
    pub(super) fn bias(&self) -> Pointer {
        self.bias.as_ref().map_or(0, |bias| bias.address)
    }
}

/// A decoder on the device.
pub(super) struct Model {
    pub(super) config: DecoderConfig,
    pub(super) embedding: Matrix,
    pub(super) embedding_scale: f32,
    pub(super) layers: Vec<Layer<OnDevice>>,
    pub(super) norm: Norm,
    /// None: the model is run for its hidden states.
    pub(super) lm_head: Option<Matrix>,
    /// One for each of the configuration's kinds, `[positions, dim]`.
    pub(super) rope_tables: Vec<Memory>,
}

/// Copies weights to the device.
pub(super) struct Upload<'a> {
    pub(super) stream: &'a Arc<CudaStream>,
    pub(super) config: &'a DecoderConfig,
    pub(super) weights: &'a Weights<'a>,
    pub(super) dtype: DType,
}

impl Model {
    /// As `Decoder::load` does on the processors.
    pub(super) fn load(
        upload: &Upload<'_>,
        positions: usize,
        served: usize,
        pools: bool,
    ) -> Result<Self, WeightsError> {
        let Upload {
            stream,
            config,
            weights,
            dtype,
        } = *upload;
        let (hidden, vocab) = (config.hidden, config.vocab);
        let matrix = |name: &str| {
            upload.linear(&Matrices {
                names: vec![name.to_owned()],
                rows: vec![vocab],
                columns: hidden,
                biases: None,
            })
        };
        let embedding = matrix("model.embed_tokens.weight")?;
        let lm_head = if pools {
            None
        } else if config.tied && !weights.has("lm_head.weight") {
            Some(Matrix {
                parts: embedding.parts.clone(),
                bias: None,
                ..embedding
            })
        } else {
            Some(matrix("lm_head.weight")?)
        };
        let layers = (0..config.layers.len())
            .map(|index| Layer::load(config, upload, index))
            .collect::<Result<_, _>>()?;
        let table = |rope: &crate::model::rope::RopeParameters| {
            let table = rope.table(positions, served);
            Memory::of(stream, &table, "rotary embedding").map_err(refused("rotary embedding"))
        };
        Ok(Self {
            config: config.clone(),
            embedding,
            embedding_scale: embedding_scale(config, dtype),
            layers,
            norm: upload.norm("model.norm.weight", hidden)?,
            lm_head,
            rope_tables: config.ropes.iter().map(table).collect::<Result<_, _>>()?,
        })
    }
}

/// √hidden is rounded to the type of the weights.
fn embedding_scale(config: &DecoderConfig, dtype: DType) -> f32 {
    let root = (config.hidden as f32).sqrt();
    match (config.embedding_scale, dtype) {
        (EmbeddingScale::By(scale), _) => scale,
        (EmbeddingScale::RootHidden, DType::BF16) => bf16::from_f32(root).to_f32(),
        (EmbeddingScale::RootHidden, DType::F16) => f16::from_f32(root).to_f32(),
        (EmbeddingScale::RootHidden, _) => root,
    }
}

impl Upload<'_> {
    /// Matrices one below the other, in one piece of memory.
    fn stacked(&self, parts: &[&Matrices]) -> Result<Memory, WeightsError> {
        let number = self.dtype.size_in_bytes();
        let bytes =
            |matrices: &&Matrices| matrices.rows.iter().sum::<usize>() * matrices.columns * number;
        let first = &parts[0].names[0];
        let memory = Memory::new(self.stream, parts.iter().map(bytes).sum(), first)
            .map_err(refused(first))?;
        let mut at = 0;
        for matrices in parts {
            for (name, &rows) in matrices.names.iter().zip(&matrices.rows) {
                self.copy(name, &[rows, matrices.columns], &memory, &mut at)?;
            }
        }
        Ok(memory)
    }

    /// The matrices one below the other, those beside each other that are held alike in one part.
    fn parts(&self, matrices: &Matrices) -> Result<Vec<Part>, WeightsError> {
        let mut runs: Vec<(Option<BlockType>, Matrices)> = Vec::new();
        for (name, &rows) in matrices.names.iter().zip(&matrices.rows) {
            let kind = self.weights.held_in(name, (rows, matrices.columns))?;
            match runs.last_mut() {
                Some((last, run)) if *last == kind => {
                    run.names.push(name.clone());
                    run.rows.push(rows);
                }
                _ => {
                    let run = Matrices {
                        names: vec![name.clone()],
                        rows: vec![rows],
                        columns: matrices.columns,
                        biases: None,
                    };
                    runs.push((kind, run));
                }
            }
        }
        let part = |(kind, run): &(Option<BlockType>, Matrices)| {
            Ok(Part {
                held: match kind {
                    None => Held::Numbers(Arc::new(self.stacked(&[run])?)),
                    Some(kind) => Held::Blocks(self.in_blocks(*kind, run)?),
                },
                outputs: run.rows.iter().sum(),
            })
        };
        runs.iter().map(part).collect()
    }

    fn in_blocks(&self, kind: BlockType, matrices: &Matrices) -> Result<InBlocks, WeightsError> {
        let layout = Layout {
            kind,
            rows: matrices.rows.iter().sum(),
            columns: matrices.columns,
        };
        let first = &matrices.names[0];
        let blocks = InBlocks::new(self.stream, layout, first).map_err(refused(first))?;
        let mut at = 0;
        for (name, &rows) in matrices.names.iter().zip(&matrices.rows) {
            let matrix = self.weights.blocks(name, (rows, matrices.columns), kind)?;
            blocks.fill(at, &matrix).map_err(refused(name))?;
            at += rows;
        }
        Ok(blocks)
    }

    /// Copies a tensor to `memory`, from byte `at` on, and sets that to where it ends.
    fn copy(
        &self,
        name: &str,
        shape: &[usize],
        memory: &Memory,
        at: &mut usize,
    ) -> Result<(), WeightsError> {
        self.weights.dense(name, shape, |bytes| {
            memory.fill(*at, bytes).map_err(candle_core::Error::wrap)?;
            *at += bytes.len();
            Ok(())
        })
    }
}

impl Place<OnDevice> for Upload<'_> {
    fn norm(&self, name: &str, width: usize) -> Result<Norm, WeightsError> {
        let weight = self.weights.get(name, &[width])?;
        let numbers = weight.to_dtype(DType::F32).and_then(|w| w.to_vec1::<f32>());
        let mut numbers = numbers.map_err(|error| WeightsError::Tensor {
            name: name.to_owned(),
            error,
        })?;
        if self.config.norm.unit_offset {
            numbers.iter_mut().for_each(|w| *w += 1.0);
        }
        Memory::of(self.stream, &numbers, name)
            .map(Norm)
            .map_err(refused(name))
    }

    fn linear(&self, matrices: &Matrices) -> Result<Matrix, WeightsError> {
        let outputs: usize = matrices.rows.iter().sum();
        let bias = |names: &Vec<String>| {
            let bytes = outputs * self.dtype.size_in_bytes();
            let name = &names[0];
            let memory = Memory::new(self.stream, bytes, name).map_err(refused(name))?;
            let mut at = 0;
            for (name, &rows) in names.iter().zip(&matrices.rows) {
                self.copy(name, &[rows], &memory, &mut at)?;
            }
            Ok::<_, WeightsError>(memory)
        };
        Ok(Matrix {
            parts: self.parts(matrices)?,
            bias: matrices.biases.as_ref().map(bias).transpose()?,
            inputs: matrices.columns,
            outputs,
        })
    }

    fn gated(&self, matrices: &Matrices) -> Result<Matrix, WeightsError> {
        self.linear(matrices)
    }

    fn experts(&self, matrices: &ExpertMatrices) -> Result<Mixture, WeightsError> {
        let gate_up: Vec<&Matrices> = matrices
            .experts
            .iter()
            .map(|(gate_up, _)| gate_up)
            .collect();
        let down: Vec<&Matrices> = matrices.experts.iter().map(|(_, down)| down).collect();
        Ok(Mixture {
            router: self.linear(&matrices.router)?,
            gate_up: self.stacked(&gate_up)?,
            down: self.stacked(&down)?,
            config: matrices.config.clone(),
        })
    }
}

fn refused(name: &str) -> impl FnOnce(GpuError) -> WeightsError {
    |error| WeightsError::Tensor {
        name: name.to_owned(),
        error: candle_core::Error::wrap(error),
    }
}
