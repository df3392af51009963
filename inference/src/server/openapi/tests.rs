//! The document says what is true.

use serde_json::{Value, json};

use super::*;
use crate::request::{
    ModelFacts, RESPONSES_SHARED_FIELDS, SamplingDefaults, check_chat, check_completion,
    check_responses,
};

fn facts() -> ModelFacts {
    ModelFacts {
        served_names: vec!["m".to_owned()],
        max_model_len: 1_000,
        vocab_size: 1_000,
        max_queued_sequences: 10_000,
        defaults: SamplingDefaults::default(),
        embeddings: None,
    }
}

/// Whether a body of the schema passes, with this field.
fn passes(schema: &str, field: &str, value: &Value) -> bool {
    let mut body = json!({"prompt": "a", "input": "a"});
    body["messages"] = json!([{"role": "user", "content": "a"}]);
    // Some bounds are of fields that say more about another.
    match schema {
        "ChatCompletionRequest" => body["logprobs"] = json!(true),
        "CompletionRequest" => body["echo"] = json!(true),
        _ => {
            body["prompt"] = Value::Null;
            body["include"] = json!(["message.output_text.logprobs"]);
        }
    }
    body[field] = value.clone();
    let body = body.to_string().into_bytes();
    let outcome = match schema {
        "ChatCompletionRequest" => check_chat(&body, &facts()).map(drop),
        "CompletionRequest" => check_completion(&body, &facts()).map(drop),
        _ => check_responses(&body, &facts(), |_| None).map(drop),
    };
    match outcome {
        Ok(()) => true,
        Err(error) => {
            let param = error.param.unwrap_or_default();
            assert!(param.starts_with(field), "{field}: {}", error.message);
            false
        }
    }
}

#[test]
fn bounds_of_the_document_are_those_of_the_checks() {
    let mut schemas = document()["components"]["schemas"]
        .as_object()
        .unwrap()
        .clone();
    for bound in bounds::all() {
        let (schema, field) = (bound.schema, bound.member);
        let absent = schema == "ResponsesRequest"
            && bounds::member_of(&mut schemas, schema, field).is_none();
        // Fields that a responses request does not have.
        if absent {
            assert!(!RESPONSES_SHARED_FIELDS.contains(&field), "{field}");
            continue;
        }
        let keywords = bounds::member_of(&mut schemas, schema, field)
            .unwrap_or_else(|| panic!("{schema} has no {field}"))
            .clone();
        let number = |keyword: &str| -> Option<i128> { keywords[keyword].as_number()?.as_i128() };
        let check = |value: Value, wanted: bool| {
            assert_eq!(
                passes(schema, field, &value),
                wanted,
                "{schema}.{field}: {value}"
            );
        };
        if let Some(minimum) = number("minimum") {
            check(json!(minimum), true);
            if let Ok(below) = i64::try_from(minimum - 1) {
                check(json!(below), false);
            }
        }
        if let Some(maximum) = keywords["maximum"].as_f64() {
            let beyond = maximum + 1.0;
            if maximum < 1e6 && keywords["type"][0] == "integer" {
                check(json!(maximum as i64), true);
                check(json!(beyond as i64), false);
            } else if maximum < 1e6 {
                check(json!(maximum), true);
                check(json!(beyond), false);
            }
        }
        if let Some(minimum) = number("exclusiveMinimum") {
            check(json!(minimum), false);
        }
        if let Some(longest) = keywords["maxLength"].as_u64() {
            check("a".repeat(longest as usize).into(), true);
            check("a".repeat(longest as usize + 1).into(), false);
        }
        if let Some(most) = keywords["maxItems"].as_u64() {
            let item = match field {
                "messages" => json!({"role": "user", "content": "a"}),
                _ => json!(1),
            };
            check(vec![item.clone(); most as usize].into(), true);
            check(vec![item; most as usize + 1].into(), false);
        }
        if let Some(most) = keywords["maxProperties"].as_u64() {
            let pairs = |count: u64| (0..count).map(|i| (i.to_string(), json!("v"))).collect();
            check(Value::Object(pairs(most)), true);
            check(Value::Object(pairs(most + 1)), false);
        }
    }
}

#[test]
fn every_reference_has_its_target() {
    fn references(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(members) => {
                if let Some(Value::String(target)) = members.get("$ref") {
                    found.push(target.clone());
                }
                members
                    .values()
                    .for_each(|member| references(member, found));
            }
            Value::Array(items) => items.iter().for_each(|item| references(item, found)),
            _ => {}
        }
    }
    let document = document();
    let mut found = Vec::new();
    references(&document, &mut found);
    assert!(found.len() > 50, "{found:?}");
    for target in found {
        let pointer = target.strip_prefix('#').unwrap();
        assert!(document.pointer(pointer).is_some(), "{target}");
    }
}
