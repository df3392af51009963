//! What the API server adds to objects, and the few things that it refuses in them: as much of both as children of an
//! InferenceService can meet.

use serde_json::{Value, json};

use super::{call::Kind, status::Refusal};

/// Fills in what is not said.
pub(crate) fn fill(kind: &Kind, object: &mut Value, before: Option<&Value>) {
    match kind.kind {
        "Deployment" => {
            set(object, &["spec"], "replicas", json!(1));
            set(object, &["spec"], "progressDeadlineSeconds", json!(600));
            if let Some(pod) = object.pointer_mut("/spec/template/spec") {
                fill_pod(pod);
            }
        }
        "Service" => {
            let address = before.map(|before| before["spec"]["clusterIP"].clone());
            let address = address.filter(Value::is_string);
            set(
                object,
                &["spec"],
                "clusterIP",
                address.unwrap_or(json!("10.96.0.10")),
            );
            set(object, &["spec"], "sessionAffinity", json!("None"));
            set(object, &["spec"], "internalTrafficPolicy", json!("Cluster"));
            set(object, &["spec"], "ipFamilyPolicy", json!("SingleStack"));
        }
        "PersistentVolumeClaim" => {
            set(object, &["spec"], "volumeMode", json!("Filesystem"));
            if object["status"].is_null() {
                object["status"] = json!({"phase": "Pending"});
            }
        }
        _ => {}
    }
}

fn fill_pod(pod: &mut Value) {
    set(pod, &[], "restartPolicy", json!("Always"));
    set(pod, &[], "dnsPolicy", json!("ClusterFirst"));
    set(pod, &[], "schedulerName", json!("default-scheduler"));
    for list in ["containers", "initContainers"] {
        let containers = pod.get_mut(list).and_then(Value::as_array_mut);
        for container in containers.into_iter().flatten() {
            set(
                container,
                &[],
                "terminationMessagePath",
                json!("/dev/termination-log"),
            );
            set(container, &[], "imagePullPolicy", json!("IfNotPresent"));
        }
    }
}

/// Sets a field that is not there, of an object that is.
fn set(object: &mut Value, path: &[&str], name: &str, value: Value) {
    let inner = path
        .iter()
        .try_fold(object, |object, name| object.get_mut(*name));
    if let Some(Value::Object(inner)) = inner {
        inner.entry(name).or_insert(value);
    }
}

/// Refuses what the API server would.
pub(crate) fn check(
    kind: &Kind,
    name: &str,
    object: &Value,
    before: Option<&Value>,
) -> Result<(), Refusal> {
    if kind.kind == "Deployment" {
        let labels = object["spec"]["template"]["metadata"]["labels"].as_object();
        let wrong = labels
            .into_iter()
            .flatten()
            .find(|(_, value)| !value.as_str().is_some_and(is_label_value));
        if let Some((_, value)) = wrong {
            let why = format!(
                "Invalid value: {value}: a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.'"
            );
            return Err(Refusal::invalid(kind, name, "spec.template.labels", &why));
        }
    }
    let Some(before) = before else { return Ok(()) };
    if kind.kind == "PersistentVolumeClaim" {
        let fixed = |claim: &Value| {
            let mut spec = claim["spec"].clone();
            spec.as_object_mut().map(|spec| spec.remove("resources"));
            spec
        };
        let size = |claim: &Value| bytes(&claim["spec"]["resources"]["requests"]["storage"]);
        if fixed(before) != fixed(object) || size(object) < size(before) {
            let why = "Forbidden: spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims";
            return Err(Refusal::invalid(kind, name, "spec", why));
        }
    }
    if kind.kind == "Deployment" && before["spec"]["selector"] != object["spec"]["selector"] {
        let why = "Invalid value: field is immutable";
        return Err(Refusal::invalid(kind, name, "spec.selector", why));
    }
    Ok(())
}

fn is_label_value(text: &str) -> bool {
    let edge = |c: Option<char>| c.is_none_or(|c| c.is_ascii_alphanumeric());
    text.len() <= 63
        && edge(text.chars().next())
        && edge(text.chars().last())
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
}

/// A quantity of the forms that tests use: a whole number, perhaps with Ki, Mi, Gi or Ti.
fn bytes(quantity: &Value) -> u64 {
    let text = quantity.as_str().unwrap_or_default();
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let power = ["", "Ki", "Mi", "Gi", "Ti"]
        .iter()
        .position(|unit| *unit == &text[digits.len()..]);
    let scale = power
        .and_then(|power| u32::try_from(power).ok())
        .unwrap_or(0);
    digits
        .parse::<u64>()
        .unwrap_or(0)
        .saturating_mul(1024_u64.saturating_pow(scale))
}
