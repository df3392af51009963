//! What the API server itself refuses, in our words.

use anyhow::{Context, ensure};
use serde_json::{Value, json};

use crate::cluster::Cluster;

/// An InferenceService of the demo model with this specification on top.
pub(crate) fn service(name: &str, spec: &Value) -> Value {
    let mut object = json!({
        "apiVersion": "inference.candela.dev/v1alpha1",
        "kind": "InferenceService",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"model": {"uri": "builtin://demo"}},
    });
    if let (Some(own), Some(more)) = (object["spec"].as_object_mut(), spec.as_object()) {
        own.extend(more.clone());
    }
    object
}

/// Each of these must be refused, with these words in the message.
pub(crate) fn refusals(cluster: &Cluster<'_>) -> anyhow::Result<()> {
    let cases = [
        (
            "headers without logging",
            json!({"stats": {"logging": false, "headers": true}}),
            &["stats.logging", "stats.headers"][..],
        ),
        (
            "body metrics without logging",
            json!({"stats": {"logging": false, "perRequestMetrics": "Always"}}),
            &["stats.logging", "stats.perRequestMetrics"],
        ),
        (
            "a flag that slips past the first rule",
            json!({"engine": {"extraArgs": ["--disable_log_stats=true"]}}),
            &["extraArgs"],
        ),
        (
            "a rollout that can do nothing",
            json!({"rollout": {"maxSurge": 0, "maxUnavailable": 0}}),
            &["rollout"],
        ),
    ];
    for (what, spec, words) in cases {
        let refusal = cluster.apply(&service("refused", &spec)).err();
        let message = refusal
            .with_context(|| format!("{what} was accepted"))?
            .to_string();
        for word in words {
            ensure!(
                message.contains(word),
                "{what}: {word} is not in the message: {message}"
            );
        }
    }
    Ok(())
}
