//! Objects that are accepted and objects that are refused, as data. The Rust rules, the CEL text,
//! `lint` and the API server are all tested with these.

use serde::Deserialize;
use serde_json::{Value, json};

/// One object and what is said about it.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Case {
    /// What the case shows.
    pub name: String,
    /// `metadata.name`; default `case`.
    #[serde(default)]
    pub object_name: Option<String>,
    /// `spec`.
    pub spec: Value,
    /// Who refuses it and why; nobody if absent.
    #[serde(default)]
    pub refused: Option<Refusal>,
}

/// Why an object is refused.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Refusal {
    /// By this rule, at the API server and everywhere else.
    Rule(String),
    /// By this rule, which the API server does not have: a condition of the stored object.
    Condition(String),
    /// By the schema, at this field.
    Schema(String),
    /// By `lint` alone, at this field, which the API server would drop.
    Unknown(String),
}

impl Case {
    /// The whole object.
    pub fn object(&self) -> Value {
        json!({
            "apiVersion": "inference.candela.dev/v1alpha1",
            "kind": "InferenceService",
            "metadata": {"name": self.object_name.as_deref().unwrap_or("case")},
            "spec": self.spec,
        })
    }
}

/// Every case.
pub fn cases() -> Vec<Case> {
    // By way of JSON, in which a variant is a key and no tag.
    let cases: Value = serde_yaml::from_str(include_str!("cases.yaml")).expect("read by tests");
    serde_json::from_value(cases).expect("read by tests")
}
