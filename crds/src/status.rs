//! `status`: what is true of the cluster. Types only.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Stats;

/// What is true of the service, as last observed.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct InferenceServiceStatus {
    /// The generation that this status describes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Base address of the OpenAI-compatible endpoint, inside the cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Pods that exist.
    #[serde(default)]
    pub replicas: i32,
    /// Pods that answer requests.
    #[serde(default)]
    pub ready_replicas: i32,
    /// Pods of the current specification.
    #[serde(default)]
    pub updated_replicas: i32,
    /// Label selector of the pods, for /scale.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub selector: Option<String>,
    /// Image that the pods run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// The model that is served.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<ModelStatus>,
    /// How long the newest pod took to its first token, measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cold_start: Option<ColdStart>,
    /// Stats settings that the pods run with, read from their arguments.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stats: Option<Stats>,
    /// Ready, Accepted, ModelAvailable, Progressing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}

/// The model that is served.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ModelStatus {
    /// Name that clients ask for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Where it comes from, with the revision that was asked for; what follows is of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uri: Option<String>,
    /// The commit that was downloaded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// Size of the model's files.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size_bytes: Option<i64>,
    /// How much of it is loaded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub progress: Option<String>,
}

/// Parts of a cold start, in seconds.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ColdStart {
    /// The pod.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod: Option<String>,
    /// Pulling the image, by the kubelet's own measure; 0 if the node had it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_pull_seconds: Option<f64>,
    /// Downloading the model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub download_seconds: Option<f64>,
    /// From the start of the engine's process until it answered requests.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub load_seconds: Option<f64>,
    /// What the first request of all waited for its first token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_token_seconds: Option<f64>,
}
