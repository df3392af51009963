//! Why a request was refused.

/// A refusal: which field, and what to change.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct RequestError {
    /// For the client.
    pub message: String,
    /// The field to blame.
    pub param: Option<String>,
    /// Which status it is.
    pub kind: RequestErrorKind,
}

/// The kinds of refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestErrorKind {
    /// 400.
    Invalid,
    /// 404: no such model.
    ModelNotFound,
    /// 404: no such response.
    ResponseNotFound,
}

impl RequestError {
    /// A 400 about `param`.
    pub fn invalid(param: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            param: Some(param.into()),
            kind: RequestErrorKind::Invalid,
        }
    }

    /// A 404 for a model that is not served here.
    pub fn model_not_found(asked: &str, served: &[String]) -> Self {
        let asked: String = asked
            .chars()
            .take(super::limits::ECHOED_CHARS_MAX)
            .collect();
        Self {
            message: format!(
                "model: `{asked}` is not served here; served: {}",
                served
                    .iter()
                    .map(|name| format!("`{name}`"))
                    .collect::<Vec<_>>()
                    .join(", ")
            ),
            param: Some("model".to_owned()),
            kind: RequestErrorKind::ModelNotFound,
        }
    }
}
