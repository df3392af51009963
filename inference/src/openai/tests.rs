//! What the wire types read and write.

use serde_json::json;

use super::*;

#[test]
fn messages_keep_the_members_that_only_templates_know() {
    let request: ChatRequest = serde_json::from_value(json!({
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "a"}]},
            {"role": "tool", "content": null, "tool_call_id": "7"},
        ],
        "something_new": 1,
    }))
    .unwrap();
    assert_eq!(request.messages[1].rest["tool_call_id"], json!("7"));
    assert!(request.messages[1].content.is_none());
}

#[test]
fn prompts_come_in_four_shapes() {
    let prompt = |value| serde_json::from_value::<Prompt>(value);
    assert_eq!(prompt(json!("a")).unwrap(), Prompt::Text("a".into()));
    assert_eq!(
        prompt(json!(["a"])).unwrap(),
        Prompt::Texts(vec!["a".into()])
    );
    assert_eq!(prompt(json!([1, 2])).unwrap(), Prompt::Ids(vec![1, 2]));
    assert_eq!(
        prompt(json!([[1], [2]])).unwrap(),
        Prompt::IdLists(vec![vec![1], vec![2]])
    );
    let error = prompt(json!([1, "a"])).unwrap_err().to_string();
    assert!(error.contains("list of token ids"), "{error}");
}

#[test]
fn seeds_are_any_64_bit_integer() {
    for seed in [json!(-1), json!(u64::MAX), json!(i64::MIN)] {
        let options = serde_json::from_value::<GenerationOptions>(json!({"seed": seed})).unwrap();
        assert_eq!(options.seed.map(|s| s.to_string()), Some(seed.to_string()));
    }
}

#[test]
fn a_chunk_has_no_member_that_was_not_asked_for() {
    let chunk = ChatChunk {
        id: "chatcmpl-1".into(),
        object: "chat.completion.chunk",
        created: 1,
        model: "m".into(),
        system_fingerprint: "f",
        choices: vec![ChatChunkChoice {
            index: 0,
            delta: ChatDelta {
                role: None,
                content: Some("a".into()),
                ..ChatDelta::default()
            },
            logprobs: None,
            finish_reason: None,
            token_ids: None,
        }],
        usage: None,
        prompt_token_ids: None,
        metrics: None,
    };
    assert_eq!(
        serde_json::to_value(&chunk).unwrap(),
        json!({
            "id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m",
            "system_fingerprint": "f",
            "choices": [{
                "index": 0, "delta": {"content": "a"}, "logprobs": null, "finish_reason": null
            }],
        })
    );
    let with_usage = ChatChunk {
        usage: Some(None),
        ..chunk
    };
    assert!(serde_json::to_value(&with_usage).unwrap()["usage"].is_null());
}
