//! `candela-operator lint`: what the API server and the operator would say to a manifest, and what
//! they would keep to themselves.

mod render;

use std::{io::Read, path::Path};

use candela_crds::{Diagnostic, Object, ReadError, Severity, is_inference_service, read_objects};
use serde_json::{Value, json};

/// What lint has to say about some manifests.
#[derive(Debug, Default)]
pub struct Report {
    /// For people and editors: each finding with its place and line, one line for a clean object.
    pub text: String,
    /// For programs: the findings.
    pub findings: Vec<Value>,
    /// Findings that are errors.
    pub errors: usize,
    /// Findings that are warnings.
    pub warnings: usize,
}

/// A manifest that could not be read.
#[derive(Debug, thiserror::Error)]
pub enum LintError {
    /// The file could not be read.
    #[error("could not read {file}: {source}")]
    Read {
        /// The file.
        file: String,
        /// Why.
        source: std::io::Error,
    },
}

/// What a file is called in messages.
pub fn display_name(file: &Path) -> String {
    if file == Path::new("-") {
        "standard input".to_owned()
    } else {
        file.display().to_string()
    }
}

/// Reads a file, or standard input if it is `-`.
///
/// # Errors
/// [`LintError::Read`].
pub fn read(file: &Path) -> Result<String, LintError> {
    let mut text = String::new();
    let read = if file == Path::new("-") {
        std::io::stdin().read_to_string(&mut text).map(|_| text)
    } else {
        std::fs::read_to_string(file)
    };
    read.map_err(|source| LintError::Read {
        file: display_name(file),
        source,
    })
}

/// Checks every InferenceService of a manifest that may hold other objects, too, and adds what is to
/// be said to `report`.
pub fn lint(file: &str, text: &str, report: &mut Report) {
    let objects = match read_objects(text) {
        Ok(objects) => objects,
        Err(ReadError(diagnostic)) => return report.add(file, text, None, &diagnostic),
    };
    let services = objects
        .into_iter()
        .filter(|object| is_inference_service(object.value()));
    let mut seen = 0;
    for object in services {
        seen += 1;
        lint_object(file, text, object, report);
    }
    if seen == 0 {
        let message = "no InferenceService of inference.candela.dev in it";
        report.add(file, text, None, &Diagnostic::whole(message));
    }
}

/// The findings of a manifest as [`lint`] writes them.
pub fn describe(file: &str, text: &str, diagnostics: &[Diagnostic]) -> String {
    let described = diagnostics
        .iter()
        .map(|d| render::diagnostic(file, text, d));
    described.collect()
}

fn lint_object(file: &str, text: &str, object: Object, report: &mut Report) {
    let name = object.name().unwrap_or("(no name)").to_owned();
    let diagnostics = object.check().diagnostics;
    for diagnostic in &diagnostics {
        report.add(file, text, Some(&name), diagnostic);
    }
    if diagnostics.is_empty() {
        report.text += &format!("{file}: InferenceService {name}: ok\n");
    }
}

impl Report {
    /// `2 errors, 1 warning`, for the end of a text.
    pub fn summary(&self) -> String {
        let count = |number: usize, what: &str| match number {
            0 => None,
            1 => Some(format!("1 {what}")),
            number => Some(format!("{number} {what}s")),
        };
        let counts = [count(self.errors, "error"), count(self.warnings, "warning")];
        counts.into_iter().flatten().collect::<Vec<_>>().join(", ")
    }

    fn add(&mut self, file: &str, text: &str, object: Option<&str>, diagnostic: &Diagnostic) {
        self.text += &render::diagnostic(file, text, diagnostic);
        let Diagnostic {
            severity,
            path,
            message,
            span,
            notes,
        } = diagnostic;
        match severity {
            Severity::Error => self.errors += 1,
            Severity::Warning => self.warnings += 1,
        }
        let notes = notes.iter().map(|note| {
            let start = note.span.start;
            json!({"line": start.line, "column": start.column, "message": note.message})
        });
        self.findings.push(json!({
            "file": file,
            "line": span.start.line,
            "column": span.start.column,
            "endLine": span.end.line,
            "endColumn": span.end.column,
            "severity": severity.as_str(),
            "object": object,
            "path": path.to_string(),
            "message": message,
            "notes": notes.collect::<Vec<_>>(),
        }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "apiVersion: inference.candela.dev/v1alpha1
kind: InferenceService
metadata: {name: good}
spec: {model: {uri: builtin://demo}}
";

    fn lint_text(text: &str) -> Report {
        let mut report = Report::default();
        lint("a.yaml", text, &mut report);
        report
    }

    fn rule(id: &str) -> &'static str {
        let rule = candela_crds::rules().iter().find(|rule| rule.id == id);
        &rule.unwrap().message
    }

    #[test]
    fn several_documents_are_judged_one_by_one() {
        let bad = GOOD
            .replace("good", "bad")
            .replace("}}", "}, stats: {logging: false, headers: true}}");
        let other = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: other}\n";
        let report = lint_text(&format!("{GOOD}---\n{bad}---\n{other}"));
        assert_eq!(report.summary(), "1 error", "{}", report.text);
        let expected = format!(
            "a.yaml: InferenceService good: ok
a.yaml:9:71: error: spec.stats.headers: {}
 9 | spec: {{model: {{uri: builtin://demo}}, stats: {{logging: false, headers: true}}}}
   |                                                                       ^^^^
a.yaml:9:55: note: spec.stats.logging is here
 9 | spec: {{model: {{uri: builtin://demo}}, stats: {{logging: false, headers: true}}}}
   |                                                       ^^^^^
",
            rule("stats")
        );
        assert_eq!(report.text, expected);
    }

    #[test]
    fn findings_are_data_for_programs() {
        let report = lint_text(&GOOD.replace("uri: ", "url: "));
        let first = json!({
            "file": "a.yaml", "line": 4, "column": 8, "endLine": 4, "endColumn": 13,
            "severity": "error", "object": "good", "path": "spec.model.uri",
            "message": "is required, but missing", "notes": [],
        });
        let found = report.findings.iter().find(|f| **f == first);
        assert!(found.is_some(), "{:#?}", report.findings);
        assert_eq!(report.errors, 2);
    }

    #[test]
    fn a_manifest_without_a_service_is_an_error() {
        let expected = "a.yaml:1:1: error: no InferenceService of inference.candela.dev in it
 1 | kind: Pod
   | ^
";
        assert_eq!(lint_text("kind: Pod\n").text, expected);
        assert_eq!(lint_text("").errors, 1);
    }

    #[test]
    fn shipped_examples_are_clean() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/examples");
        let mut examples = 0;
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_none_or(|extension| extension != "yaml") {
                continue;
            }
            examples += 1;
            let name = path.display().to_string();
            let mut report = Report::default();
            lint(&name, &read(&path).unwrap(), &mut report);
            assert!(
                report.text.lines().all(|line| line.ends_with(": ok")),
                "{}",
                report.text
            );
        }
        assert!(examples >= 3);
    }
}
