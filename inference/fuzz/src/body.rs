//! A body to a checked request, on every route. The first byte picks the route.

use candela_engine::request::{
    CheckedOptions, ModelFacts, RequestError, SamplingDefaults, check_chat, check_completion,
    check_responses,
};

/// Small enough that limits are met.
const CONTEXT: usize = 512;

fn facts() -> ModelFacts {
    ModelFacts {
        served_names: vec!["m".to_owned(), "org/model".to_owned()],
        max_model_len: CONTEXT,
        vocab_size: 1_000,
        max_queued_sequences: 64,
        defaults: SamplingDefaults::default(),
        embeddings: None,
    }
}

/// Checks `data`.
///
/// # Panics
/// When a check breaks its promises: a refusal says what is wrong, an accepted request is inside all
/// limits.
pub fn run(data: &[u8]) {
    let Some((route, body)) = data.split_first() else {
        return;
    };
    let facts = facts();
    match route % 6 {
        0 => checked(check_chat(body, &facts).map(|chat| chat.options)),
        1 => checked(check_completion(body, &facts).map(|completion| completion.options)),
        _ => {
            let stored = |_: &str| Some(vec![serde_json::json!({"role": "user", "content": "a"})]);
            checked(check_responses(body, &facts, stored).map(|responses| responses.chat.options));
        }
    }
}

fn checked(outcome: Result<CheckedOptions, RequestError>) {
    match outcome {
        Ok(options) => accepted(&options),
        Err(error) => refused(&error),
    }
}

fn refused(error: &RequestError) {
    assert!(!error.message.is_empty(), "a refusal says why");
    assert!(
        error.message.len() < 20_000,
        "a refusal does not repeat the body"
    );
}

fn accepted(options: &CheckedOptions) {
    assert!((1..=64).contains(&options.answers.get()));
    for prompt in [1, CONTEXT / 2, CONTEXT - 1, CONTEXT, CONTEXT + 1] {
        if let Ok(params) = options.params_for(prompt, "prompt", CONTEXT) {
            assert!(prompt + params.max_tokens <= CONTEXT);
            assert!(params.min_tokens <= params.max_tokens);
            assert!(params.temperature.is_finite() && params.temperature >= 0.0);
            assert!(params.top_p > 0.0 && params.top_p <= 1.0);
            assert!(params.stop_token_ids.iter().all(|&id| id < 1_000));
        }
    }
}
