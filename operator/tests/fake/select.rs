//! Selectors of lists and watches: labels, and the fields that are asked for.

use serde_json::Value;

use super::call::Call;

/// Which objects a list or a watch is about.
#[derive(Debug, Clone)]
pub(crate) struct Selection {
    pub(crate) resource: &'static str,
    pub(crate) group: &'static str,
    pub(crate) namespace: Option<String>,
    labels: Vec<Requirement>,
    fields: Vec<Requirement>,
}

#[derive(Debug, Clone)]
enum Requirement {
    In(String, Vec<String>),
    NotIn(String, Vec<String>),
    Exists(String),
    Absent(String),
}

impl Selection {
    /// What `call` selects.
    pub(crate) fn of(call: &Call) -> Self {
        let requirements = |name| requirements(call.parameter(name).unwrap_or_default());
        Self {
            resource: call.kind.resource,
            group: super::call::storage_group(call.kind),
            namespace: call.namespace.clone(),
            labels: requirements("labelSelector"),
            fields: requirements("fieldSelector"),
        }
    }

    /// Whether `object` is selected; its kind is taken for granted.
    pub(crate) fn takes(&self, object: &Value) -> bool {
        let labels = &object["metadata"]["labels"];
        self.labels
            .iter()
            .all(|wanted| wanted.meets(|name| labels[name].as_str()))
            && self
                .fields
                .iter()
                .all(|wanted| wanted.meets(|path| Some(field(object, path))))
    }
}

impl Requirement {
    fn meets<'a>(&self, value: impl Fn(&str) -> Option<&'a str>) -> bool {
        let among = |value: &str, values: &[String]| values.iter().any(|other| other == value);
        match self {
            Self::In(name, values) => value(name).is_some_and(|value| among(value, values)),
            Self::NotIn(name, values) => value(name).is_none_or(|value| !among(value, values)),
            Self::Exists(name) => value(name).is_some(),
            Self::Absent(name) => value(name).is_none(),
        }
    }
}

/// The text of a field; empty if it is not there. Events of the core group say `involvedObject` for `regarding`.
fn field<'a>(object: &'a Value, path: &str) -> &'a str {
    let path = match path.strip_prefix("involvedObject.") {
        Some(rest) if object["involvedObject"].is_null() => format!("regarding.{rest}"),
        _ => path.to_owned(),
    };
    let found = path
        .split('.')
        .try_fold(object, |object, name| object.get(name));
    found.and_then(Value::as_str).unwrap_or_default()
}

fn requirements(text: &str) -> Vec<Requirement> {
    let mut rest = text;
    let mut found = Vec::new();
    while !rest.is_empty() {
        let in_parentheses = rest.find('(').filter(|at| rest[..*at].find(',').is_none());
        let end = match in_parentheses {
            Some(_) => rest.find(')').map_or(rest.len(), |at| at + 1),
            None => rest.find(',').unwrap_or(rest.len()),
        };
        found.push(requirement(rest[..end].trim()));
        rest = rest[end..].trim_start_matches(',');
    }
    found
}

fn requirement(text: &str) -> Requirement {
    let owned = |text: &str| text.trim().to_owned();
    let list = |text: &str| {
        let inner = text.trim().trim_start_matches('(').trim_end_matches(')');
        inner.split(',').map(owned).collect()
    };
    if let Some((name, values)) = text.split_once(" notin ") {
        Requirement::NotIn(owned(name), list(values))
    } else if let Some((name, values)) = text.split_once(" in ") {
        Requirement::In(owned(name), list(values))
    } else if let Some((name, value)) = text.split_once("!=") {
        Requirement::NotIn(owned(name), vec![owned(value)])
    } else if let Some((name, value)) = text.split_once('=') {
        Requirement::In(owned(name), vec![owned(value.trim_start_matches('='))])
    } else if let Some(name) = text.strip_prefix('!') {
        Requirement::Absent(owned(name))
    } else {
        Requirement::Exists(owned(text))
    }
}
