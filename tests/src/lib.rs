//! Shared parts of the suites that cross crates.
