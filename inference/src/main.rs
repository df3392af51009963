//! `candela-engine`: parses the flags and runs the server.
fn main() {}
