//! Whether a specification can be carried out, given what is in the cluster. Pure. The rules between
//! fields are the API's; here they meet stored objects that are older than a rule.

use candela_crds::{AcceptedReason, InferenceService, broken};
use kube::{Resource, ResourceExt};

use super::{Observed, Source};
use crate::reconcile::Settings;

/// A specification that can be carried out. Only [`validate`] makes one, and only from it children
/// are built.
#[derive(Debug, Clone)]
pub struct Validated<'a> {
    /// The object.
    pub service: &'a InferenceService,
    /// Its name, which the children take.
    pub name: &'a str,
    /// Its namespace.
    pub namespace: &'a str,
    /// Its identity, for owner references.
    pub uid: &'a str,
    /// Where its model comes from.
    pub source: Source,
    /// The image to use if one has to be chosen now.
    pub image: String,
}

/// Why a specification is not carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The reason of `Accepted=False`.
    pub reason: AcceptedReason,
    /// What is wrong and what to change.
    pub message: String,
}

/// Checks `service` against the rules and the names in the cluster.
///
/// # Errors
/// The [`Refusal`] to report; nothing may be written to the children then.
pub fn validate<'a>(
    service: &'a InferenceService,
    observed: &Observed,
    settings: &Settings,
) -> Result<Validated<'a>, Refusal> {
    let refuse = |reason, message: String| Err(Refusal { reason, message });
    let rules: Vec<_> = broken(service).collect();
    if let Some(first) = rules.first() {
        // Contradictory stats are reported as such whatever else is wrong.
        let stats = rules
            .iter()
            .find(|rule| rule.reason == AcceptedReason::InvalidStats);
        let messages: Vec<&str> = rules.iter().map(|rule| rule.message.as_str()).collect();
        return refuse(stats.unwrap_or(first).reason, messages.join("; "));
    }
    let Some(source) = Source::of(&service.spec) else {
        let uri = &service.spec.model.uri;
        let message = format!("spec.model.uri: {uri} has no form that this version knows");
        return refuse(AcceptedReason::InvalidSpec, message);
    };
    let chosen = service
        .spec
        .engine
        .as_ref()
        .and_then(|engine| engine.image.clone());
    let Some(image) = chosen.or_else(|| settings.images.for_gpu(service.spec.wants_gpu())) else {
        let message = "spec.resources asks for a GPU, and the operator was installed without a GPU \
                       image: set engine.images.gpu.repository in the chart's values, or spec.engine.image";
        return refuse(AcceptedReason::InvalidSpec, message.to_owned());
    };
    if let Some(message) = name_conflict(service, observed, settings) {
        return refuse(AcceptedReason::NameConflict, message);
    }
    let metadata = &service.metadata;
    Ok(Validated {
        service,
        name: metadata.name.as_deref().unwrap_or_default(),
        namespace: metadata.namespace.as_deref().unwrap_or_default(),
        uid: metadata.uid.as_deref().unwrap_or_default(),
        source,
        image,
    })
}

/// Whether `service` is the controller of `child`.
pub(crate) fn owns(service: &InferenceService, child: &impl ResourceExt) -> bool {
    let uid = service.metadata.uid.as_deref();
    child
        .owner_references()
        .iter()
        .any(|o| o.controller == Some(true) && Some(&*o.uid) == uid)
}

fn name_conflict(
    service: &InferenceService,
    observed: &Observed,
    settings: &Settings,
) -> Option<String> {
    let own_account = service
        .spec
        .pod
        .as_ref()
        .is_none_or(|p| p.service_account_name.is_none());
    let Observed {
        deployment,
        service: k8s_service,
        service_account,
        disruption_budget,
        network_policy,
        cache_claim: claim,
        ..
    } = observed;
    let own_policy = settings.network_policy.is_some();
    let own_claim = service.spec.makes_cache_claim();
    let foreign = [
        foreign(service, deployment.as_ref()),
        foreign(service, k8s_service.as_ref()),
        foreign(service, service_account.as_ref().filter(|_| own_account)),
        foreign(
            service,
            disruption_budget
                .as_ref()
                .filter(|_| service.spec.replicas.get() > 1),
        ),
        foreign(service, network_policy.as_ref().filter(|_| own_policy)),
        foreign(service, claim.as_ref().filter(|_| own_claim)),
    ];
    let kind = foreign.into_iter().flatten().next()?;
    let name = service.metadata.name.as_deref().unwrap_or_default();
    Some(format!(
        "a {kind} named {name} exists that this InferenceService does not own, and it is left \
         alone: delete it, or give the InferenceService another name"
    ))
}

fn foreign<K>(service: &InferenceService, child: Option<&K>) -> Option<String>
where
    K: Resource<DynamicType = ()>,
{
    child
        .filter(|child| !owns(service, *child))
        .map(|_| K::kind(&()).into_owned())
}
