//! Rotary position embedding: frequencies by kind, and the table of cosines and sines.
//!
//! The table is fixed when the model is loaded: an embedding that depended on how long a sequence
//! has become would make cached keys wrong. `dynamic` and `longrope` therefore go by the length
//! that the engine is asked to serve (`--max-model-len`, else the model's), as in vLLM, and not by what
//! the memory makes of it: two replicas must agree.

use std::f64::consts::TAU;

use rayon::prelude::*;

/// How positions become angles.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct RopeParameters {
    pub(super) theta: f64,
    /// Dimensions of a head that turn, the first ones; even.
    pub(super) dim: usize,
    pub(super) kind: RopeKind,
}

/// Scaling of the frequencies.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum RopeKind {
    /// None.
    Default,
    /// All divided by `factor`.
    Linear { factor: f64 },
    /// Theta grows with the length that is served, once it exceeds the training's.
    Dynamic { factor: f64, trained_context: f64 },
    /// Llama 3.1's: low frequencies divided by `factor`, high ones kept, those between blended.
    Llama3 {
        factor: f64,
        low_freq_factor: f64,
        high_freq_factor: f64,
        original_context: f64,
    },
    /// A ramp from kept to divided frequencies (Peng et al. 2023); cosines and sines are multiplied
    /// by `attention_factor`.
    Yarn {
        factor: f64,
        original_context: f64,
        attention_factor: f64,
        beta_fast: f64,
        beta_slow: f64,
        truncate: bool,
    },
    /// A factor for each frequency, one set for served lengths up to the training's and one beyond
    /// (Ding et al. 2024).
    LongRope {
        short_factors: Vec<f32>,
        long_factors: Vec<f32>,
        original_context: usize,
        attention_factor: f64,
    },
    /// Each frequency divided by a factor of its own, as GGUF files hold Llama 3.1's.
    FrequencyFactors { factors: Vec<f32> },
}

impl RopeKind {
    /// The longest sequence, where `max_position_embeddings` is `max_position`.
    pub(super) fn context(&self, max_position: usize) -> usize {
        match self {
            Self::Linear { factor } | Self::Dynamic { factor, .. } => {
                (max_position as f64 * factor) as usize
            }
            Self::Yarn {
                factor,
                original_context,
                ..
            } => ((original_context * factor) as usize).max(max_position),
            Self::Default
            | Self::Llama3 { .. }
            | Self::LongRope { .. }
            | Self::FrequencyFactors { .. } => max_position,
        }
    }
}

impl RopeParameters {
    /// Radians per position of each pair of dimensions, `[dim / 2]`: theta^(−2i / dim), scaled for
    /// sequences of `served` tokens. In f32, as the models were trained with.
    pub(super) fn inverse_frequencies(&self, served: usize) -> Vec<f32> {
        let dim = self.dim;
        let theta = self.theta_for(served) as f32;
        let plain = |i: usize| 1.0 / theta.powf((2 * i) as f32 / dim as f32);
        (0..dim / 2)
            .map(|i| self.scale(i, plain(i), served))
            .collect()
    }

    fn theta_for(&self, served: usize) -> f64 {
        let RopeKind::Dynamic {
            factor,
            trained_context,
        } = self.kind
        else {
            return self.theta;
        };
        let length = (served as f64).max(trained_context);
        let growth = factor * length / trained_context - (factor - 1.0);
        let dim = self.dim as f64;
        if self.dim <= 2 {
            self.theta
        } else {
            self.theta * growth.powf(dim / (dim - 2.0))
        }
    }

    fn scale(&self, i: usize, frequency: f32, served: usize) -> f32 {
        match &self.kind {
            RopeKind::Default | RopeKind::Dynamic { .. } => frequency,
            RopeKind::Linear { factor } => frequency / *factor as f32,
            RopeKind::FrequencyFactors { factors } => frequency / factors[i],
            RopeKind::LongRope {
                short_factors,
                long_factors,
                original_context,
                ..
            } => {
                let long = served > *original_context;
                frequency
                    / if long {
                        long_factors[i]
                    } else {
                        short_factors[i]
                    }
            }
            &RopeKind::Yarn { factor, .. } => {
                let kept = 1.0 - self.yarn_ramp(i);
                frequency / factor as f32 * (1.0 - kept) + frequency * kept
            }
            &RopeKind::Llama3 {
                factor,
                low_freq_factor,
                high_freq_factor,
                original_context,
            } => {
                let frequency = f64::from(frequency);
                let wavelength = TAU / frequency;
                if wavelength < original_context / high_freq_factor {
                    return frequency as f32;
                }
                if wavelength > original_context / low_freq_factor {
                    return (frequency / factor) as f32;
                }
                let smooth = (original_context / wavelength - low_freq_factor)
                    / (high_freq_factor - low_freq_factor);
                ((1.0 - smooth) * frequency / factor + smooth * frequency) as f32
            }
        }
    }

    /// How far the `i`-th frequency is on its way from kept (0) to divided (1).
    fn yarn_ramp(&self, i: usize) -> f32 {
        let RopeKind::Yarn {
            original_context,
            beta_fast,
            beta_slow,
            truncate,
            ..
        } = self.kind
        else {
            return 0.0;
        };
        let dim = self.dim as f64;
        let turning =
            |turns: f64| dim * (original_context / (turns * TAU)).ln() / (2.0 * self.theta.ln());
        let (mut low, mut high) = (turning(beta_fast), turning(beta_slow));
        if truncate {
            (low, high) = (low.floor(), high.ceil());
        }
        (low, high) = (low.max(0.0), high.min(dim - 1.0));
        if low == high {
            high += 0.001;
        }
        ((i as f32 - low as f32) / (high - low) as f32).clamp(0.0, 1.0)
    }

    /// What cosines and sines are multiplied by.
    fn attention_factor(&self) -> f32 {
        match self.kind {
            RopeKind::Yarn {
                attention_factor, ..
            }
            | RopeKind::LongRope {
                attention_factor, ..
            } => attention_factor as f32,
            _ => 1.0,
        }
    }

    /// Cosine and sine of every position below `rows`, `[rows, dim]`: first the cosines of the
    /// pairs, then their sines. The frequencies are those for sequences of `served` tokens.
    pub(super) fn table(&self, rows: usize, served: usize) -> Vec<f32> {
        let frequencies = self.inverse_frequencies(served);
        let factor = self.attention_factor();
        let mut table = vec![0f32; rows * self.dim];
        let rows = table.par_chunks_exact_mut(self.dim.max(1)).enumerate();
        rows.for_each(|(position, row)| {
            let (cosines, sines) = row.split_at_mut(frequencies.len());
            for ((cosine, sine), frequency) in cosines.iter_mut().zip(sines).zip(&frequencies) {
                let angle = position as f32 * frequency;
                (*cosine, *sine) = (angle.cos() * factor, angle.sin() * factor);
            }
        });
        table
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rope(theta: f64, dim: usize, kind: RopeKind) -> RopeParameters {
        RopeParameters { theta, dim, kind }
    }

    #[test]
    fn llama3_keeps_high_divides_low_and_blends_between() {
        let kind = RopeKind::Llama3 {
            factor: 8.0,
            low_freq_factor: 1.0,
            high_freq_factor: 4.0,
            original_context: 8192.0,
        };
        let scaled = rope(500_000.0, 128, kind).inverse_frequencies(8192);
        let plain = rope(500_000.0, 128, RopeKind::Default).inverse_frequencies(8192);
        assert_eq!(scaled[0], plain[0]);
        assert!((scaled[63] - plain[63] / 8.0).abs() < 1e-12);
        let between = scaled
            .iter()
            .zip(&plain)
            .filter(|(s, p)| s < p && **s > *p / 8.0);
        assert!(between.count() > 5);
    }

    #[test]
    fn longrope_and_dynamic_go_by_the_served_length() {
        let long = RopeKind::LongRope {
            short_factors: vec![1.0; 4],
            long_factors: vec![2.0; 4],
            original_context: 100,
            attention_factor: 1.0,
        };
        let long = rope(10_000.0, 8, long);
        assert_eq!(long.inverse_frequencies(100)[0], 1.0);
        assert_eq!(long.inverse_frequencies(101)[0], 0.5);
        let kind = RopeKind::Dynamic {
            factor: 4.0,
            trained_context: 100.0,
        };
        let dynamic = rope(10_000.0, 8, kind);
        let plain = rope(10_000.0, 8, RopeKind::Default).inverse_frequencies(100);
        assert_eq!(dynamic.inverse_frequencies(100), plain);
        assert!(dynamic.inverse_frequencies(400)[3] < plain[3]);
    }

    #[test]
    fn yarn_ramps_from_kept_to_divided() {
        let kind = RopeKind::Yarn {
            factor: 4.0,
            original_context: 4096.0,
            attention_factor: 1.1,
            beta_fast: 32.0,
            beta_slow: 1.0,
            truncate: true,
        };
        assert_eq!(kind.context(4096), 16384);
        let yarn = rope(10_000.0, 128, kind);
        let plain = rope(10_000.0, 128, RopeKind::Default).inverse_frequencies(1);
        let scaled = yarn.inverse_frequencies(1);
        assert_eq!(scaled[0], plain[0]);
        assert!((scaled[63] - plain[63] / 4.0).abs() < 1e-9);
        assert_eq!(yarn.table(1, 1)[0], 1.1);
    }
}
