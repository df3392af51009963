//! The InferenceService API: types, rules, condition types and reasons, names and labels. Pure data
//! and pure functions; nothing here talks to a cluster.

mod bounded;
mod cases;
mod conditions;
mod engine_args;
mod manifest;
pub mod names;
mod rules;
mod schema;
mod source;
mod spec;
mod status;
mod structural;

pub use bounded::{Bounded, Replicas, RolloutPods, StartupSeconds};
pub use cases::{Case, Refusal, cases};
pub use conditions::{AcceptedReason, ConditionType, ModelReason, ProgressingReason, ReadyReason};
pub use manifest::{
    Checked, Finding, ReadError, Severity, check, is_inference_service, read_documents,
};
pub use names::is_service_name;
pub use rules::{Rule, broken, rules};
pub use schema::{definition, definition_yaml, object_schema};
pub use source::ModelSource;
pub use spec::*;
pub use status::{ColdStart, InferenceServiceStatus, ModelStatus};
