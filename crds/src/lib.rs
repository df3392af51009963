//! The InferenceService API: types, rules, condition types and reasons, names and labels. Pure data
//! and pure functions; nothing here talks to a cluster.

mod bounded;
mod cases;
mod conditions;
mod engine_args;
mod field_path;
mod finding;
mod manifest;
pub mod names;
mod objects;
mod position;
mod reference;
mod rules;
mod schema;
mod source;
mod spec;
mod status;
mod structural;
mod yaml_places;

pub use bounded::{Bounded, Replicas, RolloutPods, StartupSeconds};
pub use cases::{Case, Refusal, cases};
pub use conditions::{AcceptedReason, ConditionType, ModelReason, ProgressingReason, ReadyReason};
pub use field_path::{FieldPath, Step};
pub use finding::{Diagnostic, Finding, Note, Severity};
pub use manifest::{Checked, check, is_inference_service};
pub use names::is_service_name;
pub use objects::{Judged, MANIFEST_BYTES_MAX, Object, ReadError, read_objects};
pub use position::{Position, Span};
pub use reference::reference_page;
pub use rules::{Rule, broken, rules};
pub use schema::{definition, definition_yaml, object_schema};
pub use source::ModelSource;
pub use spec::*;
pub use status::{ColdStart, InferenceServiceStatus, ModelStatus};
