//! The command line of `candela-operator`.

use std::{
    io::{IsTerminal, Write},
    net::SocketAddr,
    path::PathBuf,
    process::ExitCode,
};

use anyhow::Context as _;
use candela_operator::{
    controller, leader,
    lint::{self, Report},
    local,
    metrics::Metrics,
    reconcile::{Asked, Caches, Context, Images, NetworkPolicySettings, Settings, Written},
    server,
};
use clap::{Args, Parser, Subcommand, ValueEnum};
use hyper::Request;
use k8s_openapi::api::networking::v1::NetworkPolicyPeer;
use kube::{
    Client,
    client::{Body, ClientBuilder},
    runtime::events::{Recorder, Reporter},
};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
    time::Instant,
};
use tower::util::MapRequestLayer;
use tracing_subscriber::EnvFilter;

/// Turns InferenceServices into pods that run candela-engine.
#[derive(Debug, Parser)]
#[command(name = "candela-operator", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Watch the cluster and reconcile; what the chart runs
    Run(Run),
    /// Print the CustomResourceDefinition
    Crd,
    /// Say what the API server and the operator would say to a manifest
    Lint(Lint),
    /// Run a manifest's pod as a process on this machine, ask it a question, and show what the
    /// answer cost
    Local(Local),
}

#[derive(Debug, Args)]
struct Run {
    /// Image of the engine for services without a GPU
    #[arg(long, value_name = "IMAGE", env = "ENGINE_IMAGE_CPU")]
    engine_image_cpu: String,

    /// Image of the engine for services with a GPU; without one, those are not accepted
    #[arg(long, value_name = "IMAGE", env = "ENGINE_IMAGE_GPU")]
    engine_image_gpu: Option<String>,

    /// A Secret of its service's namespace that engine pods pull their image with, unless
    /// spec.pod names Secrets or an account; may be given several times
    #[arg(long = "image-pull-secret", value_name = "NAME")]
    image_pull_secrets: Vec<String>,

    /// Make a NetworkPolicy for every service: requests in, and nothing out but for a download
    #[arg(long)]
    network_policy: bool,

    /// Who may send requests, as a JSON list of NetworkPolicyPeers; anyone in the cluster without it
    #[arg(long, value_name = "JSON", requires = "network_policy", value_parser = peers)]
    network_policy_from: Option<Peers>,

    /// Reconcile in this namespace only
    #[arg(long, value_name = "NAMESPACE")]
    namespace: Option<String>,

    /// Address of /metrics, /healthz and /readyz
    #[arg(long, value_name = "ADDRESS", default_value = "0.0.0.0:8080")]
    listen: SocketAddr,

    /// Name of the Lease that decides which replica reconciles
    #[arg(long, value_name = "NAME", default_value = "candela-operator")]
    lease: String,

    /// Namespace of the Lease; without one this replica takes itself for the only one
    #[arg(long, value_name = "NAMESPACE", env = "POD_NAMESPACE")]
    lease_namespace: Option<String>,

    /// Name of this replica, unique among them
    #[arg(
        long,
        value_name = "NAME",
        env = "POD_NAME",
        default_value = "candela-operator"
    )]
    identity: String,
}

/// Those of `--network-policy-from`; a type of its own, since clap gives a meaning to a bare list.
#[derive(Debug, Clone)]
struct Peers(Vec<NetworkPolicyPeer>);

fn peers(text: &str) -> Result<Peers, String> {
    serde_json::from_str(text)
        .map(Peers)
        .map_err(|error| format!("not a JSON list of NetworkPolicyPeers: {error}"))
}

#[derive(Debug, Args)]
struct Lint {
    /// The manifest; - is standard input; may be given several times
    #[arg(short, long = "filename", value_name = "FILE|-", required = true)]
    file: Vec<PathBuf>,

    /// How findings are written
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    output: LintOutput,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum LintOutput {
    /// FILE:LINE:COLUMN: SEVERITY: FIELD: MESSAGE, and the line itself below it
    Text,
    /// An array with one object for each finding
    Json,
}

#[derive(Debug, Args)]
struct Local {
    /// The manifest, with one InferenceService; - is standard input
    #[arg(short, long = "filename", value_name = "FILE|-")]
    file: PathBuf,

    /// The engine's program [default: candela-engine beside this program, then on PATH]
    #[arg(long, value_name = "FILE")]
    engine: Option<PathBuf>,

    /// Exit after the answer instead of serving until Ctrl-C
    #[arg(long)]
    once: bool,

    /// Port to listen on, on loopback; 0 takes a free one [default: 8000, or a free one if taken]
    #[arg(long)]
    port: Option<u16>,

    /// The question to ask
    #[arg(long, value_name = "TEXT", default_value = "What is a fox?")]
    ask: String,

    /// Folder that stands in for the volume of a pvc:// source
    #[arg(long, value_name = "FOLDER")]
    models: Option<PathBuf>,

    /// File that stands in for the Secret of spec.auth, with one key a line
    #[arg(long, value_name = "FILE")]
    api_keys: Option<PathBuf>,

    /// Show what the engine writes from the start
    #[arg(long)]
    verbose: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    let started = Instant::now();
    let done = match Cli::parse().command {
        Command::Run(options) => run(options).await,
        Command::Crd => print(&candela_crds::definition_yaml()),
        Command::Lint(options) => lint_files(&options),
        Command::Local(options) => local(options, started).await,
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let text = describe(&error);
            // A list of findings says on each line that it is an error.
            let prefix = if text.contains(": error: ") {
                ""
            } else {
                "error: "
            };
            eprintln!("{prefix}{text}");
            ExitCode::FAILURE
        }
    }
}

/// The error and its causes, but for a cause that the error quotes already.
fn describe(error: &anyhow::Error) -> String {
    error
        .chain()
        .map(ToString::to_string)
        .fold(String::new(), |text, cause| match text.as_str() {
            "" => cause,
            said if said.contains(&cause) => text,
            said => format!("{said}: {cause}"),
        })
}

async fn run(options: Run) -> anyhow::Result<()> {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let colours = std::io::stdout().is_terminal();
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(colours)
        .init();
    let metrics = Metrics::new()?;
    let client = client(&metrics).await.context("finding the cluster")?;
    let stop = stop_signal()?;
    let serving = server::serve(options.listen, metrics.clone(), stopped(stop.clone()));
    let serving = tokio::spawn(serving);
    let working = reconcile(&options, client, metrics, stop);
    tokio::pin!(working);
    tokio::select! {
        done = &mut working => done,
        served = serving => {
            served?.with_context(|| format!("serving on {}", options.listen))?;
            // The server ends by itself when this process is asked to; reconciles finish first.
            working.await
        }
    }
}

/// A client of the cluster that this process is in, or of the current context; `metrics` counts its requests.
async fn client(metrics: &Metrics) -> anyhow::Result<Client> {
    let config = kube::Config::infer().await?;
    let metrics = metrics.clone();
    let count = MapRequestLayer::new(move |request: Request<Body>| {
        metrics.asked(&request);
        request
    });
    Ok(ClientBuilder::try_from(config)?.with_layer(&count).build())
}

async fn reconcile(
    options: &Run,
    client: Client,
    metrics: Metrics,
    stop: watch::Receiver<bool>,
) -> anyhow::Result<()> {
    let candidate = options
        .lease_namespace
        .clone()
        .map(|namespace| leader::Candidate {
            namespace,
            name: options.lease.clone(),
            identity: options.identity.clone(),
        });
    let leadership = match &candidate {
        Some(candidate) => {
            tracing::info!(
                lease = candidate.name,
                identity = candidate.identity,
                "standing by"
            );
            tokio::select! {
                leadership = leader::lead(client.clone(), candidate.clone()) => leadership,
                () = stopped(stop.clone()) => return Ok(()),
            }
        }
        None => {
            tracing::warn!("no --lease-namespace: this replica takes itself for the only one");
            leader::Leadership::unshared()
        }
    };
    metrics.set_leading(true);
    tracing::info!("leading: reconciling InferenceServices");
    let reporter = Reporter {
        controller: "candela-operator".to_owned(),
        instance: Some(options.identity.clone()),
    };
    let context = Context {
        client: client.clone(),
        caches: Caches::default(),
        settings: Settings {
            images: Images {
                cpu: options.engine_image_cpu.clone(),
                gpu: options
                    .engine_image_gpu
                    .clone()
                    .filter(|image| !image.is_empty()),
            },
            image_pull_secrets: options.image_pull_secrets.clone(),
            network_policy: options.network_policy.then(|| NetworkPolicySettings {
                from: options
                    .network_policy_from
                    .clone()
                    .map(|Peers(peers)| peers)
                    .unwrap_or_default(),
            }),
        },
        leadership: leadership.clone(),
        metrics: metrics.clone(),
        recorder: Recorder::new(client.clone(), reporter),
        written: Written::default(),
        asked: Asked::default(),
    };
    tokio::select! {
        () = controller::run(context, options.namespace.as_deref(), stopped(stop)) => {}
        () = leadership.lost() => {
            metrics.set_leading(false);
            anyhow::bail!("leadership was lost; another replica may reconcile by now");
        }
    }
    metrics.set_leading(false);
    if let Some(candidate) = &candidate {
        leader::step_down(client, candidate)
            .await
            .context("giving the lease back")?;
    }
    Ok(())
}

/// Turns true when this process is asked to end.
fn stop_signal() -> std::io::Result<watch::Receiver<bool>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let (sender, receiver) = watch::channel(false);
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("asked to end");
        sender.send_replace(true);
        sender.closed().await;
    });
    Ok(receiver)
}

async fn stopped(mut stop: watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

fn lint_files(options: &Lint) -> anyhow::Result<()> {
    let mut report = Report::default();
    for file in &options.file {
        let text = lint::read(file)?;
        lint::lint(&lint::display_name(file), &text, &mut report);
    }
    match options.output {
        LintOutput::Text => print(&report.text)?,
        LintOutput::Json => print(&format!(
            "{:#}\n",
            serde_json::Value::from(report.findings.clone())
        ))?,
    }
    anyhow::ensure!(report.errors == 0, "{}", report.summary());
    Ok(())
}

async fn local(options: Local, started: Instant) -> anyhow::Result<()> {
    let Local {
        file,
        engine,
        once,
        port,
        ask,
        models,
        api_keys,
        verbose,
    } = options;
    let options = local::Options {
        file,
        engine,
        once,
        port,
        ask,
        models,
        api_keys,
        verbose,
        started,
    };
    Ok(local::run(options, &mut std::io::stdout()).await?)
}

fn print(text: &str) -> anyhow::Result<()> {
    std::io::stdout()
        .write_all(text.as_bytes())
        .context("writing to standard output")
}
