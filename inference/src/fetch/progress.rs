//! How far a download is: counters for other threads, a bar on a terminal, lines elsewhere.

use std::{
    io::IsTerminal,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
};

use indicatif::{DecimalBytes, ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::{task::JoinHandle, time};

use super::limits;

/// How far a download is, to be read from other threads.
#[derive(Debug, Default)]
pub struct DownloadProgress {
    /// Files are being looked for, waited for or fetched.
    pub active: AtomicBool,
    /// Bytes on disk so far, those of an earlier start included.
    pub bytes_done: AtomicU64,
    /// Bytes in all; 0 until known.
    pub bytes_total: AtomicU64,
}

impl DownloadProgress {
    pub(super) fn add(&self, bytes: u64) {
        self.bytes_done.fetch_add(bytes, Relaxed);
    }

    pub(super) fn take_back(&self, bytes: u64) {
        self.bytes_done.fetch_sub(bytes, Relaxed);
    }
}

/// Says how far a download is until it is dropped.
pub(super) struct Report(JoinHandle<()>);

impl Report {
    pub(super) fn start(what: String, progress: Arc<DownloadProgress>) -> Self {
        Self(if std::io::stderr().is_terminal() {
            tokio::spawn(bar(what, progress))
        } else {
            tokio::spawn(lines(what, progress))
        })
    }
}

impl Drop for Report {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn bar(what: String, progress: Arc<DownloadProgress>) {
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    let template = "{msg} [{bar:30}] {decimal_bytes} of {decimal_total_bytes}, \
                    {decimal_bytes_per_sec}, {eta} left";
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style.progress_chars("=> "));
    }
    bar.set_message(what);
    let mut ticks = time::interval(limits::BAR_INTERVAL);
    loop {
        ticks.tick().await;
        bar.set_length(progress.bytes_total.load(Relaxed));
        bar.set_position(progress.bytes_done.load(Relaxed));
    }
}

async fn lines(what: String, progress: Arc<DownloadProgress>) {
    let mut ticks = time::interval(limits::LINE_INTERVAL);
    ticks.tick().await;
    let mut before = progress.bytes_done.load(Relaxed);
    loop {
        ticks.tick().await;
        let (done, total) = (
            progress.bytes_done.load(Relaxed),
            progress.bytes_total.load(Relaxed),
        );
        let rate = done.saturating_sub(before) / limits::LINE_INTERVAL.as_secs();
        before = done;
        tracing::info!("{}", line(&what, done, total, rate));
    }
}

fn line(what: &str, done: u64, total: u64, bytes_per_second: u64) -> String {
    let percent = (done * 100).checked_div(total).unwrap_or(0);
    let left = match total.saturating_sub(done).checked_div(bytes_per_second) {
        Some(seconds) => format!("{seconds} s left"),
        None => "nothing arrives".to_owned(),
    };
    format!(
        "downloading {what}: {} of {} ({percent} %), {} a second, {left}",
        DecimalBytes(done),
        DecimalBytes(total),
        DecimalBytes(bytes_per_second),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_how_much_how_fast_and_how_long() {
        assert_eq!(
            line("m", 5_000_000_000, 20_000_000_000, 100_000_000),
            "downloading m: 5.00 GB of 20.00 GB (25 %), 100.00 MB a second, 150 s left"
        );
        assert!(line("m", 0, 0, 0).ends_with("nothing arrives"));
    }
}
