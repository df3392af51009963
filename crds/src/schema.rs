//! The CustomResourceDefinition: the derived schema, made small and given its rules.

use kube::CustomResourceExt;
use serde_json::{Map, Value, json};

use crate::{InferenceService, rules};

/// Fields of core Kubernetes types. Their descriptions are a hundred kilobytes that `kubectl explain
/// pod` prints already.
const CORE_FIELDS: [&str; 8] = [
    "spec.resources",
    "spec.engine.env",
    "spec.pod.tolerations",
    "spec.pod.affinity",
    "spec.pod.topologySpreadConstraints",
    "spec.pod.imagePullSecrets",
    "spec.pod.resourceClaims",
    "status.conditions",
];

/// The definition as the API server takes it.
pub fn definition() -> Value {
    let mut definition =
        serde_json::to_value(InferenceService::crd()).expect("derived types serialize");
    tidy(&mut definition);
    let schema = schema_mut(&mut definition);
    for path in CORE_FIELDS {
        let field = field_mut(schema, path);
        let description = field.get("description").cloned();
        without_descriptions(field);
        if let (Some(description), Some(field)) = (description, field.as_object_mut()) {
            field.insert("description".to_owned(), description);
        }
    }
    for rule in rules() {
        let Some(cel) = &rule.cel else { continue };
        let field = field_mut(schema, rule.path);
        let list = field
            .as_object_mut()
            .expect("every field of the schema is an object")
            .entry("x-kubernetes-validations")
            .or_insert_with(|| json!([]));
        if let Some(list) = list.as_array_mut() {
            list.push(json!({"rule": cel, "message": rule.message}));
        }
    }
    definition
}

/// The definition as the file `inferenceservices.yaml` holds it.
pub fn definition_yaml() -> String {
    let yaml = serde_yaml::to_string(&definition()).expect("a JSON value is YAML");
    format!("# Made by crdgen from crds/src; do not edit.\n{yaml}")
}

/// The schema of one object.
pub fn object_schema() -> Value {
    schema_mut(&mut definition()).take()
}

fn schema_mut(definition: &mut Value) -> &mut Value {
    &mut definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
}

fn field_mut<'a>(schema: &'a mut Value, path: &str) -> &'a mut Value {
    path.split('.')
        .filter(|name| !name.is_empty())
        .fold(schema, |schema, name| {
            let field = schema
                .get_mut("properties")
                .and_then(|fields| fields.get_mut(name));
            field
                .unwrap_or_else(|| unreachable!("{path} is a field of the schema; tests render it"))
        })
}

/// Removes `nullable` and other idle words, so that an explicit null counts as absent (the server
/// drops it before the rules run), and writes whole numbers as such.
fn tidy(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.remove("nullable");
            if fields.get("status").is_some_and(Value::is_null) {
                fields.remove("status");
            }
            if let Some(Value::String(text)) = fields.get_mut("description") {
                *text = text.replace('\n', " ");
            }
            fields.values_mut().for_each(tidy);
        }
        Value::Array(items) => items.iter_mut().for_each(tidy),
        Value::Number(number) => {
            if let Some(float) = number
                .as_f64()
                .filter(|f| f.fract() == 0.0 && f.abs() < 1e15)
            {
                *value = json!(float as i64);
            }
        }
        Value::Null | Value::Bool(_) | Value::String(_) => {}
    }
}

fn without_descriptions(schema: &mut Value) {
    let Some(schema) = schema.as_object_mut() else {
        return;
    };
    schema.remove("description");
    if let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) {
        properties.values_mut().for_each(without_descriptions);
    }
    for child in ["items", "additionalProperties"] {
        if let Some(child) = schema.get_mut(child) {
            without_descriptions(child);
        }
    }
}

/// The fields that a schema knows, if it is one of an object with fixed fields.
pub(crate) fn properties(schema: &Value) -> Option<&Map<String, Value>> {
    schema.get("properties").and_then(Value::as_object)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generated_files_are_up_to_date() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/");
        for file in [
            "inferenceservices.yaml",
            "../charts/candela/files/inferenceservices.yaml",
        ] {
            let stored = std::fs::read_to_string(format!("{folder}{file}")).unwrap_or_default();
            assert!(
                stored == definition_yaml(),
                "{file} is out of date: write the output of `cargo run -p candela-crds --bin crdgen` to it"
            );
        }
    }

    #[test]
    fn definition_is_one_that_kubernetes_can_hold() {
        let text = definition_yaml();
        assert!(text.len() < 64 * 1024, "{} bytes", text.len());
        assert!(!text.contains("nullable"), "a null would reach the rules");
        assert!(
            !text.contains("orValue") && !text.contains(".sign()"),
            "see api.md's traps"
        );
        let read: k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition =
            serde_yaml::from_str(&text).unwrap();
        assert_eq!(read.spec.names.short_names, Some(vec!["infsvc".to_owned()]));
    }

    #[test]
    fn stats_are_defaulted_as_a_whole_and_field_by_field() {
        let mut schema = object_schema();
        let stats = field_mut(&mut schema, "spec.stats");
        let whole = json!({"logging": true, "headers": false, "perRequestMetrics": "Never"});
        assert_eq!(stats["default"], whole);
        for (field, default) in whole.as_object().unwrap() {
            assert_eq!(&stats["properties"][field]["default"], default, "{field}");
        }
    }
}
