//! The operator: turns InferenceServices into pods that run `candela-engine`. Everything it decides
//! is in `reconcile`; the rest watches, leads, serves metrics, or runs a manifest without a cluster.

pub mod backoff;
pub mod cache;
pub mod controller;
pub mod http;
pub mod leader;
pub mod lint;
pub mod local;
pub mod metrics;
pub mod reconcile;
pub mod server;
