//! What an answer must follow: OpenAI's `response_format` and vLLM's `structured_outputs`.

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

/// `response_format`.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
pub struct ResponseFormat {
    /// `text`, `json_object`, `json_schema` or vLLM's `structural_tag`.
    #[serde(rename = "type")]
    pub kind: String,
    /// With `json_schema`.
    pub json_schema: Option<JsonSchemaFormat>,
    /// With `structural_tag`.
    pub structures: Option<Vec<TaggedStructure>>,
    /// With `structural_tag`.
    pub triggers: Option<Vec<String>>,
    /// A newer form of `structural_tag`. Refused.
    pub format: Option<Value>,
}

/// The schema of `response_format`. `strict` makes no difference: a schema is always followed.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
pub struct JsonSchemaFormat {
    /// Required by OpenAI; used for nothing.
    pub name: String,
    /// The schema.
    pub schema: Value,
}

/// `structured_outputs`: exactly one of the kinds, and how JSON is written.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
pub struct StructuredOutputs {
    /// A JSON schema, or the text of one.
    pub json: Option<Value>,
    /// A regular expression.
    pub regex: Option<String>,
    /// One of these.
    pub choice: Option<Vec<String>>,
    /// A context-free grammar.
    pub grammar: Option<String>,
    /// Any JSON object.
    pub json_object: Option<bool>,
    /// Text with structured parts, as an object or the text of one.
    pub structural_tag: Option<Value>,
    /// Write JSON without space.
    pub disable_any_whitespace: Option<bool>,
    /// Close objects whose schema does not say.
    pub disable_additional_properties: Option<bool>,
    /// Refused: use `disable_any_whitespace`.
    pub whitespace_pattern: Option<String>,
}

/// What `structural_tag` holds.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
pub struct StructuralTag {
    /// The parts.
    pub structures: Option<Vec<TaggedStructure>>,
    /// What begins them in the text.
    pub triggers: Option<Vec<String>>,
    /// A newer form. Refused.
    pub format: Option<Value>,
}

/// A structured part within text.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
pub struct TaggedStructure {
    /// How it begins: with one of the triggers.
    pub begin: String,
    /// The JSON schema of its content.
    pub schema: Value,
    /// How it ends.
    pub end: String,
}

/// Fields of vLLM before 0.12, for a message that names their successors.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
pub struct GuidedDecoding {
    /// Refused: now `structured_outputs.json`.
    pub guided_json: Option<Value>,
    /// Refused: now `structured_outputs.regex`.
    pub guided_regex: Option<Value>,
    /// Refused: now `structured_outputs.choice`.
    pub guided_choice: Option<Value>,
    /// Refused: now `structured_outputs.grammar`.
    pub guided_grammar: Option<Value>,
    /// Refused: use `structured_outputs.disable_any_whitespace`.
    pub guided_whitespace_pattern: Option<Value>,
    /// Refused: there is one backend.
    pub guided_decoding_backend: Option<Value>,
    /// Refused: now `response_format` or `structured_outputs.json_object`.
    pub guided_json_object: Option<Value>,
}
