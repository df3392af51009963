//! What templates can rely on, and what they cannot do.

use super::*;

fn template(text: &str) -> ChatTemplate {
    let files = TemplateFiles {
        flag: Some(text.into()),
        tokenizer_config: Some(br#"{"bos_token": "<s>", "eos_token": "</s>"}"#.to_vec()),
        ..TemplateFiles::default()
    };
    ChatTemplate::from_files(files).unwrap().unwrap()
}

fn chat(pairs: &[(&str, &str)]) -> ChatInput {
    let messages = pairs
        .iter()
        .map(|(role, content)| json!({"role": role, "content": content}))
        .collect();
    ChatInput {
        messages,
        add_generation_prompt: true,
        ..ChatInput::default()
    }
}

#[test]
fn blocks_leave_no_lines_behind() {
    let text = "{{ bos_token }}{% for m in messages %}\n    {% if m.role == 'user' %}\n\
                [{{ m['content'].strip() }}]\n    {% endif %}\n{% endfor %}\n\
                {%- if add_generation_prompt %}A:{% endif %}";
    let rendered = template(text)
        .render(&chat(&[("user", " hi ")]), 0)
        .unwrap();
    assert_eq!(rendered, "<s>[hi]\nA:");
}

#[test]
fn json_looks_like_pythons() {
    let cases = [
        (
            "{{ messages[0] | tojson }}",
            r#"{"role": "user", "content": "é <&'"}"#,
        ),
        (
            "{{ messages[0] | tojson(ensure_ascii=true) }}",
            r#"{"role": "user", "content": "\u00e9 <&'"}"#,
        ),
        (
            "{{ [1, 2.5, none, true] | tojson }}",
            "[1, 2.5, null, true]",
        ),
        (
            "{{ {'b': 1, 'a': []} | tojson(indent=2) }}",
            "{\n  \"b\": 1,\n  \"a\": []\n}",
        ),
        (
            "{{ {'b': 1, 'a': 2} | tojson(sort_keys=true, separators=[',', ':']) }}",
            r#"{"a":2,"b":1}"#,
        ),
    ];
    for (text, expected) in cases {
        let rendered = template(text)
            .render(&chat(&[("user", "é <&'")]), 0)
            .unwrap();
        assert_eq!(rendered, expected, "{text}");
    }
}

#[test]
fn a_template_can_refuse_with_its_own_words() {
    let text = "{% if messages[0].role != 'user' %}{{ raise_exception('user first') }}{% endif %}";
    let error = template(text)
        .render(&chat(&[("assistant", "a")]), 0)
        .unwrap_err();
    assert_eq!(error, RenderError::Refused("user first".to_owned()));
}

#[test]
fn a_rendering_that_panics_is_refused() {
    // Found by fuzzing.
    let text = "{% set ns = namespace(a=[]) %}{{ ns.a[::-1][1:3] }}";
    let rendered = template(text).render(&chat(&[("user", "a")]), 0);
    assert!(
        matches!(rendered, Err(RenderError::Refused(_))),
        "{rendered:?}"
    );
}

#[test]
fn the_date_is_the_callers() {
    let text = "{{ strftime_now('%d %b %Y') }}";
    assert_eq!(
        template(text).render(&chat(&[]), 86_400 * 365).unwrap(),
        "01 Jan 1971"
    );
}

#[test]
fn a_final_message_can_be_continued() {
    let text = "{% for m in messages %}<{{ m.role }}>{{ m.content | trim }}</>{% endfor %}";
    let mut input = chat(&[("user", "Count."), ("assistant", " one, two ")]);
    input.add_generation_prompt = false;
    input.continue_final_message = true;
    let rendered = template(text).render(&input, 0).unwrap();
    assert_eq!(rendered, "<user>Count.</><assistant>one, two");
    let error = template("nothing").render(&input, 0).unwrap_err();
    assert_eq!(error, RenderError::NothingToContinue);
}

#[test]
fn kwargs_reach_the_template_but_cannot_replace_the_messages() {
    let mut input = chat(&[("user", "hi")]);
    input.kwargs = json!({"enable_thinking": false, "messages": []})
        .as_object()
        .unwrap()
        .clone();
    let text = "{{ enable_thinking }} {{ messages | length }}";
    assert_eq!(template(text).render(&input, 0).unwrap(), "False 1");
}

#[test]
fn tools_choose_their_template() {
    let config = json!({"chat_template": [
        {"name": "default", "template": "plain"}, {"name": "tool_use", "template": "tools"},
    ]});
    let files = TemplateFiles {
        tokenizer_config: Some(config.to_string().into_bytes()),
        ..TemplateFiles::default()
    };
    let template = ChatTemplate::from_files(files).unwrap().unwrap();
    let mut input = chat(&[("user", "hi")]);
    assert_eq!(template.render(&input, 0).unwrap(), "plain");
    input.tools = Some(vec![json!({})]);
    assert_eq!(template.render(&input, 0).unwrap(), "tools");
}

#[test]
fn a_template_without_bounds_is_refused_at_load() {
    for bomb in [
        "{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}",
        "{% for a in range(10000) %}{{ 'aaaaaaaaaaaaaaaa' * 10000 }}{% endfor %}",
    ] {
        let files = TemplateFiles {
            flag: Some(bomb.into()),
            ..TemplateFiles::default()
        };
        let error = ChatTemplate::from_files(files).unwrap_err();
        assert!(matches!(error, TemplateError::Unbounded(_)), "{error}");
    }
}

#[test]
fn a_malformed_template_is_refused_at_load_and_none_is_none() {
    let files = TemplateFiles {
        flag: Some("{% if %}".into()),
        ..TemplateFiles::default()
    };
    assert!(matches!(
        ChatTemplate::from_files(files),
        Err(TemplateError::Compile { .. })
    ));
    assert!(
        ChatTemplate::from_files(TemplateFiles::default())
            .unwrap()
            .is_none()
    );
}
