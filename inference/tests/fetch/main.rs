//! Models from elsewhere, through the program itself: a hub with faults, a bucket that checks signatures,
//! a registry, all on loopback.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on should say where"
)]

mod bucket;
mod cache;
mod faults;
mod hub;
mod hub_pull;
mod net;
mod oci;
mod program;
mod s3;
mod serve;
