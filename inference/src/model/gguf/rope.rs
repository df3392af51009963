//! The rotary settings of a GGUF file as `rope_parameters` of a `config.json`.

use serde_json::{Map, Value, json};

use super::{error::Problem, keys::Keys};

/// `rope_parameters` and what goes with them.
pub(super) fn rope(keys: &Keys<'_>, head_dim: usize) -> Result<Map<String, Value>, Problem> {
    let theta = keys.number("rope.freq_base")?.unwrap_or(10_000.0);
    let context = keys.needed_size("context_length")?;
    let original = keys
        .size("rope.scaling.original_context_length")?
        .unwrap_or(context);
    let mut parameters = match keys.factors("rope_freqs.weight")? {
        // One divisor for each frequency, whatever the length: Llama 3's scaling, worked out.
        Some(factors) => json!({ "rope_type": "frequency_factors", "factors": factors }),
        None => scaling(keys, original)?,
    };
    let members = parameters
        .as_object_mut()
        .expect("it was made as an object");
    members.insert("rope_theta".to_owned(), json!(theta));
    let mut config = Map::new();
    config.insert(
        "original_max_position_embeddings".to_owned(),
        json!(original),
    );
    let rotated = keys.size("rope.dimension_count")?.unwrap_or(head_dim);
    if rotated != head_dim {
        if keys.model.names.family.paired_rows() || rotated > head_dim {
            return Err(keys.unsupported("rope.dimension_count", rotated));
        }
        let share = json!(rotated as f64 / head_dim as f64);
        members.insert("partial_rotary_factor".to_owned(), share.clone());
        config.insert("partial_rotary_factor".to_owned(), share);
    }
    if keys.model.names.family.gguf == "gemma3" {
        let local = keys.number("rope.freq_base_swa")?.unwrap_or(10_000.0);
        parameters = json!({
            "full_attention": parameters,
            "sliding_attention": { "rope_type": "default", "rope_theta": local },
        });
    }
    config.insert("rope_parameters".to_owned(), parameters);
    Ok(config)
}

/// The scaling that the keys name.
fn scaling(keys: &Keys<'_>, original: usize) -> Result<Value, Problem> {
    let factor = keys.number("rope.scaling.factor")?.unwrap_or(1.0);
    let long = keys.factors("rope_factors_long.weight")?;
    let short = keys.factors("rope_factors_short.weight")?;
    if let (Some(long), Some(short)) = (long, short) {
        return Ok(json!({
            "rope_type": "longrope", "short_factor": short, "long_factor": long,
            "attention_factor": keys.number("rope.scaling.attn_factor")?.unwrap_or(1.0),
            "original_max_position_embeddings": original,
        }));
    }
    Ok(match keys.text("rope.scaling.type")? {
        None | Some("none") => json!({ "rope_type": "default" }),
        Some("linear") => json!({ "rope_type": "linear", "factor": factor }),
        Some("yarn") => {
            let mut yarn = json!({
                "rope_type": "yarn", "factor": factor,
                "original_max_position_embeddings": original,
            });
            for (key, name) in [
                ("yarn_beta_fast", "beta_fast"),
                ("yarn_beta_slow", "beta_slow"),
            ] {
                if let Some(value) = keys.number(&format!("rope.scaling.{key}"))? {
                    yarn[name] = json!(value);
                }
            }
            for key in ["yarn_attn_factor", "yarn_ext_factor", "attn_factor"] {
                let name = format!("rope.scaling.{key}");
                if let Some(value) = keys.number(&name)?.filter(|&value| value != 1.0) {
                    return Err(keys.unsupported(&name, value));
                }
            }
            yarn
        }
        Some(other) => return Err(keys.unsupported("rope.scaling.type", other)),
    })
}
