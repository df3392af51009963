//! Every refusal names its field; neutral values pass.

use serde_json::{Value, json};

use super::*;

fn facts() -> ModelFacts {
    ModelFacts {
        served_names: vec!["m".to_owned(), "alias".to_owned()],
        max_model_len: 100,
        vocab_size: 50,
        max_queued_sequences: 256,
        defaults: SamplingDefaults::default(),
        embeddings: None,
    }
}

fn with(mut base: Value, extra: Value) -> Vec<u8> {
    let extra = extra.as_object().unwrap().clone();
    base.as_object_mut().unwrap().extend(extra);
    base.to_string().into_bytes()
}

fn chat(extra: Value) -> Result<CheckedChat, RequestError> {
    let base = json!({"model": "m", "messages": [{"role": "user", "content": "hi"}]});
    check_chat(&with(base, extra), &facts())
}

fn many_biases(count: u32) -> Value {
    let biases: serde_json::Map<String, Value> =
        (0..count).map(|i| (format!("{i:05}"), json!(1))).collect();
    json!({"logit_bias": biases})
}

fn completion(extra: Value) -> Result<CheckedCompletion, RequestError> {
    check_completion(
        &with(json!({"model": "m", "prompt": "hi"}), extra),
        &facts(),
    )
}

#[test]
fn each_bad_field_is_named() {
    let cases = [
        ("n", json!({"n": 0})),
        ("n", json!({"n": 129})),
        ("n", json!({"n": u64::MAX})),
        ("n", json!({"n": 1.5})),
        ("temperature", json!({"temperature": -0.1})),
        ("temperature", json!({"temperature": 101})),
        ("temperature", json!({"temperature": "hot"})),
        ("top_p", json!({"top_p": 0})),
        ("top_p", json!({"top_p": 1.1})),
        ("top_k", json!({"top_k": -2})),
        ("seed", json!({"seed": 0.5})),
        ("max_tokens", json!({"max_tokens": 0})),
        ("max_tokens", json!({"max_tokens": 100})),
        ("max_tokens", json!({"max_tokens": i64::MAX})),
        ("min_tokens", json!({"min_tokens": 100})),
        ("min_tokens", json!({"min_tokens": 6, "max_tokens": 5})),
        ("stop", json!({"stop": ""})),
        ("stop", json!({"stop": vec!["a"; 17]})),
        ("stop", json!({"stop": "a".repeat(1025)})),
        ("stop", json!({"stop": [1]})),
        ("stop_token_ids", json!({"stop_token_ids": vec![1; 129]})),
        ("stop_token_ids[1]", json!({"stop_token_ids": [49, 50]})),
        ("stop_token_ids[0]", json!({"stop_token_ids": [-1]})),
        ("stream_options", json!({"stream_options": {}})),
        (
            "stream_options.include_usage",
            json!({"stream": true, "stream_options": {"include_usage": 1}}),
        ),
        ("user", json!({"user": "a".repeat(1025)})),
        ("presence_penalty", json!({"presence_penalty": 2.1})),
        ("presence_penalty", json!({"presence_penalty": "1"})),
        ("frequency_penalty", json!({"frequency_penalty": -2.1})),
        ("min_p", json!({"min_p": -0.1})),
        ("min_p", json!({"min_p": 1.1})),
        ("repetition_penalty", json!({"repetition_penalty": 0})),
        ("repetition_penalty", json!({"repetition_penalty": -1})),
        ("repetition_penalty", json!({"repetition_penalty": 100.1})),
        ("logit_bias", json!({"logit_bias": {"1": 100.5}})),
        ("logit_bias", json!({"logit_bias": {"1": "a"}})),
        ("logit_bias", json!({"logit_bias": {"50": 1}})),
        ("logit_bias", json!({"logit_bias": {"-1": 1}})),
        ("logit_bias", json!({"logit_bias": {"a": 1}})),
        ("logit_bias", json!({"logit_bias": [1]})),
        ("logit_bias", many_biases(1_025)),
        ("prompt_logprobs", json!({"prompt_logprobs": -1})),
        ("prompt_logprobs", json!({"prompt_logprobs": 21})),
        ("prompt_logprobs", json!({"prompt_logprobs": u64::MAX})),
        (
            "prompt_logprobs",
            json!({"prompt_logprobs": 0, "stream": true}),
        ),
        ("priority", json!({"priority": 1})),
        ("cache_salt", json!({"cache_salt": ""})),
        ("cache_salt", json!({"cache_salt": "a".repeat(1025)})),
        ("cache_salt", json!({"cache_salt": 1})),
    ];
    for (param, extra) in cases {
        for error in [
            chat(extra.clone()).unwrap_err(),
            completion(extra.clone()).unwrap_err(),
        ] {
            assert_eq!(error.param.as_deref(), Some(param), "{extra}: {error}");
            assert_eq!(error.kind, RequestErrorKind::Invalid);
            assert!(error.message.starts_with(param), "{extra}: {error}");
        }
    }
}

#[test]
fn each_bad_field_of_a_chat_is_named() {
    let user = |content: Value| json!({"messages": [{"role": "user", "content": content}]});
    let cases = [
        ("messages", json!({"messages": []})),
        ("messages", json!({"messages": null})),
        ("messages[0].role", json!({"messages": [{"content": "hi"}]})),
        (
            "messages[0].content[0].type",
            user(json!([{"type": "image_url", "image_url": {}}])),
        ),
        (
            "messages[0].content[0].text",
            user(json!([{"type": "text"}])),
        ),
        ("max_completion_tokens", json!({"max_completion_tokens": 0})),
        ("logprobs", json!({"logprobs": 1})),
        ("top_logprobs", json!({"top_logprobs": 1})),
        (
            "top_logprobs",
            json!({"top_logprobs": 1, "logprobs": false}),
        ),
        (
            "top_logprobs",
            json!({"top_logprobs": 21, "logprobs": true}),
        ),
        (
            "top_logprobs",
            json!({"top_logprobs": -1, "logprobs": true}),
        ),
        ("tools", json!({"tools": []})),
        (
            "tools[0].function.name",
            json!({"tools": [{"type": "function"}]}),
        ),
        ("tool_choice", json!({"tool_choice": "auto"})),
        ("chat_template", json!({"chat_template": "a"})),
        (
            "continue_final_message",
            json!({"continue_final_message": true}),
        ),
    ];
    for (param, extra) in cases {
        let error = chat(extra.clone()).unwrap_err();
        assert_eq!(error.param.as_deref(), Some(param), "{extra}: {error}");
    }
}

#[test]
fn each_bad_field_of_a_completion_is_named() {
    let cases = [
        ("prompt", json!({"prompt": ""})),
        ("prompt", json!({"prompt": []})),
        ("prompt", json!({"prompt": null})),
        ("prompt[1]", json!({"prompt": ["a", ""]})),
        ("prompt[1]", json!({"prompt": [1, 50]})),
        ("prompt[0]", json!({"prompt": [[]]})),
        ("prompt[0][1]", json!({"prompt": [[1, -1]]})),
        ("prompt", json!({"prompt": vec![1; 100]})),
        ("prompt", json!({"prompt": vec!["a"; 1025]})),
        ("prompt", json!({"prompt": vec!["a"; 20], "n": 13})),
        ("echo", json!({"echo": "yes"})),
        ("max_tokens", json!({"max_tokens": 0, "echo": false})),
        ("suffix", json!({"suffix": "a"})),
        ("logprobs", json!({"logprobs": true})),
        ("logprobs", json!({"logprobs": -1})),
        ("logprobs", json!({"logprobs": 21})),
        ("best_of", json!({"best_of": 2})),
    ];
    for (param, extra) in cases {
        let error = completion(extra.clone()).unwrap_err();
        assert_eq!(error.param.as_deref(), Some(param), "{extra}: {error}");
    }
}

#[test]
fn neutral_values_and_unknown_fields_pass() {
    let neutral = json!({
        "n": null, "temperature": null, "stream": null, "stream_options": null, "stop": null,
        "presence_penalty": 0, "frequency_penalty": 0.0, "min_p": 0, "repetition_penalty": 1,
        "logit_bias": {}, "response_format": {"type": "text"}, "structured_outputs": null,
        "priority": 0, "cache_salt": null, "from_the_future": {"a": [1]}, "metadata": {"a": "b"},
    });
    chat(neutral.clone()).unwrap();
    completion(neutral).unwrap();
    chat(json!({"logprobs": false, "top_logprobs": 0, "tools": null, "tool_choice": "none"}))
        .unwrap();
    completion(json!({"best_of": 3, "n": 3, "echo": false, "suffix": "", "logprobs": null}))
        .unwrap();
}

#[test]
fn the_model_is_one_of_its_names_or_not_given() {
    assert_eq!(
        chat(json!({"model": "alias"})).unwrap().options.model,
        "alias"
    );
    assert_eq!(chat(json!({"model": null})).unwrap().options.model, "m");
    let error = chat(json!({"model": "../m"})).unwrap_err();
    assert_eq!(error.kind, RequestErrorKind::ModelNotFound);
    assert_eq!(error.param.as_deref(), Some("model"));
}

#[test]
fn bodies_that_are_no_object_are_refused() {
    let deep = "[".repeat(10_000);
    let bodies: [&[u8]; 8] = [
        b"",
        b"{",
        b"[]",
        b"{\"model\": NaN}",
        b"{\"temperature\": 1e999}",
        b"{\"model\": \"\\ud800\"}",
        b"{\"model\": \"\xff\"}",
        deep.as_bytes(),
    ];
    for body in bodies {
        let error = check_chat(body, &facts()).unwrap_err();
        assert_eq!(error.kind, RequestErrorKind::Invalid, "{error}");
    }
}

#[test]
fn of_two_equal_keys_the_last_counts() {
    let body =
        br#"{"messages": [], "messages": [{"role": "user", "content": "a"}], "n": 0, "n": 2}"#;
    assert_eq!(check_chat(body, &facts()).unwrap().options.answers.get(), 2);
}

#[test]
fn the_answers_length_is_what_fits() {
    let params = |extra, prompt| {
        let options = completion(extra).unwrap().options;
        options.params_for(prompt, "prompt", 100)
    };
    assert_eq!(params(json!({}), 10).unwrap().max_tokens, 16);
    assert_eq!(params(json!({}), 95).unwrap().max_tokens, 5);
    assert_eq!(
        params(json!({"max_tokens": 20}), 80).unwrap().max_tokens,
        20
    );
    let error = params(json!({"max_tokens": 21}), 80).unwrap_err();
    assert_eq!(error.param.as_deref(), Some("max_tokens"));
    let error = params(json!({}), 100).unwrap_err();
    assert!(error.message.contains("100 tokens"), "{error}");
    assert_eq!(error.param.as_deref(), Some("prompt"));
    assert!(params(json!({}), 0).is_err());
    assert!(params(json!({"min_tokens": 10}), 95).is_err());
    let options = chat(json!({})).unwrap().options;
    assert_eq!(
        options.params_for(10, "messages", 100).unwrap().max_tokens,
        90
    );
}

#[test]
fn sampling_is_the_requests_or_the_models() {
    let mut facts = facts();
    facts.defaults = SamplingDefaults::from_generation_config(
        br#"{"temperature": 0.6, "top_k": 20, "top_p": 0.95, "min_p": 0.05, "repetition_penalty": 1.05,
            "eos_token_id": [1, 2]}"#,
    )
    .unwrap();
    let params = |extra: Value| {
        let body = with(json!({"prompt": "a"}), extra);
        check_completion(&body, &facts)
            .unwrap()
            .options
            .params_for(1, "prompt", 100)
            .unwrap()
    };
    let own = params(json!({}));
    assert_eq!(
        (own.temperature, own.top_k, own.top_p, own.seed),
        (0.6, 20, 0.95, None)
    );
    assert_eq!((own.min_p, own.repetition_penalty), (0.05, 1.05));
    let asked = params(json!({"min_p": 0, "repetition_penalty": 1}));
    assert_eq!((asked.min_p, asked.repetition_penalty), (0.0, 1.0));
    let asked = params(json!({"temperature": 0, "top_k": -1, "top_p": 1, "seed": -1}));
    assert_eq!((asked.temperature, asked.top_k, asked.top_p), (0.0, 0, 1.0));
    assert_eq!(asked.seed, Some(u64::MAX));
    assert_eq!(params(json!({"temperature": 1e-300})).temperature, 0.01);
    assert_eq!(params(json!({"seed": u64::MAX})).seed, Some(u64::MAX));
    for bad in [
        "{\"temperature\": -1}",
        "{\"top_p\": 0}",
        "{\"top_k\": -5}",
        "{\"min_p\": 2}",
        "{\"repetition_penalty\": 0}",
        "[]",
    ] {
        assert!(
            SamplingDefaults::from_generation_config(bad.as_bytes()).is_err(),
            "{bad}"
        );
    }
}

#[test]
fn what_is_asked_of_the_sampler_reaches_it() {
    let params = |options: CheckedOptions| options.params_for(10, "prompt", 100).unwrap();
    let asked = params(
        completion(json!({
            "min_p": 0.5, "presence_penalty": -2, "frequency_penalty": 2, "repetition_penalty": 1e-300,
            "logit_bias": {"0": -100, "49": 100}, "logprobs": 3, "prompt_logprobs": 5,
        }))
        .unwrap()
        .options,
    );
    assert_eq!(
        (asked.min_p, asked.presence_penalty, asked.frequency_penalty),
        (0.5, -2.0, 2.0)
    );
    assert_eq!(asked.repetition_penalty, f32::MIN_POSITIVE);
    assert_eq!(asked.logit_bias, [(0, -100.0), (49, 100.0)]);
    assert_eq!((asked.logprobs, asked.prompt_logprobs), (Some(3), Some(5)));
    let asked = params(
        completion(json!({"logprobs": 3, "echo": true, "max_tokens": 0}))
            .unwrap()
            .options,
    );
    assert_eq!((asked.max_tokens, asked.prompt_logprobs), (0, Some(3)));
    let asked = params(chat(json!({"logprobs": true})).unwrap().options);
    assert_eq!((asked.logprobs, asked.prompt_logprobs), (Some(0), None));
    let asked = params(
        chat(json!({"logprobs": true, "top_logprobs": 20}))
            .unwrap()
            .options,
    );
    assert_eq!(asked.logprobs, Some(20));
    assert_eq!(
        params(chat(json!({"top_logprobs": 0})).unwrap().options).logprobs,
        None
    );
}

#[test]
fn log_probabilities_of_a_request_are_bounded() {
    let facts = ModelFacts {
        max_model_len: 1 << 20,
        ..facts()
    };
    let length = |extra: Value, prompt| {
        let body = with(
            json!({"messages": [{"role": "user", "content": "hi"}]}),
            extra,
        );
        let options = check_chat(&body, &facts).unwrap().options;
        options.params_for(prompt, "messages", facts.max_model_len)
    };
    let all = limits::LOGPROB_ENTRIES_MAX;
    let top = json!({"logprobs": true, "top_logprobs": 20, "n": 2});
    assert_eq!(length(top.clone(), 10).unwrap().max_tokens, all / 21 / 2);
    let mut long = top.clone();
    long["max_tokens"] = json!(all / 21 / 2 + 1);
    assert_eq!(
        length(long, 10).unwrap_err().param.as_deref(),
        Some("max_tokens")
    );
    let prompt = json!({"prompt_logprobs": 20});
    assert!(length(prompt.clone(), all / 21).is_ok());
    let error = length(prompt, all / 21 + 1).unwrap_err();
    assert_eq!(error.param.as_deref(), Some("messages"));
    let full = all - 10;
    assert_eq!(length(json!({}), full).unwrap().max_tokens, 10);
}

#[test]
fn log_probabilities_of_a_prompt_count_in_every_answer_that_repeats_them() {
    let facts = ModelFacts {
        max_model_len: 1 << 20,
        ..facts()
    };
    let length = |extra: Value, prompt| {
        let body = with(json!({"prompt": "hi", "max_tokens": 1}), extra);
        let options = check_completion(&body, &facts).unwrap().options;
        options.params_for(prompt, "prompt", facts.max_model_len)
    };
    let all = limits::LOGPROB_ENTRIES_MAX;
    // Where no log probabilities of answers are asked for, the prompt alone decides.
    let prompt = json!({"prompt_logprobs": 20, "n": 128});
    assert!(length(prompt.clone(), all / 21 / 128).is_ok());
    let error = length(prompt, all / 21 / 128 + 1).unwrap_err();
    assert_eq!(error.param.as_deref(), Some("prompt"));
    // An echo is a second copy of them.
    let echoed = json!({"prompt_logprobs": 20, "logprobs": 20, "echo": true, "n": 4});
    assert!(length(echoed.clone(), all / 21 / 8 - 1).is_ok());
    length(echoed, all / 21 / 8 + 1).unwrap_err();
}

#[test]
fn log_probabilities_that_are_hidden_are_not_computed() {
    let asked = json!({"logprobs": true, "top_logprobs": 2, "prompt_logprobs": 1, "return_token_ids": true});
    let mut options = chat(asked).unwrap().options;
    options.hide_answer_tokens();
    assert!(!options.reporting.token_ids);
    let params = options.params_for(3, "messages", 100).unwrap();
    assert_eq!((params.logprobs, params.prompt_logprobs), (None, Some(1)));
}

#[test]
fn messages_reach_the_template_as_it_expects_them() {
    let checked = chat(json!({"messages": [
        {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "refusal", "refusal": "b"}]},
        {"role": "assistant", "content": null, "function_call": null, "reasoning": "hm", "tool_calls": [
            {"function": {"name": "f", "arguments": "{\"x\": 1}"}},
            {"function": {"name": "f", "arguments": ""}}, {"function": {"name": "f", "arguments": "{"}},
            {"function": {"name": "f"}}]},
        {"role": "assistant", "tool_calls": []},
    ]}))
    .unwrap();
    let [user, called, empty] = checked.input.messages.as_slice() else {
        panic!("{:?}", checked.input.messages);
    };
    assert_eq!(
        user["content"],
        json!([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}])
    );
    let arguments = |i: usize| &called["tool_calls"][i]["function"]["arguments"];
    assert_eq!(
        [arguments(0), arguments(1), arguments(2), arguments(3)],
        [&json!({"x": 1}), &json!({}), &json!("{"), &json!({})]
    );
    assert_eq!(
        (&called["content"], &called["reasoning_content"]),
        (&json!(""), &json!("hm"))
    );
    assert!(called.get("function_call").is_none());
    assert_eq!(empty, &json!({"role": "assistant", "content": ""}));
}

#[test]
fn each_bad_member_of_a_message_is_named() {
    let call = |call: Value| json!({"role": "assistant", "tool_calls": [call]});
    let function = |function: Value| call(json!({"function": function}));
    for (param, message) in [
        ("tool_calls", json!({"role": "assistant", "tool_calls": {}})),
        (
            "tool_calls",
            json!({"role": "a", "tool_calls": vec![1; limits::MESSAGE_CALLS_MAX + 1]}),
        ),
        ("tool_calls[0]", call(json!(1))),
        ("tool_calls[0].type", call(json!({"type": "custom"}))),
        ("tool_calls[0].id", call(json!({"id": 1}))),
        ("tool_calls[0].function.name", function(json!({}))),
        (
            "tool_calls[0].function.arguments",
            function(json!({"name": "f", "arguments": 1})),
        ),
        ("tool_call_id", json!({"role": "tool", "tool_call_id": 1})),
        ("name", json!({"role": "user", "name": 1})),
        ("reasoning", json!({"role": "assistant", "reasoning": 1})),
        (
            "content[0].refusal",
            json!({"role": "assistant", "content": [{"type": "refusal"}]}),
        ),
    ] {
        let error = chat(json!({"messages": [message]})).unwrap_err();
        assert_eq!(error.param, Some(format!("messages[0].{param}")), "{error}");
    }
}

#[test]
fn effort_and_documents_are_variables_of_the_template() {
    let kwargs = |extra| chat(extra).unwrap().input.kwargs;
    let effort = kwargs(json!({"reasoning_effort": "none", "documents": [{"text": "a"}]}));
    let expected =
        json!({"enable_thinking": false, "reasoning_effort": "none", "documents": [{"text": "a"}]});
    assert_eq!(Value::from(effort), expected);
    let own =
        json!({"reasoning_effort": "low", "chat_template_kwargs": {"enable_thinking": false}});
    let expected = json!({"enable_thinking": false, "reasoning_effort": "low"});
    assert_eq!(Value::from(kwargs(own)), expected);
    let error = chat(json!({"reasoning_effort": "huge"})).unwrap_err();
    assert_eq!(error.param.as_deref(), Some("reasoning_effort"));
}

#[test]
fn json_within_strings_counts_as_well() {
    let half = format!("[{}]", vec!["0"; limits::JSON_VALUES_MAX / 2].join(","));
    let calls = |count| {
        let function = json!({"name": "f", "arguments": half});
        let calls = vec![json!({"function": function}); count];
        let message = json!({"role": "assistant", "tool_calls": calls});
        chat(json!({"messages": [{"role": "user", "content": "hi"}, message]}))
    };
    calls(1).unwrap();
    let error = calls(3).unwrap_err();
    let field = "messages[1].tool_calls[1].function.arguments";
    assert_eq!(error.param.as_deref(), Some(field));
    let bomb = format!("[{half},{half},{half}]");
    for kind in ["json", "structural_tag"] {
        let error = chat(json!({"structured_outputs": {kind: bomb}})).unwrap_err();
        let field = format!("structured_outputs.{kind}");
        assert_eq!(error.param, Some(field));
        assert!(error.message.contains("JSON values"), "{error}");
    }
}

#[test]
fn errors_repeat_little_of_a_value_or_a_key() {
    let long = "x, expected ".repeat(10_000);
    let cases = [
        json!({"n": long}),
        json!({"logit_bias": {&long: "x"}}),
        json!({"logit_bias": {"1": long}}),
        json!({"messages": [{"role": "user", "content": "hi", "tool_calls": long}]}),
        json!({"response_format": {"type": "structural_tag", "structures": long}}),
        json!({"structured_outputs": {"structural_tag": json!({"structures": long}).to_string()}}),
        json!({"structured_outputs": {"structural_tag": {"triggers": {&long: 1}}}}),
    ];
    for case in cases {
        let error = chat(case).unwrap_err();
        let param = error.param.unwrap_or_default();
        assert!(param.len() <= 2 * limits::ECHOED_CHARS_MAX, "{param}");
        assert!(
            error.message.len() < 6 * limits::ECHOED_CHARS_MAX,
            "{}",
            error.message
        );
    }
    let error = chat(json!({"n": "x".repeat(1_000)})).unwrap_err();
    assert!(error.message.ends_with(", expected i64"), "{error}");
}

#[test]
fn effort_of_a_response_is_that_of_a_chat() {
    let body = json!({"model": "m", "input": "hi", "reasoning": {"effort": "none"}});
    let checked = check_responses(&with(body, json!({})), &facts(), |_| None).unwrap();
    let expected = json!({"enable_thinking": false, "reasoning_effort": "none"});
    assert_eq!(Value::Object(checked.chat.input.kwargs), expected);
}
