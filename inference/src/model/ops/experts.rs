//! A mixture of experts: the router chooses some per token, their outputs are added by its weights.

use candle_core::{DType, Result, Tensor};

use super::{GatedLinear, Linear};
use crate::model::config::Activation;

/// One gated MLP of the mixture.
pub(in crate::model) struct Expert {
    /// Gate, then up.
    pub(in crate::model) gate_up: GatedLinear,
    pub(in crate::model) down: Linear,
}

/// The mixture.
pub(in crate::model) struct Experts {
    /// `[experts, hidden]`
    pub(in crate::model) router: Linear,
    pub(in crate::model) experts: Vec<Expert>,
    pub(in crate::model) per_token: usize,
    /// The chosen weights are made to add up to 1.
    pub(in crate::model) normalized: bool,
    pub(in crate::model) activation: Activation,
}

/// A token that an expert was chosen for.
struct Assignment {
    token: u32,
    weight: f32,
}

impl Experts {
    /// `[T, hidden]` → the same shape. Softmax over all experts, then the best of them; a token's
    /// sum is in f32, in the order of the experts.
    pub(in crate::model) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let (tokens, hidden) = x.dims2()?;
        let mut sums = vec![0f32; tokens * hidden];
        for (expert, assigned) in self.experts.iter().zip(self.assign(x)?) {
            if assigned.is_empty() {
                continue;
            }
            let rows: Vec<u32> = assigned.iter().map(|assignment| assignment.token).collect();
            let rows = Tensor::new(rows, x.device())?;
            let rows = x.index_select(&rows, 0)?;
            let gated = expert.gate_up.forward(&rows, self.activation)?;
            let out = expert.down.forward(&gated)?.to_dtype(DType::F32)?;
            let out: Vec<f32> = out.flatten_all()?.to_vec1()?;
            for (Assignment { token, weight }, out) in assigned.iter().zip(out.chunks(hidden)) {
                let sums = &mut sums[*token as usize * hidden..][..hidden];
                sums.iter_mut()
                    .zip(out)
                    .for_each(|(sum, out)| *sum += weight * out);
            }
        }
        Tensor::from_vec(sums, (tokens, hidden), x.device())?.to_dtype(x.dtype())
    }

    /// The tokens of each expert.
    fn assign(&self, x: &Tensor) -> Result<Vec<Vec<Assignment>>> {
        let logits: Vec<Vec<f32>> = self.router.forward_wide(x)?.to_vec2()?;
        let mut assigned: Vec<Vec<Assignment>> = self.experts.iter().map(|_| Vec::new()).collect();
        for (token, logits) in logits.iter().enumerate() {
            for (expert, weight) in chosen(logits, self.per_token, self.normalized) {
                let token = token as u32;
                assigned[expert].push(Assignment { token, weight });
            }
        }
        Ok(assigned)
    }
}

/// The experts with the greatest probabilities, and their weights; of equals the first.
fn chosen(logits: &[f32], count: usize, normalized: bool) -> Vec<(usize, f32)> {
    let greatest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let exponentials: Vec<f32> = logits
        .iter()
        .map(|logit| (logit - greatest).exp())
        .collect();
    let total: f32 = exponentials.iter().sum();
    let mut order: Vec<usize> = (0..logits.len()).collect();
    order.sort_by(|&a, &b| exponentials[b].total_cmp(&exponentials[a]));
    order.truncate(count);
    let sum: f32 = order.iter().map(|&expert| exponentials[expert]).sum();
    let divisor = if normalized { sum } else { total };
    order
        .into_iter()
        .map(|expert| (expert, exponentials[expert] / divisor))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_are_chosen_and_weighed_by_softmax() {
        let logits = [1.0, 3.0, 2.0, 3.0];
        let total: f32 = logits.iter().map(|l: &f32| l.exp()).sum();
        let plain = chosen(&logits, 2, false);
        assert_eq!(plain.iter().map(|(e, _)| *e).collect::<Vec<_>>(), [1, 3]);
        assert!((plain[0].1 - 3f32.exp() / total).abs() < 1e-6);
        let normalized = chosen(&logits, 3, true);
        assert!((normalized.iter().map(|(_, w)| w).sum::<f32>() - 1.0).abs() < 1e-6);
    }
}
