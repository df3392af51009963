//! Bounds on what a server can make a download hold, repeat or wait for.

use std::time::Duration;

/// Files of one listing.
pub const FILES_MAX: usize = 10_000;
/// Pages of one listing.
pub const LISTING_PAGES_MAX: usize = 100;
/// Bytes of one answer that is a listing, or names a commit.
pub const LISTING_BYTES_MAX: usize = 16 << 20;
/// Bytes of the index of a model in several files.
pub const INDEX_BYTES_MAX: u64 = 64 << 20;
/// Bytes of a file's name, folders included.
pub const NAME_BYTES_MAX: usize = 1_024;
/// Bytes of one part of a file's name.
pub const NAME_PART_BYTES_MAX: usize = 240;
/// Redirects that one request follows.
pub const REDIRECTS_MAX: usize = 5;
/// Files that are downloaded at once.
pub const PARALLEL_FILES: usize = 4;
/// Threads that download, write and hash.
pub const THREADS: usize = 4;
/// Requests for the same thing, one after another, that may fail before we give up.
pub const ATTEMPTS_MAX: u32 = 6;
/// The same, where the cache has something to start with instead.
pub const ATTEMPTS_WITH_CACHE_MAX: u32 = 2;
/// A connection that brought this much has not failed: the attempts are counted anew.
pub const ATTEMPT_PROGRESS_BYTES: u64 = 1 << 20;
/// Downloads of one file that may arrive damaged before we give up.
pub const DAMAGED_MAX: u32 = 3;
/// Longest pause before the second attempt; it doubles with each further one. The pause is drawn
/// between half of it and all of it.
pub const BACKOFF_FIRST: Duration = Duration::from_millis(500);
/// Longest pause before any attempt.
pub const BACKOFF_MAX: Duration = Duration::from_secs(20);
/// Longest pause that a server's `Retry-After` can ask for.
pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(120);
/// Time to connect.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Time in which a server sends no byte before the connection is given up. `HF_HUB_DOWNLOAD_TIMEOUT`
/// replaces it for a hub.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// Time between looks at a lock that another process holds.
pub const LOCK_LOOK: Duration = Duration::from_millis(500);
/// Bytes that stay free on the cache's disk.
pub const FREE_BYTES_MIN: u64 = 1 << 20;
/// Time between progress lines.
pub const LINE_INTERVAL: Duration = Duration::from_secs(10);
/// Time between drawings of a progress bar.
pub const BAR_INTERVAL: Duration = Duration::from_millis(200);
/// Bytes of a file with a token.
pub const TOKEN_BYTES_MAX: u64 = 16 << 10;
/// Folders with the settings of a model's modules that are looked into.
pub const MODULES_MAX: usize = 16;
/// Bytes of the file in which the cache notes what a folder holds.
pub const MARKER_BYTES_MAX: u64 = 16 << 20;
/// Bytes of an answer that explains an error.
pub const EXPLANATION_BYTES_MAX: usize = 64 << 10;
/// Characters of a server's explanation that an error repeats.
pub const EXPLANATION_CHARS_MAX: usize = 300;
