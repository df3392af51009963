//! `candela-operator local`: the pod of a manifest as a process on this machine, one question to it,
//! and what the answer cost. No cluster, and nothing that a pod would not run.

pub mod client;
pub mod plan;
pub mod process;
pub mod show;

use std::{
    io::Write,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::ExitStatus,
    time::Duration,
};

use candela_crds::{Checked, InferenceService, check, is_inference_service, read_documents};
use serde_json::{Value, json};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    time::{Instant, sleep},
};

use crate::lint;
use client::{ClientError, Response, send};
pub use plan::{Plan, PlanError, plan};
use plan::{Stand, shell};
use process::{Engine, NoEngine, find_engine};

/// Port that is tried first when none is given.
const USUAL_PORT: u16 = 8000;
/// Pause between looks at a loading engine.
const LOOK: Duration = Duration::from_millis(10);
/// Tokens of the answer to the one question.
const ANSWER_TOKENS: u32 = 128;
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

/// Why a manifest was not served to the end.
#[derive(Debug, thiserror::Error)]
pub enum LocalError {
    /// The manifest could not be read.
    #[error(transparent)]
    Read(#[from] lint::LintError),
    /// The manifest is refused; the findings, one a line.
    #[error("{0}")]
    Refused(String),
    /// The manifest holds none, or several, InferenceServices.
    #[error("{file} holds {count} InferenceServices, and one is run at a time: give it one")]
    NotOne {
        /// The file.
        file: String,
        /// How many it holds.
        count: usize,
    },
    /// The pod cannot become a process here.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The engine's program is nowhere.
    #[error(transparent)]
    NoEngine(#[from] NoEngine),
    /// A file that stands in for a Secret cannot be read or holds no key.
    #[error("no API key can be read from {0}: it must hold one key a line")]
    ApiKeys(String),
    /// The port is taken.
    #[error("port {port} cannot be listened on ({source}): give another with --port, or 0 for any")]
    Port {
        /// The port.
        port: u16,
        /// Why.
        source: std::io::Error,
    },
    /// The engine could not be started.
    #[error("could not start {program}: {source}")]
    Start {
        /// The program.
        program: String,
        /// Why.
        source: std::io::Error,
    },
    /// The engine ended by itself.
    #[error("the engine ended ({status}) {when}{words}")]
    Ended {
        /// How it ended.
        status: ExitStatus,
        /// What was going on.
        when: &'static str,
        /// Its last words, one an indented line.
        words: String,
    },
    /// The engine was not ready in the time that the manifest allows.
    #[error("the engine was not ready within {0} s: see spec.rollout.startupTimeoutSeconds")]
    NotReady(u64),
    /// The question had no response.
    #[error("the question had no answer: {0}")]
    Ask(#[from] ClientError),
    /// The question was refused.
    #[error("the engine answered the question with {status}: {message}")]
    Answer {
        /// The response's status.
        status: u16,
        /// The response's message.
        message: String,
    },
    /// The terminal, a signal handler or a process failed.
    #[error("{0}")]
    System(#[from] std::io::Error),
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

struct Session {
    options: Options,
    service: InferenceService,
    plan: Plan,
    api_key: Option<String>,
    address: SocketAddr,
}

impl Session {
    async fn serve(&self, engine: &mut Engine, out: &mut impl Write) -> Result<(), LocalError> {
        let loaded = self.load(engine, out).await?;
        writeln!(
            out,
            "loads    {}: ready ({:.2} s)",
            self.plan.model,
            loaded.as_secs_f64()
        )?;
        let response = self.ask(engine, out).await?;
        let answered = self.options.started.elapsed();
        self.show(&response, out)?;
        writeln!(
            out,
            "first answer {:.2} s after the start of this program",
            answered.as_secs_f64()
        )?;
        if self.options.once {
            return Ok(());
        }
        writeln!(
            out,
            "\nserves   http://{}/v1 until Ctrl-C; ask it yourself:\n",
            self.address
        )?;
        writeln!(out, "{}\n", self.curl())?;
        out.flush()?;
        engine.show_output();
        let status = engine.wait().await?;
        Err(self.ended(engine, status, "while it was serving").await)
    }

    /// Waits until the model is loaded; shows what the engine says of its progress.
    async fn load(
        &self,
        engine: &mut Engine,
        out: &mut impl Write,
    ) -> Result<Duration, LocalError> {
        let started = Instant::now();
        let rollout = self.service.spec.rollout.as_ref();
        let asked = rollout.and_then(|rollout| rollout.startup_timeout_seconds);
        let limit = asked.map_or(1800, |seconds| u64::try_from(seconds.get()).unwrap_or(0));
        let mut shown = String::new();
        loop {
            if let Some(status) = engine.ended() {
                return Err(self.ended(engine, status, "before it was ready").await);
            }
            match send(self.address, "/ready", None, None).await {
                Ok(response) if response.status.is_success() => return Ok(started.elapsed()),
                Ok(_) => self.progress(started, &mut shown, out).await?,
                Err(_) => {}
            }
            if started.elapsed() > Duration::from_secs(limit) {
                return Err(LocalError::NotReady(limit));
            }
            sleep(LOOK).await;
        }
    }

    async fn progress(
        &self,
        started: Instant,
        shown: &mut String,
        out: &mut impl Write,
    ) -> Result<(), LocalError> {
        let Ok(response) = send(self.address, "/progress", None, None).await else {
            return Ok(());
        };
        let Some(phase) = response.body["phase"].as_str() else {
            return Ok(());
        };
        if phase != shown {
            let seconds = started.elapsed().as_secs_f64();
            writeln!(
                out,
                "loads    {}: {phase} ({seconds:.2} s)",
                self.plan.model
            )?;
            out.flush()?;
            *shown = phase.to_owned();
        }
        Ok(())
    }

    async fn ask(&self, engine: &mut Engine, out: &mut impl Write) -> Result<Response, LocalError> {
        writeln!(out, "asks     {}\n", self.options.ask)?;
        out.flush()?;
        let body = self.question();
        let key = self.api_key.as_deref();
        let response = tokio::select! {
            response = send(self.address, "/v1/chat/completions", key, Some(&body)) => response?,
            status = engine.wait() => {
                return Err(self.ended(engine, status?, "while it was answering").await);
            }
        };
        if response.status.is_success() {
            return Ok(response);
        }
        let message = response.body["error"]["message"]
            .as_str()
            .unwrap_or("no message")
            .to_owned();
        Err(LocalError::Answer {
            status: response.status.as_u16(),
            message,
        })
    }

    fn question(&self) -> Value {
        json!({
            "model": self.plan.model,
            "messages": [{"role": "user", "content": self.options.ask}],
            "temperature": 0,
            "max_tokens": ANSWER_TOKENS,
            "include_metrics": true,
        })
    }

    fn show(&self, response: &Response, out: &mut impl Write) -> Result<(), LocalError> {
        writeln!(out, "{}", show::answer(&response.body, "         "))?;
        match show::headers(&response.headers) {
            Some(table) => writeln!(out, "what it cost, in the response's headers\n{table}")?,
            None => writeln!(
                out,
                "no headers say what it cost: spec.stats.headers is false\n"
            )?,
        }
        match show::metrics(&response.body) {
            Some(table) => writeln!(out, "the same, as `metrics` in its body\n{table}")?,
            None => {
                writeln!(
                    out,
                    "no `metrics` in its body: spec.stats.perRequestMetrics is Never\n"
                )?;
            }
        }
        Ok(())
    }

    fn curl(&self) -> String {
        let body = json!({
            "model": self.plan.model,
            "messages": [{"role": "user", "content": "Tell me about dogs."}],
            "include_metrics": true,
        });
        let key = self
            .options
            .api_keys
            .as_ref()
            .map_or(String::new(), |file| {
                format!(
                    " \\\n    -H \"Authorization: Bearer $(head -n1 {})\"",
                    file.display()
                )
            });
        format!(
            "  curl -si http://{}/v1/chat/completions{key} \\\n    -H 'Content-Type: \
             application/json' \\\n    -d '{body}'",
            self.address
        )
    }

    async fn ended(
        &self,
        engine: &mut Engine,
        status: ExitStatus,
        when: &'static str,
    ) -> LocalError {
        let words = match engine.last_words().await {
            words if words.is_empty() => " and said nothing".to_owned(),
            words => format!("; its last words:{words}"),
        };
        LocalError::Ended {
            status,
            when,
            words,
        }
    }
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
    let documents = read_documents(&text).map_err(|source| lint::LintError::Parse {
        file: name.clone(),
        source,
    })?;
    let mut documents: Vec<Value> = documents.into_iter().filter(is_inference_service).collect();
    let (Some(document), true) = (documents.pop(), documents.is_empty()) else {
        let count = documents.len() + usize::from(!documents.is_empty());
        return Err(LocalError::NotOne { file: name, count });
    };
    let Checked { service, findings } = check(document);
    let refused = findings
        .iter()
        .any(|f| f.severity == candela_crds::Severity::Error);
    match service.filter(|_| !refused) {
        Some(service) => Ok(service),
        None => {
            let lines: Vec<String> = findings.iter().map(|f| format!("{name}: {f}")).collect();
            Err(LocalError::Refused(lines.join("\n")))
        }
    }
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
