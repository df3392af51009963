//! The HTTP server: listener, auth, routes, server-sent events, headers, shutdown.
//!
//! It alone sees everything. A request's way: `listener` → `envelope` (request id, auth, panics) →
//! `routes` → `body` → `request` → `generate` (prompt, submit) → `respond` or `sse`, both of which read
//! a `generation` and write in a `format`. `run` is the life of the process, `shutdown` its end.
//!
//! **Invariant** No time is computed here: records come from `stats`; `wall_clock` only dates answers.

mod auth;
mod body;
mod body_memory;
mod embeddings;
mod envelope;
mod error;
mod format;
mod generate;
mod generation;
mod in_flight;
pub mod limits;
mod listener;
mod load;
mod load_watch;
mod logprobs;
mod message;
mod off_thread;
mod openapi;
mod orca;
mod parsers;
mod peer_watch;
mod probes;
mod pull_progress;
mod request_id;
mod respond;
mod responses;
mod routes;
mod run;
mod shutdown;
mod sse;
mod stall;
mod state;
mod tokenize;
mod tool_grammar;
mod trace_context;
mod usage_log;
mod wall_clock;

pub use auth::KeyFileError;
pub use load::{LoadError, Loaded, ModelParts, inspect_model, load_model, start_engine};
pub use load_watch::LoadBomb;
pub use openapi::document as openapi_document;
pub use parsers::ParserError;
pub use pull_progress::serve_pull_progress;
pub use run::{ServeError, serve};
pub use shutdown::{Signals, os_signals};
pub use sse::data as sse_event;
pub use state::StartProgress;
pub use usage_log::UsageLogError;
