//! The inference engine: an OpenAI-compatible server that says what each request cost.
//!
//! Who may know whom is held by a test (`tests/tidy`): `openai`, `stats`, `sampling::params`, `math` and
//! `finish_reason` import nothing of ours; `engine` knows `sampling`, `stats` and two traits; candle
//! appears in `model` only; only `server` sees everything.

pub mod engine;
pub mod fetch;
pub mod finish_reason;
pub mod grammar;
pub mod inspect;
mod math;
pub mod model;
pub mod openai;
pub mod prompt;
pub mod pull;
pub mod request;
pub mod sampling;
pub mod server;
pub mod stats;
