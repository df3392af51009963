//! Watches, concurrency and backoff; no logic. What happens to an object is in `reconcile`.

use std::{future::Future, sync::Arc, time::Duration};

use candela_crds::{
    InferenceService,
    names::{ENGINE_APP, FIELD_MANAGER},
};
use futures::{FutureExt, StreamExt, channel::mpsc};
use k8s_openapi::api::core::v1::{Container, PersistentVolumeClaim, Pod, PodSpec};
use kube::{
    Api, Client, Resource, ResourceExt,
    core::{DeserializeGuard, NamespaceResourceScope},
    runtime::{
        WatchStreamExt,
        controller::{Action, Config, Controller},
        reflector::{self, ObjectRef},
        watcher,
    },
};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::{
    backoff::Failures,
    cache::{RETRY, ServiceKey, Watched, relisting},
    metrics::Outcome,
    reconcile::{self, ASK_INTERVAL, Caches, Context, Outlook, ReconcileError, Reconciled},
};

/// Objects that are reconciled at the same time; kube's own default has no bound.
pub const CONCURRENCY: u16 = 16;
/// Wait for further changes of an object before it is reconciled.
const DEBOUNCE: Duration = Duration::from_millis(100);
/// Services that changed and wait to be looked at; watches wait beyond.
const CHANGES_MAX: usize = 1024;
/// Next look at a service that is not settled: a claim that it names may have come, and pods load.
const UNSETTLED: Duration = ASK_INTERVAL;
/// Next look at a service whose newest pod may still tell of its start.
const MEASURING: Duration = Duration::from_secs(60);
/// Next look at a service that is settled: for what watches miss.
const SETTLED: Duration = Duration::from_secs(60 * 60);

type Guarded = DeserializeGuard<InferenceService>;

struct Shared {
    context: Context,
    failures: Failures,
}

/// Reconciles every InferenceService of `namespace`, or of all, until `stop` resolves.
pub async fn run(
    context: Context,
    namespace: Option<&str>,
    stop: impl Future<Output = ()> + Send + Sync + 'static,
) {
    let client = context.client.clone();
    let (changed, changes) = mpsc::channel(CHANGES_MAX);
    let caches = context.caches.clone();
    // They end with this function: the set aborts what is in it when it is dropped.
    let _watches = follow(&caches, &client, namespace, &changed);
    let stop = stop.shared();
    tokio::select! {
        () = caches.complete() => {}
        () = stop.clone() => return,
    }
    let shared = Arc::new(Shared {
        context,
        failures: Failures::default(),
    });
    let (reader, writer) = reflector::store();
    let services = relisting(
        api::<Guarded>(&client, namespace),
        watcher::Config::default(),
        RETRY,
    )
    .modify(|service| service.managed_fields_mut().clear())
    .reflect(writer)
    .applied_objects();
    let changes = changes
        .map(|ServiceKey { namespace, name }| ObjectRef::<Guarded>::new(&name).within(&namespace));
    Controller::for_stream(services, reader)
        .with_config(
            Config::default()
                .concurrency(CONCURRENCY)
                .debounce(DEBOUNCE),
        )
        .reconcile_on(changes)
        .graceful_shutdown_on(stop)
        .run(reconcile_one, retry, shared)
        .for_each(|result| async {
            if let Err(error) = result {
                tracing::debug!(%error, "controller");
            }
        })
        .await;
}

/// Watches every kind that belongs to services, as long as the set lives.
fn follow(
    caches: &Caches,
    client: &Client,
    namespace: Option<&str>,
    changed: &mpsc::Sender<ServiceKey>,
) -> JoinSet<()> {
    let Caches {
        deployments,
        services,
        service_accounts,
        disruption_budgets,
        network_policies,
        claims,
        pods,
        events,
    } = caches.clone();
    let mut set = JoinSet::new();
    for following in events.follow(&api(client, namespace)) {
        set.spawn(following);
    }
    set.spawn(deployments.follow(ours(client, namespace), Some(changed.clone())));
    set.spawn(services.follow(ours(client, namespace), Some(changed.clone())));
    set.spawn(service_accounts.follow(ours(client, namespace), Some(changed.clone())));
    set.spawn(disruption_budgets.follow(ours(client, namespace), Some(changed.clone())));
    set.spawn(network_policies.follow(ours(client, namespace), Some(changed.clone())));
    let all_claims = Watched::<PersistentVolumeClaim> {
        api: api(client, namespace),
        config: watcher::Config::default(),
        service: |claim| Some(ServiceKey::of(claim)),
        trim: |_| {},
        retry: RETRY,
    };
    set.spawn(claims.follow(all_claims, Some(changed.clone())));
    let engines = Watched {
        api: api(client, namespace),
        config: watcher::Config::default().labels(&format!("app.kubernetes.io/name={ENGINE_APP}")),
        service: service_of_pod,
        trim: trim_pod,
        retry: RETRY,
    };
    set.spawn(pods.follow(engines, Some(changed.clone())));
    set
}

/// Children of one kind, which have their service's name.
fn ours<K>(client: &Client, namespace: Option<&str>) -> Watched<K>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
{
    let label = format!("app.kubernetes.io/managed-by={FIELD_MANAGER}");
    Watched {
        api: api(client, namespace),
        config: watcher::Config::default().labels(&label),
        service: |child| Some(ServiceKey::of(child)),
        trim: |_| {},
        retry: RETRY,
    }
}

async fn reconcile_one(
    object: Arc<Guarded>,
    shared: Arc<Shared>,
) -> Result<Action, ReconcileError> {
    if object.meta().deletion_timestamp.is_some() {
        return Ok(Action::await_change());
    }
    let started = Instant::now();
    let result = match &object.0 {
        Ok(service) => reconcile::reconcile(service, &shared.context).await,
        Err(invalid) => reconcile::report_unreadable(invalid, &shared.context)
            .await
            .map(|()| Reconciled {
                accepted: false,
                outlook: Outlook::Settled,
            }),
    };
    let outcome = match &result {
        Ok(reconciled) if reconciled.accepted => Outcome::Done,
        Ok(_) => Outcome::Refused,
        Err(_) => Outcome::Failed,
    };
    shared
        .context
        .metrics
        .reconciled(outcome, started.elapsed());
    let Reconciled { outlook, .. } = result?;
    shared.failures.succeeded(&key(&object));
    Ok(Action::requeue(match outlook {
        Outlook::Unsettled => UNSETTLED,
        Outlook::Measuring => MEASURING,
        Outlook::Settled => SETTLED,
    }))
}

fn retry(object: Arc<Guarded>, error: &ReconcileError, shared: Arc<Shared>) -> Action {
    let object = key(&object);
    let wait = shared.failures.failed(&object);
    tracing::warn!(object, %error, retry_seconds = wait.as_secs_f64(), "reconcile failed");
    Action::requeue(wait)
}

fn key(object: &Guarded) -> String {
    format!(
        "{}/{}",
        object.namespace().unwrap_or_default(),
        object.name_any()
    )
}

fn service_of_pod(pod: &Pod) -> Option<ServiceKey> {
    let name = pod.labels().get("app.kubernetes.io/instance")?.clone();
    let namespace = pod.namespace()?;
    Some(ServiceKey { namespace, name })
}

/// Of a pod's specification, only where it runs and what its containers were told is read.
fn trim_pod(pod: &mut Pod) {
    pod.annotations_mut().clear();
    let Some(spec) = pod.spec.take() else { return };
    let containers = spec.containers.into_iter();
    let containers = containers.map(|container| Container {
        name: container.name,
        image: container.image,
        args: container.args,
        ..Default::default()
    });
    pod.spec = Some(PodSpec {
        node_name: spec.node_name,
        containers: containers.collect(),
        ..Default::default()
    });
}

fn api<K>(client: &Client, namespace: Option<&str>) -> Api<K>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
{
    match namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    }
}
