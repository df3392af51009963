//! What a request cost: one record, built in one function, and the forms it is reported in.
//!
//! This is the only place that does arithmetic on time. It reads no clock: timestamps come from
//! `engine/clock.rs`. It imports nothing of ours but the leaf `finish_reason`.

mod body;
mod headers;
mod prometheus;
mod record;
mod start;
mod timeline;

pub use body::RequestMetrics;
pub use headers::{HEADER_NAMES, header_values};
pub use prometheus::{CacheConfig, EngineGauges, Metrics, StepTokens};
pub(crate) use record::Work;
pub use record::{FinishedRequestStats, TokenCounts, split_step};
pub use start::{StartBytes, start_metrics};
pub use timeline::{RequestTimeline, Timestamp};
