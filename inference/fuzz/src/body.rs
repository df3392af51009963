//! A body to a checked request, on every route. The first byte picks the route.

use candela_engine::request::{
    CheckedOptions, EmbeddingFacts, ModelFacts, RequestError, SamplingDefaults, check_chat,
    check_completion, check_detokenize, check_embedding, check_responses, check_tokenize,
};

/// Small enough that limits are met.
const CONTEXT: usize = 512;

const DIMENSIONS: usize = 8;

fn facts(embeds: bool) -> ModelFacts {
    ModelFacts {
        served_names: vec!["m".to_owned(), "org/model".to_owned()],
        max_model_len: CONTEXT,
        vocab_size: 1_000,
        max_queued_sequences: 64,
        defaults: SamplingDefaults::default(),
        embeddings: embeds.then(|| EmbeddingFacts {
            dimensions: DIMENSIONS,
            normalize: true,
            lowercase: false,
            matryoshka: Some(Vec::new()),
        }),
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
    let facts = facts(route % 6 == 2);
    match route % 6 {
        0 => checked(check_chat(body, &facts).map(|chat| chat.options)),
        1 => checked(check_completion(body, &facts).map(|completion| completion.options)),
        2 => match check_embedding(body, &facts) {
            Ok(embedding) => {
                assert!(!embedding.inputs.is_empty());
                assert!((1..=DIMENSIONS).contains(&embedding.form.dimensions));
            }
            Err(error) => refused(&error),
        },
        3 => {
            if let Err(error) = check_tokenize(body, &facts) {
                refused(&error);
            }
        }
        4 => match check_detokenize(body, &facts) {
            Ok(ids) => assert!(ids.iter().all(|&id| id < 1_000)),
            Err(error) => refused(&error),
        },
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
