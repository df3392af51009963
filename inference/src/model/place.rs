//! Weights as the processors compute with them.

use super::{
    config::DecoderConfig,
    layer::{ExpertMatrices, Form, Matrices, Place},
    ops::{Expert, Experts, GatedLinear, Linear, RmsNorm},
    weights::{Weights, WeightsError},
};

/// The form that the processors compute with.
pub(super) enum Packed {}

impl Form for Packed {
    type Norm = RmsNorm;
    type Linear = Linear;
    type Gated = GatedLinear;
    type Experts = Experts;
}

/// The memory of the processors.
pub(super) struct InMemory<'a> {
    pub(super) config: &'a DecoderConfig,
    pub(super) weights: &'a Weights<'a>,
}

impl Place<Packed> for InMemory<'_> {
    fn norm(&self, name: &str, width: usize) -> Result<RmsNorm, WeightsError> {
        let weight = self.weights.get(name, &[width])?;
        RmsNorm::new(&weight, self.config.norm).map_err(refused(name))
    }

    fn linear(&self, matrices: &Matrices) -> Result<Linear, WeightsError> {
        let Matrices {
            names,
            rows,
            columns,
            biases,
        } = matrices;
        self.weights
            .linear(names, rows, *columns, biases.as_deref())
    }

    fn gated(&self, matrices: &Matrices) -> Result<GatedLinear, WeightsError> {
        let Matrices {
            names,
            rows,
            columns,
            biases,
        } = matrices;
        self.weights.gated(names, rows, *columns, biases.as_deref())
    }

    fn experts(&self, matrices: &ExpertMatrices) -> Result<Experts, WeightsError> {
        let ExpertMatrices {
            router,
            experts,
            config,
        } = matrices;
        let name = &router.names[0];
        let weight = self.weights.get(name, &[router.rows[0], router.columns])?;
        let expert = |(gate_up, down): &(Matrices, Matrices)| {
            Ok(Expert {
                gate_up: self.gated(gate_up)?,
                down: self.linear(down)?,
            })
        };
        Ok(Experts {
            router: Linear::new(&weight, None).map_err(refused(name))?,
            experts: experts
                .iter()
                .map(expert)
                .collect::<Result<_, WeightsError>>()?,
            per_token: config.per_token,
            normalized: config.normalized,
            activation: self.config.activation,
        })
    }
}

fn refused(name: &str) -> impl FnOnce(candle_core::Error) -> WeightsError {
    |error| WeightsError::Tensor {
        name: name.to_owned(),
        error,
    }
}
