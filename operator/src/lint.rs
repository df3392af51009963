//! `candela-operator lint`: what the API server and the operator would say to a manifest, and what
//! they would keep to themselves.

use std::{fmt::Write, io::Read, path::Path};

use candela_crds::{Severity, check, is_inference_service, read_documents};

/// What lint has to say.
#[derive(Debug, Default)]
pub struct Report {
    /// One line for each finding, one for each clean object.
    pub text: String,
    /// Findings that are errors.
    pub errors: usize,
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
    /// It is not YAML.
    #[error("{file} is {source}")]
    Parse {
        /// The file.
        file: String,
        /// Why.
        source: candela_crds::ReadError,
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

/// Checks every InferenceService of a manifest that may hold other objects, too.
///
/// # Errors
/// [`LintError::Parse`] when the text is not YAML.
pub fn lint(file: &str, text: &str) -> Result<Report, LintError> {
    let documents = read_documents(text).map_err(|source| LintError::Parse {
        file: file.to_owned(),
        source,
    })?;
    let mut report = Report::default();
    let mut seen = 0;
    for document in documents.into_iter().filter(is_inference_service) {
        seen += 1;
        let name = document["metadata"]["name"]
            .as_str()
            .unwrap_or("(no name)")
            .to_owned();
        let findings = check(document).findings;
        report.errors += findings
            .iter()
            .filter(|f| f.severity == Severity::Error)
            .count();
        for finding in &findings {
            let _ = writeln!(report.text, "{file}: InferenceService {name}: {finding}");
        }
        if findings.is_empty() {
            let _ = writeln!(report.text, "{file}: InferenceService {name}: ok");
        }
    }
    if seen == 0 {
        report.errors += 1;
        let _ = writeln!(
            report.text,
            "{file}: error: no InferenceService of inference.candela.dev in it"
        );
    }
    Ok(report)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "apiVersion: inference.candela.dev/v1alpha1
kind: InferenceService
metadata: {name: good}
spec: {model: {uri: builtin://demo}}
";

    #[test]
    fn several_documents_are_judged_one_by_one() {
        let bad = GOOD
            .replace("good", "bad")
            .replace("}}", "}, stats: {logging: false, headers: true}}");
        let other = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: other}\n";
        let report = lint("all.yaml", &format!("{GOOD}---\n{bad}---\n{other}")).unwrap();
        assert_eq!(report.errors, 1, "{}", report.text);
        let stats = candela_crds::rules()
            .iter()
            .find(|rule| rule.id == "stats")
            .unwrap();
        let expected = format!(
            "all.yaml: InferenceService good: ok\n\
             all.yaml: InferenceService bad: error: spec.stats: {}\n",
            stats.message
        );
        assert_eq!(report.text, expected);
    }

    #[test]
    fn a_manifest_without_a_service_is_an_error() {
        assert_eq!(lint("a.yaml", "kind: Pod\n").unwrap().errors, 1);
        assert!(
            lint("a.yaml", "a: [")
                .unwrap_err()
                .to_string()
                .starts_with("a.yaml is not readable")
        );
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
            let report = lint(&name, &read(&path).unwrap()).unwrap();
            assert!(
                report.text.lines().all(|line| line.ends_with(": ok")),
                "{}",
                report.text
            );
        }
        assert!(examples >= 3);
    }
}
