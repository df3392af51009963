//! Bounds that a type does not have by itself: those that `request` checks, from its own constants.

use serde_json::{Map, Value, json};

use crate::request::limits;

/// Keywords for a member of a schema.
pub(super) struct Bound {
    pub(super) schema: &'static str,
    pub(super) member: &'static str,
    pub(super) keywords: Value,
}

/// Bodies with the fields that generation shares.
const GENERATING: [&str; 3] = [
    "ChatCompletionRequest",
    "CompletionRequest",
    "ResponsesRequest",
];
/// Schemas with `metrics`.
const MEASURED: [&str; 4] = [
    "ChatCompletion",
    "ChatChunk",
    "Completion",
    "ResponseObject",
];

/// All of them.
pub(super) fn all() -> Vec<Bound> {
    let mut all = Vec::new();
    for schema in GENERATING {
        all.extend(shared().map(|(member, keywords)| Bound {
            schema,
            member,
            keywords,
        }));
    }
    let own = [
        (
            "ChatCompletionRequest",
            "messages",
            items(limits::MESSAGES_MAX),
        ),
        (
            "ChatCompletionRequest",
            "max_completion_tokens",
            json!({"minimum": 1}),
        ),
        (
            "ChatCompletionRequest",
            "top_logprobs",
            range(0, limits::LOGPROBS_MAX as f64),
        ),
        (
            "ResponsesRequest",
            "top_logprobs",
            range(0, limits::LOGPROBS_MAX as f64),
        ),
        // With echo.
        ("CompletionRequest", "max_tokens", json!({"minimum": 0})),
        (
            "CompletionRequest",
            "logprobs",
            range(0, limits::LOGPROBS_MAX as f64),
        ),
        (
            "ResponsesRequest",
            "max_output_tokens",
            json!({"minimum": 1}),
        ),
        (
            "ResponsesRequest",
            "metadata",
            json!({
                "maxProperties": limits::METADATA_PAIRS_MAX,
                "propertyNames": {"maxLength": limits::METADATA_KEY_CHARS_MAX},
                "additionalProperties":
                    {"type": "string", "maxLength": limits::METADATA_VALUE_CHARS_MAX},
            }),
        ),
        (
            "ResponsesRequest",
            "truncation",
            json!({"enum": ["disabled", null]}),
        ),
        (
            "ResponsesRequest",
            "background",
            json!({"enum": [false, null]}),
        ),
        ("ResponsesRequest", "conversation", json!({"type": "null"})),
        ("ResponsesRequest", "prompt", json!({"type": "null"})),
    ];
    all.extend(own.map(|(schema, member, keywords)| Bound {
        schema,
        member,
        keywords,
    }));
    all
}

/// Of the fields that generation shares.
fn shared() -> impl Iterator<Item = (&'static str, Value)> {
    let ids = json!({
        "maxItems": limits::STOP_TOKEN_IDS_MAX,
        "items": {"type": "integer", "minimum": 0, "maximum": u32::MAX},
    });
    [
        ("temperature", range(0, limits::TEMPERATURE_MAX)),
        ("top_p", json!({"exclusiveMinimum": 0, "maximum": 1})),
        ("top_k", json!({"minimum": -1})),
        ("min_p", range(0, 1.0)),
        ("presence_penalty", either_side(limits::PENALTY_MAX)),
        ("frequency_penalty", either_side(limits::PENALTY_MAX)),
        (
            "repetition_penalty",
            json!({"exclusiveMinimum": 0, "maximum": limits::REPETITION_PENALTY_MAX}),
        ),
        (
            "logit_bias",
            json!({"additionalProperties": {
                "type": "number",
                "minimum": -limits::LOGIT_BIAS_MAX,
                "maximum": limits::LOGIT_BIAS_MAX,
            }}),
        ),
        ("prompt_logprobs", range(0, limits::LOGPROBS_MAX as f64)),
        ("n", range(1, limits::ANSWERS_MAX as f64)),
        ("max_tokens", json!({"minimum": 1})),
        ("min_tokens", json!({"minimum": 0})),
        ("seed", json!({"minimum": i64::MIN, "maximum": u64::MAX})),
        ("stop_token_ids", ids),
        ("user", json!({"maxLength": limits::USER_BYTES_MAX})),
        (
            "cache_salt",
            json!({"minLength": 1, "maxLength": limits::CACHE_SALT_BYTES_MAX}),
        ),
    ]
    .into_iter()
}

fn either_side(maximum: f64) -> Value {
    json!({"minimum": -(maximum as i64), "maximum": maximum as i64})
}

fn range(minimum: u32, maximum: f64) -> Value {
    json!({"minimum": minimum, "maximum": maximum})
}

fn items(maximum: usize) -> Value {
    json!({"minItems": 1, "maxItems": maximum})
}

/// Writes them into the schemas.
pub(super) fn apply(schemas: &mut Map<String, Value>) {
    for Bound {
        schema,
        member,
        keywords,
    } in all()
    {
        if let Some(Value::Object(member)) = member_of(schemas, schema, member) {
            for (keyword, value) in keywords.as_object().into_iter().flatten() {
                member.insert(keyword.clone(), value.clone());
            }
        }
    }
    for schema in MEASURED {
        if let Some(metrics) = member_of(schemas, schema, "metrics") {
            let reference = json!({"$ref": "#/components/schemas/RequestMetrics"});
            let description = metrics["description"].clone();
            *metrics = json!({"description": description, "anyOf": [reference, {"type": "null"}]});
        }
    }
    // In a stream the members without a value are left out.
    if let Some(metrics) = schemas
        .get_mut("RequestMetrics")
        .and_then(Value::as_object_mut)
    {
        metrics.remove("required");
    }
}

/// A member of a schema.
pub(super) fn member_of<'a>(
    schemas: &'a mut Map<String, Value>,
    schema: &str,
    member: &str,
) -> Option<&'a mut Value> {
    schemas
        .get_mut(schema)?
        .get_mut("properties")?
        .get_mut(member)
}
