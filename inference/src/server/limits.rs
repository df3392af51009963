//! The server's bounds on what peers can make it hold or wait for.

use std::time::Duration;

use candela_flags::connection;

/// Open connections; one more is closed at once. Default of `--max-connections`.
pub const CONNECTIONS_MAX: u64 = connection::CONNECTIONS_MAX;
/// Time for a request's head to arrive, and for a connection to stay idle; over HTTP/2 also for it to end
/// once it was told to. Default of `--timeout-keep-alive`.
pub const HEADER_READ_TIMEOUT: Duration = Duration::from_secs(connection::HEADER_READ_SECONDS);
/// Headers of one request. One with more is answered 431, as our error object up to twice as many.
pub const HEADERS_MAX: usize = 100;
/// Bytes of a request's head: its target and its headers. As with [`HEADERS_MAX`].
pub const HEADER_BYTES_MAX: usize = 64 << 10;
/// Time for a request's body to arrive. Default of `--timeout-body`.
pub const BODY_READ_TIMEOUT: Duration = Duration::from_secs(connection::BODY_READ_SECONDS);
/// Memory of all bodies until they are checked. Default of `--max-body-memory-bytes`.
pub const BODY_MEMORY_BYTES_MAX: u64 = connection::BODY_MEMORY_BYTES;
/// Time in which a peer takes no byte of its answer before the connection is given up, or over HTTP/2 none
/// of the answer's pieces before that answer is. Default of `--timeout-write`.
pub const WRITE_STALL_TIMEOUT: Duration = Duration::from_secs(connection::WRITE_STALL_SECONDS);
/// Requests that one HTTP/2 connection may have under way.
pub const HTTP2_STREAMS_MAX: u32 = 256;
/// Streams that an HTTP/2 peer may reset before they were answered.
pub const HTTP2_RESETS_MAX: usize = 64;
/// Pieces in which answers over HTTP/2 are handed out. Beside what the peer's window takes, two of them wait
/// for a peer.
pub const HTTP2_CHUNK_BYTES_MAX: usize = 16 << 10;
/// Bodies up to this are checked and tokenized where they arrive, larger ones on a thread of their own.
pub const INLINE_BODY_BYTES_MAX: usize = 16 << 10;
/// Longest text that `/tokenize` takes, or one input of `/v1/embeddings`, in bytes: tokenizers read a text
/// to its end before anyone can count.
pub const TOKENIZED_BYTES_MAX: usize = 4 << 20;
/// Threads that check and tokenize large bodies; further bodies wait.
pub const BLOCKING_THREADS_MAX: usize = 4;
/// Threads that serve connections. The model's threads need the cores.
pub const WORKER_THREADS: usize = 2;
/// Largest file of API keys.
pub const KEY_FILE_BYTES_MAX: u64 = 1 << 20;
/// Pause between looks at the file of API keys.
pub const KEY_FILE_POLL: Duration = Duration::from_secs(1);
/// Longest `X-Request-Id` that is taken over.
pub const REQUEST_ID_BYTES_MAX: usize = 128;
/// Longest `X-Candela-Tenant`.
pub const TENANT_BYTES_MAX: usize = 128;
/// Lines of the usage log that may wait for the disk.
pub const USAGE_LOG_LINES_MAX: usize = 4_096;
/// Wait that a refused client is told, in seconds, when the queue is full or the model loads.
pub const RETRY_AFTER_SECONDS: u64 = 1;
/// Time for the engine to abort what is left when it is told to stop.
pub const ENGINE_STOP_TIMEOUT: Duration = Duration::from_secs(10);
/// Time for last answers to reach their clients before the process exits.
pub const FLUSH_TIMEOUT: Duration = Duration::from_secs(3);
/// Time for the usage log's last lines to be written before the process exits.
pub const USAGE_LOG_CLOSE_TIMEOUT: Duration = Duration::from_secs(5);
/// Time in which probes can see that the engine died before the process exits.
pub const ENGINE_DEATH_NOTICE: Duration = Duration::from_secs(1);
/// Responses that are kept for clients that asked with `store`; beyond it the oldest is forgotten.
pub const STORED_RESPONSES_MAX: usize = 1_024;
/// Memory of all stored responses and their conversations; beyond it the oldest are forgotten.
pub const STORED_BYTES_MAX: usize = 64 << 20;
/// Largest response and conversation that is stored.
pub const STORED_RESPONSE_BYTES_MAX: usize = 4 << 20;
/// Memory that loading a tokenizer, or compiling and trying a chat template, may take: the largest
/// tokenizers in use take less than half of it.
pub const LOAD_MEMORY_BYTES_MAX: usize = 2 << 30;
/// Time that it may take.
pub const LOAD_TIME_MAX: Duration = Duration::from_secs(120);
/// Pause between looks at it.
pub const LOAD_POLL: Duration = Duration::from_millis(5);
