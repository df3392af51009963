//! Watches, concurrency and backoff; no logic. What happens to an object is in `reconcile`.

use std::{future::Future, sync::Arc, time::Duration};

use candela_crds::{
    InferenceService,
    names::{ENGINE_APP, FIELD_MANAGER},
};
use futures::StreamExt;
use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{Pod, Service, ServiceAccount},
    policy::v1::PodDisruptionBudget,
};
use kube::{
    Api, Client, Resource, ResourceExt,
    core::{DeserializeGuard, NamespaceResourceScope},
    runtime::{
        controller::{Action, Config, Controller},
        reflector::ObjectRef,
        watcher,
    },
};
use tokio::time::Instant;

use crate::{
    backoff::Failures,
    metrics::Outcome,
    reconcile::{self, ASK_INTERVAL, Context, ReconcileError, Reconciled},
};

/// Objects that are reconciled at the same time; kube's own default has no bound.
pub const CONCURRENCY: u16 = 16;
/// Wait for further changes of an object before it is reconciled.
const DEBOUNCE: Duration = Duration::from_millis(100);
/// Next look at a service that is not settled: a volume claim may have come, which is not watched, and pods load.
const UNSETTLED: Duration = ASK_INTERVAL;
/// Next look at a service that is: for what watches miss.
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
    let shared = Arc::new(Shared {
        context,
        failures: Failures::default(),
    });
    let ours =
        watcher::Config::default().labels(&format!("app.kubernetes.io/managed-by={FIELD_MANAGER}"));
    let engines =
        watcher::Config::default().labels(&format!("app.kubernetes.io/name={ENGINE_APP}"));
    Controller::new(
        api::<Guarded>(&client, namespace),
        watcher::Config::default(),
    )
    .with_config(
        Config::default()
            .concurrency(CONCURRENCY)
            .debounce(DEBOUNCE),
    )
    .owns(api::<Deployment>(&client, namespace), ours.clone())
    .owns(api::<Service>(&client, namespace), ours.clone())
    .owns(api::<ServiceAccount>(&client, namespace), ours.clone())
    .owns(api::<PodDisruptionBudget>(&client, namespace), ours)
    .watches(api::<Pod>(&client, namespace), engines, service_of_pod)
    .graceful_shutdown_on(stop)
    .run(reconcile_one, retry, shared)
    .for_each(|result| async {
        if let Err(error) = result {
            tracing::debug!(%error, "controller");
        }
    })
    .await;
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
                settled: true,
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
    let Reconciled { settled, .. } = result?;
    shared.failures.succeeded(&key(&object));
    Ok(Action::requeue(if settled { SETTLED } else { UNSETTLED }))
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

fn service_of_pod(pod: Pod) -> Option<ObjectRef<Guarded>> {
    let service = pod.labels().get("app.kubernetes.io/instance")?;
    Some(ObjectRef::new(service).within(&pod.namespace()?))
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
