//! `candela-operator local`: the pod of a manifest as a process on this machine, one question to it,
//! and what the answer cost. No cluster, and nothing that a pod would not run.

mod error;
pub mod plan;
pub mod process;
mod session;
pub mod show;

use std::{
    io::Write,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
};

use candela_crds::{
    Diagnostic, InferenceService, Judged, ReadError, Severity, is_inference_service, read_objects,
};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    time::Instant,
};

use crate::lint;
pub use error::LocalError;
pub use plan::{Plan, PlanError, plan};
use plan::{Stand, shell};
use process::{Engine, find_engine};
use session::Session;

/// Port that is tried first when none is given.
const USUAL_PORT: u16 = 8000;
/// Width of the printed command line.
const COMMAND_WIDTH: usize = 84;

/// What to run, and how.
#[derive(Debug, Clone)]
pub struct Options {
    /// The manifest; `-` is standard input.
    pub file: PathBuf,
    /// The engine's program; found if not given.
    pub engine: Option<PathBuf>,
    /// Exit after the answer instead of serving.
    pub once: bool,
    /// Port to listen on; the usual one or a free one if not given, a free one if 0.
    pub port: Option<u16>,
    /// The question.
    pub ask: String,
    /// Folder that stands in for a volume claim.
    pub models: Option<PathBuf>,
    /// File that stands in for a Secret with API keys.
    pub api_keys: Option<PathBuf>,
    /// Show what the engine writes.
    pub verbose: bool,
    /// When this program was started.
    pub started: Instant,
}

/// Runs a manifest as [`Options`] say. The engine has ended when this returns, however it returns.
///
/// # Errors
/// [`LocalError`].
pub async fn run(options: Options, out: &mut impl Write) -> Result<(), LocalError> {
    let service = read_service(&options.file)?;
    let api_key = options.api_keys.as_deref().map(first_key).transpose()?;
    let port = choose_port(options.port)?;
    let (models, api_keys) = (options.models.clone(), options.api_keys.clone());
    let plan = plan(
        &service,
        &Stand {
            port,
            models,
            api_keys,
        },
    )?;
    let program = find_engine(options.engine.clone())?;
    introduce(out, &options.file, &service, &plan, &program)?;
    let mut stop = Stop::new()?;
    let mut engine =
        Engine::start(&program, &plan, options.verbose).map_err(|source| LocalError::Start {
            program: program.display().to_string(),
            source,
        })?;
    let session = Session {
        options,
        service,
        plan,
        api_key,
        address: loopback(port),
    };
    let result = tokio::select! {
        result = session.serve(&mut engine, out) => result,
        () = stop.asked() => Ok(()),
    };
    engine.end().await;
    result
}

/// Signals that ask this program to end.
struct Stop([Signal; 3]);

impl Stop {
    fn new() -> std::io::Result<Self> {
        let [interrupt, terminate, hangup] = [
            SignalKind::interrupt(),
            SignalKind::terminate(),
            SignalKind::hangup(),
        ]
        .map(signal);
        Ok(Self([interrupt?, terminate?, hangup?]))
    }

    async fn asked(&mut self) {
        let [interrupt, terminate, hangup] = &mut self.0;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    }
}

fn read_service(file: &Path) -> Result<InferenceService, LocalError> {
    let name = lint::display_name(file);
    let text = lint::read(file)?;
    let described = |diagnostics: &[Diagnostic]| {
        let text = lint::describe(&name, &text, diagnostics);
        LocalError::Refused(text.trim_end().to_owned())
    };
    let objects = read_objects(&text).map_err(|ReadError(diagnostic)| described(&[diagnostic]))?;
    let mut services: Vec<_> = objects
        .into_iter()
        .filter(|object| is_inference_service(object.value()))
        .collect();
    let (Some(object), true) = (services.pop(), services.is_empty()) else {
        let count = services.len() + usize::from(!services.is_empty());
        return Err(LocalError::NotOne { file: name, count });
    };
    let Judged {
        service,
        diagnostics,
    } = object.check();
    let refused = diagnostics.iter().any(|d| d.severity == Severity::Error);
    service
        .filter(|_| !refused)
        .ok_or_else(|| described(&diagnostics))
}

fn first_key(file: &Path) -> Result<String, LocalError> {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let key = text.lines().map(str::trim).find(|line| !line.is_empty());
    key.map(str::to_owned)
        .ok_or_else(|| LocalError::ApiKeys(file.display().to_string()))
}

/// The port given, or the usual one, or a free one if that is taken or 0 is given.
fn choose_port(given: Option<u16>) -> Result<u16, LocalError> {
    let bind = |port| {
        let listener = TcpListener::bind(loopback(port));
        listener
            .and_then(|listener| listener.local_addr())
            .map(|address| address.port())
    };
    let port = given.unwrap_or(USUAL_PORT);
    let chosen = match (bind(port), given) {
        (Err(_), None) => bind(0),
        (chosen, _) => chosen,
    };
    chosen.map_err(|source| LocalError::Port { port, source })
}

fn loopback(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

fn introduce(
    out: &mut impl Write,
    file: &Path,
    service: &InferenceService,
    plan: &Plan,
    program: &Path,
) -> Result<(), LocalError> {
    let name = service.metadata.name.as_deref().unwrap_or_default();
    writeln!(
        out,
        "reads    InferenceService {name} from {}",
        lint::display_name(file)
    )?;
    writeln!(
        out,
        "builds   {}, as the operator would",
        plan.children.join(", ")
    )?;
    writeln!(
        out,
        "runs     {}",
        shell(program, plan, "           ", COMMAND_WIDTH)
    )?;
    writeln!(out, "         which is the pod's container, but for")?;
    for change in &plan.changed {
        writeln!(out, "           {change}")?;
    }
    out.flush()?;
    Ok(())
}
