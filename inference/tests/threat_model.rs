//! `docs/threat-model.md` says what the code says: each limit's value, and the tests that hold it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

macro_rules! values {
    ($($module:path: [$($name:ident),* $(,)?];)*) => {
        BTreeMap::from([$($( (stringify!($name), {
            use $module as module;
            format!("{:?}", module::$name)
        }), )*)*])
    };
}

/// Every limit by its name, as Rust writes its value.
fn values() -> BTreeMap<&'static str, String> {
    values! {
        candela_engine::server::limits: [
            CONNECTIONS_MAX, HEADER_READ_TIMEOUT, HEADERS_MAX, HEADER_BYTES_MAX, BODY_READ_TIMEOUT,
            BODY_MEMORY_BYTES_MAX, WRITE_STALL_TIMEOUT, HTTP2_STREAMS_MAX, HTTP2_RESETS_MAX,
            INLINE_BODY_BYTES_MAX, BLOCKING_THREADS_MAX, WORKER_THREADS, KEY_FILE_BYTES_MAX,
            KEY_FILE_POLL, REQUEST_ID_BYTES_MAX, TENANT_BYTES_MAX, USAGE_LOG_LINES_MAX,
            RETRY_AFTER_SECONDS, ENGINE_STOP_TIMEOUT, FLUSH_TIMEOUT, ENGINE_DEATH_NOTICE,
            STORED_RESPONSES_MAX, STORED_BYTES_MAX, STORED_RESPONSE_BYTES_MAX,
            LOAD_MEMORY_BYTES_MAX, LOAD_TIME_MAX, LOAD_POLL,
        ];
        candela_engine::request::limits: [
            ANSWERS_MAX, PROMPTS_MAX, MESSAGES_MAX, INPUT_ITEMS_MAX, METADATA_PAIRS_MAX,
            METADATA_KEY_CHARS_MAX, METADATA_VALUE_CHARS_MAX, STOP_STRINGS_MAX,
            STOP_STRING_BYTES_MAX, STOP_TOKEN_IDS_MAX, USER_BYTES_MAX, CACHE_SALT_BYTES_MAX,
            STRUCTURES_MAX, COMPLETION_TOKENS_DEFAULT, TEMPERATURE_MIN, TEMPERATURE_MAX,
            ECHOED_CHARS_MAX, TOOLS_MAX, TOOL_NAME_CHARS_MAX, REQUIRED_CALLS_MAX,
            MESSAGE_CALLS_MAX, JSON_VALUES_MAX, JSON_DEPTH_MAX,
        ];
        candela_engine::grammar::limits: [
            SCHEMA_BYTES_MAX, REGEX_BYTES_MAX, CHOICES_BYTES_MAX, GRAMMAR_BYTES_MAX, NESTING_MAX,
            LEXER_BUILD_FUEL, LEXER_STEP_FUEL, STEP_ITEMS_MAX, ROW_ITEMS_MAX, LEXER_STATES_MAX,
            GRAMMAR_SYMBOLS_MAX, CACHED_GRAMMARS_MAX, COMPILE_QUEUE_MAX, COMPILE_TIMEOUT,
            COMPILE_STACK_BYTES, MASK_THREADS_MAX, JSON_WHITESPACE_MAX, TOKEN_BYTES_MAX,
            REASON_CHARS_MAX,
        ];
        candela_engine::engine: [BARREN_STEPS_MAX];
        candela_engine::model: [SAFETENSORS_HEADER_BYTES_MAX, MODEL_FILE_BYTES_MAX];
        candela_engine::prompt: [
            TEMPLATE_FUEL, RENDERED_BYTES_MAX, TEMPLATE_BYTES_MAX, TOKENIZER_BYTES_MAX,
            TOKENS_PER_BYTE_MAX,
        ];
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn page() -> String {
    fs::read_to_string(root().join("docs/threat-model.md")).expect("the page is there")
}

/// The cells of the tables of limits.
fn rows(page: &str) -> impl Iterator<Item = [&str; 4]> {
    page.lines().filter_map(|line| {
        let cells: Vec<&str> = line
            .strip_prefix('|')?
            .strip_suffix('|')?
            .split('|')
            .collect();
        Some(<[&str; 4]>::try_from(cells).ok()?.map(str::trim))
    })
}

/// What stands between backticks.
fn names(cell: &str) -> impl Iterator<Item = &str> {
    cell.split('`').skip(1).step_by(2)
}

#[test]
fn every_limit_on_the_page_has_the_value_of_its_constant() {
    let (page, values) = (page(), values());
    let mut seen = BTreeSet::new();
    for [_, limit, value, _] in rows(&page) {
        let words = names(limit).flat_map(|name| name.split([':', ' ']));
        for name in words.filter(|word| values.contains_key(word)) {
            assert_eq!(value, values[name], "{name}");
            seen.insert(name);
        }
    }
    let missing: Vec<_> = values.keys().filter(|name| !seen.contains(*name)).collect();
    assert!(missing.is_empty(), "docs/threat-model.md lacks {missing:?}");
}

#[test]
fn every_constant_of_the_limits_is_compared() {
    let values = values();
    for file in ["server/limits.rs", "request/limits.rs", "grammar/limits.rs"] {
        let text =
            fs::read_to_string(root().join("inference/src").join(file)).expect("it is there");
        let constants = text
            .lines()
            .filter_map(|line| line.strip_prefix("pub const "));
        for name in constants.filter_map(|line| line.split(':').next()) {
            assert!(
                values.contains_key(name),
                "{file}: add {name} here and to docs/threat-model.md"
            );
        }
    }
}

#[test]
fn every_test_on_the_page_exists() {
    let mut sources = String::new();
    for folder in ["inference/src", "inference/tests"] {
        read(&root().join(folder), &mut sources);
    }
    for [_, _, _, tests] in rows(&page()) {
        for test in names(tests) {
            assert!(
                sources.contains(&format!("fn {test}(")),
                "there is no test {test}"
            );
        }
    }
}

fn read(folder: &Path, sources: &mut String) {
    for entry in fs::read_dir(folder).expect("sources can be listed") {
        let path = entry.expect("and their names read").path();
        if path.is_dir() {
            read(&path, sources);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            *sources += &fs::read_to_string(&path).expect("and they");
        }
    }
}
