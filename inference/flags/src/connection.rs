//! What one peer, and all of them together, may hold of the server: connections, time, and memory for
//! bodies that are on their way.

use clap::Args;

use crate::{BodyMemoryBytes, Connections, PeerSeconds, engine::Rendered};

/// Connections open at a time.
pub const CONNECTIONS_MAX: u64 = 4_096;
/// Seconds for a request's head to arrive, and for a connection to stay idle.
pub const HEADER_READ_SECONDS: u64 = 30;
/// Seconds for a request's body to arrive.
pub const BODY_READ_SECONDS: u64 = 60;
/// Seconds in which a peer takes no byte of its answer.
pub const WRITE_STALL_SECONDS: u64 = 60;
/// Bytes of all bodies that are in memory together.
pub const BODY_MEMORY_BYTES: u64 = 268_435_456;

/// Limits on peers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Args)]
pub struct ConnectionFlags {
    /// Connections that may be open at a time; one more is closed at once
    #[arg(long, value_name = "CONNECTIONS", default_value_t = Connections::of::<CONNECTIONS_MAX>(), help_heading = "Server")]
    pub max_connections: Connections,

    /// Seconds that the head of a request may take to arrive, and that a connection may stay idle
    #[arg(long, value_name = "SECONDS", default_value_t = PeerSeconds::of::<HEADER_READ_SECONDS>(), help_heading = "Server")]
    pub timeout_keep_alive: PeerSeconds,

    /// Seconds that the body of a request may take to arrive
    #[arg(long, value_name = "SECONDS", default_value_t = PeerSeconds::of::<BODY_READ_SECONDS>(), help_heading = "Server")]
    pub timeout_body: PeerSeconds,

    /// Seconds in which a client may take no byte of its answer before its connection is closed
    #[arg(long, value_name = "SECONDS", default_value_t = PeerSeconds::of::<WRITE_STALL_SECONDS>(), help_heading = "Server")]
    pub timeout_write: PeerSeconds,

    /// Bytes that the bodies of all requests may take together until they are checked; a request
    /// beyond is answered 503
    #[arg(long, value_name = "BYTES", default_value_t = BodyMemoryBytes::of::<BODY_MEMORY_BYTES>(), help_heading = "Server")]
    pub max_body_memory_bytes: BodyMemoryBytes,
}

impl Default for ConnectionFlags {
    fn default() -> Self {
        Self {
            max_connections: Connections::of::<CONNECTIONS_MAX>(),
            timeout_keep_alive: PeerSeconds::of::<HEADER_READ_SECONDS>(),
            timeout_body: PeerSeconds::of::<BODY_READ_SECONDS>(),
            timeout_write: PeerSeconds::of::<WRITE_STALL_SECONDS>(),
            max_body_memory_bytes: BodyMemoryBytes::of::<BODY_MEMORY_BYTES>(),
        }
    }
}

impl ConnectionFlags {
    /// The part of [`crate::EngineFlags::to_args`] that is about these flags.
    pub(crate) fn render(&self, args: &mut Rendered) {
        let defaults = Self::default();
        let Self {
            max_connections,
            timeout_keep_alive,
            timeout_body,
            timeout_write,
            max_body_memory_bytes,
        } = self;
        args.changed(
            "max-connections",
            max_connections,
            &defaults.max_connections,
        );
        let idle = &defaults.timeout_keep_alive;
        args.changed("timeout-keep-alive", timeout_keep_alive, idle);
        args.changed("timeout-body", timeout_body, &defaults.timeout_body);
        args.changed("timeout-write", timeout_write, &defaults.timeout_write);
        let memory = &defaults.max_body_memory_bytes;
        args.changed("max-body-memory-bytes", max_body_memory_bytes, memory);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::EngineFlags;

    #[test]
    fn limits_on_peers_render_and_parse_back() {
        let mut flags = EngineFlags::for_model("m");
        flags.connection = ConnectionFlags {
            max_connections: Connections::of::<1>(),
            timeout_keep_alive: PeerSeconds::of::<2>(),
            timeout_body: PeerSeconds::of::<3>(),
            timeout_write: PeerSeconds::of::<4>(),
            max_body_memory_bytes: BodyMemoryBytes::of::<65_536>(),
        };
        let args = flags.to_args();
        assert_eq!(args.len(), 6, "{args:?}");
        let args = std::iter::once("candela-engine".to_owned()).chain(args);
        let parsed = crate::parse_engine_flags(args.map(Into::into)).unwrap();
        assert_eq!(parsed, flags);
        assert_eq!(
            EngineFlags::for_model("m").connection,
            ConnectionFlags::default()
        );
    }
}
