//! One layer by itself, for programs that measure what the machine does best: nothing here serves a request.

use candle_core::{DType, Device, Result, Tensor};

use super::ops::Linear;

/// A linear layer with random weights, and activations for it.
pub struct LinearLayer {
    linear: Linear,
    /// `[T, K]`
    activations: Tensor,
}

impl LinearLayer {
    /// Weights `[outputs, inputs]` and activations `[tokens, inputs]`, both bf16.
    ///
    /// # Errors
    /// Where there is no memory for them.
    pub fn bf16(tokens: usize, inputs: usize, outputs: usize) -> Result<Self> {
        let random =
            |rows| Tensor::rand(-1f32, 1f32, (rows, inputs), &Device::Cpu)?.to_dtype(DType::BF16);
        Ok(Self {
            linear: Linear::new(&random(outputs)?, None)?,
            activations: random(tokens)?,
        })
    }

    /// Computes the layer once, as a model does.
    ///
    /// # Errors
    /// Where there is no memory for the result.
    pub fn run(&self) -> Result<()> {
        self.linear.forward(&self.activations).map(drop)
    }
}
