//! A client's JSON schema, made ready for llguidance: its own options instead of the client's, without
//! annotations that restrict nothing, closed where asked.

use std::collections::HashSet;

use serde_json::{Map, Value, json};

use super::{GrammarError, SchemaOptions, limits};

/// Formats that llguidance enforces. Others say something about a string that JSON Schema does not
/// check, so they are left out rather than refused.
const FORMATS: &[&str] = &[
    "duration", "email", "hostname", "ipv4", "ipv6", "uuid", "uri",
];
/// A year from 0001. In the year 0 calendars disagree.
const YEAR: &str = "(?:[0-9]{3}[1-9]|[0-9]{2}[1-9]0|[0-9][1-9]00|[1-9]000)";
/// A year that has a 29th of February.
const LEAP_YEAR: &str = concat!(
    "(?:[0-9]{2}(?:0[48]|[2468][048]|[13579][26])",
    "|(?:0[48]|[2468][048]|[13579][26])00)"
);
/// Every day of a year but that one.
const DAY: &str = concat!(
    "(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)",
    "|02-(?:0[1-9]|1[0-9]|2[0-8]))"
);
/// Host names of at most four labels, each of at most 62 characters (63 by RFC 1035), and no two hyphens
/// in a row, as in names that stand for others.
const HOSTNAME: &str = concat!(
    "[a-zA-Z0-9]{1,20}(?:-[a-zA-Z0-9]{1,20}){0,2}",
    r"(?:\.[a-zA-Z0-9]{1,20}(?:-[a-zA-Z0-9]{1,20}){0,2}){0,3}"
);
/// The part of an address before its `@`, of at most 62 characters (64 by RFC 5321).
const MAILBOX: &str = concat!(
    "[a-zA-Z0-9!#$%&'*+/=?^_`{|}~-]{1,20}",
    r"(?:\.[a-zA-Z0-9!#$%&'*+/=?^_`{|}~-]{1,20}){0,2}"
);
/// A time with its zone (RFC 3339), without leap seconds: most minutes have none.
const TIME: &str = concat!(
    r"(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\.[0-9]{1,9})?",
    "(?:Z|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])"
);
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
/// Keywords that name properties of an object.
const NAMES: [&str; 2] = ["properties", "patternProperties"];
/// Keywords whose value has schemas by name.
const NAMED_SCHEMAS: &[&str] = &["$defs", "definitions", "patternProperties", "properties"];

/// The schema as it is compiled.
///
/// # Errors
/// [`GrammarError::Invalid`] for one with too many members in one place.
pub(super) fn prepare(schema: &Value, options: SchemaOptions) -> Result<Value, GrammarError> {
    let mut schema = match schema {
        Value::Bool(true) => Value::Object(Map::new()),
        other => other.clone(),
    };
    if options.closed {
        leave_combined_open(&mut schema);
    }
    tidy(&mut schema, options)?;
    if let Some(object) = schema.as_object_mut() {
        let whitespace = format!(r"[ \t\n\r]{{1,{}}}", limits::JSON_WHITESPACE_MAX);
        let own = match options.compact {
            true => json!({"whitespace_flexible": false}),
            false => json!({"whitespace_pattern": whitespace}),
        };
        object.insert("x-guidance".to_owned(), own);
    }
    Ok(schema)
}

/// Leaves annotations out, and closes objects, in a schema and all below it. JSON that a request
/// carries is at most 128 levels deep, so recursion is.
fn tidy(schema: &mut Value, options: SchemaOptions) -> Result<(), GrammarError> {
    let Value::Object(object) = schema else {
        return Ok(());
    };
    settle_format(object);
    object.shift_remove("deprecated");
    if options.closed && names_properties(object) && !object.contains_key("additionalProperties") {
        object.insert("additionalProperties".to_owned(), Value::Bool(false));
    }
    for (key, value) in object {
        match value {
            Value::Array(list) if SCHEMAS.contains(&key.as_str()) => {
                bounded(key, list.len())?;
                list.iter_mut()
                    .try_for_each(|schema| tidy(schema, options))?;
            }
            Value::Object(named) if NAMED_SCHEMAS.contains(&key.as_str()) => {
                if NAMES.contains(&key.as_str()) {
                    bounded(key, named.len())?;
                }
                let mut schemas = named.values_mut();
                schemas.try_for_each(|schema| tidy(schema, options))?;
            }
            value if SCHEMAS.contains(&key.as_str()) => tidy(value, options)?,
            _ => {}
        }
    }
    Ok(())
}

fn names_properties(object: &Map<String, Value>) -> bool {
    NAMES.iter().any(|key| object.contains_key(*key))
}

/// Says of objects that are described in several places that they are open: closed for itself, each place
/// would refuse the properties that only another one names.
fn leave_combined_open(root: &mut Value) {
    let mut references = Vec::new();
    find_combined(root, &mut references);
    let mut seen = HashSet::new();
    while let Some(reference) = references.pop() {
        let place = reference.strip_prefix('#').map(str::to_owned);
        if seen.insert(reference)
            && let Some(target) = place.and_then(|place| root.pointer_mut(&place))
        {
            leave_open(target, &mut references);
        }
    }
}

/// Looks through all schemas, and leaves open what is combined in one of them.
fn find_combined(schema: &mut Value, references: &mut Vec<String>) {
    let Value::Object(object) = schema else {
        return;
    };
    let places = object
        .iter()
        .map(|(key, value)| match (key.as_str(), value) {
            ("allOf", Value::Array(all)) => all.len(),
            ("anyOf" | "oneOf" | "$ref", _) => 1,
            _ => 0,
        });
    if places.sum::<usize>() + usize::from(names_properties(object)) > 1 {
        leave_open(schema, references);
    }
    let Value::Object(object) = schema else {
        return;
    };
    for (key, value) in object {
        let key = key.as_str();
        match value {
            Value::Array(list) if SCHEMAS.contains(&key) => list
                .iter_mut()
                .for_each(|schema| find_combined(schema, references)),
            Value::Object(named) if NAMED_SCHEMAS.contains(&key) => named
                .values_mut()
                .for_each(|schema| find_combined(schema, references)),
            value if SCHEMAS.contains(&key) => find_combined(value, references),
            _ => {}
        }
    }
}

/// Leaves an object open, and all that describes the same one: its `references` are for others to follow.
fn leave_open(schema: &mut Value, references: &mut Vec<String>) {
    let Value::Object(object) = schema else {
        return;
    };
    if names_properties(object) && !object.contains_key("additionalProperties") {
        object.insert("additionalProperties".to_owned(), Value::Bool(true));
    }
    for (key, value) in object {
        match (key.as_str(), value) {
            ("allOf" | "anyOf" | "oneOf", Value::Array(members)) => members
                .iter_mut()
                .for_each(|member| leave_open(member, references)),
            ("$ref", Value::String(reference)) => references.push(reference.clone()),
            _ => {}
        }
    }
}

fn bounded(keyword: &str, members: usize) -> Result<(), GrammarError> {
    let max = limits::SCHEMA_MEMBERS_MAX;
    match members > max {
        true => Err(GrammarError::Invalid(format!(
            "`{keyword}` has {members} members; at most {max} in one place"
        ))),
        false => Ok(()),
    }
}

/// Leaves out a format that is not enforced, and makes a pattern of those for which llguidance's own
/// allows what validators refuse: leap days in every year, host names of any length.
fn settle_format(object: &mut Map<String, Value>) {
    let Some(format) = object.get("format").and_then(Value::as_str) else {
        return;
    };
    let date = || format!("(?:{YEAR}-{DAY}|{LEAP_YEAR}-02-29)");
    let pattern = match format {
        "date" => Some(format!("^{}$", date())),
        "time" => Some(format!("^{TIME}$")),
        "date-time" => Some(format!("^{}T{TIME}$", date())),
        "hostname" => Some(format!("^{HOSTNAME}$")),
        "email" => Some(format!("^{MAILBOX}@{HOSTNAME}$")),
        format if FORMATS.contains(&format) => return,
        _ => None,
    };
    object.shift_remove("format");
    let Some(pattern) = pattern else { return };
    if !object.contains_key("pattern") {
        object.insert("pattern".to_owned(), pattern.into());
    } else if let Value::Array(all) = object.entry("allOf").or_insert_with(|| json!([])) {
        all.push(json!({"pattern": pattern}));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prepared(schema: Value, options: SchemaOptions) -> Value {
        let mut prepared = prepare(&schema, options).unwrap();
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
        });
        let options = SchemaOptions {
            closed: true,
            ..SchemaOptions::default()
        };
        let expected = json!({
            "properties": {"a": {"items": {"properties": {}, "additionalProperties": false}}},
            "$defs": {"b": {"properties": {}, "additionalProperties": true}},
            "additionalProperties": false,
        });
        assert_eq!(prepared(schema, options), expected);
    }

    #[test]
    fn what_describes_one_object_together_is_left_open() {
        let options = SchemaOptions {
            closed: true,
            ..SchemaOptions::default()
        };
        let names = |name: &str| json!({"properties": {name: {"properties": {}}}});
        // By where they are: whether each is closed.
        for (schema, expected) in [
            (
                json!({"properties": {}, "anyOf": [names("a")]}),
                vec![
                    ("", false),
                    ("/anyOf/0", false),
                    ("/anyOf/0/properties/a", true),
                ],
            ),
            (
                json!({"oneOf": [names("a"), names("b")]}),
                vec![("/oneOf/0", true), ("/oneOf/1", true)],
            ),
            (
                json!({"allOf": [names("a"), {"oneOf": [names("b")]}]}),
                vec![("/allOf/0", false), ("/allOf/1/oneOf/0", false)],
            ),
            (json!({"allOf": [names("a")]}), vec![("/allOf/0", true)]),
            (
                json!({
                    "properties": {"x": {"$ref": "#/$defs/alone"}}, "$ref": "#/$defs/a",
                    "$defs": {
                        "a": {"allOf": [{"$ref": "#/$defs/b"}]}, "b": names("b"),
                        "alone": names("c"),
                    },
                }),
                vec![("", false), ("/$defs/b", false), ("/$defs/alone", true)],
            ),
            (
                json!({"properties": {"x": {"$ref": "#"}}, "allOf": [{"$ref": "#"}]}),
                vec![("", false)],
            ),
        ] {
            let prepared = prepared(schema, options);
            for (place, closed) in expected {
                let told = &prepared.pointer(place).unwrap()["additionalProperties"];
                assert_eq!(*told == json!(false), closed, "{place} of {prepared}");
            }
        }
    }

    #[test]
    fn a_clients_own_options_for_llguidance_do_not_count() {
        let schema = json!({"x-guidance": {"lenient": true, "item_separator": "x"}});
        let prepared = prepare(&schema, SchemaOptions::default()).unwrap();
        assert_eq!(prepared["x-guidance"].get("lenient"), None);
        assert_eq!(prepared["x-guidance"].get("item_separator"), None);
    }
}
