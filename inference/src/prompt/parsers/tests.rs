//! Every parser, by examples and by random texts cut at random places.

use proptest::prelude::*;

use super::{super::message::Message, reference, *};

fn syntax(format: CallFormat) -> AnswerSyntax {
    AnswerSyntax {
        calls: Some(format),
        ..AnswerSyntax::default()
    }
}

/// The message of a text that comes in these pieces; ids left out, since they are random.
fn read<'a>(syntax: &AnswerSyntax, pieces: impl IntoIterator<Item = &'a str>) -> Message {
    let mut parser = AnswerParser::new(syntax);
    let mut message = Message::default();
    let mut begun = 0;
    let mut take = |delta: MessageDelta| {
        for call in &delta.tool_calls {
            // The first delta of each call, and only it, says what is called.
            assert_eq!(call.id.is_some(), call.index == begun, "{delta:?}");
            assert_eq!(call.id.is_some(), call.name.is_some());
            assert!(call.id.is_some() || !call.arguments.is_empty());
            begun = begun.max(call.index + 1);
        }
        message.push(delta);
    };
    for piece in pieces {
        take(parser.push(piece));
    }
    take(parser.finish());
    message.tool_calls.iter_mut().for_each(|c| c.id.clear());
    message
}

fn calls(message: &Message) -> Vec<(&str, &str)> {
    let calls = message.tool_calls.iter();
    calls
        .map(|c| (c.name.as_str(), c.arguments.as_str()))
        .collect()
}

#[track_caller]
fn check(format: CallFormat, text: &str, content: &str, expected: &[(&str, &str)]) {
    let syntax = syntax(format);
    let whole = read(&syntax, [text]);
    assert_eq!(whole.content, content, "{text}");
    assert_eq!(calls(&whole), expected, "{text}");
    let chars: Vec<&str> = text.split_inclusive(|_: char| true).collect();
    assert_eq!(read(&syntax, chars), whole, "{text}");
}

#[test]
fn hermes() {
    let check = |text: &str, content, calls: &[_]| check(CallFormat::Hermes, text, content, calls);
    let one = "<tool_call>\n{\"name\": \"f\", \"arguments\": {\"x\": \"a}b\\\"\"}}\n</tool_call>";
    check(one, "", &[("f", "{\"x\": \"a}b\\\"\"}")]);
    check(
        &format!("Let me see.\n\n{one}\n"),
        "Let me see.",
        &[("f", "{\"x\": \"a}b\\\"\"}")],
    );
    let two = r#"<tool_call>{"arguments": {"y": [1, {}]}, "id": 3, "name": "g"}</tool_call>"#;
    check(
        &format!("{two}\n{two} and so"),
        " and so",
        &[("g", r#"{"y": [1, {}]}"#); 2],
    );
    // The last call has no end; the model stopped.
    check(
        r#"<tool_call>{"name": "f", "arguments": {"x"#,
        "",
        &[("f", "{\"x")],
    );
    check(
        r#"<tool_call>{"name": "f", "arguments": {}}"#,
        "",
        &[("f", "{}")],
    );
    check(
        r#"<tool_call>{"name": "f", "arguments": {}</tool_call>!"#,
        "!",
        &[("f", "{}")],
    );
    check(
        r#"<tool_call>{"name": "f", "arguments": {"a": 1</tool_call>!"#,
        "!",
        &[("f", "{\"a\": 1")],
    );
}

#[test]
fn what_is_no_call_is_text() {
    for text in [
        "a <tool_call> b",
        "<tool_call>{}</tool_call>",
        "<tool_call>{\"name\": \"f\"}</tool_call>",
        "<tool_call>{\"name\": 1, \"arguments\": {}}</tool_call>",
        "<tool_call>{\"name\": \"\", \"arguments\": {}}</tool_call>",
        "<tool_call>{\"name\": \"f\", \"arguments\": 5}</tool_call>",
        "<tool_call>{\"arguments\": {}}</tool_call>",
        "<tool_call>f(1)</tool_call>",
        "<tool_call",
        "<tool_call>{\"na",
        "\n x <tool_call> \n",
    ] {
        check(CallFormat::Hermes, text, text, &[]);
    }
    let before = "<tool_call>oh <tool_call>";
    let text = format!("{before}{{\"name\": \"f\", \"arguments\": {{}}}}</tool_call>");
    check(CallFormat::Hermes, &text, "<tool_call>oh", &[("f", "{}")]);
    for text in [
        "{\"a\": 1}",
        "{\"name\": \"Ann\", \"age\": 3}",
        "{\"name\": \"f\"}",
        "{",
        "x {\"name\": \"f\", \"parameters\": {}}",
    ] {
        check(CallFormat::Llama3Json, text, text, &[]);
    }
    for text in [
        "[TOOL_CALLS]",
        "[TOOL_CALLS] []",
        "[TOOL_CALLS] f",
        "[TOOL_CALLS]f[ARGS]1",
        "[TOOL_CALLS]!{}",
    ] {
        check(CallFormat::Mistral, text, text, &[]);
    }
    let long = format!(
        "<tool_call>{{\"x\": \"{}\"}}",
        "a".repeat(2 * calls::HEAD_BYTES_MAX)
    );
    check(CallFormat::Hermes, &long, &long, &[]);
}

#[test]
fn llama() {
    let check = |text, content, calls: &[_]| check(CallFormat::Llama3Json, text, content, calls);
    check(
        r#"{"name": "f", "parameters": {"x": 1}}"#,
        "",
        &[("f", r#"{"x": 1}"#)],
    );
    check(
        r#"<|python_tag|>{"type": "function", "name": "f", "parameters": {}}"#,
        "",
        &[("f", "{}")],
    );
    check(
        r#"{"name": "f", "parameters": {}}; {"name": "g", "arguments": {"a": "é"}}"#,
        "",
        &[("f", "{}"), ("g", r#"{"a": "é"}"#)],
    );
    check(
        r#"Well: <|python_tag|>{"name": "f", "parameters": {}} ok"#,
        "Well: ok",
        &[("f", "{}")],
    );
    check(
        "{\"name\": \"f\", \"parameters\": {}}\n; then",
        "\n; then",
        &[("f", "{}")],
    );
}

#[test]
fn mistral() {
    let check = |text, content, calls: &[_]| check(CallFormat::Mistral, text, content, calls);
    check(
        r#"[TOOL_CALLS] [{"name": "f", "arguments": {"x": 1}, "id": "abc"}, {"name": "g", "arguments": {}}]"#,
        "",
        &[("f", r#"{"x": 1}"#), ("g", "{}")],
    );
    check(
        r#"So. [TOOL_CALLS]f[ARGS]{"x": 1}[TOOL_CALLS]g[CALL_ID]abcdefghi[ARGS]{}"#,
        "So.",
        &[("f", r#"{"x": 1}"#), ("g", "{}")],
    );
    check(
        r#"[TOOL_CALLS]f{"x": 1} done"#,
        " done",
        &[("f", r#"{"x": 1}"#)],
    );
    let nine = AnswerSyntax {
        call_ids: CallIds::NineCharacters,
        ..syntax(CallFormat::Mistral)
    };
    let delta = AnswerParser::new(&nine).push("[TOOL_CALLS]f{");
    assert_eq!(delta.tool_calls[0].id.as_ref().map(String::len), Some(9));
}

#[test]
fn answers_that_a_grammar_made() {
    let text = r#"[{"name": "f", "parameters": {"x": 1}}, {"name": "g", "parameters": {}}]"#;
    check(
        CallFormat::List,
        text,
        "",
        &[("f", r#"{"x": 1}"#), ("g", "{}")],
    );
    check(
        CallFormat::List,
        "[{\"name\": \"f\", \"parameters\": {\"x",
        "",
        &[("f", "{\"x")],
    );
    check(
        CallFormat::Arguments("f".into()),
        " {\"x\": 1}",
        "",
        &[("f", "{\"x\": 1}")],
    );
    check(CallFormat::Arguments("f".into()), "", "", &[]);
}

#[test]
fn of_several_calls_one_can_be_asked_for() {
    let one = AnswerSyntax {
        one_call: true,
        ..syntax(CallFormat::Mistral)
    };
    let text = r#"[TOOL_CALLS] [{"name": "f", "arguments": {}}, {"name": "g", "arguments": {}}]"#;
    assert_eq!(calls(&read(&one, [text])), [("f", "{}")]);
}

#[test]
fn thoughts_are_told_from_the_answer() {
    use ReasoningStart::{Over, Thinking, Undecided};
    let cases = [
        (
            ReasoningFormat::THINK,
            Undecided,
            "<think>a</think>b",
            ("a", "b"),
        ),
        (
            ReasoningFormat::THINK,
            Undecided,
            "\n<think>\na\n</think>\n\nb",
            ("\na\n", "\n\nb"),
        ),
        (
            ReasoningFormat::THINK,
            Undecided,
            "a</think>b",
            ("", "a</think>b"),
        ),
        (ReasoningFormat::THINK, Undecided, " a", ("", " a")),
        (ReasoningFormat::THINK, Undecided, "<thin", ("", "<thin")),
        (
            ReasoningFormat::THINK,
            Thinking,
            "a</thi</think>",
            ("a</thi", ""),
        ),
        (ReasoningFormat::THINK, Thinking, "a</thin", ("a</thin", "")),
        (
            ReasoningFormat::THINK,
            Over,
            "<think>a</think>b",
            ("", "<think>a</think>b"),
        ),
        (
            ReasoningFormat::THINK_IMPLIED,
            Undecided,
            "a</think>b</think>",
            ("a", "b</think>"),
        ),
        (
            ReasoningFormat::THINK_IMPLIED,
            Undecided,
            "<think>a</think>b",
            ("a", "b"),
        ),
        (
            ReasoningFormat::MISTRAL,
            Undecided,
            "[THINK]a[/THINK]b",
            ("a", "b"),
        ),
    ];
    for (format, start, text, (reasoning, content)) in cases {
        let syntax = AnswerSyntax {
            reasoning: Some((format, start)),
            ..AnswerSyntax::default()
        };
        let whole = read(&syntax, [text]);
        assert_eq!(
            (whole.reasoning.as_str(), whole.content.as_str()),
            (reasoning, content),
            "{text}"
        );
        assert_eq!(
            read(&syntax, text.split_inclusive(|_: char| true)),
            whole,
            "{text}"
        );
        let hidden = AnswerSyntax {
            hide_reasoning: true,
            ..syntax
        };
        assert_eq!(read(&hidden, [text]).reasoning, "");
        assert_eq!(read(&hidden, [text]).content, content);
    }
}

#[test]
fn the_prompt_says_where_an_answer_begins() {
    let start = |prompt, continued| ReasoningFormat::THINK.start(prompt, continued);
    assert_eq!(
        start("<user>hi<assistant>", None),
        ReasoningStart::Undecided
    );
    assert_eq!(
        start("<user><think>?<assistant>", None),
        ReasoningStart::Undecided
    );
    assert_eq!(
        start("<assistant><think>\n", None),
        ReasoningStart::Thinking
    );
    assert_eq!(
        start("<assistant><think>\n\n</think>\n\n", None),
        ReasoningStart::Over
    );
    assert_eq!(start("…", Some("<think>so")), ReasoningStart::Thinking);
    assert_eq!(start("…", Some("<think>so</think>")), ReasoningStart::Over);
    assert_eq!(start("…", Some("It is")), ReasoningStart::Over);
    assert_eq!(
        start("<assistant><think>", Some("")),
        ReasoningStart::Undecided
    );
}

#[test]
fn calls_follow_on_thoughts() {
    let syntax = AnswerSyntax {
        reasoning: Some((ReasoningFormat::THINK, ReasoningStart::Thinking)),
        ..syntax(CallFormat::Hermes)
    };
    let text =
        "I <tool_call> it</think>\n\n<tool_call>{\"name\": \"f\", \"arguments\": {}}</tool_call>";
    let message = read(&syntax, [text]);
    assert_eq!(
        (message.reasoning.as_str(), message.content.as_str()),
        ("I <tool_call> it", "")
    );
    assert_eq!(calls(&message), [("f", "{}")]);
}

/// Bits of text that make calls, almost calls, and everything around them.
fn bits() -> impl Strategy<Value = String> {
    let bit = prop::sample::select(vec![
        "<tool_call>",
        "</tool_call>",
        "<tool",
        "<|python_tag|>",
        "<|python",
        "[TOOL_CALLS]",
        "[TOOL",
        "[ARGS]",
        "[CALL_ID]",
        "{\"name\": \"f\", \"arguments\": ",
        "{\"name\": \"g\", \"parameters\": ",
        "{\"arguments\": {\"k\": [1, 2]}, \"name\": \"h\"}",
        "{\"type\": \"function\", ",
        "{\"x\": 1}",
        "{}",
        "{",
        "}",
        "[",
        "]",
        ",",
        ";",
        ":",
        "\"",
        "\\",
        " ",
        "\n",
        "f",
        "é",
        "🦀",
        "1",
        "null",
        "\"name\"",
        "<think>",
        "</think>",
        "</thi",
        "[THINK]",
        "[/THINK]",
        "<",
    ]);
    prop::collection::vec(bit, 0..14).prop_map(|bits| bits.concat())
}

fn cut(text: &str, cuts: &[prop::sample::Index]) -> Vec<String> {
    let mut at: Vec<usize> = cuts
        .iter()
        .map(|cut| text.floor_char_boundary(cut.index(text.len() + 1)))
        .collect();
    at.extend([0, text.len()]);
    at.sort_unstable();
    at.windows(2)
        .map(|pair| text[pair[0]..pair[1]].to_owned())
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    #[test]
    fn pieces_add_up_to_what_the_slow_parser_reads(
        text in bits(),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
        format in prop::sample::select(vec![
            CallFormat::Hermes, CallFormat::Llama3Json, CallFormat::Mistral, CallFormat::List,
            CallFormat::Arguments("f".into()),
        ]),
        reasoning in prop::sample::select(vec![
            None,
            Some((ReasoningFormat::THINK, ReasoningStart::Undecided)),
            Some((ReasoningFormat::THINK_IMPLIED, ReasoningStart::Undecided)),
            Some((ReasoningFormat::THINK, ReasoningStart::Thinking)),
            Some((ReasoningFormat::MISTRAL, ReasoningStart::Over)),
        ]),
    ) {
        let syntax = AnswerSyntax { reasoning, ..syntax(format.clone()) };
        let pieces = cut(&text, &cuts);
        let streamed = read(&syntax, pieces.iter().map(String::as_str));
        prop_assert_eq!(&streamed, &read(&syntax, [text.as_str()]));
        prop_assert_eq!(&streamed, &reference::message(&text, &format, reasoning));
    }

    #[test]
    fn calls_that_are_well_formed_are_read_as_written(
        around in prop::collection::vec("[a-z ]{0,6}", 4),
        arguments in prop::collection::vec(reference::arguments(), 1..4),
        mistral in any::<bool>(),
    ) {
        let call = |arguments: &str| if mistral {
            format!("[TOOL_CALLS]f[ARGS]{arguments}")
        } else {
            format!("<tool_call>\n{{\"name\": \"f\", \"arguments\": {arguments}}}\n</tool_call>")
        };
        let mut text = around[0].clone();
        for (i, arguments) in arguments.iter().enumerate() {
            text += &call(arguments);
            text += &around[i + 1];
        }
        let format = if mistral { CallFormat::Mistral } else { CallFormat::Hermes };
        let message = read(&syntax(format), [text.as_str()]);
        let read: Vec<&str> = message.tool_calls.iter().map(|c| c.arguments.as_str()).collect();
        prop_assert_eq!(read, arguments.iter().map(String::as_str).collect::<Vec<_>>());
        let solid = |text: &str| text.replace(' ', "");
        prop_assert_eq!(solid(&message.content), solid(&around[..=arguments.len()].concat()));
    }

    #[test]
    fn nothing_of_a_text_without_calls_is_lost(
        text in "[ \\n<>a-z{}\"tool_call]{0,40}",
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
    ) {
        let pieces = cut(&text, &cuts);
        let message = read(&syntax(CallFormat::Hermes), pieces.iter().map(String::as_str));
        if message.tool_calls.is_empty() {
            prop_assert_eq!(message.content, text);
        }
    }
}
