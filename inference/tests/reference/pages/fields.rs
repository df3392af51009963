//! The tables of request fields: those that a route takes, from the OpenAPI document, and the others, from
//! the table that says what becomes of them.

use std::collections::BTreeSet;

use candela_engine::request::{FieldRoute, OTHER_FIELDS, Treatment};
use serde_json::Value;

use super::{code, grouped, table};

const SCHEMAS: &str = "#/components/schemas/";

/// The members of a schema: name, type, bounds, meaning. Names of the schemas that they refer to are
/// added to `found`.
pub(super) fn members(document: &Value, schema: &str, found: &mut BTreeSet<String>) -> String {
    let schema = &document["components"]["schemas"][schema];
    let required: Vec<&str> = strings(&schema["required"]).collect();
    let members = schema["properties"].as_object().into_iter().flatten();
    let rows: Vec<_> = members
        .map(|(name, member)| {
            references(member, found);
            let mut meaning = text(&member["description"]);
            if required.contains(&name.as_str()) {
                meaning = format!("Required. {meaning}");
            }
            vec![code(name), kind(member), bounds(member), meaning]
        })
        .collect();
    if rows.is_empty() {
        return format!("{}\n", text(&schema["description"]));
    }
    table(&["field", "type", "values", "meaning"], rows)
}

/// An object that is part of bodies: what it is, and its members.
pub(super) fn object(document: &Value, schema: &str, found: &mut BTreeSet<String>) -> String {
    let described = &document["components"]["schemas"][schema];
    let members = members(document, schema, found);
    match text(&described["description"]) {
        description if described["properties"].is_object() && !description.is_empty() => {
            format!("{description}\n\n{members}")
        }
        _ => members,
    }
}

/// The other fields of a route: those that are refused, and those that are ignored. None of them is in the
/// route's schema.
pub(super) fn others(document: &Value, schema: &str, route: FieldRoute) -> String {
    let of_route = || {
        OTHER_FIELDS
            .iter()
            .filter(|field| field.routes.contains(&route))
    };
    let members = &document["components"]["schemas"][schema]["properties"];
    for field in of_route() {
        let twice = !members[field.name].is_null();
        assert!(
            !twice,
            "{} is a field of {schema}, and among the others",
            field.name
        );
    }
    let refused = of_route().filter_map(|field| match field.treatment {
        Treatment::Refused { neutral, instead } => {
            let passes = std::iter::once("null").chain(neutral.iter().copied());
            let passes: Vec<String> = passes.map(code).collect();
            Some(vec![
                code(field.name),
                passes.join(", "),
                instead.to_owned(),
            ])
        }
        Treatment::Ignored(_) => None,
    });
    let ignored = of_route().filter_map(|field| match field.treatment {
        Treatment::Ignored(why) => Some(vec![code(field.name), why.to_owned()]),
        Treatment::Refused { .. } => None,
    });
    let mut section = String::new();
    let (refused, ignored): (Vec<_>, Vec<_>) = (refused.collect(), ignored.collect());
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

/// A member's type in words.
fn kind(member: &Value) -> String {
    if let Some(alternatives) = alternatives(member) {
        let kinds: Vec<String> = alternatives.iter().map(kind).collect();
        let kinds: Vec<String> = kinds.into_iter().filter(|kind| kind != "null").collect();
        return kinds.join(" or ");
    }
    if let Some(name) = referred(member) {
        return format!("[{name}](#{})", name.to_lowercase());
    }
    let kinds: Vec<&str> = match &member["type"] {
        Value::String(one) => vec![one.as_str()],
        several => strings(several).filter(|kind| *kind != "null").collect(),
    };
    match kinds[..] {
        [] => "any".to_owned(),
        ["array"] => format!("list of {}", kind(&member["items"])),
        _ => kinds.join(" or "),
    }
}

fn alternatives(member: &Value) -> Option<&Vec<Value>> {
    ["anyOf", "oneOf"]
        .iter()
        .find_map(|of| member[of].as_array())
}

fn referred(member: &Value) -> Option<&str> {
    member["$ref"].as_str()?.strip_prefix(SCHEMAS)
}

fn references(value: &Value, found: &mut BTreeSet<String>) {
    found.extend(referred(value).map(str::to_owned));
    match value {
        Value::Object(members) => members
            .values()
            .for_each(|member| references(member, found)),
        Value::Array(items) => items.iter().for_each(|item| references(item, found)),
        _ => {}
    }
}

/// A member's bounds in words; those of alternatives together.
fn bounds(member: &Value) -> String {
    if let Some(values) = member["enum"].as_array() {
        let values: Vec<String> = values
            .iter()
            .map(|value| code(&value.to_string()))
            .collect();
        return values.join(", ");
    }
    let bounds = |low: &str, high: &str, of: &str| match (&member[low], &member[high]) {
        (Value::Null, Value::Null) => None,
        (low, Value::Null) => Some(format!("at least {}{of}", number(low))),
        (Value::Null, high) => Some(format!("at most {}{of}", number(high))),
        (low, high) => Some(format!("{} to {}{of}", number(low), number(high))),
    };
    let above = match (&member["exclusiveMinimum"], &member["maximum"]) {
        (Value::Null, _) => bounds("minimum", "maximum", ""),
        (low, Value::Null) => Some(format!("above {}", number(low))),
        (low, high) => Some(format!("above {}, at most {}", number(low), number(high))),
    };
    let all = [
        above,
        bounds("minLength", "maxLength", " bytes"),
        bounds("minItems", "maxItems", " items"),
        bounds("minProperties", "maxProperties", " pairs"),
    ];
    let mut all: Vec<String> = all.into_iter().flatten().collect();
    for alternative in alternatives(member).into_iter().flatten() {
        all.extend(Some(self::bounds(alternative)).filter(|bounds| !bounds.is_empty()));
    }
    all.join("; ")
}

/// A bound. Those of a machine's integers are said in bits.
fn number(value: &Value) -> String {
    match value.as_u64() {
        Some(u64::MAX) => "2⁶⁴ − 1".to_owned(),
        Some(whole) if whole == i64::MAX.unsigned_abs() => "2⁶³ − 1".to_owned(),
        Some(whole) if whole == u64::from(u32::MAX) => "2³² − 1".to_owned(),
        Some(whole) => grouped(whole),
        None if value.as_i64() == Some(i64::MIN) => "−2⁶³".to_owned(),
        None => value.to_string().trim_end_matches(".0").to_owned(),
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
