//! Where findings are: manifests as people write them, and texts that nobody should.

use candela_crds::{Diagnostic, Position, ReadError, is_inference_service, read_objects};
use proptest::prelude::*;

const HEAD: &str = "apiVersion: inference.candela.dev/v1alpha1\nkind: InferenceService\n";

/// The findings of a text: place, severity, path and the message's first words.
fn findings(text: &str) -> Vec<Diagnostic> {
    match read_objects(text) {
        Err(ReadError(diagnostic)) => vec![diagnostic],
        Ok(objects) => objects
            .into_iter()
            .filter(|object| is_inference_service(object.value()))
            .flat_map(|object| object.check().diagnostics)
            .collect(),
    }
}

/// Holds the findings of `HEAD` and `rest` against lines such as `3:5 spec.stats: words (4:6)`: place,
/// path, how the message begins, and the places of the notes. Lines are counted in `rest`.
#[track_caller]
fn check(rest: &str, expected: &[&str]) {
    check_whole(&format!("{HEAD}{rest}"), HEAD.lines().count(), expected);
}

#[track_caller]
fn check_whole(text: &str, lines_before: usize, expected: &[&str]) {
    let place = |at: Position| {
        format!(
            "{}:{}",
            at.line.cast_signed() - lines_before.cast_signed(),
            at.column
        )
    };
    let found: Vec<String> = findings(text)
        .iter()
        .map(|found| {
            let notes: Vec<String> = found.notes.iter().map(|n| place(n.span.start)).collect();
            let notes = match notes.as_slice() {
                [] => String::new(),
                notes => format!(" ({})", notes.join(" ")),
            };
            let start = place(found.span.start);
            format!("{start} {}: {}{notes}", found.path, found.message)
        })
        .collect();
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    for (found, expected) in found.iter().zip(expected) {
        let (begins, ends) = expected.split_once("...").unwrap_or((expected, ""));
        assert!(
            found.starts_with(begins) && found.ends_with(ends),
            "{found}\nis not\n{expected}"
        );
    }
}

#[test]
fn a_rule_points_at_the_value_and_at_what_it_contradicts() {
    check(
        "metadata: {name: a}
spec:
  model: {uri: builtin://demo}
  stats:
    logging: false # too slow
    headers: true
",
        &["6:14 spec.stats.headers: spec.stats.headers and... (5:14)"],
    );
    check(
        "metadata: {name: a}
spec:
  model:
    uri: s3://models/a
    revision: main
  cache: {claimName: a, size: 1Gi}
",
        &[
            "5:15 spec.model.revision: spec.model.revision is for... (4:10)",
            "6:22 spec.cache.claimName: spec.cache needs exactly one... (6:31)",
        ],
    );
}

#[test]
fn what_is_missing_points_at_the_block_around_it() {
    check(
        "metadata: {name: a}\nspec:\n  model:\n    name: x\n",
        &["3:3 spec.model.uri: is required, but missing"],
    );
    check(
        "metadata: {name: a}\nspec:\n  model:\n",
        &["3:3 spec.model: is required, but missing"],
    );
    check(
        "metadata: {}\nspec: {model: {uri: builtin://demo}}\n",
        &["1:1 metadata.name: metadata.name becomes..."],
    );
}

#[test]
fn an_unknown_field_points_at_its_name() {
    check(
        "metadata: {name: a}
spec:
  model: {uri: builtin://demo}
  pod:
    tolerations:
    - key: a
      operater: Exists
",
        &["7:7 spec.pod.tolerations[0].operater: unknown field... did you mean `operator`?"],
    );
}

#[test]
fn items_and_keys_with_dots_have_places_of_their_own() {
    check(
        "metadata: {name: a}
spec:
  model: {uri: builtin://demo}
  engine:
    extraArgs:
    - --seed=1
    - \"--port=1\"
    - --sede=1
    env: [{name: A, value: b}, {name: CANDELA_X, value: b}]
  pod:
    labels:
      app.kubernetes.io/name: mine
",
        &[
            "7:7 spec.engine.extraArgs[1]: spec.engine.extraArgs may not carry...",
            "8:7 spec.engine.extraArgs[2]: this version of candela-engine has no flag --sede...",
            "9:39 spec.engine.env[1].name: spec.engine.env may not set...",
            "12:31 spec.pod.labels[\"app.kubernetes.io/name\"]: spec.pod.labels may not...",
        ],
    );
}

#[test]
fn a_key_that_is_given_twice_is_an_error_with_both_places() {
    check(
        "metadata: {name: a}
spec:
  model: {uri: builtin://demo}
  replicas: 1
  replicas: 2
",
        &["5:3 spec.replicas: is given twice... (4:3)"],
    );
}

#[test]
fn anchors_and_merges_are_followed_to_what_they_stand_for() {
    check(
        "metadata: {name: a}
x-quiet: &quiet {logging: false}
spec:
  model: {uri: builtin://demo}
  stats:
    <<: *quiet
    headers: true
",
        &[
            "2:1 x-quiet: unknown field...",
            "7:14 spec.stats.headers: spec.stats.headers and... (2:27)",
        ],
    );
    check(
        "metadata: {name: a, annotations: {n: &n many}}
spec: {model: {uri: builtin://demo}, replicas: *n}
",
        &["2:48 spec.replicas: must be a whole number, but is \"many\""],
    );
}

#[test]
fn json_lists_and_later_documents_have_places() {
    let object = |uri: &str| {
        format!(
            "{{\n\t\"apiVersion\": \"inference.candela.dev/v1alpha1\", \"kind\": \"InferenceService\",\n\
             \t\"metadata\": {{\"name\": \"a\"}},\n\t\"spec\": {{\"model\": {{\"uri\": \"{uri}\"}}}}\n}}"
        )
    };
    let expected = "spec.model.uri: spec.model.uri must have...";
    check_whole(&object("x"), 0, &[&format!("4:28 {expected}")]);
    let list = format!(
        "{{\"kind\": \"List\", \"apiVersion\": \"v1\", \"items\": [\n{},\n{}]}}",
        object("builtin://demo"),
        object("y")
    );
    check_whole(&list, 0, &[&format!("10:28 {expected}")]);
    let documents = format!("# one\n---\na: b\n---\r\n{}\n", object("z"));
    check_whole(&documents, 0, &[&format!("8:28 {expected}")]);
}

#[test]
fn text_blocks_and_wide_characters_do_not_shift_columns() {
    check(
        "metadata: {name: a, annotations: {note: \"日本\"}} # é
spec:
  model:
    uri: |
      hf://a/b
  stats: {headers: \"ü\", logging: 1}
",
        &[
            "6:20 spec.stats.headers: must be true or false, but is \"ü\"",
            "6:34 spec.stats.logging: must be true or false, but is 1",
        ],
    );
}

#[test]
fn what_is_no_yaml_is_told_with_its_place_and_a_way_out() {
    check(
        "spec:\n\tmodel: a\n",
        &["2:2 : not readable as YAML: tabs disallowed...indent with spaces"],
    );
    check(
        "spec: {model: {uri: a}\nb: c\n",
        &["2:1 : not readable as YAML: ... (1:7)"],
    );
    check(
        "spec: *nothing\n",
        &["1:7 : not readable as YAML: ...&name) earlier in the same document"],
    );
    check(
        "? [a]\n: b\n",
        &["1:3 : not readable as YAML: a block or list cannot be a key"],
    );
    check("spec: [\n", &["1:8 : not readable as YAML: ... (1:7)"]);
}

#[test]
fn nesting_and_aliases_are_bounded() {
    let deep = [
        "[".repeat(100_000),
        "{a: ".repeat(100_000),
        "- ".repeat(100_000),
        "a:\n".to_owned()
            + &(1..3000)
                .map(|n| " ".repeat(n) + "a:\n")
                .collect::<String>(),
    ];
    for text in deep {
        let found = findings(&text);
        assert!(
            found[0].message.contains("nested deeper than 100"),
            "{found:?}"
        );
    }
    let doubled: String = ('a'..='y')
        .zip('b'..='z')
        .map(|(from, to)| format!("{to}: &{to} [*{from},*{from},*{from},*{from}]\n"))
        .collect();
    let wide = format!(
        "a: &a \"{}\"\nb: [{}]\n",
        "x".repeat(100_000),
        "*a,".repeat(100_000)
    );
    for text in [format!("a: &a [x,x]\n{doubled}"), wide] {
        let found = findings(&text);
        assert!(found[0].message.contains("larger than 32 MiB"), "{found:?}");
    }
    let found = findings("a: &a [*a]\n");
    assert!(
        found[0].message.contains("inside what it stands for"),
        "{found:?}"
    );
    let found = findings(&"a".repeat(9 << 20));
    assert!(found[0].message.contains("larger than 8 MiB"), "{found:?}");
}

/// Pieces of manifests, in any order.
fn pieces() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "spec:",
        "stats:",
        "{",
        "}",
        "[",
        "]",
        "- ",
        "\n",
        "\n  ",
        "\n    ",
        "\t",
        "headers: true",
        "logging: false",
        "&a ",
        "*a",
        "<<: ",
        "---\n",
        "...\n",
        "é",
        "\"",
        "'",
        "|\n",
        ": ",
        "? ",
        "!x ",
        "\r\n",
        "\r",
        "metadata: {name: a}\n",
        "model: {uri: x}",
        "replicas: 1\n",
        "\u{feff}",
        "#",
        ",",
    ]);
    prop::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    #[test]
    fn every_place_is_inside_the_text(rest in prop_oneof![pieces(), ".{0,80}"], headed: bool) {
        let text = if headed { format!("{HEAD}{rest}") } else { rest };
        let lines: Vec<usize> = text.split('\n').map(|line| line.chars().count()).collect();
        let inside = |at: Position| {
            let length = lines.get(at.line.wrapping_sub(1));
            length.is_some_and(|length| (1..=length + 1).contains(&at.column))
        };
        for found in findings(&text) {
            let notes = found.notes.iter().map(|note| note.span);
            for span in notes.chain([found.span]) {
                prop_assert!(inside(span.start) && inside(span.end), "{:?} in {:?}", span, text);
                prop_assert!(span.start <= span.end);
            }
        }
    }
}
