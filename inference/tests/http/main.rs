//! The HTTP surface against a real server on loopback, with a fake model behind the real engine: each
//! letter is followed by the next one (`fake_model.rs`), so every answer is known beforehand.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on should say where"
)]

mod abuse;
mod abuse_bodies;
mod abuse_churn;
mod abuse_models;
mod abuse_peers;
mod abuse_program;
mod chat;
mod client;
mod completions;
mod embeddings;
mod errors;
mod fake_model;
mod inspect;
mod lifecycle;
mod logprobs;
mod openapi;
mod prefix_cache;
mod program;
mod reasoning;
mod responses;
mod responses_items;
mod scripted_model;
mod server;
mod stats;
mod streaming;
mod structured;
mod tokenize;
mod tools;
mod weights_cache;
