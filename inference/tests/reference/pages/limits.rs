//! The table of limits, read from the files that hold them: each is a constant with a sentence of its own.

use super::{code, grouped, table};

const SERVER: &str = include_str!("../../../src/server/limits.rs");
const REQUEST: &str = include_str!("../../../src/request/limits.rs");
/// Defaults of flags, which constants of the others are made of.
const CONNECTION: &str = include_str!("../../../flags/src/connection.rs");

/// Both tables, with their titles.
pub(super) fn section() -> String {
    let head = &["limit", "value", "what it bounds"];
    format!(
        "### Of a request's fields\n\n{}\n### Of peers\n\n{}",
        table(head, rows(REQUEST)),
        table(head, rows(SERVER))
    )
}

fn rows(source: &str) -> Vec<Vec<String>> {
    let (mut doc, mut item) = (String::new(), String::new());
    let mut rows = Vec::new();
    for line in source.lines().map(str::trim) {
        if let Some(text) = line.strip_prefix("/// ") {
            doc = format!("{doc} {text}");
        } else if !item.is_empty() || line.starts_with("pub const ") {
            item += line;
            if item.ends_with(';') {
                let (name, value) = constant(&item);
                rows.push(vec![
                    code(&name),
                    value,
                    doc.replace("[`", "`").replace("`]", "`").trim().to_owned(),
                ]);
                doc.clear();
                item.clear();
            }
        }
    }
    assert!(!rows.is_empty(), "no limits found");
    rows
}

/// Name and value of `pub const NAME: TYPE = VALUE;`.
fn constant(item: &str) -> (String, String) {
    let (left, value) = item.split_once(" = ").expect("a constant has a value");
    let name = left
        .trim_start_matches("pub const ")
        .split(':')
        .next()
        .unwrap_or_default();
    (name.to_owned(), readable(value.trim_end_matches(';')))
}

/// A number, a shift, a duration in words, or the default of a flag.
fn readable(value: &str) -> String {
    let inner = |prefix: &str| {
        value
            .strip_prefix(prefix)
            .and_then(|rest| rest.strip_suffix(')'))
    };
    if let Some(seconds) = inner("Duration::from_secs(") {
        return number(seconds).map_or_else(String::new, |n| format!("{} s", grouped(n)));
    }
    if let Some(milliseconds) = inner("Duration::from_millis(") {
        return number(milliseconds).map_or_else(String::new, |n| format!("{} ms", grouped(n)));
    }
    number(value).map_or_else(|| value.to_owned(), grouped)
}

fn number(value: &str) -> Option<u64> {
    if let Some(name) = value.strip_prefix("connection::") {
        return default_of_a_flag(name);
    }
    match value.split_once(" << ") {
        Some((base, shift)) => Some(number(base)? << number(shift)?),
        None => value.replace('_', "").parse().ok(),
    }
}

fn default_of_a_flag(name: &str) -> Option<u64> {
    let mut lines = CONNECTION.lines();
    let found = lines.find_map(|line| line.strip_prefix(&format!("pub const {name}: u64 = ")))?;
    number(found.trim_end_matches(';'))
}
