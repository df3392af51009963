//! `spec`: what a user asks for. Types only; the rules between fields are in `rules`.

#![expect(
    clippy::duplicated_attributes,
    reason = "every printer column has a type and a path"
)]

use std::collections::BTreeMap;

use candela_flags::{ContextLength, DrainSeconds, MaxSequences, PerRequestMetrics, StatsGates};
use k8s_openapi::api::core::v1::{
    Affinity, EnvVar, LocalObjectReference, PodResourceClaim, ResourceRequirements, Toleration,
    TopologySpreadConstraint,
};
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Bounded, InferenceServiceStatus, Replicas, RolloutPods, StartupSeconds};

/// A model to serve, and how.
#[derive(CustomResource, Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "inference.candela.dev",
    version = "v1alpha1",
    kind = "InferenceService",
    plural = "inferenceservices",
    shortname = "infsvc",
    category = "inference",
    doc = "Serves a model behind an OpenAI-compatible endpoint and says what each request cost.",
    namespaced,
    derive = "PartialEq",
    status = "InferenceServiceStatus",
    annotation("helm.sh/resource-policy", "keep"),
    scale(
        spec_replicas_path = ".spec.replicas",
        status_replicas_path = ".status.replicas",
        label_selector_path = ".status.selector"
    ),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].status"#
    ),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].reason"#
    ),
    printcolumn(name = "Desired", type_ = "integer", json_path = ".spec.replicas"),
    printcolumn(
        name = "Available",
        type_ = "integer",
        json_path = ".status.readyReplicas"
    ),
    printcolumn(
        name = "Loaded",
        type_ = "string",
        json_path = ".status.model.progress"
    ),
    printcolumn(name = "URL", type_ = "string", json_path = ".status.url"),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp"
    ),
    printcolumn(
        name = "Model",
        type_ = "string",
        json_path = ".spec.model.uri",
        priority = 1
    ),
    printcolumn(
        name = "Headers",
        type_ = "boolean",
        json_path = ".status.stats.headers",
        priority = 1
    )
)]
#[serde(rename_all = "camelCase")]
pub struct InferenceServiceSpec {
    /// The model to serve.
    pub model: Model,
    /// Pods to run; /scale and autoscalers write it, the operator never does.
    #[serde(default = "one_replica")]
    pub replicas: Replicas,
    /// Resources of the engine's container; an nvidia.com/ limit or a claim chooses the GPU image.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resources: Option<ResourceRequirements>,
    /// Which stats are computed and reported.
    #[serde(default)]
    pub stats: Stats,
    /// Who may call /v1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auth: Option<Auth>,
    /// Settings of the engine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub engine: Option<Engine>,
    /// Where a downloaded model is kept; omitted, it lives and dies with the pod.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache: Option<Cache>,
    /// How pods start, stop and are replaced.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rollout: Option<Rollout>,
    /// Settings of the pods.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod: Option<PodSettings>,
}

/// The model to serve.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Model {
    /// hf://org/repo[/file.gguf], pvc://claim[/path], s3://bucket[/prefix],
    /// oci://registry/repository[:tag|@digest] or builtin://demo.
    #[schemars(length(min = 1, max = 1024))]
    pub uri: String,
    /// Branch, tag or commit; hf:// only.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub revision: Option<String>,
    /// Name that clients ask for; default metadata.name.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub name: Option<String>,
    /// Secret with the credentials of the download.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<SecretRef>,
}

/// A Secret in the same namespace.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SecretRef {
    /// Name of the Secret.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// A key of a Secret in the same namespace.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SecretKeyRef {
    /// Name of the Secret.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Key in the Secret.
    #[schemars(length(min = 1, max = 253))]
    pub key: String,
}

/// Which stats are computed and reported. Reporting needs computing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Stats {
    /// Compute stats; false renders --disable-log-stats.
    pub logging: bool,
    /// Report what a request cost in x-vllm-* response headers.
    pub headers: bool,
    /// Report what a request cost as `metrics` in the response body.
    pub per_request_metrics: MetricsWhen,
}

/// When a response body carries `metrics`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum MetricsWhen {
    /// In no response.
    #[default]
    Never,
    /// When the request has `"include_metrics": true`.
    OnRequest,
    /// In every eligible response.
    Always,
}

/// Who may call /v1.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Auth {
    /// API keys, one a line; mounted as a file and read again when it changes.
    pub api_key_secret_ref: SecretKeyRef,
}

/// Settings of the engine.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Engine {
    /// Image of the engine; omitted, the operator picks one and keeps to it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub image: Option<String>,
    /// Tokens of one sequence, prompt and answer together; default what the model was made for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub context_length: Option<ContextLength>,
    /// Sequences that may be in one step together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_sequences: Option<MaxSequences>,
    /// Further flags of the engine, one argument an item.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 1024)))]
    #[schemars(extend("x-kubernetes-list-type" = "atomic"))]
    pub extra_args: Option<Vec<String>>,
    /// Environment variables of the engine.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128))]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub env: Option<Vec<EnvVar>>,
}

/// Where a downloaded model is kept: exactly one of `size` and `claimName`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Cache {
    /// Size of a volume claim that the operator makes.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub size: Option<String>,
    /// A volume claim that exists already.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub claim_name: Option<String>,
    /// Storage class of the claim; with size only.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub storage_class_name: Option<String>,
    /// Access modes of the claim; default ReadWriteOnce; with size only.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 4))]
    #[schemars(extend("x-kubernetes-list-type" = "atomic"))]
    pub access_modes: Option<Vec<AccessMode>>,
}

/// How nodes may mount a volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum AccessMode {
    /// One node, read and write.
    ReadWriteOnce,
    /// Many nodes, read only.
    ReadOnlyMany,
    /// Many nodes, read and write.
    ReadWriteMany,
    /// One pod, read and write.
    ReadWriteOncePod,
}

/// How pods start, stop and are replaced.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Rollout {
    /// Pods above `replicas` while rolling out. Both omitted: 0 and 1 with a GPU or a cache for one node, else 1 and 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_surge: Option<RolloutPods>,
    /// Pods below `replicas` while rolling out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_unavailable: Option<RolloutPods>,
    /// Seconds that a pod has to become ready; default 1800.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub startup_timeout_seconds: Option<StartupSeconds>,
    /// Seconds that running requests have to finish when a pod stops; default 60.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drain_timeout_seconds: Option<DrainSeconds>,
}

/// Settings of the pods, as in a pod template.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PodSettings {
    /// Further labels.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("maxProperties" = 64))]
    pub labels: Option<BTreeMap<String, String>>,
    /// Further annotations.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub annotations: Option<BTreeMap<String, String>>,
    /// Labels that a node must have.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node_selector: Option<BTreeMap<String, String>>,
    /// Taints that are tolerated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tolerations: Option<Vec<Toleration>>,
    /// Affinity to nodes and pods.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub affinity: Option<Affinity>,
    /// How pods spread over nodes and zones.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub topology_spread_constraints: Option<Vec<TopologySpreadConstraint>>,
    /// Priority class.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub priority_class_name: Option<String>,
    /// Runtime class.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub runtime_class_name: Option<String>,
    /// A service account that exists; omitted, the operator makes one without rights.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub service_account_name: Option<String>,
    /// Secrets to pull images with.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16))]
    pub image_pull_secrets: Option<Vec<LocalObjectReference>>,
    /// Devices by Dynamic Resource Allocation; spec.resources.claims names them.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16))]
    pub resource_claims: Option<Vec<PodResourceClaim>>,
}

fn one_replica() -> Replicas {
    Replicas::clamped(1)
}

impl Default for Stats {
    fn default() -> Self {
        Self {
            logging: true,
            headers: false,
            per_request_metrics: MetricsWhen::Never,
        }
    }
}

impl Stats {
    /// The switches that the stats rule is about.
    pub fn gates(self) -> StatsGates {
        let Self {
            logging,
            headers,
            per_request_metrics,
        } = self;
        StatsGates {
            logging,
            headers,
            per_request_metrics: per_request_metrics != MetricsWhen::Never,
        }
    }
}

impl AccessMode {
    /// As Kubernetes writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ReadWriteOnce => "ReadWriteOnce",
            Self::ReadOnlyMany => "ReadOnlyMany",
            Self::ReadWriteMany => "ReadWriteMany",
            Self::ReadWriteOncePod => "ReadWriteOncePod",
        }
    }
}

impl MetricsWhen {
    /// The engine's flag for it.
    pub fn flag(self) -> Option<PerRequestMetrics> {
        match self {
            Self::Never => None,
            Self::OnRequest => Some(PerRequestMetrics::OnRequest),
            Self::Always => Some(PerRequestMetrics::Always),
        }
    }
}

impl From<Option<PerRequestMetrics>> for MetricsWhen {
    fn from(flag: Option<PerRequestMetrics>) -> Self {
        match flag {
            None => Self::Never,
            Some(PerRequestMetrics::OnRequest) => Self::OnRequest,
            Some(PerRequestMetrics::Always) => Self::Always,
        }
    }
}

impl Model {
    /// Source and revision in one, as `candela-engine pull` takes them: `hf://org/repo@main`.
    pub fn uri_with_revision(&self) -> String {
        match &self.revision {
            Some(revision) => format!("{}@{revision}", self.uri),
            None => self.uri.clone(),
        }
    }
}

impl InferenceServiceSpec {
    /// Whether the engine's container gets an NVIDIA device: a limit of the `nvidia.com/` family that is not zero, or a
    /// claim, there being no other device that the engine has a use for.
    pub fn wants_gpu(&self) -> bool {
        self.resources.as_ref().is_some_and(|resources| {
            let claims = resources.claims.iter().flatten();
            let mut limits = resources.limits.iter().flatten();
            claims.count() > 0
                || limits.any(|(name, amount)| {
                    name.starts_with("nvidia.com/")
                        && amount.0.chars().any(|c| matches!(c, '1'..='9'))
                })
        })
    }

    /// Whether the operator makes a volume claim for downloads.
    pub fn makes_cache_claim(&self) -> bool {
        self.cache
            .as_ref()
            .is_some_and(|cache| cache.size.is_some())
    }

    /// Whether one node at a time can mount the volume claim that is made for downloads.
    pub fn cache_is_for_one_node(&self) -> bool {
        let cache = self.cache.as_ref().filter(|cache| cache.size.is_some());
        cache.is_some_and(|cache| {
            let modes = cache.access_modes.as_deref();
            let modes = modes.unwrap_or(&[AccessMode::ReadWriteOnce]);
            !modes.contains(&AccessMode::ReadWriteMany)
        })
    }

    /// Pods above and pods below `replicas` while rolling out. With neither given, a service makes room first (0, 1) if it
    /// has a GPU, since a spare one is rare, or a cache that only one node can mount; any other adds first (1, 0). With one
    /// given, the other is 1 if the given one is 0, else 0.
    pub fn surge_and_unavailable(&self) -> (i32, i32) {
        let rollout = self.rollout.clone().unwrap_or_default();
        let complement = |pods: i32| i32::from(pods == 0);
        match (
            rollout.max_surge.map(Bounded::get),
            rollout.max_unavailable.map(Bounded::get),
        ) {
            (Some(surge), Some(unavailable)) => (surge, unavailable),
            (Some(surge), None) => (surge, complement(surge)),
            (None, Some(unavailable)) => (complement(unavailable), unavailable),
            (None, None) if self.wants_gpu() || self.cache_is_for_one_node() => (0, 1),
            (None, None) => (1, 0),
        }
    }
}
