//! What a body may say of an object that is there, what of it counts, and what the server alone writes. Pure.

use serde_json::Value;

use super::{
    call::{Call, Key, Kind},
    status::Refusal,
};

/// What the body may ask of the object that is there: its uid and its version.
pub(crate) fn preconditions(
    kind: &Kind,
    key: &Key,
    object: &Value,
    wanted: &Value,
) -> Result<(), Refusal> {
    let metadata = &object["metadata"];
    let version = wanted["resourceVersion"]
        .as_str()
        .filter(|version| !version.is_empty());
    if version.is_some_and(|version| *version != metadata["resourceVersion"]) {
        return Err(Refusal::modified(kind, &key.name));
    }
    if let Some(uid) = wanted["uid"].as_str().filter(|uid| *uid != metadata["uid"]) {
        let stored = metadata["uid"].as_str().unwrap_or_default();
        let why = format!(
            "Precondition failed: UID in precondition: {uid}, UID in object meta: {stored}"
        );
        return Err(Refusal::conflict(kind, &key.name, &why));
    }
    Ok(())
}

/// The part of an object that a call may not write: the status, or everything else.
pub(crate) fn ignored_part(call: &Call) -> Option<&'static str> {
    match call.subresource.as_deref() {
        Some("status") => Some("spec"),
        _ if call.kind.has_status => Some("status"),
        _ => None,
    }
}

/// The same for a PATCH. Its body names the object, so another uid is an attempt to change it; one to the status of a
/// custom resource goes by the name alone.
pub(crate) fn preconditions_of_patch(
    call: &Call,
    key: &Key,
    object: &Value,
    wanted: &Value,
) -> Result<(), Refusal> {
    let of_status = call.subresource.is_some() && call.kind.group == "inference.candela.dev";
    match preconditions(call.kind, key, object, wanted) {
        Err(refusal) if refusal.is_about_identity() && of_status => Ok(()),
        Err(refusal) if refusal.is_about_identity() => {
            let why = format!("Invalid value: {}: field is immutable", wanted["uid"]);
            Err(Refusal::invalid(call.kind, &key.name, "metadata.uid", &why))
        }
        other => other,
    }
}

/// What of `config` an applier can own: not what names the object, and not what this call may not write.
pub(crate) fn ownable(call: &Call, config: &Value) -> Value {
    let mut ownable = config.clone();
    for name in [
        "uid",
        "resourceVersion",
        "managedFields",
        "namespace",
        "name",
    ] {
        remove_from_metadata(&mut ownable, name);
    }
    let ignored = ignored_part(call);
    if let Some(fields) = ownable.as_object_mut() {
        fields.retain(|name, value| {
            let empty = value.as_object().is_some_and(|fields| fields.is_empty());
            let names = matches!(&**name, "apiVersion" | "kind");
            !names && Some(&**name) != ignored && !(name == "metadata" && empty)
        });
    }
    ownable
}

/// What becomes of `after` when it takes the place of `before`: what the server alone writes stays.
pub(crate) fn settled(call: &Call, before: &Value, mut after: Value) -> Value {
    const SERVERS: [&str; 6] = [
        "uid",
        "creationTimestamp",
        "generation",
        "resourceVersion",
        "deletionTimestamp",
        "namespace",
    ];
    for name in SERVERS {
        match &before["metadata"][name] {
            Value::Null => remove_from_metadata(&mut after, name),
            value => after["metadata"][name] = value.clone(),
        }
    }
    remove_from_metadata(&mut after, "managedFields");
    if call.subresource.as_deref() == Some("status") {
        let mut object = before.clone();
        match after
            .as_object_mut()
            .and_then(|after| after.remove("status"))
        {
            Some(status) => object["status"] = status,
            None => drop(
                object
                    .as_object_mut()
                    .and_then(|object| object.remove("status")),
            ),
        }
        return object;
    }
    if call.kind.has_status {
        match &before["status"] {
            Value::Null => drop(
                after
                    .as_object_mut()
                    .and_then(|after| after.remove("status")),
            ),
            status => after["status"] = status.clone(),
        }
    }
    after
}

/// What a change of counts as a new generation.
pub(crate) fn specification(object: &Value) -> Value {
    let mut rest = object.clone();
    if let Some(rest) = rest.as_object_mut() {
        rest.remove("metadata");
        rest.remove("status");
    }
    rest
}

pub(crate) fn remove_from_metadata(object: &mut Value, name: &str) {
    object["metadata"]
        .as_object_mut()
        .and_then(|metadata| metadata.remove(name));
}
