//! The reference pages that are made from the code: flags, metrics, and what is said over HTTP.

mod fields;
mod flags;
mod http;
mod limits;
mod metrics;

/// Every page by its file's name.
pub(crate) fn all() -> Vec<(&'static str, String)> {
    vec![
        ("flags.md", flags::page()),
        ("metrics.md", metrics::page()),
        ("http.md", http::page()),
    ]
}

/// What a generated page begins with, after its title.
const MADE: &str =
    "Made from the code by `cargo run -p candela-engine --example reference`; a test compares.";

/// A table in Markdown. A `|` in a cell stays what it is.
fn table(head: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let line = |cells: Vec<String>| {
        let cells: Vec<String> = cells.iter().map(|cell| cell.replace('|', "\\|")).collect();
        format!("| {} |\n", cells.join(" | "))
    };
    let mut table = line(head.iter().map(|&cell| cell.to_owned()).collect());
    table += &format!("|{}\n", "---|".repeat(head.len()));
    table.extend(rows.into_iter().map(line));
    table
}

/// Text as code, or nothing.
fn code(text: &str) -> String {
    if text.is_empty() {
        String::new()
    } else {
        format!("`{text}`")
    }
}

/// A number with its thousands apart.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push('_');
        }
        text.push(digit);
    }
    text
}
