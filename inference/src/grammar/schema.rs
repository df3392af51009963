//! A client's JSON schema, made ready for llguidance: its own options instead of the client's, without
//! annotations that restrict nothing, closed where asked.

use serde_json::{Map, Value, json};

use super::{SchemaOptions, limits};

/// Formats that llguidance enforces. Others say something about a string that JSON Schema does not
/// check, so they are left out rather than refused.
const FORMATS: &[&str] = &[
    "date-time",
    "time",
    "date",
    "duration",
    "email",
    "hostname",
    "ipv4",
    "ipv6",
    "uuid",
    "uri",
];
/// Keywords whose value is a schema, or a list of schemas.
const SCHEMAS: &[&str] = &[
    "additionalItems",
    "additionalProperties",
    "allOf",
    "anyOf",
    "items",
    "oneOf",
    "prefixItems",
];
/// Keywords whose value has schemas by name.
const NAMED_SCHEMAS: &[&str] = &["$defs", "definitions", "patternProperties", "properties"];

/// The schema as it is compiled.
pub(super) fn prepare(schema: &Value, options: SchemaOptions) -> Value {
    let mut schema = match schema {
        Value::Bool(true) => Value::Object(Map::new()),
        other => other.clone(),
    };
    tidy(&mut schema, options);
    if let Some(object) = schema.as_object_mut() {
        let whitespace = format!(r"[ \t\n\r]{{1,{}}}", limits::JSON_WHITESPACE_MAX);
        let own = match options.compact {
            true => json!({"whitespace_flexible": false}),
            false => json!({"whitespace_pattern": whitespace}),
        };
        object.insert("x-guidance".to_owned(), own);
    }
    schema
}

/// Leaves annotations out, and closes objects, in a schema and all below it. JSON that a request
/// carries is at most 128 levels deep, so recursion is.
fn tidy(schema: &mut Value, options: SchemaOptions) {
    let Value::Object(object) = schema else {
        return;
    };
    let unknown_format = |format: &Value| {
        format
            .as_str()
            .is_some_and(|format| !FORMATS.contains(&format))
    };
    if object.get("format").is_some_and(unknown_format) {
        object.shift_remove("format");
    }
    object.shift_remove("deprecated");
    let names = ["properties", "patternProperties"];
    let names_properties = names.iter().any(|key| object.contains_key(*key));
    if options.closed && names_properties && !object.contains_key("additionalProperties") {
        object.insert("additionalProperties".to_owned(), Value::Bool(false));
    }
    for (key, value) in object {
        match value {
            Value::Array(list) if SCHEMAS.contains(&key.as_str()) => {
                list.iter_mut().for_each(|schema| tidy(schema, options));
            }
            Value::Object(named) if NAMED_SCHEMAS.contains(&key.as_str()) => {
                named.values_mut().for_each(|schema| tidy(schema, options));
            }
            value if SCHEMAS.contains(&key.as_str()) => tidy(value, options),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prepared(schema: Value, options: SchemaOptions) -> Value {
        let mut prepared = prepare(&schema, options);
        let object = prepared.as_object_mut().expect("an object");
        assert!(object.remove("x-guidance").is_some());
        prepared
    }

    #[test]
    fn annotations_are_left_out_but_not_properties_of_their_name() {
        let schema = json!({
            "type": "object", "deprecated": true,
            "properties": {
                "format": {"type": "string", "format": "password"},
                "deprecated": {"type": "string", "format": "uuid"},
            },
            "enum": [{"format": "password"}],
        });
        let expected = json!({
            "type": "object",
            "properties": {
                "format": {"type": "string"},
                "deprecated": {"type": "string", "format": "uuid"},
            },
            "enum": [{"format": "password"}],
        });
        assert_eq!(prepared(schema, SchemaOptions::default()), expected);
    }

    #[test]
    fn closing_reaches_every_object_that_does_not_say() {
        let schema = json!({
            "properties": {"a": {"items": {"properties": {}}}},
            "$defs": {"b": {"properties": {}, "additionalProperties": true}},
            "anyOf": [{"type": "object"}],
        });
        let options = SchemaOptions {
            closed: true,
            ..SchemaOptions::default()
        };
        let expected = json!({
            "properties": {"a": {"items": {"properties": {}, "additionalProperties": false}}},
            "$defs": {"b": {"properties": {}, "additionalProperties": true}},
            "anyOf": [{"type": "object"}],
            "additionalProperties": false,
        });
        assert_eq!(prepared(schema, options), expected);
    }

    #[test]
    fn a_clients_own_options_for_llguidance_do_not_count() {
        let schema = json!({"x-guidance": {"lenient": true, "item_separator": "x"}});
        let prepared = prepare(&schema, SchemaOptions::default());
        assert_eq!(prepared["x-guidance"].get("lenient"), None);
        assert_eq!(prepared["x-guidance"].get("item_separator"), None);
    }
}
