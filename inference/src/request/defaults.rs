//! What requests that do not say how to sample get: the model's own `generation_config.json`, as vLLM
//! does it.

use serde::Deserialize;

/// Sampling of requests that do not say.
#[derive(Debug, Clone, PartialEq)]
pub struct SamplingDefaults {
    /// 0 is greedy.
    pub temperature: f64,
    /// 0 keeps all.
    pub top_k: i64,
    /// In (0, 1].
    pub top_p: f64,
    /// 0 keeps all.
    pub min_p: f64,
    /// Above 0; 1 is none.
    pub repetition_penalty: f64,
    /// `--seed`.
    pub seed: Option<u64>,
}

impl Default for SamplingDefaults {
    fn default() -> Self {
        Self {
            temperature: 1.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            repetition_penalty: 1.0,
            seed: None,
        }
    }
}

/// `generation_config.json` cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DefaultsError {
    /// It is not JSON of the expected shape.
    #[error("reading generation_config.json")]
    Parse(#[source] serde_json::Error),
    /// A value is outside its range.
    #[error("generation_config.json: {field} is {value}, outside its range")]
    OutOfRange {
        /// The field.
        field: &'static str,
        /// Its value.
        value: f64,
    },
}

#[derive(Deserialize)]
struct GenerationConfig {
    temperature: Option<f64>,
    top_k: Option<i64>,
    top_p: Option<f64>,
    min_p: Option<f64>,
    repetition_penalty: Option<f64>,
}

impl SamplingDefaults {
    /// Reads the file's bytes.
    ///
    /// # Errors
    /// [`DefaultsError`] when they are not JSON, or hold a value that no request could have.
    pub fn from_generation_config(bytes: &[u8]) -> Result<Self, DefaultsError> {
        let config: GenerationConfig =
            serde_json::from_slice(bytes).map_err(DefaultsError::Parse)?;
        let neutral = Self::default();
        let defaults = Self {
            temperature: config.temperature.unwrap_or(neutral.temperature),
            top_k: config.top_k.unwrap_or(neutral.top_k),
            top_p: config.top_p.unwrap_or(neutral.top_p),
            min_p: config.min_p.unwrap_or(neutral.min_p),
            repetition_penalty: config
                .repetition_penalty
                .unwrap_or(neutral.repetition_penalty),
            seed: None,
        };
        let out_of_range = |field, value| Err(DefaultsError::OutOfRange { field, value });
        if !(0.0..=super::limits::TEMPERATURE_MAX).contains(&defaults.temperature) {
            return out_of_range("temperature", defaults.temperature);
        }
        if !(defaults.top_p > 0.0 && defaults.top_p <= 1.0) {
            return out_of_range("top_p", defaults.top_p);
        }
        if defaults.top_k < -1 {
            return out_of_range("top_k", defaults.top_k as f64);
        }
        if !(0.0..=1.0).contains(&defaults.min_p) {
            return out_of_range("min_p", defaults.min_p);
        }
        if !super::logits::is_repetition_penalty(defaults.repetition_penalty) {
            return out_of_range("repetition_penalty", defaults.repetition_penalty);
        }
        Ok(defaults)
    }
}
