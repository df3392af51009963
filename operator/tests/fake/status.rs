//! What the API server says when it refuses: `Status` objects with the codes, reasons and words of the real one.

use http::StatusCode;
use serde_json::{Value, json};

use super::call::{Call, Key, Kind};

/// A refusal, ready to be sent.
#[derive(Debug, Clone)]
pub(crate) struct Refusal {
    pub(crate) code: StatusCode,
    pub(crate) body: Value,
    pub(crate) retry_after_seconds: Option<u64>,
}

/// Either an object or why there is none.
pub(crate) type Answer = Result<Value, Refusal>;

impl Refusal {
    /// Whether the object is another than was meant.
    pub(crate) fn is_about_identity(&self) -> bool {
        let message = self.body["message"].as_str().unwrap_or_default();
        message.contains("UID in precondition")
    }

    fn new(code: StatusCode, reason: &str, message: impl Into<String>, details: Value) -> Self {
        let mut body = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": message.into(), "reason": reason, "code": code.as_u16(),
        });
        if !details.is_null() {
            body["details"] = details;
        }
        Self {
            code,
            body,
            retry_after_seconds: None,
        }
    }

    pub(crate) fn not_found(kind: &Kind, name: &str) -> Self {
        let message = format!("{} \"{name}\" not found", kind.qualified());
        Self::new(
            StatusCode::NOT_FOUND,
            "NotFound",
            message,
            details(kind, name),
        )
    }

    pub(crate) fn no_such_path() -> Self {
        let message = "the server could not find the requested resource";
        Self::new(StatusCode::NOT_FOUND, "NotFound", message, json!({}))
    }

    pub(crate) fn exists(kind: &Kind, name: &str) -> Self {
        let message = format!("{} \"{name}\" already exists", kind.qualified());
        Self::new(
            StatusCode::CONFLICT,
            "AlreadyExists",
            message,
            details(kind, name),
        )
    }

    /// Somebody was quicker, or it is another object by now.
    pub(crate) fn conflict(kind: &Kind, name: &str, why: &str) -> Self {
        let message = format!(
            "Operation cannot be fulfilled on {} \"{name}\": {why}",
            kind.qualified()
        );
        Self::new(
            StatusCode::CONFLICT,
            "Conflict",
            message,
            details(kind, name),
        )
    }

    pub(crate) fn modified(kind: &Kind, name: &str) -> Self {
        let why = "the object has been modified; please apply your changes to the latest version and try again";
        Self::conflict(kind, name, why)
    }

    /// Fields that another manager owns, each with its owner.
    pub(crate) fn owned_by_others(conflicts: &[(String, String)]) -> Self {
        let causes: Vec<Value> = conflicts
            .iter()
            .map(|(field, manager)| {
                let message = format!("conflict with \"{manager}\"");
                json!({"reason": "FieldManagerConflict", "message": message, "field": field})
            })
            .collect();
        let plural = if causes.len() == 1 { "" } else { "s" };
        let message = format!("Apply failed with {} conflict{plural}", causes.len());
        let details = json!({"causes": causes});
        Self::new(StatusCode::CONFLICT, "Conflict", message, details)
    }

    pub(crate) fn bad_request(message: &str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "BadRequest", message, Value::Null)
    }

    pub(crate) fn invalid(kind: &Kind, name: &str, field: &str, why: &str) -> Self {
        let message = format!("{} \"{name}\" is invalid: {field}: {why}", kind.kind);
        let mut details = json!({"name": name, "kind": kind.kind});
        details["causes"] =
            json!([{"reason": "FieldValueInvalid", "message": why, "field": field}]);
        if !kind.group.is_empty() {
            details["group"] = json!(kind.group);
        }
        Self::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "Invalid",
            message,
            details,
        )
    }

    pub(crate) fn unsupported_media() -> Self {
        let message = "the body of the request was in an unknown format - accepted media types include: application/merge-patch+json, application/apply-patch+yaml";
        let code = StatusCode::UNSUPPORTED_MEDIA_TYPE;
        Self::new(code, "UnsupportedMediaType", message, Value::Null)
    }

    /// A watch from before what is remembered.
    pub(crate) fn expired(asked: u64, oldest: u64) -> Self {
        let message = format!("too old resource version: {asked} ({oldest})");
        Self::new(StatusCode::GONE, "Expired", message, Value::Null)
    }

    pub(crate) fn expired_page() -> Self {
        let message = "The provided continue parameter is too old to display a consistent list result. You can start a new list without the continue parameter.";
        Self::new(StatusCode::GONE, "Expired", message, Value::Null)
    }

    pub(crate) fn too_many(retry_after_seconds: u64) -> Self {
        let message =
            "The server is currently unable to handle the request, please try again later";
        let details = json!({"retryAfterSeconds": retry_after_seconds});
        let code = StatusCode::TOO_MANY_REQUESTS;
        Self {
            retry_after_seconds: Some(retry_after_seconds),
            ..Self::new(code, "TooManyRequests", message, details)
        }
    }

    pub(crate) fn internal() -> Self {
        let message = "Internal error occurred: etcdserver: leader changed";
        let details = json!({"causes": [{"message": "etcdserver: leader changed"}]});
        let code = StatusCode::INTERNAL_SERVER_ERROR;
        Self::new(code, "InternalError", message, details)
    }

    /// The conflict that a fault makes of any call.
    pub(crate) fn lost_race(call: &Call) -> Self {
        Self::modified(call.kind, &call.key().name)
    }
}

/// What is said of a deletion.
pub(crate) fn deleted(kind: &Kind, key: &Key, uid: &Value) -> Value {
    let mut details = details(kind, &key.name);
    details["uid"] = uid.clone();
    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details})
}

fn details(kind: &Kind, name: &str) -> Value {
    let mut details = json!({"name": name, "kind": kind.resource});
    if !kind.group.is_empty() {
        details["group"] = json!(kind.group);
    }
    details
}
