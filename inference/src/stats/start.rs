//! How far the start is, as Prometheus metrics: they are there before the model is, when nothing else is.

use prometheus::{IntGaugeVec, Opts, Registry, TextEncoder};

const DONE: &str = "candela:model_load_bytes";
const TOTAL: &str = "candela:model_load_expected_bytes";

/// Bytes of one phase of the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StartBytes {
    /// `download` to this machine, or `load` into memory.
    pub phase: &'static str,
    /// Bytes so far.
    pub done: u64,
    /// Bytes in all; 0 until known.
    pub total: u64,
}

/// Prometheus text with one series per phase.
pub fn start_metrics(phases: &[StartBytes]) -> String {
    let gauge = |name: &str, help: &str| {
        IntGaugeVec::new(Opts::new(name, help), &["phase"])
            .expect("name and label are valid: they are constants")
    };
    let done = gauge(
        DONE,
        "Bytes of the model that a phase of the start has dealt with.",
    );
    let total = gauge(
        TOTAL,
        "Bytes of the model that a phase of the start deals with in all; 0 until known.",
    );
    for bytes in phases {
        for (gauge, value) in [(&done, bytes.done), (&total, bytes.total)] {
            let series = gauge.with_label_values(&[bytes.phase]);
            series.set(i64::try_from(value).unwrap_or(i64::MAX));
        }
    }
    let registry = Registry::new();
    for gauge in [done, total] {
        registry
            .register(Box::new(gauge))
            .expect("the registry is empty and the names differ");
    }
    TextEncoder::new()
        .encode_to_string(&registry.gather())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_phase_has_its_series() {
        let text = start_metrics(&[
            StartBytes {
                phase: "download",
                done: 7,
                total: 9,
            },
            StartBytes {
                phase: "load",
                done: 0,
                total: 0,
            },
        ]);
        for line in [
            "# TYPE candela:model_load_bytes gauge",
            r#"candela:model_load_bytes{phase="download"} 7"#,
            r#"candela:model_load_expected_bytes{phase="download"} 9"#,
            r#"candela:model_load_bytes{phase="load"} 0"#,
        ] {
            assert!(text.lines().any(|found| found == line), "{line}: {text}");
        }
    }
}
