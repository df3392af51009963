//! What `candela-engine pull --report` writes, and the operator reads from an ended container's termination message.

use serde::{Deserialize, Serialize};

/// What came of a pull. One of `pulled` and `failed` is there.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PullReport {
    /// What was asked for.
    pub model: String,
    /// Seconds that it took.
    pub seconds: f64,
    /// The model that is there now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pulled: Option<Pulled>,
    /// Why none is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<PullFailed>,
}

/// A model that was pulled, now or before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pulled {
    /// Commit, digest or fingerprint of its content.
    pub version: String,
    /// Bytes of its files.
    pub bytes: u64,
}

/// Why a model was not pulled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PullFailed {
    /// What has to change.
    pub kind: PullFailure,
    /// For people.
    pub message: String,
}

/// What has to change before a model can be pulled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PullFailure {
    /// The credentials.
    Unauthorized,
    /// The name of the model, or what is kept under it.
    NotFound,
    /// The space on the disk.
    DiskFull,
    /// Something else, which the message names.
    Other,
}

/// Bytes that Kubernetes keeps of a termination message.
const LINE_MAX: usize = 4096;

impl PullReport {
    /// The report as it is written: one line of JSON of at most 4096 bytes, for which long texts are cut off.
    pub fn to_line(&self) -> String {
        let mut short = self.clone();
        loop {
            let line = serde_json::to_string(&short).unwrap_or_default();
            if line.len() <= LINE_MAX {
                return line;
            }
            halve(&mut short.model);
            if let Some(failed) = &mut short.failed {
                halve(&mut failed.message);
            }
            if let Some(pulled) = &mut short.pulled {
                halve(&mut pulled.version);
            }
        }
    }

    /// A report that was written; `None` if the text is another.
    pub fn of_line(text: &str) -> Option<Self> {
        serde_json::from_str(text.trim()).ok()
    }
}

fn halve(text: &mut String) {
    text.truncate(text.floor_char_boundary(text.len() / 2));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(message: &str) -> PullReport {
        PullReport {
            model: "hf://a/b".into(),
            seconds: 1.5,
            pulled: None,
            failed: Some(PullFailed {
                kind: PullFailure::DiskFull,
                message: message.into(),
            }),
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let report = failed("the disk is too full");
        let line = report.to_line();
        assert_eq!(
            line,
            r#"{"model":"hf://a/b","seconds":1.5,"failed":{"kind":"disk_full","message":"the disk is too full"}}"#
        );
        assert_eq!(PullReport::of_line(&line), Some(report));
        assert_eq!(PullReport::of_line("error: no such file"), None);
    }

    #[test]
    fn a_report_fits_into_a_termination_message() {
        for text in ["\u{1}", "ä", "x"] {
            let line = failed(&text.repeat(10_000)).to_line();
            assert!(line.len() <= LINE_MAX && line.len() > LINE_MAX / 4);
            assert!(PullReport::of_line(&line).is_some());
        }
    }
}
