//! Events have two forms, one for each group that serves them. They are kept in that of `events.k8s.io`.

use serde_json::{Value, json};

use super::call::Kind;

/// Names of a field in `events.k8s.io` and in the core group.
const NAMES: [(&str, &str); 4] = [
    ("regarding", "involvedObject"),
    ("note", "message"),
    ("reportingController", "reportingComponent"),
    ("related", "related"),
];

/// An object as `kind` shows it.
pub(crate) fn shown(kind: &Kind, mut object: Value) -> Value {
    let is_event = object["kind"] == "Event";
    if kind.resource == "events" && kind.group.is_empty() && is_event {
        for (kept, shown) in NAMES {
            rename(&mut object, kept, shown);
        }
        object["apiVersion"] = json!("v1");
    } else if kind.resource == "events" && is_event {
        object["apiVersion"] = json!("events.k8s.io/v1");
    }
    object
}

/// A body as it is kept that was given for `kind`.
pub(crate) fn kept(kind: &Kind, mut object: Value) -> Value {
    if kind.resource == "events" && kind.group.is_empty() {
        for (kept, shown) in NAMES {
            rename(&mut object, shown, kept);
        }
    }
    object
}

fn rename(object: &mut Value, from: &str, to: &str) {
    if let Some(fields) = object.as_object_mut()
        && let Some(value) = fields.remove(from)
    {
        fields.insert(to.to_owned(), value);
    }
}
