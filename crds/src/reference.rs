//! The reference page of the InferenceService, made from its schema, its rules and its conditions.

use serde_json::Value;

use crate::{
    AcceptedReason, ConditionType, ModelReason, ProgressingReason, ReadyReason, object_schema,
    rules, schema::properties,
};

/// Fields whose own fields are those of a Kubernetes type.
const CORE_TYPES: [(&str, &str); 8] = [
    ("spec.resources", "ResourceRequirements"),
    ("spec.engine.env", "EnvVar"),
    ("spec.pod.tolerations", "Toleration"),
    ("spec.pod.affinity", "Affinity"),
    (
        "spec.pod.topologySpreadConstraints",
        "TopologySpreadConstraint",
    ),
    ("spec.pod.imagePullSecrets", "LocalObjectReference"),
    ("spec.pod.resourceClaims", "PodResourceClaim"),
    ("status.conditions", "Condition"),
];

/// `docs/reference/inferenceservice.md`.
pub fn reference_page() -> String {
    let schema = object_schema();
    let mut page = "# InferenceService\n\nMade from the code by `cargo run -p candela-crds --bin \
        crdgen -- --markdown`; a test compares.\n\nGroup `inference.candela.dev`, version \
        `v1alpha1`, short name `infsvc`. `candela-operator lint -f FILE` holds a manifest against \
        all of this and names line and column.\n"
        .to_owned();
    for (part, title) in [
        ("spec", "Fields of `spec`"),
        ("status", "Fields of `status`"),
    ] {
        page += &format!(
            "\n## {title}\n\n| field | type | default | bounds | meaning |\n|---|---|---|---|---|\n"
        );
        if let Some(part_schema) = properties(&schema).and_then(|fields| fields.get(part)) {
            fields(part_schema, part, &mut page);
        }
    }
    page += "\n## Rules between fields\n\nA manifest that breaks one is refused by the API server \
        or, where so marked, stored and not accepted.\n\n| at | rule |\n|---|---|\n";
    for rule in rules() {
        let at = if rule.path.is_empty() {
            "metadata"
        } else {
            rule.path
        };
        let stored = if rule.cel.is_none() {
            " (`Accepted=False`)"
        } else {
            ""
        };
        page += &row(&[format!("`{at}`"), format!("{}{stored}", rule.message)]);
    }
    conditions(&mut page);
    page
}

fn fields(schema: &Value, path: &str, page: &mut String) {
    let required = schema.get("required").and_then(Value::as_array);
    for (name, field) in properties(schema).into_iter().flatten() {
        let path = format!("{path}.{name}");
        let is_required = required.is_some_and(|names| names.iter().any(|n| n == name));
        let core = CORE_TYPES.iter().find(|(core, _)| *core == path);
        let default = match field.get("default") {
            Some(default) => format!("`{default}`"),
            None if is_required && path.starts_with("spec") => "required".to_owned(),
            None => String::new(),
        };
        *page += &row(&[
            format!("`{path}`"),
            kind(field, core.map(|(_, name)| *name)),
            default,
            bounds(field),
            text(field, "description").to_owned(),
        ]);
        if core.is_none() {
            fields(field, &path, page);
        }
    }
}

fn kind(field: &Value, core: Option<&str>) -> String {
    match (text(field, "type"), core) {
        ("array", Some(core)) => format!("list of Kubernetes' {core}"),
        (_, Some(core)) => format!("Kubernetes' {core}"),
        ("array", None) => format!("list of {}", text(&field["items"], "type")),
        ("object", None) if field.get("additionalProperties").is_some() => {
            "map of strings".to_owned()
        }
        (other, None) => other.to_owned(),
    }
}

fn bounds(field: &Value) -> String {
    let number = |name: &str| field.get(name).and_then(Value::as_i64);
    let range = |least: &str, most: &str, unit: &str| match (number(least), number(most)) {
        (Some(least), Some(most)) => Some(format!("{least} to {most}{unit}")),
        (Some(least), None) => Some(format!("at least {least}{unit}")),
        (None, Some(most)) => Some(format!("at most {most}{unit}")),
        (None, None) => None,
    };
    let names = field.get("enum").or_else(|| field["items"].get("enum"));
    let names = names.and_then(Value::as_array).map(|names| {
        let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
        names.join(", ")
    });
    let parts = [
        names,
        range("minimum", "maximum", ""),
        range("minLength", "maxLength", " characters"),
        range("minItems", "maxItems", " items"),
        range("minProperties", "maxProperties", " entries"),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join("; ")
}

fn conditions(page: &mut String) {
    *page += "\n## Conditions\n";
    for condition in ConditionType::ALL {
        let reasons: Vec<(&str, &str)> = match condition {
            ConditionType::Ready => {
                meanings(ReadyReason::ALL, ReadyReason::as_str, ReadyReason::meaning)
            }
            ConditionType::Accepted => meanings(
                AcceptedReason::ALL,
                AcceptedReason::as_str,
                AcceptedReason::meaning,
            ),
            ConditionType::ModelAvailable => {
                meanings(ModelReason::ALL, ModelReason::as_str, ModelReason::meaning)
            }
            ConditionType::Progressing => meanings(
                ProgressingReason::ALL,
                ProgressingReason::as_str,
                ProgressingReason::meaning,
            ),
        };
        let (name, meaning) = (condition.as_str(), condition.meaning());
        *page += &format!("\n### `{name}`\n\n{meaning}\n\n| reason | meaning |\n|---|---|\n");
        for (reason, meaning) in reasons {
            *page += &row(&[format!("`{reason}`"), meaning.to_owned()]);
        }
    }
}

fn meanings<R: Copy>(
    all: &[R],
    name: fn(R) -> &'static str,
    meaning: fn(R) -> &'static str,
) -> Vec<(&'static str, &'static str)> {
    all.iter()
        .map(|reason| (name(*reason), meaning(*reason)))
        .collect()
}

fn row(cells: &[String]) -> String {
    let cells: Vec<String> = cells.iter().map(|cell| cell.replace('|', "\\|")).collect();
    format!("| {} |\n", cells.join(" | "))
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value.get(name).and_then(Value::as_str).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../docs/reference/inferenceservice.md"
    );

    #[test]
    fn page_is_what_the_code_says() {
        let stored = std::fs::read_to_string(PAGE).unwrap_or_default();
        assert!(
            stored == reference_page(),
            "docs/reference/inferenceservice.md is out of date: write the output of \
             `cargo run -p candela-crds --bin crdgen -- --markdown` to it"
        );
    }

    #[test]
    fn every_field_has_a_meaning() {
        let nameless = reference_page();
        let nameless: Vec<&str> = nameless
            .lines()
            .filter(|line| line.ends_with("|  |"))
            .collect();
        assert_eq!(nameless, [""; 0]);
    }
}
