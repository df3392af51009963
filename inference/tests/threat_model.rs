//! `docs/threat-model.md` says what the code says: each limit's value, and the tests that hold it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

/// Files of limits: each of their constants is on the page.
const LIMITS: [&str; 4] = [
    "src/server/limits.rs",
    "src/request/limits.rs",
    "src/grammar/limits.rs",
    "src/engine/isolation.rs",
];
/// Files with constants among others: those that are on the page have the same value.
const OTHERS: [&str; 5] = [
    "flags/src/connection.rs",
    "src/model/safetensors_header.rs",
    "src/model/source.rs",
    "src/prompt/template.rs",
    "src/prompt/tokenizer.rs",
];

fn inference() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn page() -> String {
    let path = inference().join("../docs/threat-model.md");
    fs::read_to_string(path).expect("the page is there")
}

/// Public constants of a file by name, as they are written.
fn constants(file: &str) -> BTreeMap<String, String> {
    let text = fs::read_to_string(inference().join(file)).expect("the file is there");
    let constants = text
        .lines()
        .filter_map(|line| line.strip_prefix("pub const "));
    constants
        .filter_map(|line| {
            let (name, rest) = line.split_once(": ")?;
            let (_, value) = rest.split_once(" = ")?;
            Some((name.to_owned(), value.trim_end_matches(';').to_owned()))
        })
        .collect()
}

/// A constant's value as the page writes it: plain digits, and a unit behind a time.
fn value(expression: &str, all: &BTreeMap<String, String>) -> String {
    let number = |text: &str| -> u64 {
        text.replace('_', "")
            .parse()
            .unwrap_or_else(|_| panic!("{expression}: teach this test to read it"))
    };
    let time = |inner: &str, unit: &str| {
        inner
            .strip_suffix(')')
            .map(|inner| value(inner, all) + unit)
            .expect("a time ends with a parenthesis")
    };
    if let Some(seconds) = expression.strip_prefix("Duration::from_secs(") {
        return time(seconds, "s");
    }
    if let Some(milliseconds) = expression.strip_prefix("Duration::from_millis(") {
        return time(milliseconds, "ms");
    }
    if let Some(name) = expression.strip_prefix("connection::") {
        return value(&all[name], all);
    }
    if let Some((left, right)) = expression.split_once(" << ") {
        return (number(left) << number(right)).to_string();
    }
    match expression.contains('.') {
        true => expression.to_owned(),
        false => number(expression).to_string(),
    }
}

/// The cells of the tables of limits.
fn rows(page: &str) -> impl Iterator<Item = [&str; 4]> {
    page.lines().filter_map(|line| {
        let line = line.strip_prefix('|')?.strip_suffix('|')?;
        let cells: Vec<&str> = line.split('|').collect();
        Some(<[&str; 4]>::try_from(cells).ok()?.map(str::trim))
    })
}

/// What stands between backticks.
fn names(cell: &str) -> impl Iterator<Item = &str> {
    cell.split('`').skip(1).step_by(2)
}

#[test]
fn every_limit_is_on_the_page_with_the_value_it_has() {
    let limits: BTreeMap<String, String> = LIMITS.iter().flat_map(|file| constants(file)).collect();
    let mut all: BTreeMap<String, String> =
        OTHERS.iter().flat_map(|file| constants(file)).collect();
    // Where a name is in both, the limit is what is meant.
    let seconds = all.clone();
    all.extend(limits.clone());
    let (page, mut seen) = (page(), BTreeSet::new());
    for [_, limit, written, _] in rows(&page) {
        for name in names(limit).flat_map(|name| name.split([':', ' '])) {
            let Some(expression) = all.get(name) else {
                continue;
            };
            assert_eq!(
                written,
                value(expression, &seconds),
                "docs/threat-model.md: {name}"
            );
            seen.insert(name.to_owned());
        }
    }
    let missing: Vec<&String> = limits.keys().filter(|name| !seen.contains(*name)).collect();
    assert!(
        missing.is_empty(),
        "add to docs/threat-model.md: {missing:?}"
    );
}

#[test]
fn every_test_on_the_page_exists() {
    let mut sources = String::new();
    for folder in ["src", "tests", "flags/src"] {
        read(&inference().join(folder), &mut sources);
    }
    for [_, _, _, tests] in rows(&page()) {
        for test in names(tests) {
            let function = format!("fn {test}(");
            assert!(
                sources.contains(&function),
                "docs/threat-model.md: there is no {test}"
            );
        }
    }
}

fn read(folder: &Path, sources: &mut String) {
    for entry in fs::read_dir(folder).expect("sources can be listed") {
        let path = entry.expect("so can their names").path();
        if path.is_dir() {
            read(&path, sources);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            *sources += &fs::read_to_string(&path).expect("sources can be read");
        }
    }
}
