//! The rotary settings: `rope_parameters`, flat or by layer type, or the older `rope_theta`,
//! `rope_local_base_freq` and `rope_scaling`.

use serde_json::{Map, Value};

use super::{ConfigError, families::Family, keys::Keys};
use crate::model::rope::{RopeKind, RopeParameters};

/// The settings of each kind of layer, and the longest sequence they allow.
///
/// `linear`, `dynamic` and `yarn` reach `factor` times further than the context of the training, as
/// vLLM has it; of the others, and where each layer type has its own settings, the file gives the
/// whole context.
pub(super) fn read(
    keys: &Keys,
    family: &Family,
    head_dim: usize,
    max_position: usize,
) -> Result<(Vec<RopeParameters>, usize), ConfigError> {
    let theta = keys.number("rope_theta")?;
    let local_theta = keys.number("rope_local_base_freq")?;
    let partial = keys.number("partial_rotary_factor")?;
    let original = keys.optional_size("original_max_position_embeddings")?;
    let parameters = keys.object("rope_parameters")?.unwrap_or_default();
    let given = keys.object("rope_scaling")?.unwrap_or(parameters);
    let source = |map: &Map<String, Value>, theta: f64| Source {
        map: map.clone(),
        theta,
        partial,
        original,
        max_position,
        head_dim,
    };
    let theta = theta.unwrap_or(family.rope.theta);
    let nested = |kind: &str| given.get(kind).and_then(Value::as_object).cloned();
    let Some(local_default) = family.rope.local_theta else {
        if nested("full_attention").is_some() {
            return Err(ConfigError::Unsupported {
                key: "rope_parameters".to_owned(),
                value: "settings by layer type".to_owned(),
            });
        }
        let rope = source(&given, theta).read(family)?;
        let context = rope.kind.context(max_position);
        return Ok((vec![rope], context));
    };
    let by_type = nested("full_attention").is_some() || nested("sliding_attention").is_some();
    let global = if by_type {
        nested("full_attention").unwrap_or_default()
    } else {
        given.clone()
    };
    let local = nested("sliding_attention").unwrap_or_default();
    let local_theta = local_theta.unwrap_or(local_default);
    let ropes = vec![
        source(&global, theta).read(family)?,
        source(&local, local_theta).read(family)?,
    ];
    Ok((ropes, max_position))
}

/// One set of settings, and what stands in for those it leaves out.
struct Source {
    map: Map<String, Value>,
    theta: f64,
    partial: Option<f64>,
    original: Option<usize>,
    max_position: usize,
    head_dim: usize,
}

impl Source {
    fn read(&self, family: &Family) -> Result<RopeParameters, ConfigError> {
        let theta = self.optional("rope_theta")?.unwrap_or(self.theta);
        if !theta.is_finite() || theta <= 1.0 {
            return Err(self.refuse("rope_theta", theta));
        }
        let partial = self
            .optional("partial_rotary_factor")?
            .or(self.partial)
            .unwrap_or(1.0);
        if partial != 1.0 && !family.rope.partial || !(partial > 0.0 && partial <= 1.0) {
            return Err(self.refuse("partial_rotary_factor", partial));
        }
        let dim = (self.head_dim as f64 * partial) as usize;
        let kind = self.kind(family, dim)?;
        Ok(RopeParameters { theta, dim, kind })
    }

    fn kind(&self, family: &Family, dim: usize) -> Result<RopeKind, ConfigError> {
        let kind = self.map.get("rope_type").or_else(|| self.map.get("type"));
        let kind = kind.and_then(Value::as_str).unwrap_or("default");
        if self
            .map
            .get("mrope_section")
            .is_some_and(|section| !section.is_null())
        {
            return Err(self.refuse("mrope_section", "(a list)"));
        }
        // Phi3's first files say `su` or `yarn` and mean what was called longrope later.
        let renamed = family.fused && matches!(kind, "su" | "yarn") || kind == "su";
        match if renamed { "longrope" } else { kind } {
            "default" => Ok(RopeKind::Default),
            "linear" => Ok(RopeKind::Linear {
                factor: self.factor()?,
            }),
            "dynamic" => Ok(RopeKind::Dynamic {
                factor: self.factor()?,
                trained_context: self.max_position as f64,
            }),
            "llama3" => Ok(RopeKind::Llama3 {
                factor: self.factor()?,
                low_freq_factor: self.positive("low_freq_factor")?,
                high_freq_factor: self.positive("high_freq_factor")?,
                original_context: self.original()?,
            }),
            "yarn" => self.yarn(),
            "longrope" => self.longrope(dim),
            "frequency_factors" => Ok(RopeKind::FrequencyFactors {
                factors: self.factors("factors", dim)?,
            }),
            other => Err(self.refuse("rope_type", other)),
        }
    }

    /// Peng et al. 2023, and the attention factor of `transformers`.
    fn yarn(&self) -> Result<RopeKind, ConfigError> {
        let original_context = self.original()?;
        let factor = match self.optional("factor")? {
            Some(_) => self.factor()?,
            None => self.max_position as f64 / original_context,
        };
        let (mscale, all_dims) = (self.optional("mscale")?, self.optional("mscale_all_dim")?);
        let growth = |scale: f64| {
            if factor <= 1.0 {
                1.0
            } else {
                0.1 * scale * factor.ln() + 1.0
            }
        };
        let own = match (mscale, all_dims) {
            (Some(a), Some(b)) if a != 0.0 && b != 0.0 => growth(a) / growth(b),
            _ => growth(1.0),
        };
        let nonzero = |key| Ok::<_, ConfigError>(self.optional(key)?.filter(|&value| value != 0.0));
        Ok(RopeKind::Yarn {
            factor,
            original_context,
            attention_factor: self.optional("attention_factor")?.unwrap_or(own),
            beta_fast: nonzero("beta_fast")?.unwrap_or(32.0),
            beta_slow: nonzero("beta_slow")?.unwrap_or(1.0),
            truncate: self
                .map
                .get("truncate")
                .and_then(Value::as_bool)
                .unwrap_or(true),
        })
    }

    /// Ding et al. 2024.
    fn longrope(&self, dim: usize) -> Result<RopeKind, ConfigError> {
        let original = self.original()?;
        let factor = match self.optional("factor")? {
            Some(factor) => factor,
            None => self.max_position as f64 / original,
        };
        let own = if factor <= 1.0 {
            1.0
        } else {
            (1.0 + factor.ln() / original.ln()).sqrt()
        };
        Ok(RopeKind::LongRope {
            short_factors: self.factors("short_factor", dim)?,
            long_factors: self.factors("long_factor", dim)?,
            original_context: original as usize,
            attention_factor: self.optional("attention_factor")?.unwrap_or(own),
        })
    }

    /// The context of the training: the file's own key goes first, as in `transformers`.
    fn original(&self) -> Result<f64, ConfigError> {
        let inside = self.optional("original_max_position_embeddings")?;
        let original = self.original.map(|original| original as f64).or(inside);
        match original.unwrap_or(self.max_position as f64) {
            original if original > 1.0 && original.is_finite() => Ok(original),
            original => Err(self.refuse("original_max_position_embeddings", original)),
        }
    }

    fn factor(&self) -> Result<f64, ConfigError> {
        self.positive("factor")
    }

    fn positive(&self, key: &str) -> Result<f64, ConfigError> {
        match self.optional(key)? {
            Some(value) if value > 0.0 && value.is_finite() => Ok(value),
            Some(value) => Err(self.refuse(key, value)),
            None => Err(ConfigError::Malformed(format!(
                "rope_parameters need {key}, a number"
            ))),
        }
    }

    fn optional(&self, key: &str) -> Result<Option<f64>, ConfigError> {
        match self.map.get(key).filter(|value| !value.is_null()) {
            None => Ok(None),
            Some(value) => value.as_f64().map(Some).ok_or_else(|| {
                ConfigError::Malformed(format!("rope_parameters: {key} = {value} is not a number"))
            }),
        }
    }

    /// One factor for each pair of rotary dimensions.
    fn factors(&self, key: &str, dim: usize) -> Result<Vec<f32>, ConfigError> {
        let list = self.map.get(key).and_then(Value::as_array);
        let numbers: Option<Vec<f32>> = list
            .into_iter()
            .flatten()
            .map(|value| {
                value
                    .as_f64()
                    .map(|value| value as f32)
                    .filter(|&value| value > 0.0)
            })
            .collect();
        numbers
            .filter(|numbers| numbers.len() == dim / 2)
            .ok_or_else(|| {
                ConfigError::Malformed(format!(
                    "rope_parameters need {key}, a list of {} positive numbers",
                    dim / 2
                ))
            })
    }

    fn refuse(&self, key: &str, value: impl ToString) -> ConfigError {
        ConfigError::Unsupported {
            key: key.to_owned(),
            value: value.to_string(),
        }
    }
}
