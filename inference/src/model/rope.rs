//! Rotary position embedding: frequencies by kind, and the table of cosines and sines.

use std::f64::consts::TAU;

/// How positions become angles.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct RopeParameters {
    pub(super) theta: f64,
    pub(super) kind: RopeKind,
}

/// Scaling of the frequencies.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum RopeKind {
    /// None.
    Default,
    /// All divided by `factor`.
    Linear { factor: f64 },
    /// Llama 3.1's: low frequencies divided by `factor`, high ones kept, those between blended.
    Llama3 {
        factor: f64,
        low_freq_factor: f64,
        high_freq_factor: f64,
        original_context: f64,
    },
}

impl RopeParameters {
    /// Radians per position of each pair of dimensions, `[head_dim / 2]`: theta^(−2i / head_dim),
    /// scaled. In f32, as the models were trained with.
    pub(super) fn inverse_frequencies(&self, head_dim: usize) -> Vec<f32> {
        let plain = |i: usize| {
            let exponent = (2 * i) as f32 / head_dim as f32;
            1.0 / (self.theta as f32).powf(exponent)
        };
        (0..head_dim / 2).map(|i| self.scale(plain(i))).collect()
    }

    fn scale(&self, frequency: f32) -> f32 {
        match self.kind {
            RopeKind::Default => frequency,
            RopeKind::Linear { factor } => frequency / factor as f32,
            RopeKind::Llama3 {
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

    /// Cosine and sine of every position below `context`, `[context, head_dim]`: first the cosines of
    /// the pairs, then their sines.
    pub(super) fn table(&self, head_dim: usize, context: usize) -> Vec<f32> {
        let frequencies = self.inverse_frequencies(head_dim);
        let mut table = Vec::with_capacity(context * head_dim);
        for position in 0..context {
            let angle = |frequency: &f32| position as f32 * frequency;
            table.extend(frequencies.iter().map(|f| angle(f).cos()));
            table.extend(frequencies.iter().map(|f| angle(f).sin()));
        }
        table
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn llama3_keeps_high_divides_low_and_blends_between() {
        let kind = RopeKind::Llama3 {
            factor: 8.0,
            low_freq_factor: 1.0,
            high_freq_factor: 4.0,
            original_context: 8192.0,
        };
        let scaled = RopeParameters {
            theta: 500_000.0,
            kind,
        }
        .inverse_frequencies(128);
        let plain = RopeParameters {
            theta: 500_000.0,
            kind: RopeKind::Default,
        };
        let plain = plain.inverse_frequencies(128);
        assert_eq!(scaled[0], plain[0]);
        assert!((scaled[63] - plain[63] / 8.0).abs() < 1e-12);
        let between = scaled
            .iter()
            .zip(&plain)
            .filter(|(s, p)| s < p && **s > *p / 8.0)
            .count();
        assert!(between > 5, "{between}");
    }
}
