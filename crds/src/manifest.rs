//! One object, read as the API server would read it, and what is to be said about it. `lint`, `local`
//! and the tests go through [`check`]; `objects` adds the places in the text.

use serde_json::Value;

use crate::{
    FieldPath, Finding, InferenceService, Severity, broken, engine_args::extra_args_warnings,
    object_schema, structural,
};

/// An object that has been checked.
#[derive(Debug)]
pub struct Checked {
    /// The object with its defaults, unless an error stands in the way.
    pub service: Option<InferenceService>,
    /// What is to be said about it.
    pub findings: Vec<Finding>,
}

impl Checked {
    /// Whether the API server or the operator would refuse the object.
    pub fn is_refused(&self) -> bool {
        self.findings
            .iter()
            .any(|finding| finding.severity == Severity::Error)
    }
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
        findings.push(Finding::error(FieldPath::of("apiVersion"), message));
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
            findings.push(Finding::error(FieldPath::default(), error.to_string()));
            return Checked {
                service: None,
                findings,
            };
        }
    };
    findings.extend(broken(&service).map(|rule| {
        let mut fields = (rule.broken_by)(&service).into_iter();
        let path = fields.next().unwrap_or_default();
        Finding {
            related: fields.collect(),
            ..Finding::error(path, &*rule.message)
        }
    }));
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
                        errors.iter().any(|e| e.path.to_string() == *path),
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
}
