//! The image pin: which image a Deployment runs, and for what it was chosen. It is chosen anew only
//! when a field that feeds the pod template changes, so upgrading the operator restarts nothing.

use candela_crds::{
    InferenceServiceSpec, Rollout,
    names::{IMAGE_ANNOTATION, IMAGE_INPUTS_ANNOTATION},
};
use k8s_openapi::api::apps::v1::Deployment;
use kube::ResourceExt;
use serde_json::json;

use super::Validated;

/// An image and the digest of the fields that it was chosen for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pin {
    /// The image.
    pub image: String,
    /// [`inputs`] of the specification.
    pub inputs: String,
}

/// The pin on `live` if it still holds, else a new one.
pub(super) fn pin(valid: &Validated<'_>, live: Option<&Deployment>) -> Pin {
    let inputs = inputs(&valid.service.spec);
    let annotation = |name: &str| live?.annotations().get(name);
    let pinned = annotation(IMAGE_ANNOTATION)
        .filter(|_| annotation(IMAGE_INPUTS_ANNOTATION) == Some(&inputs));
    Pin {
        image: pinned.unwrap_or(&valid.image).clone(),
        inputs,
    }
}

/// A digest of every field that feeds the pod template; not of `replicas` and the rollout's pace.
fn inputs(spec: &InferenceServiceSpec) -> String {
    let InferenceServiceSpec {
        model,
        replicas: _,
        resources,
        stats,
        auth,
        engine,
        cache,
        rollout,
        pod,
    } = spec;
    let Rollout {
        max_surge: _,
        max_unavailable: _,
        startup_timeout_seconds,
        drain_timeout_seconds,
    } = rollout.clone().unwrap_or_default();
    let fields = json!({
        "model": model, "resources": resources, "stats": stats, "auth": auth, "engine": engine,
        "cache": cache, "pod": pod,
        "startup": startup_timeout_seconds, "drain": drain_timeout_seconds,
    });
    format!("{:016x}", fnv1a(fields.to_string().as_bytes()))
}

/// The 64-bit FNV-1a hash (Fowler, Noll, Vo): the same in every build, which the standard library's
/// is not promised to be.
pub(super) fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hash_is_the_published_one() {
        assert_eq!(fnv1a(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv1a(b"foobar"), 0x8594_4171_f739_67e8);
    }
}
