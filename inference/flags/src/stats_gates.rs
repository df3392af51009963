//! The one rule between the stats flags: what reports a request's stats needs them computed.

/// Which of the stats a request is measured and told about, as a set of switches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StatsGates {
    /// Stats are computed at all (`--disable-log-stats` absent, `spec.stats.logging`).
    pub logging: bool,
    /// Response headers (`--enable-request-stats-headers`, `spec.stats.headers`).
    pub headers: bool,
    /// Body metrics (`--enable-per-request-metrics`, `spec.stats.perRequestMetrics` not `Never`).
    pub per_request_metrics: bool,
}

/// Per-request stats are enabled while stats logging is disabled.
///
/// Its message is the engine's, in flags; the API words the same rule in fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StatsConflict {
    /// Headers are enabled.
    pub headers: bool,
    /// Body metrics are enabled.
    pub per_request_metrics: bool,
}

impl StatsGates {
    /// # Errors
    /// [`StatsConflict`] when headers or per-request metrics are enabled without logging.
    pub fn check(self) -> Result<(), StatsConflict> {
        let Self {
            logging,
            headers,
            per_request_metrics,
        } = self;
        if !logging && (headers || per_request_metrics) {
            return Err(StatsConflict {
                headers,
                per_request_metrics,
            });
        }
        Ok(())
    }
}

impl std::error::Error for StatsConflict {}

impl std::fmt::Display for StatsConflict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        const HEADERS: &str = "--enable-request-stats-headers";
        const METRICS: &str = "--enable-per-request-metrics";
        let enabled = match (self.headers, self.per_request_metrics) {
            (true, true) => format!("{HEADERS} and {METRICS}"),
            (true, false) => HEADERS.to_owned(),
            (false, _) => METRICS.to_owned(),
        };
        write!(
            f,
            "{enabled} cannot be used together with --disable-log-stats, which stops stats from \
             being computed: remove --disable-log-stats to get per-request stats, or remove \
             {enabled} to run without"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_stats_without_logging_is_refused() {
        for case in 0..8 {
            let (logging, headers, per_request_metrics) =
                (case & 1 != 0, case & 2 != 0, case & 4 != 0);
            let gates = StatsGates {
                logging,
                headers,
                per_request_metrics,
            };
            assert_eq!(gates.check().is_ok(), logging || case < 2, "{gates:?}");
        }
    }

    #[test]
    fn message_names_both_flags_and_what_to_remove() {
        let gates = StatsGates {
            logging: false,
            headers: true,
            per_request_metrics: true,
        };
        let message = gates.check().unwrap_err().to_string();
        for part in [
            "--enable-request-stats-headers",
            "--enable-per-request-metrics",
            "remove --disable-log-stats",
        ] {
            assert!(message.contains(part), "{message}");
        }
    }
}
