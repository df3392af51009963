//! `candela-engine`: parses the flags, sets up the log, and runs the server.

use std::{io::IsTerminal, process::ExitCode};

use anyhow::Context;
use candela_engine::{
    engine::MonotonicClock,
    server::{self, limits},
};
use candela_flags::{EngineFlags, LogFormat};
use tokio::{net::TcpListener, runtime};

fn main() -> ExitCode {
    let since_start = MonotonicClock::start();
    let flags = match candela_flags::parse_engine_flags(std::env::args_os()) {
        Ok(flags) => flags,
        Err(error) => {
            // Nothing is left to do where not even this can be written.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    start_log(flags.log_format);
    match run(flags, since_start) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(flags: EngineFlags, since_start: MonotonicClock) -> anyhow::Result<()> {
    let runtime = runtime::Builder::new_multi_thread()
        .worker_threads(limits::WORKER_THREADS)
        .max_blocking_threads(limits::BLOCKING_THREADS_MAX)
        .thread_name("http")
        .enable_all()
        .build()
        .context("starting the server's threads")?;
    let outcome = runtime.block_on(async {
        let signals = server::os_signals().context("handling signals")?;
        let address = (flags.host, flags.port);
        let listener = TcpListener::bind(address)
            .await
            .with_context(|| format!("listening on {}:{}", flags.host, flags.port))?;
        server::serve(listener, flags, server::load_model, signals, since_start).await?;
        anyhow::Ok(())
    });
    // A model that still loads, or a body that is still tokenized, is not waited for.
    runtime.shutdown_background();
    outcome
}

fn start_log(format: LogFormat) {
    use tracing_subscriber::EnvFilter;
    let filter = EnvFilter::builder()
        .with_default_directive(tracing::Level::INFO.into())
        .with_env_var("CANDELA_LOG")
        .from_env_lossy();
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_target(false)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    match format {
        LogFormat::Text => log.init(),
        LogFormat::Json => log.json().init(),
    }
}
