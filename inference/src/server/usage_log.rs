//! The usage log: one JSON line per finished request, for billing. A slow or full disk never slows a
//! token: lines wait in a bounded queue for a thread of their own, and what does not fit is dropped,
//! counted, and said so.

use std::{
    fs::OpenOptions,
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    },
    thread,
    time::Duration,
};

use serde::Serialize;

use super::limits;
use crate::stats::{FinishedRequestStats, TokenCounts};

/// The usage log cannot be opened; the server does not start.
#[derive(Debug, thiserror::Error)]
pub enum UsageLogError {
    /// The file cannot be written.
    #[error("--usage-log {}: {error}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        error: io::Error,
    },
}

/// One line. Intervals are seconds, as in the record; null while stats are off, or when the client left
/// before the record was there.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct UsageLine {
    /// Unix seconds, with milliseconds.
    time: f64,
    request_id: String,
    /// Of the request's `traceparent`.
    #[serde(skip_serializing_if = "Option::is_none")]
    trace_id: Option<String>,
    /// Which of several prompts; each has a record of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    prompt_index: Option<usize>,
    model: String,
    finish_reason: &'static str,
    status: u16,
    user: Option<String>,
    tenant: Option<String>,
    prompt_tokens: usize,
    completion_tokens: usize,
    cached_tokens: usize,
    preemptions: Option<u32>,
    e2e_latency_seconds: Option<f64>,
    queued_time_seconds: Option<f64>,
    prefill_time_seconds: Option<f64>,
    decode_time_seconds: Option<f64>,
    inference_time_seconds: Option<f64>,
    mean_time_per_output_token_seconds: Option<f64>,
    compute_time_seconds: Option<f64>,
}

/// Who asked for what, the same in every line of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Payer {
    pub(super) request_id: String,
    pub(super) trace_id: Option<String>,
    pub(super) model: String,
    pub(super) user: Option<String>,
    pub(super) tenant: Option<String>,
}

/// How a prompt's answers ended.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Ending<'a> {
    pub(super) prompt_index: Option<usize>,
    pub(super) finish_reason: &'static str,
    pub(super) status: u16,
    pub(super) tokens: TokenCounts,
    pub(super) stats: Option<&'a FinishedRequestStats>,
}

impl UsageLine {
    pub(super) fn new(payer: &Payer, ending: Ending<'_>) -> Self {
        let Payer {
            request_id,
            trace_id,
            model,
            user,
            tenant,
        } = payer.clone();
        let Ending {
            prompt_index,
            finish_reason,
            status,
            tokens,
            stats,
        } = ending;
        let TokenCounts {
            prompt,
            completion,
            cached,
        } = tokens;
        Self {
            time: super::wall_clock::unix_milliseconds() as f64 / 1e3,
            request_id,
            trace_id,
            prompt_index,
            model,
            finish_reason,
            status,
            user,
            tenant,
            prompt_tokens: prompt,
            completion_tokens: completion,
            cached_tokens: cached,
            preemptions: stats.map(|s| s.preemptions),
            e2e_latency_seconds: stats.map(|s| s.e2e_latency.as_secs_f64()),
            queued_time_seconds: stats.map(|s| s.queued_time.as_secs_f64()),
            prefill_time_seconds: stats.map(|s| s.prefill_time.as_secs_f64()),
            decode_time_seconds: stats.map(|s| s.decode_time.as_secs_f64()),
            inference_time_seconds: stats.map(|s| s.inference_time.as_secs_f64()),
            mean_time_per_output_token_seconds: stats.map(|s| s.mean_time_per_output_token),
            compute_time_seconds: stats.map(|s| s.compute_time.as_secs_f64()),
        }
    }
}

/// The way to the writing thread.
#[derive(Debug)]
pub(super) struct UsageLog {
    lines: Mutex<Option<SyncSender<UsageLine>>>,
    dropped: Arc<AtomicU64>,
    /// The writing thread has ended: it says so, or drops its end in a panic.
    ended: Mutex<Receiver<()>>,
}

impl UsageLog {
    /// Opens the file for appending, or standard output for `-`.
    ///
    /// # Errors
    /// [`UsageLogError`].
    pub(super) fn open(path: &Path) -> Result<Self, UsageLogError> {
        let sink: Box<dyn Write + Send> = if path == Path::new("-") {
            Box::new(io::stdout())
        } else {
            let file = OpenOptions::new().create(true).append(true).open(path);
            Box::new(file.map_err(|error| UsageLogError::Open {
                path: path.into(),
                error,
            })?)
        };
        Self::start(sink, limits::USAGE_LOG_LINES_MAX).map_err(|error| UsageLogError::Open {
            path: path.into(),
            error,
        })
    }

    fn start(sink: Box<dyn Write + Send>, lines_max: usize) -> io::Result<Self> {
        let (sender, receiver) = sync_channel(lines_max);
        let dropped = Arc::<AtomicU64>::default();
        let count = Arc::clone(&dropped);
        let (end, ended) = sync_channel(1);
        thread::Builder::new()
            .name("usage-log".to_owned())
            .spawn(move || {
                write_lines(&receiver, BufWriter::new(sink), &count);
                // Without a receiver nobody waits.
                let _ = end.send(());
            })?;
        Ok(Self {
            lines: Mutex::new(Some(sender)),
            dropped,
            ended: Mutex::new(ended),
        })
    }

    /// Queues a line; drops and counts it when the queue is full.
    pub(super) fn record(&self, line: UsageLine) {
        let lines = self
            .lines
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let queued = lines
            .as_ref()
            .is_some_and(|lines| lines.try_send(line).is_ok());
        if !queued && self.dropped.fetch_add(1, Ordering::Relaxed) == 0 {
            tracing::warn!("the usage log cannot keep up; lines are dropped");
        }
    }

    /// Writes what waits, then ends. Lines after this are dropped, and those that are not on the disk in time.
    pub(super) fn close(&self, timeout: Duration) {
        self.lines
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .take();
        let ended = self
            .ended
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .recv_timeout(timeout);
        match ended {
            Ok(()) => {}
            Err(RecvTimeoutError::Disconnected) => {
                tracing::error!("the usage log's thread panicked");
            }
            Err(RecvTimeoutError::Timeout) => {
                tracing::error!("the usage log's disk is stuck; its last lines are lost");
            }
        }
    }
}

fn write_lines(
    lines: &Receiver<UsageLine>,
    mut sink: BufWriter<Box<dyn Write + Send>>,
    dropped: &AtomicU64,
) {
    while let Ok(first) = lines.recv() {
        let mut next = Some(first);
        while let Some(line) = next {
            if let Err(error) = write_line(&mut sink, &line) {
                dropped.fetch_add(1, Ordering::Relaxed);
                tracing::error!(%error, "a line of the usage log was not written");
            }
            next = lines.try_recv().ok();
        }
        if let Err(error) = sink.flush() {
            tracing::error!(%error, "the usage log was not written");
        }
        match dropped.swap(0, Ordering::Relaxed) {
            0 => {}
            lines => tracing::warn!(lines, "lines of the usage log were dropped"),
        }
    }
}

fn write_line(sink: &mut impl Write, line: &UsageLine) -> io::Result<()> {
    serde_json::to_writer(&mut *sink, line)?;
    sink.write_all(b"\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEADLINE: Duration = Duration::from_secs(60);

    fn line() -> UsageLine {
        let payer = Payer {
            request_id: "r".into(),
            trace_id: None,
            model: "m".into(),
            user: None,
            tenant: Some("t".into()),
        };
        let tokens = TokenCounts {
            prompt: 3,
            completion: 2,
            cached: 0,
        };
        let ending = Ending {
            prompt_index: None,
            finish_reason: "stop",
            status: 200,
            tokens,
            stats: None,
        };
        UsageLine::new(&payer, ending)
    }

    /// A disk that blocks until the other end of its channel is dropped.
    struct StuckDisk(std::sync::mpsc::Receiver<()>, Arc<AtomicU64>);

    impl Write for StuckDisk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.0.recv();
            let lines = bytes.iter().filter(|&&byte| byte == b'\n').count();
            self.1.fetch_add(lines as u64, Ordering::Relaxed);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_stuck_disk_drops_lines_and_blocks_nobody() {
        let (unblock, blocked) = std::sync::mpsc::channel();
        let written = Arc::<AtomicU64>::default();
        let disk = StuckDisk(blocked, Arc::clone(&written));
        let log = UsageLog::start(Box::new(disk), 4).unwrap();
        for _ in 0..100 {
            log.record(line());
        }
        assert!(log.dropped.load(Ordering::Relaxed) > 0);
        // Nor does it hold up the end.
        log.close(Duration::from_millis(10));
        assert_eq!(written.load(Ordering::Relaxed), 0);
        drop(unblock);
        log.close(DEADLINE);
        assert!((1..100).contains(&written.load(Ordering::Relaxed)));
    }

    #[test]
    fn lines_are_on_disk_when_the_log_is_closed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("usage.jsonl");
        let log = UsageLog::open(&path).unwrap();
        log.record(line());
        log.record(line());
        log.close(DEADLINE);
        let text = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<serde_json::Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(lines.len(), 2);
        assert_eq!(
            (&lines[0]["tenant"], &lines[0]["prompt_tokens"]),
            (&"t".into(), &3.into())
        );
        assert!(UsageLog::open(folder.path()).is_err());
    }
}
