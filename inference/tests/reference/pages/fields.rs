//! The tables of request fields: those of the wire types, from their schemas, and the others, from the
//! table that says what becomes of them.

use candela_engine::request::{FieldRoute, OTHER_FIELDS, Treatment};
use schemars::Schema;
use serde_json::Value;

use super::{code, table};

/// The fields that a route takes, as its wire types have them: name, type, meaning.
pub(super) fn taken(schemas: &[Schema]) -> String {
    let mut rows = Vec::new();
    for schema in schemas {
        let schema = schema.as_value();
        let required: Vec<&str> = strings(&schema["required"]).collect();
        let properties = schema["properties"]
            .as_object()
            .expect("wire types of requests are objects");
        for (name, property) in properties {
            let mut meaning = text(&property["description"]);
            if required.contains(&name.as_str()) {
                meaning += " Required.";
            }
            rows.push(vec![code(name), kind(property), meaning]);
        }
    }
    table(&["field", "type", "meaning"], rows)
}

/// The other fields of a route: those that are refused, and those that are ignored.
pub(super) fn others(route: FieldRoute) -> String {
    let of_route = || {
        OTHER_FIELDS
            .iter()
            .filter(|field| field.routes.contains(&route))
    };
    let refused: Vec<_> = of_route()
        .filter_map(|field| match field.treatment {
            Treatment::Refused { neutral, instead } => {
                let passes: Vec<String> = std::iter::once("null")
                    .chain(neutral.iter().copied())
                    .map(code)
                    .collect();
                Some(vec![
                    code(field.name),
                    passes.join(", "),
                    instead.to_owned(),
                ])
            }
            Treatment::Ignored(_) => None,
        })
        .collect();
    let ignored: Vec<_> = of_route()
        .filter_map(|field| match field.treatment {
            Treatment::Ignored(why) => Some(vec![code(field.name), why.to_owned()]),
            Treatment::Refused { .. } => None,
        })
        .collect();
    let mut section = String::new();
    if !refused.is_empty() {
        section += "\nRefused, unless they ask for nothing:\n\n";
        section += &table(&["refused field", "passes", "instead"], refused);
    }
    if !ignored.is_empty() {
        section += "\nAccepted and ignored:\n\n";
        section += &table(&["ignored field", "why"], ignored);
    }
    section
}

/// A property's type in words.
fn kind(property: &Value) -> String {
    let alternatives = ["anyOf", "oneOf"]
        .iter()
        .find_map(|of| property[of].as_array());
    if let Some(alternatives) = alternatives {
        let kinds: Vec<String> = alternatives
            .iter()
            .map(kind)
            .filter(|kind| kind != "null")
            .collect();
        return kinds.join(" or ");
    }
    if let Some(reference) = property["$ref"].as_str() {
        return reference.rsplit('/').next().unwrap_or_default().to_owned();
    }
    let kinds: Vec<&str> = match &property["type"] {
        Value::String(one) => vec![one.as_str()],
        several => strings(several).filter(|kind| *kind != "null").collect(),
    };
    match kinds[..] {
        [] => "any".to_owned(),
        ["array"] => format!("list of {}", kind(&property["items"])),
        _ => kinds.join(" or "),
    }
}

fn strings(value: &Value) -> impl Iterator<Item = &str> {
    value
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
}

/// A description as one line.
fn text(value: &Value) -> String {
    let text = value.as_str().unwrap_or_default();
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
