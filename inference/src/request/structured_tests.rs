//! Each form of a structured output, and each way to get it wrong.

use serde_json::json;

use super::*;

fn asked(body: Value) -> Result<Option<AskedGrammar>, RequestError> {
    let options: GenerationOptions = super::super::parse::fields(&body)?;
    asked_grammar(&options)
}

fn grammar(body: Value) -> Grammar {
    asked(body).unwrap().unwrap().grammar
}

#[test]
fn both_fields_ask_for_the_same_grammars() {
    let schema = json!({"type": "object", "properties": {"a": {"type": "string"}}});
    let wanted = Grammar::json_schema(&schema).unwrap();
    let format = json!({"type": "json_schema", "json_schema": {"name": "a", "schema": schema, "strict": true}});
    for body in [
        json!({"response_format": format}),
        json!({"structured_outputs": {"json": schema}}),
        json!({"structured_outputs": {"json": schema.to_string()}}),
        json!({"structured_outputs": {"json": schema, "json_object": false, "regex": null}}),
    ] {
        assert_eq!(grammar(body.clone()), wanted, "{body}");
    }
    let object = Grammar::json_object(SchemaOptions::default());
    let format = json!({"response_format": {"type": "json_object"}});
    assert_eq!(grammar(format), object);
    let structured = json!({"structured_outputs": {"json_object": true}});
    assert_eq!(grammar(structured), object);
}

#[test]
fn what_asks_for_nothing_gets_nothing() {
    for body in [
        json!({}),
        json!({"response_format": null, "structured_outputs": null}),
        json!({"response_format": {"type": "text"}}),
    ] {
        assert_eq!(asked(body).unwrap(), None);
    }
}

#[test]
fn structural_tags_are_parts_within_text() {
    let tag = json!({
        "structures": [{"begin": "<f=a>", "schema": {"type": "object"}, "end": "</f>"}],
        "triggers": ["<f="],
    });
    let format = json!({"type": "structural_tag", "structures": tag["structures"], "triggers": tag["triggers"]});
    let expected = grammar(json!({"response_format": format}));
    let Grammar::Tagged(tagged) = &expected else {
        panic!("{expected:?}");
    };
    assert!(tagged.text);
    let part = &tagged.structures[0];
    assert_eq!((&*part.trigger, &*part.begin), ("<f=", "a>"));
    for tag in [tag.clone(), Value::from(tag.to_string())] {
        let body = json!({"structured_outputs": {"structural_tag": tag}});
        assert_eq!(grammar(body), expected);
    }
}

#[test]
fn each_fault_is_named() {
    let tag = |structures: Value| json!({"structured_outputs": {"structural_tag": {"structures": structures, "triggers": ["<"]}}});
    for (param, body) in [
        (
            "response_format.type",
            json!({"response_format": {"type": "yaml"}}),
        ),
        ("response_format.type", json!({"response_format": {}})),
        ("response_format", json!({"response_format": "json_object"})),
        (
            "response_format.json_schema",
            json!({"response_format": {"type": "json_schema"}}),
        ),
        (
            "response_format.json_schema.schema",
            json!({"response_format": {"type": "json_schema", "json_schema": {"name": "a"}}}),
        ),
        (
            "response_format.json_schema.name",
            json!({"response_format": {"type": "json_schema", "json_schema": {"schema": {}}}}),
        ),
        (
            "response_format",
            json!({"response_format": {"type": "structural_tag", "format": {}}}),
        ),
        ("structured_outputs", json!({"structured_outputs": {}})),
        (
            "structured_outputs",
            json!({"structured_outputs": {"regex": "a", "choice": ["a"]}}),
        ),
        (
            "structured_outputs",
            json!({"response_format": {"type": "json_object"}, "structured_outputs": {"regex": "a"}}),
        ),
        (
            "structured_outputs.json",
            json!({"structured_outputs": {"json": "{"}}),
        ),
        (
            "structured_outputs.choice",
            json!({"structured_outputs": {"choice": []}}),
        ),
        (
            "structured_outputs.choice",
            json!({"structured_outputs": {"choice": [""]}}),
        ),
        (
            "structured_outputs.regex",
            json!({"structured_outputs": {"regex": "a".repeat(1 << 20)}}),
        ),
        (
            "structured_outputs.grammar",
            json!({"structured_outputs": {"grammar": "root ::= \"a"}}),
        ),
        (
            "structured_outputs.whitespace_pattern",
            json!({"structured_outputs": {"json": {}, "whitespace_pattern": " "}}),
        ),
        ("structured_outputs.structural_tag", tag(json!([]))),
        (
            "structured_outputs.structural_tag",
            tag(json!([{"begin": "a", "schema": {}, "end": ""}])),
        ),
        (
            "structured_outputs.structural_tag",
            tag(json!([{"begin": "<a"}])),
        ),
        ("guided_json", json!({"guided_json": {}})),
        ("guided_regex", json!({"guided_regex": "a"})),
        ("guided_choice", json!({"guided_choice": ["a"]})),
        ("guided_grammar", json!({"guided_grammar": "a"})),
        (
            "guided_decoding_backend",
            json!({"guided_decoding_backend": "outlines"}),
        ),
    ] {
        let error = asked(body.clone()).unwrap_err();
        assert_eq!(error.param.as_deref(), Some(param), "{body}: {error}");
        assert!(error.message.starts_with(param), "{body}: {error}");
    }
}
