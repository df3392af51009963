//! From bytes to wire types. A key that comes twice counts as its last, as in vLLM, so the body is
//! first read as a map; errors name the field.

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::RequestError;

/// The body as a JSON object.
pub(super) fn object(body: &[u8]) -> Result<Value, RequestError> {
    let value: Value = serde_json::from_slice(body).map_err(|error| RequestError {
        message: format!("the body is not valid JSON: {error}"),
        param: None,
        kind: super::RequestErrorKind::Invalid,
    })?;
    if !value.is_object() {
        return Err(RequestError {
            message: "the body must be a JSON object".to_owned(),
            param: None,
            kind: super::RequestErrorKind::Invalid,
        });
    }
    Ok(value)
}

/// The fields of `T` out of the object; others are ignored, as in vLLM.
pub(super) fn fields<T: DeserializeOwned>(object: &Value) -> Result<T, RequestError> {
    serde_path_to_error::deserialize(object).map_err(|error| {
        let path = error.path().to_string();
        let inner = error.into_inner().to_string();
        match missing_field(&inner) {
            Some(field) if path == "." => {
                RequestError::invalid(field, format!("{field}: required, but absent"))
            }
            Some(field) => {
                let field = format!("{path}.{field}");
                let message = format!("{field}: required, but absent");
                RequestError::invalid(field, message)
            }
            None => {
                let message = format!("{path}: {inner}");
                RequestError::invalid(path, message)
            }
        }
    })
}

fn missing_field(message: &str) -> Option<&str> {
    message.strip_prefix("missing field `")?.strip_suffix('`')
}
