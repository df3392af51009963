//! Every read of a reconcile: what watches have shown, which costs nothing and may be late, and what the API server has
//! now. What is decided from here on is decided from an [`Observed`] alone.

use std::fmt::Debug;

use candela_crds::{InferenceService, ModelSource};
use k8s_openapi::{
    NamespaceResourceScope,
    api::{
        apps::v1::Deployment,
        core::v1::{PersistentVolumeClaim, Pod, Service, ServiceAccount},
        networking::v1::NetworkPolicy,
        policy::v1::PodDisruptionBudget,
    },
};
use kube::{Api, Client, Resource, core::DeserializeGuard};
use serde::{Serialize, de::DeserializeOwned};

use crate::cache::{Cache, ServiceKey};
use crate::reconcile::{EventCaches, Settings};

/// What watches have shown of every kind that belongs to services; clones share it.
#[derive(Debug, Clone, Default)]
pub struct Caches {
    /// Deployments of ours.
    pub deployments: Cache<Deployment>,
    /// Services of ours.
    pub services: Cache<Service>,
    /// ServiceAccounts of ours.
    pub service_accounts: Cache<ServiceAccount>,
    /// PodDisruptionBudgets of ours.
    pub disruption_budgets: Cache<PodDisruptionBudget>,
    /// NetworkPolicies of ours.
    pub network_policies: Cache<NetworkPolicy>,
    /// All volume claims: a service may name one of somebody else's.
    pub claims: Cache<PersistentVolumeClaim>,
    /// The engine's pods.
    pub pods: Cache<Pod>,
    /// What events say of pods.
    pub events: EventCaches,
}

/// What is in the cluster under the names of one service.
#[derive(Debug, Clone, Default)]
pub struct Observed {
    /// Its Deployment.
    pub deployment: Option<Deployment>,
    /// Its Service.
    pub service: Option<Service>,
    /// Its ServiceAccount.
    pub service_account: Option<ServiceAccount>,
    /// Its PodDisruptionBudget.
    pub disruption_budget: Option<PodDisruptionBudget>,
    /// Its NetworkPolicy.
    pub network_policy: Option<NetworkPolicy>,
    /// The claim of the service's own name.
    pub cache_claim: Option<PersistentVolumeClaim>,
    /// The volume claim that a `pvc://` source or `spec.cache.claimName` names.
    pub claim: Option<PersistentVolumeClaim>,
    /// Pods that its selector selects and a controller made, newest first.
    pub pods: Vec<Pod>,
}

/// A read that failed.
#[derive(Debug, thiserror::Error)]
#[error("could not read the {kind} {service}: {source}")]
pub struct ObserveError {
    kind: String,
    service: String,
    source: Box<kube::Error>,
}

impl Caches {
    /// Resolves when every first list is complete.
    pub async fn complete(&self) {
        let Self {
            deployments,
            services,
            service_accounts,
            disruption_budgets,
            network_policies,
            claims,
            pods,
            // A courtesy, which is not waited for.
            events: _,
        } = self;
        deployments.complete().await;
        services.complete().await;
        service_accounts.complete().await;
        disruption_budgets.complete().await;
        network_policies.complete().await;
        claims.complete().await;
        pods.complete().await;
    }
}

/// What watches have shown under the names of `service`.
pub fn observe(caches: &Caches, service: &InferenceService) -> Observed {
    let key = ServiceKey::of(service);
    let named = |name: String| ServiceKey {
        namespace: key.namespace.clone(),
        name,
    };
    let mut pods = caches.pods.of(&key);
    pods.retain(|pod| {
        let owners = pod.metadata.owner_references.iter().flatten();
        owners
            .into_iter()
            .any(|owner| owner.controller == Some(true))
    });
    pods.sort_by(|a, b| {
        let newest_first = b
            .metadata
            .creation_timestamp
            .cmp(&a.metadata.creation_timestamp);
        newest_first.then_with(|| a.metadata.name.cmp(&b.metadata.name))
    });
    Observed {
        deployment: caches.deployments.of(&key).pop(),
        service: caches.services.of(&key).pop(),
        service_account: caches.service_accounts.of(&key).pop(),
        disruption_budget: caches.disruption_budgets.of(&key).pop(),
        network_policy: caches.network_policies.of(&key).pop(),
        cache_claim: caches.claims.of(&key).pop(),
        claim: named_claim(service).and_then(|claim| caches.claims.of(&named(claim)).pop()),
        pods,
    }
}

/// What the API server has now under the names that `service` takes, in place of what `seen` shows of them.
///
/// # Errors
/// [`ObserveError`] for the first read that fails; an absent object is no failure.
pub async fn observe_now(
    client: &Client,
    service: &InferenceService,
    settings: &Settings,
    seen: Observed,
) -> Result<Observed, ObserveError> {
    let spec = &service.spec;
    let account = spec
        .pod
        .as_ref()
        .is_none_or(|pod| pod.service_account_name.is_none());
    // Only kinds that the service has or should have: of the others there is nothing to change.
    let (deployment, address, service_account, disruption_budget, network_policy, cache_claim) = tokio::try_join!(
        read(client, service, true),
        read(client, service, true),
        read(client, service, account || seen.service_account.is_some()),
        read(
            client,
            service,
            spec.replicas.get() > 1 || seen.disruption_budget.is_some()
        ),
        read(
            client,
            service,
            settings.network_policy.is_some() || seen.network_policy.is_some()
        ),
        read(
            client,
            service,
            spec.makes_cache_claim() || seen.cache_claim.is_some()
        ),
    )?;
    Ok(Observed {
        deployment,
        service: address,
        service_account,
        disruption_budget,
        network_policy,
        cache_claim,
        ..seen
    })
}

/// The object of the service's own name, if it is of interest.
async fn read<K>(
    client: &Client,
    service: &InferenceService,
    wanted: bool,
) -> Result<Option<K>, ObserveError>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    K: Clone + Debug + DeserializeOwned + Serialize,
{
    if !wanted {
        return Ok(None);
    }
    let ServiceKey { namespace, name } = ServiceKey::of(service);
    let api: Api<K> = Api::namespaced(client.clone(), &namespace);
    api.get_opt(&name).await.map_err(|source| ObserveError {
        kind: K::kind(&()).into_owned(),
        service: format!("{namespace}/{name}"),
        source: Box::new(source),
    })
}

/// `service` as the API server has it now; `None` if it is gone, going, or cannot be read as one.
///
/// # Errors
/// [`ObserveError`] when the read fails.
pub(super) async fn service_now(
    client: &Client,
    service: &InferenceService,
) -> Result<Option<InferenceService>, ObserveError> {
    let ServiceKey { namespace, name } = ServiceKey::of(service);
    let api: Api<DeserializeGuard<InferenceService>> = Api::namespaced(client.clone(), &namespace);
    let now = api.get_opt(&name).await.map_err(|source| ObserveError {
        kind: InferenceService::kind(&()).into_owned(),
        service: format!("{namespace}/{name}"),
        source: Box::new(source),
    })?;
    let now = now.and_then(|guarded| guarded.0.ok());
    Ok(now.filter(|now| {
        now.metadata.uid == service.metadata.uid && now.metadata.deletion_timestamp.is_none()
    }))
}

/// The volume claim that the specification names, made by someone else.
pub(super) fn named_claim(service: &InferenceService) -> Option<String> {
    let spec = &service.spec;
    match ModelSource::parse(&spec.model.uri) {
        Some(ModelSource::Claim { claim, .. }) => Some(claim),
        _ => spec.cache.as_ref()?.claim_name.clone(),
    }
}
