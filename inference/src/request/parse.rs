//! From bytes to wire types. A key that comes twice counts as its last, as in vLLM, so the body is
//! first read as a map; errors name the field.

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{RequestError, limits};

/// The body as a JSON object.
pub(super) fn object(body: &[u8]) -> Result<Value, RequestError> {
    if values_at_most(body) > limits::JSON_VALUES_MAX {
        let max = limits::JSON_VALUES_MAX;
        return Err(RequestError {
            message: format!("the body has more than {max} JSON values: send less in one request"),
            param: None,
            kind: super::RequestErrorKind::Invalid,
        });
    }
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

/// What values may still come in JSON that a body's strings hold. Such texts are read as well, so all those of
/// one kind together are held to the limit of a body.
pub(super) struct NestedJson {
    values_left: usize,
}

impl NestedJson {
    pub(super) fn new() -> Self {
        Self {
            values_left: limits::JSON_VALUES_MAX,
        }
    }

    /// Reads the text of `field`; the inner result is whether it is JSON.
    ///
    /// # Errors
    /// A 400 when it has more values than are left.
    pub(super) fn read(
        &mut self,
        field: &str,
        text: &str,
    ) -> Result<serde_json::Result<Value>, RequestError> {
        let left = self
            .values_left
            .checked_sub(values_at_most(text.as_bytes()));
        self.values_left = left.ok_or_else(|| {
            let max = limits::JSON_VALUES_MAX;
            let message = format!(
                "{field}: texts of JSON may have {max} JSON values in one request: send less"
            );
            RequestError::invalid(field, message)
        })?;
        Ok(serde_json::from_str(text))
    }
}

/// An upper bound of the values in a JSON text, from a look at its bytes: each value but the first comes
/// after a bracket, a comma or a colon that is in no string.
fn values_at_most(json: &[u8]) -> usize {
    let (mut values, mut in_string, mut escaped) = (1, false, false);
    for &byte in json {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'[' | b'{' | b',' | b':' if !in_string => values += 1,
            _ => {}
        }
    }
    values
}

/// The fields of `T` out of the object; others are ignored, as in vLLM.
pub(super) fn fields<T: DeserializeOwned>(object: &Value) -> Result<T, RequestError> {
    serde_path_to_error::deserialize(object).map_err(|error| {
        let path = echoed(&error.path().to_string());
        let inner = shortened(&error.into_inner().to_string());
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

/// A `serde` error without most of the client's value, which it has in full: what was expected comes last.
pub(super) fn shortened(error: &str) -> String {
    let expected_at = error.rfind(", expected").unwrap_or(error.len());
    let (value, expected) = error.split_at(expected_at);
    echoed(value) + &echoed(expected)
}

/// The beginning of what a client wrote.
fn echoed(text: &str) -> String {
    match text.char_indices().nth(limits::ECHOED_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

fn missing_field(message: &str) -> Option<&str> {
    message.strip_prefix("missing field `")?.strip_suffix('`')
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Objects, lists and keys counted.
    fn count(value: &Value) -> usize {
        match value {
            Value::Array(list) => 1 + list.iter().map(count).sum::<usize>(),
            Value::Object(map) => 1 + map.values().map(|value| 1 + count(value)).sum::<usize>(),
            _ => 1,
        }
    }

    #[test]
    fn values_are_never_counted_too_low() {
        for json in [
            "1",
            "[]",
            "[1, 2, [3, {}]]",
            r#"{"a": {"b": [1, "x,y[{:", "\\"], "c\": ,": null}}"#,
            r#"["\\\"", "],", ",", "]"]"#,
        ] {
            let value: Value = serde_json::from_str(json).unwrap();
            let (bound, values) = (values_at_most(json.as_bytes()), count(&value));
            assert!((values..=2 * values).contains(&bound), "{json}: {bound}");
        }
    }

    #[test]
    fn nesting_and_number_of_values_are_bounded() {
        let nested = |depth: usize| {
            let (open, close) = (r#"{"a":"#.repeat(depth - 1), "}".repeat(depth - 1));
            object(format!("{open}{{}}{close}").as_bytes())
        };
        nested(limits::JSON_DEPTH_MAX).unwrap();
        nested(limits::JSON_DEPTH_MAX + 1).unwrap_err();
        nested(10_000).unwrap_err();
        let list = |values: usize| {
            let list = vec!["0"; values].join(",");
            object(format!(r#"{{"prompt":[{list}]}}"#).as_bytes())
        };
        list(limits::JSON_VALUES_MAX - 10).unwrap();
        let error = list(limits::JSON_VALUES_MAX + 1).unwrap_err();
        assert!(error.message.contains("1048576"), "{error}");
    }
}
