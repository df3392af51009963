//! Single operations of a model over made-up numbers, for those who measure them: each as the decoder runs it, with the bytes
//! and the operations that it cannot do without. Nothing here is part of serving.

use std::sync::atomic::{AtomicUsize, Ordering};

use candle_core::{DType, Device, Result, Tensor};
use half::bf16;

use super::{
    config::{Activation, NormConfig},
    ops::{
        BlockMatrix, BlockType, GatedLinear, Heads, HeadsNorm, KvWrite, Linear, Matrix,
        PagedAttention, Part, Queries, RmsNorm, Turn, kv_block_numbers,
    },
    runner::{Batch, RunnerError, blocks_for},
};

/// Bytes of weights, or of a cache, that take turns, so that each run reads its own from memory and not from a processor's
/// cache, as a model's layers do.
const TURNS_BYTES: usize = 192 << 20;
/// Bytes of one of the numbers that a decoder passes on.
const ACTIVATION_BYTES: usize = size_of::<bf16>();

/// How the numbers of a matrix are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WeightFormat {
    /// 16 bits each.
    Bf16,
    /// 8 bits each, and a scale of 16 bits for 32 of them; activations likewise.
    Q8_0,
}

/// Heads of an attention.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeadSizes {
    /// Of queries.
    pub heads: usize,
    /// Of keys, and of values.
    pub kv_heads: usize,
    /// Numbers of each.
    pub head_dim: usize,
}

/// An operation, and how much of it there is. Rows are tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// `[rows, columns]` by a matrix `[outputs, columns]`.
    Linear {
        /// Tokens.
        rows: usize,
        /// Numbers of a token.
        columns: usize,
        /// Numbers that become of it.
        outputs: usize,
        /// Of the matrix.
        format: WeightFormat,
    },
    /// Gate and up projection of an MLP, `[outputs, columns]` each, and their product: SiLU, bf16.
    GatedLinear {
        /// Tokens.
        rows: usize,
        /// Numbers of a token.
        columns: usize,
        /// Numbers that become of it.
        outputs: usize,
    },
    /// Attention of the last `tokens` of `context` tokens, in each of some sequences.
    Attention {
        /// Sequences.
        sequences: usize,
        /// New tokens of each.
        tokens: usize,
        /// Tokens of each, the new ones included.
        context: usize,
        /// Its heads.
        heads: HeadSizes,
    },
    /// RMS norm.
    RmsNorm {
        /// Tokens.
        rows: usize,
        /// Numbers of a token.
        width: usize,
    },
    /// What happens to the heads before the attention: norm, rotary, and the writing of keys and values into the cache.
    Heads {
        /// Tokens.
        rows: usize,
        /// The heads.
        heads: HeadSizes,
    },
}

impl Operation {
    /// Bytes that have to be read and written.
    pub fn bytes(self) -> usize {
        let activations = |numbers: usize| numbers * ACTIVATION_BYTES;
        match self {
            Self::Linear {
                rows,
                columns,
                outputs,
                ..
            } => self.kept_bytes() + activations(rows * (columns + outputs)),
            Self::GatedLinear {
                rows,
                columns,
                outputs,
            } => self.kept_bytes() + activations(rows * (columns + outputs)),
            Self::Attention {
                sequences,
                tokens,
                heads,
                ..
            } => {
                let queries = sequences * tokens * heads.heads * heads.head_dim;
                self.kept_bytes() + activations(2 * queries)
            }
            Self::RmsNorm { rows, width } => activations(2 * rows * width),
            Self::Heads { rows, heads } => {
                let HeadSizes {
                    heads,
                    kv_heads,
                    head_dim,
                } = heads;
                activations(2 * rows * (heads + 2 * kv_heads) * head_dim)
            }
        }
    }

    /// Bytes of the weights, or of the keys and values, that lie in memory before it.
    fn kept_bytes(self) -> usize {
        match self {
            Self::Linear {
                columns,
                outputs,
                format: WeightFormat::Q8_0,
                ..
            } => {
                let kind = BlockType::Q8_0;
                columns * outputs / kind.block_len() * kind.block_bytes()
            }
            Self::Linear {
                columns, outputs, ..
            } => columns * outputs * ACTIVATION_BYTES,
            Self::GatedLinear {
                columns, outputs, ..
            } => 2 * columns * outputs * ACTIVATION_BYTES,
            Self::Attention {
                sequences,
                context,
                heads,
                ..
            } => sequences * context * 2 * heads.kv_heads * heads.head_dim * ACTIVATION_BYTES,
            Self::RmsNorm { .. } | Self::Heads { .. } => 0,
        }
    }

    /// Multiplications and additions of its products; none are counted where memory is what takes time.
    pub fn operations(self) -> u64 {
        let products = |numbers: usize| 2 * numbers as u64;
        match self {
            Self::Linear {
                rows,
                columns,
                outputs,
                ..
            } => products(rows * columns * outputs),
            Self::GatedLinear {
                rows,
                columns,
                outputs,
            } => products(2 * rows * columns * outputs),
            Self::Attention {
                sequences,
                tokens,
                context,
                heads,
            } => {
                let seen: usize = (context - tokens + 1..=context).sum();
                2 * products(sequences * seen * heads.heads * heads.head_dim)
            }
            Self::RmsNorm { .. } | Self::Heads { .. } => 0,
        }
    }

    /// Its products are of integers of 8 bits.
    pub fn is_integer(self) -> bool {
        let format = match self {
            Self::Linear { format, .. } => Some(format),
            _ => None,
        };
        format == Some(WeightFormat::Q8_0)
    }
}

type Run = Box<dyn Fn(usize) -> Result<()> + Send + Sync>;

/// An operation with its numbers, ready to run.
pub struct Workload {
    run: Run,
    turns: usize,
    turn: AtomicUsize,
    /// Of each turn.
    matrices: Vec<Matrix>,
}

impl Workload {
    /// Makes its numbers, those that a model keeps as often as it takes for each run to find them in memory.
    ///
    /// # Errors
    /// [`RunnerError`] when the sizes do not fit each other: blocks of 32 weights, whole groups of heads.
    pub fn new(operation: Operation) -> std::result::Result<Self, RunnerError> {
        let turns = match operation.kept_bytes() {
            0 => 1,
            bytes => TURNS_BYTES.div_ceil(bytes),
        };
        Self::taking_turns(operation, turns)
    }

    /// Makes its numbers once: a run finds what the one before left in the processor's caches.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn in_cache(operation: Operation) -> std::result::Result<Self, RunnerError> {
        Self::taking_turns(operation, 1)
    }

    fn taking_turns(operation: Operation, turns: usize) -> std::result::Result<Self, RunnerError> {
        let mut matrices = Vec::new();
        let run = match operation {
            Operation::Linear {
                rows,
                columns,
                outputs,
                format: WeightFormat::Bf16,
            } => (0..turns)
                .map(|_| Matrix::new(&tensor(&[outputs, columns])?, false))
                .collect::<Result<_>>()
                .and_then(|made| {
                    matrices = made;
                    linear(rows, &matrices)
                }),
            Operation::Linear {
                rows,
                columns,
                outputs,
                format: WeightFormat::Q8_0,
            } => linear_q8(rows, (outputs, columns), turns),
            Operation::GatedLinear {
                rows,
                columns,
                outputs,
            } => gated_linear(rows, (outputs, columns), turns),
            Operation::Attention {
                sequences,
                tokens,
                context,
                heads,
            } => attention(batch(sequences, tokens, context), heads, turns),
            Operation::RmsNorm { rows, width } => rms_norm(rows, width),
            Operation::Heads { rows, heads } => prepare_heads(rows, heads),
        };
        let run = run.map_err(|error| RunnerError(error.to_string()))?;
        let turn = AtomicUsize::new(0);
        Ok(Self {
            run,
            turns,
            turn,
            matrices,
        })
    }

    /// The weights of a [`Operation::Linear`] in bf16 as they lie in memory, in the order in which runs read them; of others
    /// nothing.
    pub fn weights(&self) -> impl Iterator<Item = &[u8]> {
        self.matrices.iter().map(Matrix::bytes)
    }

    /// Runs it once.
    ///
    /// # Errors
    /// [`RunnerError`] when it failed.
    pub fn run(&self) -> std::result::Result<(), RunnerError> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed) % self.turns;
        (self.run)(turn).map_err(|error| RunnerError(error.to_string()))
    }
}

fn linear(rows: usize, matrices: &[Matrix]) -> Result<Run> {
    let layer = |matrix: &Matrix| Linear::of_packed(matrix.clone(), None);
    let layers: Vec<Linear> = matrices.iter().map(layer).collect::<Result<_>>()?;
    let columns = matrices.first().map_or(0, Matrix::columns);
    let x = tensor(&[rows, columns])?;
    Ok(Box::new(move |turn| layers[turn].forward(&x).map(drop)))
}

fn linear_q8(rows: usize, (outputs, columns): (usize, usize), turns: usize) -> Result<Run> {
    let x = tensor(&[rows, columns])?;
    let layer = |_| {
        let some_rows = |rows: std::ops::Range<usize>| Ok(numbers(rows.len() * columns));
        let size = (outputs, columns);
        let matrix = BlockMatrix::quantize(BlockType::Q8_0, size, some_rows)?;
        Linear::stacked(vec![Part::Quantized(matrix.into())], None)
    };
    let layers: Vec<Linear> = (0..turns).map(layer).collect::<Result<_>>()?;
    Ok(Box::new(move |turn| layers[turn].forward(&x).map(drop)))
}

fn gated_linear(rows: usize, (outputs, columns): (usize, usize), turns: usize) -> Result<Run> {
    let x = tensor(&[rows, columns])?;
    let layer = |_| {
        let matrix = Matrix::new(&tensor(&[2 * outputs, columns])?, true)?;
        GatedLinear::of_packed(matrix, None)
    };
    let layers: Vec<GatedLinear> = (0..turns).map(layer).collect::<Result<_>>()?;
    Ok(Box::new(move |turn| {
        layers[turn].forward(&x, Activation::Silu).map(drop)
    }))
}

/// Some sequences that are `context` tokens long with their last `tokens`.
fn batch(sequences: usize, tokens: usize, context: usize) -> Batch {
    let blocks = blocks_for(context) as u32;
    let mut batch = Batch::default();
    batch.clear();
    batch.block_table_width = blocks as usize;
    for sequence in 0..sequences as u32 {
        let own: Vec<u32> = (sequence * blocks..(sequence + 1) * blocks).collect();
        batch.push(&vec![0; tokens], context - tokens, &own, true);
    }
    batch
}

fn attention(batch: Batch, heads: HeadSizes, turns: usize) -> Result<Run> {
    let HeadSizes {
        heads,
        kv_heads,
        head_dim,
    } = heads;
    let blocks = batch.sequences() * batch.block_table_width;
    let queries = tensor(&[batch.input_ids.len(), heads, head_dim])?;
    let cache = |_| tensor(&[blocks, kv_block_numbers(kv_heads, head_dim)]);
    let caches: Vec<Tensor> = (0..turns).map(cache).collect::<Result<_>>()?;
    Ok(Box::new(move |turn| {
        let attention = PagedAttention {
            batch: &batch,
            kv_heads,
            causal: true,
            scale: 1.0 / (head_dim as f32).sqrt(),
            softcap: None,
            window: None,
        };
        queries
            .apply_op2_no_bwd(&caches[turn], &attention)
            .map(drop)
    }))
}

fn norm(width: usize) -> Result<RmsNorm> {
    let config = NormConfig {
        eps: 1e-6,
        unit_offset: false,
        weight_in_f32: false,
    };
    RmsNorm::new(&tensor(&[width])?, config)
}

fn rms_norm(rows: usize, width: usize) -> Result<Run> {
    let (x, norm) = (tensor(&[rows, width])?, norm(width)?);
    Ok(Box::new(move |_| norm.forward(&x).map(drop)))
}

fn prepare_heads(rows: usize, heads: HeadSizes) -> Result<Run> {
    let HeadSizes {
        heads,
        kv_heads,
        head_dim,
    } = heads;
    let product = tensor(&[rows, (heads + 2 * kv_heads) * head_dim])?;
    let cache = tensor(&[blocks_for(rows), kv_block_numbers(kv_heads, head_dim)])?;
    let (norm, table) = (norm(head_dim)?, numbers(rows * head_dim));
    let positions: Vec<u32> = (0..rows as u32).collect();
    Ok(Box::new(move |_| {
        let part = |first, count| Heads {
            first,
            count,
            dim: head_dim,
            norm: HeadsNorm::PerHead(&norm),
            turn: Some(Turn {
                table: &table,
                dim: head_dim,
            }),
            positions: &positions,
        };
        let write = KvWrite {
            keys: part(heads, kv_heads),
            first_value: heads + kv_heads,
            slot_mapping: &positions,
        };
        cache.inplace_op2(&product, &write)?;
        let queries = Queries(part(0, heads));
        product.apply_op1_no_bwd(&queries).map(drop)
    }))
}

/// In bf16.
fn tensor(shape: &[usize]) -> Result<Tensor> {
    let numbers = numbers(shape.iter().product());
    Tensor::from_vec(numbers, shape, &Device::Cpu)?.to_dtype(DType::BF16)
}

/// Between -1 and 1, as a xorshift has them (Marsaglia 2003); the same every time.
fn numbers(count: usize) -> Vec<f32> {
    let mut state = 2_463_534_242_u32;
    let number = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state as i32 as f32 / 2f32.powi(31)
    };
    std::iter::repeat_with(number).take(count).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADS: HeadSizes = HeadSizes {
        heads: 4,
        kv_heads: 2,
        head_dim: 16,
    };

    fn linear_of(columns: usize, format: WeightFormat) -> Operation {
        Operation::Linear {
            rows: 3,
            columns,
            outputs: 64,
            format,
        }
    }

    #[test]
    fn every_operation_runs_and_says_what_it_takes() {
        let gated = Operation::GatedLinear {
            rows: 3,
            columns: 32,
            outputs: 64,
        };
        // Two tokens that see 39 and 40 keys, in each of two sequences.
        let attention = Operation::Attention {
            sequences: 2,
            tokens: 2,
            context: 40,
            heads: HEADS,
        };
        let heads = Operation::Heads {
            rows: 33,
            heads: HEADS,
        };
        let kept = 2 * 40 * 2 * 2 * 16;
        for (operation, bytes, operations) in [
            (
                linear_of(32, WeightFormat::Bf16),
                2 * (64 * 32 + 3 * 96),
                2 * 3 * 32 * 64,
            ),
            (
                linear_of(32, WeightFormat::Q8_0),
                64 * 34 + 2 * 3 * 96,
                2 * 3 * 32 * 64,
            ),
            (gated, 2 * (2 * 64 * 32 + 3 * 96), 4 * 3 * 32 * 64),
            (attention, 2 * (kept + 2 * 4 * 4 * 16), 4 * 2 * 79 * 4 * 16),
            (Operation::RmsNorm { rows: 5, width: 8 }, 2 * 2 * 5 * 8, 0),
            (heads, 2 * 2 * 33 * 8 * 16, 0),
        ] {
            assert_eq!(operation.bytes(), bytes, "{operation:?}");
            assert_eq!(operation.operations(), operations, "{operation:?}");
            let workload = Workload::taking_turns(operation, 2).unwrap();
            for _ in 0..3 {
                workload.run().unwrap();
            }
        }
    }

    #[test]
    fn sizes_that_do_not_fit_are_refused() {
        let operation = linear_of(33, WeightFormat::Q8_0);
        assert!(Workload::in_cache(operation).is_err());
    }
}
