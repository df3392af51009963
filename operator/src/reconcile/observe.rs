//! Every read of a reconcile. What is decided from here on is decided from an [`Observed`] alone.

use candela_crds::{InferenceService, ModelSource, names::selector_text};
use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{PersistentVolumeClaim, Pod, Service, ServiceAccount},
    policy::v1::PodDisruptionBudget,
};
use kube::{Api, Client, api::ListParams};

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
    /// The volume claim that a `pvc://` source or `spec.cache.claimName` names.
    pub claim: Option<PersistentVolumeClaim>,
    /// The claim of the service's own name.
    pub cache_claim: Option<PersistentVolumeClaim>,
    /// Pods that its selector selects and a controller made, newest first.
    pub pods: Vec<Pod>,
}

/// A read that failed.
#[derive(Debug, thiserror::Error)]
#[error("could not read the {kind} of {service}: {source}")]
pub struct ObserveError {
    kind: &'static str,
    service: String,
    source: kube::Error,
}

/// Reads what is in the cluster under the names of `service`.
///
/// # Errors
/// [`ObserveError`] for the first read that fails; an absent object is no failure.
pub async fn observe(
    client: &Client,
    service: &InferenceService,
) -> Result<Observed, ObserveError> {
    let name = service.metadata.name.as_deref().unwrap_or_default();
    let namespace = service.metadata.namespace.as_deref().unwrap_or_default();
    let failed = |kind: &'static str| {
        move |source: kube::Error| ObserveError {
            kind,
            service: format!("{namespace}/{name}"),
            source,
        }
    };
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), namespace);
    let services: Api<Service> = Api::namespaced(client.clone(), namespace);
    let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), namespace);
    let budgets: Api<PodDisruptionBudget> = Api::namespaced(client.clone(), namespace);
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(client.clone(), namespace);
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);

    let claim = match named_claim(service) {
        Some(claim) => claims
            .get_opt(&claim)
            .await
            .map_err(failed("PersistentVolumeClaim"))?,
        None => None,
    };
    let selected = ListParams::default().labels(&selector_text(name));
    let mut pods = pods.list(&selected).await.map_err(failed("Pods"))?.items;
    pods.retain(|pod| {
        pod.metadata
            .owner_references
            .iter()
            .flatten()
            .any(|o| o.controller == Some(true))
    });
    pods.sort_by(|a, b| {
        let newest_first = b
            .metadata
            .creation_timestamp
            .cmp(&a.metadata.creation_timestamp);
        newest_first.then_with(|| a.metadata.name.cmp(&b.metadata.name))
    });
    Ok(Observed {
        deployment: deployments
            .get_opt(name)
            .await
            .map_err(failed("Deployment"))?,
        service: services.get_opt(name).await.map_err(failed("Service"))?,
        service_account: accounts
            .get_opt(name)
            .await
            .map_err(failed("ServiceAccount"))?,
        disruption_budget: budgets
            .get_opt(name)
            .await
            .map_err(failed("PodDisruptionBudget"))?,
        claim,
        cache_claim: claims
            .get_opt(name)
            .await
            .map_err(failed("PersistentVolumeClaim"))?,
        pods,
    })
}

/// The volume claim that the specification names, made by someone else.
pub(super) fn named_claim(service: &InferenceService) -> Option<String> {
    let spec = &service.spec;
    match ModelSource::parse(&spec.model.uri) {
        Some(ModelSource::Claim { claim, .. }) => Some(claim),
        _ => spec.cache.as_ref()?.claim_name.clone(),
    }
}
