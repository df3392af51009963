//! Why a grammar cannot be used.

use super::limits;

/// Why a grammar cannot be used, fit for a client.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GrammarError {
    /// Longer than it may be.
    #[error("{what} has {bytes} bytes; at most {max} are taken")]
    TooLarge {
        /// What is.
        what: &'static str,
        /// Its size.
        bytes: usize,
        /// What would fit.
        max: usize,
    },
    /// It makes no sense, asks for something that cannot be enforced, or is too complex.
    #[error("{0}")]
    Invalid(String),
    /// Too many grammars wait to be compiled.
    #[error("too many grammars wait to be compiled; try again")]
    Busy,
    /// Nobody is there to compile it any more, or who compiled it failed.
    #[error("grammars cannot be compiled")]
    Failed,
    /// The model's tokenizer does not say which bytes its tokens are.
    #[error("this model's tokenizer cannot be used with grammars: {0}")]
    Vocabulary(String),
}

impl GrammarError {
    /// llguidance's reason, without what is only for its own developers: the parser's state, the
    /// grammar once more, a backtrace.
    pub(super) fn from_reason(reason: &str) -> Self {
        if reason.starts_with("panic:") {
            return Self::Invalid("it cannot be compiled".to_owned());
        }
        let end = [
            "\n<state>",
            "<non-verbose/>",
            "\n<grammar>",
            "\n<backtrace>",
        ]
        .iter()
        .filter_map(|mark| reason.find(mark))
        .min()
        .unwrap_or(reason.len());
        let reason = reason[..end].trim();
        let mut short: String = reason.chars().take(limits::REASON_CHARS_MAX).collect();
        if short.len() < reason.len() {
            short.push('…');
        }
        Self::Invalid(short)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_short_and_has_no_insides() {
        let told = GrammarError::from_reason("Unknown format: x\n<state>\nTokens: ⟦⟧\n</state>");
        assert_eq!(told, GrammarError::Invalid("Unknown format: x".to_owned()));
        let told = GrammarError::from_reason("panic: index\n<backtrace>\n/src/x.rs\n</backtrace>");
        assert!(!told.to_string().contains("root"), "{told}");
        let told = GrammarError::from_reason(&"é".repeat(10_000)).to_string();
        assert_eq!(told.chars().count(), limits::REASON_CHARS_MAX + 1);
    }
}
