//! What the API server does with an object before it runs the rules: unknown fields are found, nulls
//! dropped, defaults filled in, and every value held against its schema. Over JSON, without types, so
//! that each finding has the path of its field.

use serde_json::{Map, Value};

use crate::{FieldPath, Finding, schema::properties};

/// Fields that every object has besides those of its schema.
const ENVELOPE: [&str; 3] = ["apiVersion", "kind", "metadata"];

/// Removes fields that `schema` does not know, as the API server would, and reports them.
pub(crate) fn prune(schema: &Value, object: &mut Value, findings: &mut Vec<Finding>) {
    prune_at(schema, object, &FieldPath::default(), findings);
}

fn prune_at(schema: &Value, value: &mut Value, path: &FieldPath, findings: &mut Vec<Finding>) {
    match value {
        Value::Object(fields) => {
            if let Some(known) = properties(schema) {
                fields.retain(|name, _| {
                    let keep = known.contains_key(name)
                        || (path.is_empty() && ENVELOPE.contains(&name.as_str()));
                    if !keep {
                        findings.push(unknown_field(path.field(name), name, known));
                    }
                    keep
                });
            }
            for (name, value) in fields {
                if let Some(schema) = child_schema(schema, name) {
                    prune_at(schema, value, &path.field(name), findings);
                }
            }
        }
        Value::Array(items) => {
            if let Some(schema) = schema.get("items") {
                for (index, item) in items.iter_mut().enumerate() {
                    prune_at(schema, item, &path.item(index), findings);
                }
            }
        }
        _ => {}
    }
}

fn unknown_field(path: FieldPath, name: &str, known: &Map<String, Value>) -> Finding {
    let nearest = nearest(name, known.keys().map(String::as_str));
    let advice = match nearest {
        Some(nearest) => format!("did you mean `{nearest}`?"),
        None => {
            let names: Vec<&str> = known.keys().map(String::as_str).collect();
            format!("the fields here are {}", names.join(", "))
        }
    };
    let message = format!("unknown field, which the API server would drop: {advice}");
    Finding {
        about_name: true,
        ..Finding::error(path, message)
    }
}

/// Drops nulls and fills in defaults, as the API server does before it validates.
pub(crate) fn default(schema: &Value, value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|_, value| !value.is_null());
            for (name, schema) in properties(schema).into_iter().flatten() {
                if let Some(default) = schema.get("default") {
                    fields.entry(name).or_insert_with(|| default.clone());
                }
            }
            for (name, value) in fields {
                if let Some(schema) = child_schema(schema, name) {
                    default(schema, value);
                }
            }
        }
        Value::Array(items) => {
            if let Some(schema) = schema.get("items") {
                items.iter_mut().for_each(|item| default(schema, item));
            }
        }
        _ => {}
    }
}

/// Holds every value of `object` against its schema.
pub(crate) fn validate(schema: &Value, object: &Value, findings: &mut Vec<Finding>) {
    validate_at(schema, object, &FieldPath::default(), findings);
}

fn validate_at(schema: &Value, value: &Value, path: &FieldPath, findings: &mut Vec<Finding>) {
    if let Some(wrong) = wrong_type(schema, value).or_else(|| wrong_value(schema, value)) {
        findings.push(Finding::error(path.clone(), wrong));
        return;
    }
    match value {
        Value::Object(fields) => {
            for name in schema
                .get("required")
                .and_then(Value::as_array)
                .into_iter()
                .flatten()
            {
                let name = name.as_str().unwrap_or_default();
                let is_envelope = path.is_empty() && ENVELOPE.contains(&name);
                if !is_envelope && !fields.contains_key(name) {
                    findings.push(Finding::error(path.field(name), "is required, but missing"));
                }
            }
            for (name, value) in fields {
                if let Some(schema) = child_schema(schema, name) {
                    validate_at(schema, value, &path.field(name), findings);
                }
            }
        }
        Value::Array(items) => {
            findings.extend(repeated_key(schema, items, path));
            if let Some(schema) = schema.get("items") {
                for (index, item) in items.iter().enumerate() {
                    validate_at(schema, item, &path.item(index), findings);
                }
            }
        }
        _ => {}
    }
}

fn wrong_type(schema: &Value, value: &Value) -> Option<String> {
    if schema.get("x-kubernetes-int-or-string") == Some(&Value::Bool(true)) {
        let fits = value.is_string() || value.is_i64();
        return (!fits)
            .then(|| format!("must be a whole number or a string, but is {}", show(value)));
    }
    let wanted = schema.get("type")?.as_str()?;
    let fits = match wanted {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64(),
        "number" => value.is_number(),
        _ => true,
    };
    (!fits).then(|| {
        let name = match wanted {
            "object" => "a block of fields",
            "array" => "a list",
            "string" => "a string",
            "boolean" => "true or false",
            "integer" => "a whole number",
            wanted => wanted,
        };
        let advice = match value {
            Value::Bool(_) | Value::Number(_) if wanted == "string" => ": put it in quotes",
            _ => "",
        };
        format!("must be {name}, but is {}{advice}", show(value))
    })
}

fn wrong_value(schema: &Value, value: &Value) -> Option<String> {
    if let Some(allowed) = schema.get("enum").and_then(Value::as_array)
        && !allowed.contains(value)
    {
        let names: Vec<&str> = allowed.iter().filter_map(Value::as_str).collect();
        return Some(format!(
            "must be one of {}, but is {}",
            names.join(", "),
            show(value)
        ));
    }
    if let Some(number) = value.as_i64() {
        let bound = |name: &str| schema.get(name).and_then(Value::as_i64);
        let (min, max) = (bound("minimum"), bound("maximum"));
        if min.is_some_and(|min| number < min) || max.is_some_and(|max| number > max) {
            let bounds = match (min, max) {
                (Some(min), Some(max)) => format!("from {min} to {max}"),
                (Some(min), None) => format!("at least {min}"),
                (_, max) => format!("at most {}", max.unwrap_or(i64::MAX)),
            };
            return Some(format!("must be {bounds}, but is {number}"));
        }
    }
    let (length, least, most, unit) = match value {
        Value::String(text) => (text.chars().count(), "minLength", "maxLength", "characters"),
        Value::Array(items) => (items.len(), "minItems", "maxItems", "items"),
        Value::Object(fields) => (fields.len(), "minProperties", "maxProperties", "entries"),
        _ => return None,
    };
    let bound = |name: &str| schema.get(name).and_then(Value::as_u64);
    let length = length as u64;
    match (bound(least), bound(most)) {
        (Some(least), _) if length < least => Some(format!(
            "must have at least {least} {unit}, but has {length}"
        )),
        (_, Some(most)) if length > most => {
            Some(format!("must have at most {most} {unit}, but has {length}"))
        }
        _ => None,
    }
}

fn repeated_key(schema: &Value, items: &[Value], path: &FieldPath) -> Option<Finding> {
    let key = schema
        .get("x-kubernetes-list-map-keys")?
        .as_array()?
        .first()?
        .as_str()?;
    items.iter().enumerate().find_map(|(index, item)| {
        let value = item.get(key)?;
        let repeated = items[..index]
            .iter()
            .any(|earlier| earlier.get(key) == Some(value));
        let message = || format!("{key} {} is given twice", show(value));
        repeated.then(|| Finding::error(path.item(index), message()))
    })
}

fn child_schema<'a>(schema: &'a Value, name: &str) -> Option<&'a Value> {
    let property = properties(schema).and_then(|properties| properties.get(name));
    property.or_else(|| schema.get("additionalProperties").filter(|s| s.is_object()))
}

fn show(value: &Value) -> String {
    const SHOWN_MAX: usize = 60;
    match value {
        Value::Null => "null".to_owned(),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "a block of fields".to_owned(),
        value => value.to_string().chars().take(SHOWN_MAX).collect(),
    }
}

/// The name of `known` that `name` was most likely meant to be.
pub(crate) fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let distance = |other: &str| edits(&name.to_lowercase(), &other.to_lowercase());
    let (edits, nearest) = known.map(|other| (distance(other), other)).min()?;
    (edits <= 1 + name.chars().count() / 3).then_some(nearest)
}

/// Insertions, deletions and substitutions between two words (Levenshtein's distance).
fn edits(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, left) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, right) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(left != *right);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearest_name_is_found_or_none() {
        let known = ["headers", "logging", "perRequestMetrics"];
        assert_eq!(nearest("header", known.into_iter()), Some("headers"));
        assert_eq!(
            nearest("perrequestmetrics", known.into_iter()),
            Some("perRequestMetrics")
        );
        assert_eq!(nearest("replicas", known.into_iter()), None);
    }

    #[test]
    fn edits_are_counted() {
        for (a, b, count) in [
            ("", "abc", 3),
            ("kitten", "sitting", 3),
            ("same", "same", 0),
        ] {
            assert_eq!(edits(a, b), count, "{a} {b}");
        }
    }
}
