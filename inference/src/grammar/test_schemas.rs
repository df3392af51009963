//! Random JSON schemas of what can be enforced, for tests.

use rand::{RngExt, seq::IndexedRandom};
use rand_chacha::ChaCha8Rng;
use serde_json::{Map, Value, json};

/// A random schema, with definitions that may refer to each other and to themselves.
pub(super) fn schema(rng: &mut ChaCha8Rng) -> Value {
    let mut schema = any(rng, 3);
    // Each allows something small, so that whatever refers to it can end.
    let definitions = json!({
        "a": {"type": "object", "properties": {"x": any(rng, 1), "y": any(rng, 1)}},
        "b": {"type": "array", "items": any(rng, 1)},
    });
    if let Some(object) = schema.as_object_mut() {
        object.insert("$defs".to_owned(), definitions);
        object.insert("title".to_owned(), json!("Anything"));
    }
    schema
}

fn any(rng: &mut ChaCha8Rng, depth: usize) -> Value {
    let kinds = if depth == 0 { 7 } else { 13 };
    match rng.random_range(0..kinds) {
        0 => json!({"type": "boolean"}),
        1 => json!({"type": "null"}),
        2 => number(rng),
        3 => string(rng),
        4 => json!({"enum": [1, "two", null, {"three": [3.5, "\u{e9}\n\""]}]}),
        5 => json!({"const": rng.random_range(-5..5)}),
        6 => json!({"type": ["string", "null"], "maxLength": 6}),
        7 | 8 => object(rng, depth - 1),
        9 => array(rng, depth - 1),
        10 => json!({"anyOf": [any(rng, depth - 1), any(rng, depth - 1)]}),
        11 => json!({"$ref": *["#/$defs/a", "#/$defs/b"].choose(rng).unwrap()}),
        _ => json!({"allOf": [number(rng), {"type": "number"}]}),
    }
}

fn number(rng: &mut ChaCha8Rng) -> Value {
    let low = rng.random_range(-1_000..1_000);
    let high = low + rng.random_range(10..500);
    match rng.random_range(0..5) {
        0 => json!({"type": "integer", "minimum": low, "maximum": high}),
        1 => json!({"type": "number", "exclusiveMinimum": low, "exclusiveMaximum": high}),
        2 => json!({"type": "integer", "minimum": low, "maximum": high, "multipleOf": 5}),
        3 => json!({"type": "number", "minimum": f64::from(low) / 8.0}),
        _ => json!({"type": "integer"}),
    }
}

fn string(rng: &mut ChaCha8Rng) -> Value {
    let format = [
        "date",
        "time",
        "date-time",
        "uuid",
        "ipv4",
        "ipv6",
        "email",
        "hostname",
        "duration",
        "uri",
        "password",
    ];
    match rng.random_range(0..5) {
        0 => json!({"type": "string"}),
        1 => {
            let least = rng.random_range(0..4);
            json!({"type": "string", "minLength": least, "maxLength": least + 5})
        }
        2 => json!({"type": "string", "pattern": "^[a-f]{1,4}(-\\d+)?$"}),
        3 => json!({"type": "string", "pattern": "x|\\u00e9"}),
        _ => json!({"type": "string", "format": *format.choose(rng).unwrap()}),
    }
}

fn array(rng: &mut ChaCha8Rng, depth: usize) -> Value {
    let least = rng.random_range(0..3);
    match rng.random_range(0..3) {
        0 => json!({"type": "array", "items": any(rng, depth)}),
        1 => {
            let most = least + rng.random_range(0..3);
            json!({"type": "array", "items": any(rng, depth), "minItems": least, "maxItems": most})
        }
        _ => {
            json!({"type": "array", "prefixItems": [any(rng, depth), any(rng, depth)], "items": false})
        }
    }
}

fn object(rng: &mut ChaCha8Rng, depth: usize) -> Value {
    let names = ["id", "na\"me", "\u{fc}ber", "", "x y", "format", "a\\b"];
    let count = rng.random_range(0..5);
    let names: Vec<&str> = names.sample(rng, count).copied().collect();
    let properties: Map<String, Value> = names
        .iter()
        .map(|name| ((*name).to_owned(), any(rng, depth)))
        .collect();
    let required: Vec<&str> = names.iter().copied().filter(|_| rng.random()).collect();
    let additional = match rng.random_range(0..3) {
        0 => json!(true),
        1 => json!({"type": "integer"}),
        _ => json!(false),
    };
    json!({
        "type": "object", "properties": properties, "required": required,
        "additionalProperties": additional,
    })
}
