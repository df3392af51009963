//! What differs from layer to layer: windows, rotary embedding, experts.

use serde_json::Value;

use super::{
    ConfigError, EXPERTS_MAX, ExpertsConfig, LAYERS_MAX, LayerConfig, MlpConfig,
    families::{Experts, Family, Windows},
    keys::Keys,
};

/// Reads them all.
pub(super) fn read(keys: &Keys, family: &Family) -> Result<Vec<LayerConfig>, ConfigError> {
    let count = keys.size("num_hidden_layers")?;
    if count > LAYERS_MAX {
        return Err(ConfigError::Shape(format!(
            "num_hidden_layers = {count} is not in 1..={LAYERS_MAX}"
        )));
    }
    let rotary = rotary_layers(keys, family, count)?;
    let windows = windows(keys, family, &rotary)?;
    let mlps = mlps(keys, family, count)?;
    let layers = windows.into_iter().zip(rotary).zip(mlps);
    let local = family.rope.local_theta.is_some();
    Ok(layers
        .map(|((window, rotary), mlp)| LayerConfig {
            window,
            rope: rotary.then_some(usize::from(local && window.is_some())),
            mlp,
        })
        .collect())
}

/// Which layers have a rotary embedding.
fn rotary_layers(keys: &Keys, family: &Family, count: usize) -> Result<Vec<bool>, ConfigError> {
    if !family.rope.skips_layers {
        return Ok(vec![true; count]);
    }
    let interval = keys.optional_size("no_rope_layer_interval")?.unwrap_or(4);
    let Some(listed) = keys.list("no_rope_layers")? else {
        return Ok((1..=count)
            .map(|layer| !layer.is_multiple_of(interval))
            .collect());
    };
    let rotary: Option<Vec<bool>> = listed
        .iter()
        .map(|value| value.as_u64().map(|has| has != 0).or(value.as_bool()))
        .collect();
    rotary
        .filter(|rotary| rotary.len() == count)
        .ok_or_else(|| one_per_layer("no_rope_layers", "0 or 1", count))
}

fn one_per_layer(key: &str, what: &str, count: usize) -> ConfigError {
    ConfigError::Shape(format!(
        "{key} must hold {what} for each of the {count} layers"
    ))
}

/// The window of each layer.
fn windows(
    keys: &Keys,
    family: &Family,
    rotary: &[bool],
) -> Result<Vec<Option<usize>>, ConfigError> {
    let count = rotary.len();
    let size = keys.optional_size("sliding_window")?;
    let used = keys.flag("use_sliding_window")?.unwrap_or(false);
    let all = |window: Option<usize>| Ok(vec![window; count]);
    let (size, by_rule): (Option<usize>, Vec<bool>) = match family.windows {
        Windows::Never => return all(None),
        Windows::All { default } => {
            return all(size.or(default.filter(|_| !keys.is_null("sliding_window"))));
        }
        Windows::AllIfUsed => return all(size.filter(|_| used)),
        Windows::FromLayer => {
            let first = match keys.value("max_window_layers") {
                None => 28,
                Some(value) => value
                    .as_u64()
                    .ok_or_else(|| keys.unsupported("max_window_layers"))?,
            };
            let by_rule = (0..count).map(|layer| layer as u64 >= first).collect();
            (used.then_some(size.unwrap_or(4096)), by_rule)
        }
        Windows::Alternating { pattern } => {
            let pattern = keys
                .optional_size("sliding_window_pattern")?
                .or(keys.optional_size("_sliding_window_pattern")?)
                .unwrap_or(pattern);
            let by_rule = (1..=count)
                .map(|layer| !layer.is_multiple_of(pattern))
                .collect();
            let missing = (!keys.is_null("sliding_window")).then_some(4096);
            (size.or(missing), by_rule)
        }
        Windows::NoRope => (
            size.filter(|_| used),
            rotary.iter().map(|rotary| !rotary).collect(),
        ),
    };
    let windowed = layer_types(keys, count)?.unwrap_or(by_rule);
    Ok(windowed
        .into_iter()
        .map(|windowed| size.filter(|_| windowed))
        .collect())
}

/// `layer_types`: which layers have a window.
fn layer_types(keys: &Keys, count: usize) -> Result<Option<Vec<bool>>, ConfigError> {
    let Some(types) = keys.list("layer_types")? else {
        return Ok(None);
    };
    if types.len() != count {
        return Err(one_per_layer("layer_types", "a type", count));
    }
    let windowed = |kind: &Value| match kind.as_str() {
        Some("sliding_attention") => Ok(true),
        Some("full_attention") => Ok(false),
        _ => Err(ConfigError::Unsupported {
            key: "layer_types".to_owned(),
            value: kind
                .as_str()
                .map_or_else(|| kind.to_string(), str::to_owned),
        }),
    };
    types
        .iter()
        .map(windowed)
        .collect::<Result<_, _>>()
        .map(Some)
}

fn mlps(keys: &Keys, family: &Family, count: usize) -> Result<Vec<MlpConfig>, ConfigError> {
    let intermediate = keys.size("intermediate_size")?;
    let dense = MlpConfig::Dense { intermediate };
    match family.experts {
        Experts::None => Ok(vec![dense; count]),
        Experts::Mixtral => {
            let mixture = experts(keys, family, intermediate, true)?;
            Ok(vec![mixture; count])
        }
        Experts::Qwen => {
            let width = keys.optional_size("moe_intermediate_size")?.unwrap_or(768);
            let normalized = keys.flag("norm_topk_prob")?.unwrap_or(false);
            let mixture = experts(keys, family, width, normalized)?;
            let step = keys.optional_size("decoder_sparse_step")?.unwrap_or(1);
            let only: Vec<u64> = keys
                .list("mlp_only_layers")?
                .unwrap_or_default()
                .iter()
                .map(|layer| {
                    layer
                        .as_u64()
                        .ok_or_else(|| keys.unsupported("mlp_only_layers"))
                })
                .collect::<Result<_, _>>()?;
            let sparse =
                |layer: usize| !only.contains(&(layer as u64)) && (layer + 1).is_multiple_of(step);
            let mlp = |layer| {
                if sparse(layer) {
                    mixture.clone()
                } else {
                    dense.clone()
                }
            };
            Ok((0..count).map(mlp).collect())
        }
    }
}

fn experts(
    keys: &Keys,
    family: &Family,
    intermediate: usize,
    normalized: bool,
) -> Result<MlpConfig, ConfigError> {
    let count = match keys.optional_size("num_local_experts")? {
        Some(count) => count,
        None => keys.size("num_experts")?,
    };
    let per_token = keys.size("num_experts_per_tok")?;
    if count > EXPERTS_MAX || per_token > count {
        return Err(ConfigError::Shape(format!(
            "num_experts_per_tok = {per_token} of num_experts = {count}: at most {EXPERTS_MAX} experts, \
             and no more per token than there are"
        )));
    }
    Ok(MlpConfig::Experts(ExpertsConfig {
        count,
        per_token,
        intermediate,
        normalized,
        names: family.experts.names(),
    }))
}
