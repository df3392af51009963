//! Every flag of `candela-engine`, once: documentation, unit, default, bounds, parser and renderer.
//!
//! The engine parses [`EngineFlags`] from its command line, the operator renders the same type with
//! [`EngineFlags::to_args`], and the InferenceService schema takes its bounds from the types in
//! [`bounded`]. Nothing here starts, loads or reads anything.

mod bounded;
pub mod connection;
mod device;
mod engine;
mod inspect;
mod model_choices;
mod owned;
mod parsers;
mod pull;
mod pull_report;
mod stats_gates;

pub use bounded::{
    BatchedTokens, BodyMemoryBytes, Bounds, Connections, ContextLength, DrainSeconds,
    KeepAliveSeconds, KvBlocks, KvCacheBytes, MaxBodyBytes, MaxSequences, OutOfBounds, PeerSeconds,
    QueuedRequests, Threads,
};
pub use connection::ConnectionFlags;
pub use device::{Device, GpuMemoryUtilization, NoSuchDevice, NoSuchPart};
pub use engine::{EngineFlags, LogFormat, PerRequestMetrics, normalize_flag, parse_engine_flags};
pub use inspect::{InspectFlags, parse_inspect_flags};
pub use model_choices::{Dtype, LoadFormat, Quantization, RunnerType};
pub use owned::{OWNED_FLAGS, OwnedFlag, owner_of};
pub use parsers::{ReasoningParser, ToolCallParser};
pub use pull::{PullFlags, parse_pull_flags};
pub use pull_report::{PullFailed, PullFailure, PullReport, Pulled};
pub use stats_gates::{StatsConflict, StatsGates};
