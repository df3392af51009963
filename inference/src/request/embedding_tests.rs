//! What a request for embeddings becomes, and what is refused.

use serde_json::{Value, json};

use super::*;
use crate::request::{SamplingDefaults, check_chat, check_completion};

fn facts() -> ModelFacts {
    ModelFacts {
        served_names: vec!["m".to_owned()],
        max_model_len: 100,
        vocab_size: 50,
        max_queued_sequences: 4,
        defaults: SamplingDefaults::default(),
        embeddings: Some(EmbeddingFacts {
            dimensions: 8,
            normalize: true,
            lowercase: false,
            matryoshka: None,
        }),
    }
}

fn with_matryoshka(lengths: &[usize]) -> ModelFacts {
    let mut facts = facts();
    facts.embeddings.as_mut().unwrap().matryoshka = Some(lengths.to_vec());
    facts
}

fn check(facts: &ModelFacts, body: &Value) -> Result<CheckedEmbedding, RequestError> {
    check_embedding(body.to_string().as_bytes(), facts)
}

#[test]
fn all_four_shapes_of_input_are_taken() {
    let text = |text: &str| PromptInput::Text(text.to_owned());
    for (input, expected) in [
        (json!("a"), vec![text("a")]),
        (json!(["a", ""]), vec![text("a"), text("")]),
        (json!([1, 2]), vec![PromptInput::Ids(vec![1, 2])]),
        (
            json!([[1], [49]]),
            vec![PromptInput::Ids(vec![1]), PromptInput::Ids(vec![49])],
        ),
    ] {
        assert_eq!(
            check(&facts(), &json!({"input": input})).unwrap().inputs,
            expected
        );
    }
}

#[test]
fn the_form_follows_request_and_model() {
    let form = |facts: &ModelFacts, more: Value| {
        let mut body = json!({"input": "a"});
        body.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        check(facts, &body).unwrap().form
    };
    let plain = EmbeddingForm {
        dimensions: 8,
        normalize: true,
        base64: false,
    };
    assert_eq!(form(&facts(), json!({})), plain);
    assert_eq!(form(&facts(), json!({"dimensions": 8})), plain);
    let raw = form(
        &facts(),
        json!({"encoding_format": "base64", "use_activation": false}),
    );
    assert_eq!((raw.base64, raw.normalize), (true, false));
    assert_eq!(
        form(&with_matryoshka(&[]), json!({"dimensions": 3})).dimensions,
        3
    );
    assert_eq!(
        form(&with_matryoshka(&[2, 4]), json!({"dimensions": 4})).dimensions,
        4
    );
}

#[test]
fn truncation_is_to_what_was_asked_or_to_what_fits() {
    let truncation = |more: Value| {
        let mut body = json!({"input": vec![1; 101]});
        body.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        check(&facts(), &body).map(|checked| checked.truncation)
    };
    let error = truncation(json!({})).unwrap_err().message;
    assert!(
        error.contains("101 tokens") && error.contains("at most 100"),
        "{error}"
    );
    let cut = |tokens, side| Ok(Some(Truncation { tokens, side }));
    assert_eq!(
        truncation(json!({"truncate_prompt_tokens": -1})),
        cut(100, TruncationSide::Right)
    );
    let left = json!({"truncate_prompt_tokens": 7, "truncation_side": "left"});
    assert_eq!(truncation(left), cut(7, TruncationSide::Left));
}

#[test]
fn what_is_wrong_is_named() {
    for (body, param, part) in [
        (json!({}), "input", "required"),
        (json!({"input": []}), "input", "from 1 to 4"),
        (
            json!({"input": ["a", "b", "c", "d", "e"]}),
            "input",
            "not 5",
        ),
        (json!({"input": [[]]}), "input[0]", "empty"),
        (json!({"input": {"a": 1}}), "input", "expected a string"),
        (json!({"input": [50]}), "input[0]", "not a token"),
        (json!({"input": [-1]}), "input[0]", "not a token"),
        (
            json!({"input": "a", "dimensions": 0}),
            "dimensions",
            "from 1 to 8",
        ),
        (
            json!({"input": "a", "dimensions": i64::MAX}),
            "dimensions",
            "from 1 to 8",
        ),
        (
            json!({"input": "a", "dimensions": 4}),
            "dimensions",
            "is_matryoshka",
        ),
        (
            json!({"input": "a", "encoding_format": "bytes"}),
            "encoding_format",
            "base64",
        ),
        (
            json!({"input": "a", "truncate_prompt_tokens": 0}),
            "truncate_prompt_tokens",
            "1 to 100",
        ),
        (
            json!({"input": "a", "truncate_prompt_tokens": 101}),
            "truncate_prompt_tokens",
            "101",
        ),
        (
            json!({"input": "a", "truncation_side": "top"}),
            "truncation_side",
            "left",
        ),
        (
            json!({"messages": [{"role": "user", "content": "a"}]}),
            "messages",
            "input",
        ),
        (
            json!({"input": "a", "normalize": true}),
            "normalize",
            "use_activation",
        ),
        (
            json!({"input": "a", "embed_dtype": "fp8"}),
            "embed_dtype",
            "float32",
        ),
        (
            json!({"input": "a", "endianness": "big"}),
            "endianness",
            "little",
        ),
        (
            json!({"input": "a", "padding": "max_length"}),
            "padding",
            "do_not_pad",
        ),
        (json!({"input": "a", "priority": 1}), "priority", "0"),
        (
            json!({"input": "a", "user": "u".repeat(1025)}),
            "user",
            "1024",
        ),
        (
            json!({"input": "a", "model": "other"}),
            "model",
            "not served",
        ),
    ] {
        let error = check(&facts(), &body).unwrap_err();
        assert_eq!(
            error.param.as_deref(),
            Some(param),
            "{body}: {}",
            error.message
        );
        assert!(error.message.contains(part), "{body}: {}", error.message);
    }
    let error = check(
        &with_matryoshka(&[2, 4]),
        &json!({"input": "a", "dimensions": 3}),
    );
    assert!(error.unwrap_err().message.contains("[2, 4]"));
}

#[test]
fn a_model_serves_the_routes_of_its_runner() {
    let mut generates = facts();
    generates.embeddings = None;
    let error = check(&generates, &json!({"input": "a"})).unwrap_err();
    assert_eq!(error.param.as_deref(), Some("model"));
    assert!(error.message.contains("`m`") && error.message.contains("/v1/completions"));
    let chat = json!({"messages": [{"role": "user", "content": "a"}]}).to_string();
    let chat = check_chat(chat.as_bytes(), &facts()).unwrap_err();
    let completion = check_completion(br#"{"prompt": "a"}"#, &facts()).unwrap_err();
    for error in [chat, completion] {
        assert_eq!(error.param.as_deref(), Some("model"));
        assert!(error.message.contains("`m`") && error.message.contains("/v1/embeddings"));
    }
}
