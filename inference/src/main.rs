//! `candela-engine`: parses the flags, sets up the log, and runs the server, fetches a model (`pull`), or
//! describes one (`inspect`).

use std::{
    ffi::OsString,
    io::{IsTerminal, Write},
    process::ExitCode,
};

use anyhow::Context;
use candela_engine::{
    engine::{Clock, MonotonicClock},
    server::{self, limits},
};
use candela_flags::{EngineFlags, InspectFlags, LogFormat, PullFlags};
use tokio::{net::TcpListener, runtime};

fn main() -> ExitCode {
    let since_start = MonotonicClock::start();
    let mut args: Vec<OsString> = std::env::args_os().collect();
    let outcome = match args.get(1).and_then(|arg| arg.to_str()) {
        Some("inspect") => candela_flags::parse_inspect_flags(args.drain(1..)).map(|flags| {
            start_log(flags.engine.log_format);
            inspect(&flags)
        }),
        Some("pull") => candela_flags::parse_pull_flags(args.drain(1..)).map(|flags| {
            start_log(flags.log_format);
            pull(&flags, &since_start)
        }),
        _ => candela_flags::parse_engine_flags(args).map(|flags| {
            start_log(flags.log_format);
            run(flags, since_start)
        }),
    };
    match outcome {
        Ok(outcome) => exit_code(outcome),
        Err(error) => {
            // Nothing is left to do where not even this can be written.
            let _ = error.print();
            ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2))
        }
    }
}

fn exit_code(outcome: anyhow::Result<()>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Brings a model to this machine, and prints where it is.
fn pull(flags: &PullFlags, since_start: &MonotonicClock) -> anyhow::Result<()> {
    let path = candela_engine::pull::pull(flags, || since_start.now().since_start())?;
    let path = path.display();
    writeln!(std::io::stdout(), "{path}").context("printing where the model is")
}

/// Prints what a model is and what it needs.
fn inspect(flags: &InspectFlags) -> anyhow::Result<()> {
    let report = server::inspect_model(&flags.engine)?;
    let mut out = std::io::stdout();
    let printed = match flags.json {
        true => writeln!(out, "{:#}", report.to_json()),
        false => write!(out, "{report}"),
    };
    printed.context("printing the report")
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
