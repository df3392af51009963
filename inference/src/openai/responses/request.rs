//! What a client sends to `/v1/responses`.

use std::{borrow::Cow, fmt, marker::PhantomData};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{SeqAccess, Visitor, value::SeqAccessDeserializer},
};
use serde_json::{Map, Value};

/// The fields of a request that are the route's own; those that it shares with
/// [`super::super::GenerationOptions`] (model, temperature, top_p, seed, stream, user, …) are named there.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
pub struct ResponsesRequest {
    /// What to answer: a user's text, or the items of a conversation.
    pub input: TextOr<InputItem>,
    /// A system message before all others. Not taken over from an earlier response.
    pub instructions: Option<String>,
    /// Most tokens to generate, of reasoning and answer together; fewer where the context ends before.
    pub max_output_tokens: Option<i64>,
    /// The functions that the model may call.
    pub tools: Option<Vec<ResponsesTool>>,
    /// `none`, `auto`, `required`, one function (`{"type": "function", "name": …}`), or
    /// `{"type": "allowed_tools", "mode": …, "tools": …}`.
    pub tool_choice: Option<Value>,
    /// The model may call several functions at once.
    pub parallel_tool_calls: Option<bool>,
    /// The form of the answer's text.
    pub text: Option<TextOptions>,
    /// How much to think; `effort` reaches the chat template as `reasoning_effort`.
    pub reasoning: Option<ReasoningOptions>,
    /// What else to report: `message.output_text.logprobs`.
    pub include: Option<Vec<String>>,
    /// Alternatives to report with each token's log probability.
    pub top_logprobs: Option<i64>,
    /// Up to 16 pairs that come back with the response.
    pub metadata: Option<Map<String, Value>>,
    /// Keep the response in this server's memory, for `previous_response_id`. Not unless asked for.
    pub store: Option<bool>,
    /// A stored response that this one goes on from.
    pub previous_response_id: Option<String>,
    /// `disabled`: an input that is too long is refused.
    pub truncation: Option<String>,
    /// Bounds calls of the provider's own tools, of which there are none here.
    pub max_tool_calls: Option<i64>,
    /// Answer later. Refused.
    pub background: Option<bool>,
    /// A conversation kept by the provider. Refused.
    pub conversation: Option<Value>,
    /// A prompt kept by the provider. Refused.
    pub prompt: Option<Value>,
    /// vLLM: more variables for the template.
    pub chat_template_kwargs: Option<Map<String, Value>>,
}

/// A text, or a list of parts.
#[derive(Debug, Clone, PartialEq)]
pub enum TextOr<T> {
    /// A text.
    Text(String),
    /// A list.
    List(Vec<T>),
}

/// Read by hand, so that an error inside of the list names its place there.
impl<'de, T: Deserialize<'de>> Deserialize<'de> for TextOr<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct EitherVisitor<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for EitherVisitor<T> {
            type Value = TextOr<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string or a list of objects")
            }

            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(TextOr::Text(text.to_owned()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<Self::Value, A::Error> {
                Vec::deserialize(SeqAccessDeserializer::new(items)).map(TextOr::List)
            }
        }
        deserializer.deserialize_any(EitherVisitor(PhantomData))
    }
}

impl<T: JsonSchema> JsonSchema for TextOr<T> {
    fn schema_name() -> Cow<'static, str> {
        format!("TextOr{}", T::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let items = generator.subschema_for::<T>();
        json_schema!({"anyOf": [{"type": "string"}, {"type": "array", "items": items}]})
    }

    fn inline_schema() -> bool {
        true
    }
}

/// One item of the input. Which members it has depends on its type; ids that come with items of earlier
/// responses are ignored.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
pub struct InputItem {
    /// `message` (also if absent), `function_call`, `function_call_output` or `reasoning`.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// `incomplete` or `in_progress` on an assistant's message that comes last: the model goes on with it.
    pub status: Option<String>,
    /// Of a message: who speaks.
    pub role: Option<String>,
    /// Of a message or of reasoning: what is said.
    pub content: Option<TextOr<InputPart>>,
    /// Of reasoning: its summary, read where there is no content.
    pub summary: Option<Vec<InputPart>>,
    /// Of reasoning: what only its provider can read. Refused where there is nothing else.
    pub encrypted_content: Option<String>,
    /// Of a function call and its output: what joins them.
    pub call_id: Option<String>,
    /// Of a function call: the function.
    pub name: Option<String>,
    /// Of a function call: the arguments as JSON text.
    pub arguments: Option<String>,
    /// Of a function call's output: what the function answered.
    pub output: Option<TextOr<InputPart>>,
}

/// A part of an item's content.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
pub struct InputPart {
    /// `input_text`, `output_text`, `text`, `reasoning_text`, `summary_text` or `refusal`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The text of a part that has one.
    pub text: Option<String>,
    /// The text of a refusal.
    pub refusal: Option<String>,
}

/// A tool. `function` is the only kind that this server takes.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, JsonSchema)]
pub struct ResponsesTool {
    /// `function`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The function's name.
    pub name: Option<String>,
    /// What it does.
    pub description: Option<String>,
    /// The JSON Schema of its arguments.
    pub parameters: Option<Map<String, Value>>,
    /// Calls follow the schema strictly.
    pub strict: Option<bool>,
}

/// `text`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
pub struct TextOptions {
    /// The form of the text.
    pub format: Option<TextFormat>,
    /// Ignored: models have no such setting.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verbosity: Option<String>,
}

/// The form of the answer's text.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, JsonSchema)]
pub struct TextFormat {
    /// `text`, `json_object` or `json_schema`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Of a `json_schema`: its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Of a `json_schema`: what it is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Of a `json_schema`: the schema.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schema: Option<Value>,
    /// Of a `json_schema`: always honoured strictly.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub strict: Option<bool>,
}

impl TextFormat {
    /// Plain text.
    pub fn plain() -> Self {
        Self {
            kind: "text".to_owned(),
            name: None,
            description: None,
            schema: None,
            strict: None,
        }
    }
}

/// `reasoning`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub struct ReasoningOptions {
    /// For the chat template, where it knows `reasoning_effort`.
    pub effort: Option<String>,
    /// Ignored: reasoning comes whole.
    pub summary: Option<String>,
}
