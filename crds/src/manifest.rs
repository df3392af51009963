//! A manifest, read as the API server would read it, and what is to be said about it. `lint`,
//! `local` and the tests go through [`check`].

use std::fmt;

use serde::Deserialize;
use serde_json::Value;

use crate::{
    InferenceService, broken, engine_args::extra_args_warnings, object_schema, structural,
};

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// The object is refused, or does not mean what it says.
    Error,
    /// It may be meant.
    Warning,
}

/// Something about one field that a person should know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// The field; empty for the whole object.
    pub path: String,
    /// What is wrong and what to change.
    pub message: String,
}

/// A manifest that has been checked.
#[derive(Debug)]
pub struct Checked {
    /// The object with its defaults, unless an error stands in the way.
    pub service: Option<InferenceService>,
    /// What is to be said about it.
    pub findings: Vec<Finding>,
}

/// A text that is no manifest.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// It is not YAML, or not YAML that JSON can say.
    #[error("not readable as YAML: {0}")]
    Yaml(#[from] serde_yaml::Error),
}

impl Finding {
    pub(crate) fn error(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            path: path.into(),
            message: message.into(),
        }
    }

    pub(crate) fn warning(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Warning,
            path: path.into(),
            message: message.into(),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        match self.path.as_str() {
            "" => write!(f, "{severity}: {}", self.message),
            path => write!(f, "{severity}: {path}: {}", self.message),
        }
    }
}

impl Checked {
    /// Whether the API server or the operator would refuse the object.
    pub fn is_refused(&self) -> bool {
        self.findings
            .iter()
            .any(|finding| finding.severity == Severity::Error)
    }
}

/// The documents of a YAML text, empty ones left out.
///
/// # Errors
/// [`ReadError`] when one of them is not YAML.
pub fn read_documents(text: &str) -> Result<Vec<Value>, ReadError> {
    let documents = serde_yaml::Deserializer::from_str(text).map(Value::deserialize);
    let documents: Vec<Value> = documents.collect::<Result<_, _>>()?;
    Ok(documents
        .into_iter()
        .filter(|document| !document.is_null())
        .collect())
}

/// Whether `document` says that it is an InferenceService, of whatever version.
pub fn is_inference_service(document: &Value) -> bool {
    document["kind"] == "InferenceService"
        && document["apiVersion"]
            .as_str()
            .is_some_and(|v| v.starts_with("inference.candela.dev/"))
}

/// Reads one document as the API server would, and more strictly: an unknown field is an error.
///
/// # Guarantees
/// `service` is present exactly if the schema accepts the object; rules may still be broken then.
pub fn check(mut document: Value) -> Checked {
    let mut findings = Vec::new();
    if document["apiVersion"] != "inference.candela.dev/v1alpha1" {
        let version = &document["apiVersion"];
        let message = format!("must be inference.candela.dev/v1alpha1, but is {version}");
        findings.push(Finding::error("apiVersion", message));
        return Checked {
            service: None,
            findings,
        };
    }
    let schema = object_schema();
    structural::prune(&schema, &mut document, &mut findings);
    structural::default(&schema, &mut document);
    let mut wrong = Vec::new();
    structural::validate(&schema, &document, &mut wrong);
    if !wrong.is_empty() {
        findings.append(&mut wrong);
        return Checked {
            service: None,
            findings,
        };
    }
    let service = match serde_json::from_value::<InferenceService>(document) {
        Ok(service) => service,
        Err(error) => {
            findings.push(Finding::error("", error.to_string()));
            return Checked {
                service: None,
                findings,
            };
        }
    };
    findings.extend(broken(&service).map(|rule| Finding::error(rule.path, &*rule.message)));
    findings.extend(extra_args_warnings(&service));
    Checked {
        service: Some(service),
        findings,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Refusal, cases};

    #[test]
    fn every_case_is_judged_as_it_says() {
        for case in cases() {
            let checked = check(case.object());
            let errors: Vec<&Finding> = checked
                .findings
                .iter()
                .filter(|f| f.severity == Severity::Error)
                .collect();
            match &case.refused {
                None => assert!(errors.is_empty(), "{}: {errors:?}", case.name),
                Some(Refusal::Rule(id) | Refusal::Condition(id)) => {
                    let rule = crate::rules().iter().find(|r| r.id == id).unwrap();
                    let found = errors.iter().any(|e| e.message == rule.message);
                    assert!(found, "{}: {errors:?}", case.name);
                }
                Some(Refusal::Schema(path) | Refusal::Unknown(path)) => {
                    assert!(
                        errors.iter().any(|e| e.path == *path),
                        "{}: {errors:?}",
                        case.name
                    );
                }
            }
        }
    }

    #[test]
    fn the_cel_text_of_every_rule_judges_as_its_function_does() {
        let schema = object_schema();
        for case in cases() {
            let mut object = case.object();
            structural::prune(&schema, &mut object, &mut Vec::new());
            structural::default(&schema, &mut object);
            let mut wrong = Vec::new();
            structural::validate(&schema, &object, &mut wrong);
            if !wrong.is_empty() {
                continue;
            }
            let service: InferenceService = serde_json::from_value(object.clone()).unwrap();
            let rust: Vec<&str> = broken(&service)
                .filter(|r| r.cel.is_some())
                .map(|r| &*r.message)
                .collect();
            let errors = kube::core::cel::Validator::new().validate(&schema, &object, None);
            let cel: Vec<String> = errors
                .err()
                .into_iter()
                .flatten()
                .map(|e| e.message)
                .collect();
            let (mut rust, mut cel_sorted) = (rust, cel.iter().map(|m| &**m).collect::<Vec<_>>());
            rust.sort_unstable();
            cel_sorted.sort_unstable();
            assert_eq!(rust, cel_sorted, "{}", case.name);
        }
    }

    #[test]
    fn every_rule_has_a_case_that_breaks_it() {
        for rule in crate::rules() {
            let broken = cases()
                .into_iter()
                .any(|case| match (&case.refused, &rule.cel) {
                    (Some(Refusal::Rule(id)), Some(_)) => id == rule.id,
                    (Some(Refusal::Condition(id)), None) => id == rule.id,
                    _ => false,
                });
            assert!(broken, "{}", rule.id);
        }
    }

    #[test]
    fn unknown_field_names_the_nearest_known_one() {
        let case = cases()
            .into_iter()
            .find(|c| c.name == "a misspelt field")
            .unwrap();
        let text: Vec<String> = check(case.object())
            .findings
            .iter()
            .map(|f| f.to_string())
            .collect();
        assert_eq!(
            text,
            [
                "error: spec.stats.header: unknown field, which the API server would drop: \
              did you mean `headers`?"
            ]
        );
    }

    #[test]
    fn several_documents_are_read() {
        let documents = read_documents("---\nkind: A\n---\n---\nkind: B\n").unwrap();
        assert_eq!(documents.len(), 2);
        assert!(read_documents("a: [").is_err());
    }
}
