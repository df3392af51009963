//! Which flags the InferenceService's own fields set. There is one way to say a thing, so `extraArgs`
//! may not carry them.

/// A flag that the operator renders itself, and the field that decides it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OwnedFlag {
    /// The flag, with its dashes.
    pub flag: &'static str,
    /// The field that sets it, or who does.
    pub field: &'static str,
}

/// Every owned flag. A flag missing here may be given in `extraArgs`.
pub const OWNED_FLAGS: &[OwnedFlag] = &[
    OwnedFlag {
        flag: "--model",
        field: "spec.model.uri",
    },
    OwnedFlag {
        flag: "--served-model-name",
        field: "spec.model.name",
    },
    OwnedFlag {
        flag: "--host",
        field: "the operator",
    },
    OwnedFlag {
        flag: "--port",
        field: "the operator",
    },
    OwnedFlag {
        flag: "--download-dir",
        field: "spec.cache",
    },
    OwnedFlag {
        flag: "--api-key-file",
        field: "spec.auth.apiKeySecretRef",
    },
    OwnedFlag {
        flag: "--max-model-len",
        field: "spec.engine.contextLength",
    },
    OwnedFlag {
        flag: "--max-num-seqs",
        field: "spec.engine.maxSequences",
    },
    OwnedFlag {
        flag: "--disable-log-stats",
        field: "spec.stats.logging",
    },
    OwnedFlag {
        flag: "--enable-request-stats-headers",
        field: "spec.stats.headers",
    },
    OwnedFlag {
        flag: "--enable-per-request-metrics",
        field: "spec.stats.perRequestMetrics",
    },
    OwnedFlag {
        flag: "--shutdown-timeout",
        field: "spec.rollout.drainTimeoutSeconds",
    },
    OwnedFlag {
        flag: "--drain-grace",
        field: "spec.rollout.drainTimeoutSeconds",
    },
];

/// The owner of the flag that `arg` gives, if a field owns it: `-` and `_` alike, with or without
/// `=value`, and any unambiguous or ambiguous beginning of it is *not* a spelling (the parser takes
/// whole names only).
pub fn owner_of(arg: &str) -> Option<&'static OwnedFlag> {
    let name = crate::normalize_flag(arg);
    let name = name.split('=').next().unwrap_or_default();
    OWNED_FLAGS.iter().find(|owned| owned.flag == name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn owned_flags_exist() {
        let command = crate::engine::Cli::command();
        for owned in OWNED_FLAGS {
            let long = owned.flag.trim_start_matches("--");
            assert!(
                command.get_arguments().any(|a| a.get_long() == Some(long)),
                "{long}"
            );
        }
    }

    #[test]
    fn every_spelling_of_an_owned_flag_is_found() {
        for arg in [
            "--disable-log-stats",
            "--disable_log_stats",
            "--disable-log_stats=true",
        ] {
            assert_eq!(
                owner_of(arg).map(|o| o.field),
                Some("spec.stats.logging"),
                "{arg}"
            );
        }
        assert_eq!(owner_of("--seed=1"), None);
        assert_eq!(owner_of("disable-log-stats"), None);
    }
}
