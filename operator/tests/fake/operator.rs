//! The operator under test, on a client of the fake: its context is made here and nowhere else.

use candela_operator::{
    controller,
    leader::{self, Candidate, Leadership},
    metrics::Metrics,
    reconcile::{Asked, Caches, Context, Images, NetworkPolicySettings, Settings, Written},
};
use kube::{
    Client,
    runtime::events::{Recorder, Reporter},
};

use super::NAMESPACE;

/// What the operator was started with.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    /// The engine's image; that for GPUs has a like name.
    pub(crate) image: String,
    /// Every service gets a NetworkPolicy.
    pub(crate) network_policy: bool,
}

impl Options {
    /// With this image and network policies.
    pub(crate) fn of(image: &str) -> Self {
        Self {
            image: image.to_owned(),
            network_policy: true,
        }
    }
}

fn context(client: Client, options: Options, leadership: Leadership) -> Context {
    let Options {
        image,
        network_policy,
    } = options;
    let reporter = Reporter {
        controller: "candela-operator".to_owned(),
        instance: None,
    };
    Context {
        caches: Caches::default(),
        settings: Settings {
            images: Images {
                gpu: Some(format!("gpu-{image}")),
                cpu: image,
            },
            image_pull_secrets: Vec::new(),
            network_policy: network_policy.then(NetworkPolicySettings::default),
        },
        leadership,
        metrics: Metrics::new().expect("metrics have distinct names"),
        recorder: Recorder::new(client.clone(), reporter),
        written: Written::default(),
        asked: Asked::default(),
        client,
    }
}

/// Reconciles for ever, as the only replica.
pub(crate) async fn run(client: Client, options: Options) {
    let context = context(client, options, Leadership::unshared());
    controller::run(context, None, std::future::pending()).await;
}

/// Reconciles as one of several replicas, for as long as it leads.
pub(crate) async fn run_replica(client: Client, options: Options, identity: &str) {
    let candidate = Candidate {
        namespace: NAMESPACE.to_owned(),
        name: "candela-operator".to_owned(),
        identity: identity.to_owned(),
    };
    let leadership = leader::lead(client.clone(), candidate).await;
    let context = context(client, options, leadership.clone());
    tokio::select! {
        () = controller::run(context, None, std::future::pending()) => {}
        () = leadership.lost() => {}
    }
}
