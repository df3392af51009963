//! Fields that clients of OpenAI's API or vLLM's may send and that no wire type has: what becomes of each.
//! What would make another answer is refused; what is a hint, or about keeping things, is ignored. Fields
//! in neither of the APIs are ignored, as vLLM ignores them. `docs/reference/http.md` shows this table.

use serde_json::Value;

use super::RequestError;

/// A route that takes fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FieldRoute {
    /// `/v1/chat/completions`.
    Chat,
    /// `/v1/completions`.
    Completions,
    /// `/v1/responses`.
    Responses,
    /// `/v1/embeddings`.
    Embeddings,
}

/// What becomes of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Treatment {
    /// It has no effect: why the answer is none the worse for it.
    Ignored(&'static str),
    /// A 400, with what to do instead. null asks for nothing and passes, and so do these, written as
    /// JSON.
    Refused {
        /// Values that ask for nothing.
        neutral: &'static [&'static str],
        /// What to do.
        instead: &'static str,
    },
}

/// A field and what becomes of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OtherField {
    /// Its name.
    pub name: &'static str,
    /// Where it is known.
    pub routes: &'static [FieldRoute],
    /// What becomes of it.
    pub treatment: Treatment,
}

use FieldRoute::{Chat, Completions, Embeddings, Responses};

const GENERATING: &[FieldRoute] = &[Chat, Completions, Responses];
const MESSAGES: &[FieldRoute] = &[Chat, Responses];
const TEXTS: &[FieldRoute] = &[Chat, Completions];

const fn ignored(
    name: &'static str,
    routes: &'static [FieldRoute],
    why: &'static str,
) -> OtherField {
    let treatment = Treatment::Ignored(why);
    OtherField {
        name,
        routes,
        treatment,
    }
}

const fn refused(
    name: &'static str,
    routes: &'static [FieldRoute],
    neutral: &'static [&'static str],
    instead: &'static str,
) -> OtherField {
    let treatment = Treatment::Refused { neutral, instead };
    OtherField {
        name,
        routes,
        treatment,
    }
}

/// OpenAI's, then vLLM's.
pub const OTHER_FIELDS: &[OtherField] = &[
    refused("audio", &[Chat], &[], "this server answers in text"),
    refused(
        "modalities",
        &[Chat],
        &["[\"text\"]"],
        "this server answers in text",
    ),
    refused("functions", &[Chat], &["[]"], "send tools"),
    refused("function_call", &[Chat], &["\"none\""], "send tool_choice"),
    refused(
        "web_search_options",
        &[Chat],
        &[],
        "this server searches nothing; describe a function in tools",
    ),
    refused("moderation", MESSAGES, &[], "this server judges no content"),
    ignored(
        "metadata",
        &[Chat],
        "it labels answers that are kept; none are",
    ),
    ignored(
        "store",
        &[Chat],
        "no chat completion is kept, whatever it says",
    ),
    ignored(
        "prediction",
        &[Chat],
        "a hint that may save time, and changes no answer",
    ),
    ignored(
        "verbosity",
        &[Chat],
        "a hint that the models served here do not know",
    ),
    ignored("service_tier", MESSAGES, "there is one tier"),
    ignored(
        "safety_identifier",
        MESSAGES,
        "no identities are judged; the usage log has `user`",
    ),
    ignored(
        "prompt_cache_key",
        MESSAGES,
        "prompts that begin alike share their beginning by themselves; see cache_salt",
    ),
    ignored("prompt_cache_options", MESSAGES, "as prompt_cache_key"),
    ignored("prompt_cache_retention", MESSAGES, "as prompt_cache_key"),
    ignored(
        "stream_options",
        &[Responses],
        "events are not padded against eavesdroppers, and the last one has the usage",
    ),
    refused(
        "background_options",
        &[Responses],
        &[],
        "stream a long answer",
    ),
    refused(
        "context_management",
        &[Responses],
        &["[]"],
        "this server drops nothing from an input; send what is to be read",
    ),
    refused(
        "access_programs",
        &[Responses],
        &["[]"],
        "this server knows no such programs",
    ),
    refused("image", &[Responses], &[], "this server answers in text"),
    refused(
        "use_beam_search",
        GENERATING,
        &["false"],
        "sample, or ask for n answers",
    ),
    refused(
        "allowed_token_ids",
        GENERATING,
        &[],
        "send structured_outputs or logit_bias",
    ),
    refused("bad_words", GENERATING, &["[]"], "send logit_bias"),
    refused(
        "logprob_token_ids",
        GENERATING,
        &[],
        "ask for more top_logprobs",
    ),
    refused(
        "truncate_prompt_tokens",
        GENERATING,
        &["-1"],
        "shorten the prompt",
    ),
    refused(
        "thinking_token_budget",
        GENERATING,
        &["-1"],
        "send chat_template_kwargs that the model's template knows",
    ),
    refused(
        "repetition_detection",
        GENERATING,
        &[],
        "send repetition_penalty",
    ),
    refused(
        "watermarking",
        GENERATING,
        &["false"],
        "answers are not marked here",
    ),
    refused(
        "prompt_embeds",
        &[Completions],
        &[],
        "send text or token ids",
    ),
    refused(
        "echo",
        &[Chat],
        &["false"],
        "send continue_final_message, or ask /v1/completions",
    ),
    refused(
        "return_prompt_text",
        &[Chat],
        &["false"],
        "send return_token_ids, and ask /detokenize",
    ),
    refused(
        "kv_transfer_params",
        GENERATING,
        &[],
        "prompts are computed where they are answered",
    ),
    refused(
        "ec_transfer_params",
        GENERATING,
        &[],
        "prompts are computed where they are answered",
    ),
    refused(
        "logits_processors",
        TEXTS,
        &["[]"],
        "no code of a client's runs here",
    ),
    ignored(
        "length_penalty",
        GENERATING,
        "of beam search, which is refused",
    ),
    ignored(
        "early_stopping",
        GENERATING,
        "of beam search, which is refused",
    ),
    ignored(
        "truncation_side",
        GENERATING,
        "of truncation, which is refused",
    ),
    ignored(
        "spaces_between_special_tokens",
        TEXTS,
        "of tokenizers that this server does not use",
    ),
    ignored("stream_interval", TEXTS, "each token goes out as it comes"),
    ignored(
        "request_id",
        &[Chat, Completions, Responses, Embeddings],
        "send the header X-Request-Id",
    ),
    ignored(
        "include_metrics",
        &[Embeddings],
        "the answer to a single input has the headers, and the usage log has every input",
    ),
    refused(
        "previous_input_messages",
        &[Responses],
        &["[]"],
        "send the conversation as input",
    ),
    refused(
        "enable_response_messages",
        &[Responses],
        &["false"],
        "ask /v1/chat/completions with return_token_ids",
    ),
    ignored("session_id", GENERATING, "nothing here depends on sessions"),
    ignored(
        "media_io_kwargs",
        MESSAGES,
        "of images and sounds, which are refused",
    ),
    ignored(
        "mm_processor_kwargs",
        &[Chat, Responses, Embeddings],
        "of images and sounds, which are refused",
    ),
    ignored(
        "vllm_xargs",
        GENERATING,
        "of extensions, of which there are none",
    ),
];

/// Refuses what a body asks for in these fields and does not get.
///
/// # Errors
/// A 400 that names the field and says what to do instead.
pub(super) fn refuse_other_fields(route: FieldRoute, body: &Value) -> Result<(), RequestError> {
    let of_route = OTHER_FIELDS
        .iter()
        .filter(|field| field.routes.contains(&route));
    for field in of_route {
        let Treatment::Refused { neutral, instead } = field.treatment else {
            continue;
        };
        let asked = body.get(field.name).filter(|value| !value.is_null());
        let asked = asked.map(Value::to_string);
        if asked.is_some_and(|text| !neutral.contains(&text.as_str())) {
            let name = field.name;
            let message =
                format!("{name}: not supported by this server; leave it out, and {instead}");
            return Err(RequestError::invalid(name, message));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_field_is_listed_once_for_a_route() {
        for (i, field) in OTHER_FIELDS.iter().enumerate() {
            let again = OTHER_FIELDS[..i].iter().find(|other| {
                other.name == field.name && other.routes.iter().any(|r| field.routes.contains(r))
            });
            assert_eq!(again, None);
        }
    }

    #[test]
    fn neutral_values_are_json_as_it_is_written_out() {
        for field in OTHER_FIELDS {
            if let Treatment::Refused { neutral, .. } = field.treatment {
                for text in neutral {
                    let value: Value = serde_json::from_str(text).unwrap();
                    assert_eq!(value.to_string(), *text, "{}", field.name);
                }
            }
        }
    }

    #[test]
    fn what_asks_for_something_is_refused_by_name() {
        let refuse = |body: Value| refuse_other_fields(Chat, &body);
        for body in [
            json!({}),
            json!({"modalities": ["text"], "functions": [], "audio": null}),
            json!({"store": true, "prediction": {"type": "content"}, "unknown": 1}),
            json!({"prompt_embeds": "of another route"}),
        ] {
            assert_eq!(refuse(body), Ok(()));
        }
        let error = refuse(json!({"modalities": ["text", "audio"]})).unwrap_err();
        assert_eq!(error.param.as_deref(), Some("modalities"));
        assert!(error.message.contains("answers in text"), "{error}");
    }
}
