//! Writes to children: server-side apply with one field manager, in an order in which each object
//! finds what it needs, and only where something differs.

use std::fmt::Debug;

use candela_crds::{
    AcceptedReason, InferenceService,
    names::{APPLIED_ANNOTATION, FIELD_MANAGER},
};
use k8s_openapi::{
    NamespaceResourceScope,
    api::{
        apps::v1::Deployment,
        core::v1::{PersistentVolumeClaim, Pod},
    },
};
use kube::{
    Api, Resource, ResourceExt,
    api::{DeleteParams, Patch, PatchParams, Preconditions},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use super::{
    Children, Context, Heard, ObserveError, Observed, Refusal,
    likeness::{is_within, projection},
    observe::service_now,
    pin::fnv1a,
    validate::owns,
};
use crate::cache::ServiceKey;

/// Children as they are in the cluster after the writes. Status is computed from nothing else.
#[derive(Debug, Clone, Default)]
pub struct Applied {
    /// Why the specification was not carried out; the children are then as they were.
    pub refusal: Option<Refusal>,
    /// The Deployment, if the service has one.
    pub deployment: Option<Deployment>,
    /// Whether the Service exists.
    pub has_address: bool,
    /// The volume claim that the specification names, or the service's own for downloads.
    pub claim: Option<PersistentVolumeClaim>,
    /// The service's pods, newest first.
    pub pods: Vec<Pod>,
    /// What is heard of the newest pod that is not ready.
    pub coming: Heard,
    /// What is heard of the start of the newest pod that is.
    pub started: Heard,
}

/// A write to a child that failed.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// The API server failed, or the object changed meanwhile.
    #[error("could not {verb} {kind} {name}: {source}")]
    Write {
        /// What was tried.
        verb: &'static str,
        /// Kind of the child.
        kind: String,
        /// Name of the child.
        name: String,
        /// What the API server said.
        source: Box<kube::Error>,
    },
    /// The service could not be read once more.
    #[error(transparent)]
    Observe(#[from] ObserveError),
    /// There is a newer specification, which the next reconcile carries out.
    #[error("the specification has changed meanwhile")]
    Outdated,
    /// Another replica may be writing by now.
    #[error("this replica no longer leads")]
    NotLeading,
}

/// Whether a child has to be written or deleted for `service` to have what `children` says. A refused specification
/// changes nothing.
pub(super) fn is_wanting(
    ctx: &Context,
    service: &InferenceService,
    seen: &Observed,
    children: &Result<Children, Refusal>,
) -> bool {
    let Ok(children) = children else {
        return false;
    };
    let Children {
        deployment,
        service: address,
        service_account,
        disruption_budget,
        network_policy,
        cache_claim,
    } = children;
    is_due(ctx, service, Some(deployment), seen.deployment.as_ref())
        || is_due(ctx, service, Some(address), seen.service.as_ref())
        || is_due(
            ctx,
            service,
            service_account.as_ref(),
            seen.service_account.as_ref(),
        )
        || is_due(
            ctx,
            service,
            disruption_budget.as_ref(),
            seen.disruption_budget.as_ref(),
        )
        || is_due(
            ctx,
            service,
            network_policy.as_ref(),
            seen.network_policy.as_ref(),
        )
        || is_due(
            ctx,
            service,
            cache_claim.as_ref(),
            seen.cache_claim.as_ref(),
        )
}

/// Applies the children, removes those that should not be, or leaves all as they are when the
/// specification is refused.
///
/// # Errors
/// [`ApplyError`]. A child that the API server calls invalid is no error but a refusal.
pub(super) async fn apply(
    ctx: &Context,
    service: &InferenceService,
    observed: Observed,
    children: Result<Children, Refusal>,
) -> Result<Applied, ApplyError> {
    let Children {
        deployment,
        service: address,
        service_account,
        disruption_budget,
        network_policy,
        cache_claim,
    } = match children {
        Ok(children) => children,
        Err(refusal) => return Ok(Applied::untouched(service, observed, Some(refusal))),
    };
    let live = &observed;
    let written = async {
        converge(
            ctx,
            service,
            service_account.as_ref(),
            live.service_account.as_ref(),
        )
        .await?;
        converge(
            ctx,
            service,
            network_policy.as_ref(),
            live.network_policy.as_ref(),
        )
        .await?;
        converge(ctx, service, Some(&address), live.service.as_ref()).await?;
        converge(
            ctx,
            service,
            disruption_budget.as_ref(),
            live.disruption_budget.as_ref(),
        )
        .await?;
        // Before the pods that mount it. One that is no longer wanted stays until they are gone: Kubernetes sees to that.
        let claim = converge(
            ctx,
            service,
            cache_claim.as_ref(),
            live.cache_claim.as_ref(),
        )
        .await?;
        let deployment =
            converge(ctx, service, Some(&deployment), live.deployment.as_ref()).await?;
        Ok::<_, ApplyError>((deployment, claim))
    };
    match written.await {
        Ok((deployment, claim)) => Ok(Applied {
            refusal: None,
            deployment,
            has_address: true,
            claim: claim.or(observed.claim),
            pods: observed.pods,
            coming: Heard::default(),
            started: Heard::default(),
        }),
        Err(error) => {
            let refusal = error.refusal().ok_or(error)?;
            Ok(Applied::untouched(service, observed, Some(refusal)))
        }
    }
}

impl Applied {
    /// What is there without a write.
    pub(super) fn untouched(
        service: &InferenceService,
        observed: Observed,
        refusal: Option<Refusal>,
    ) -> Self {
        let own_claim = observed.cache_claim.filter(|claim| owns(service, claim));
        Self {
            refusal,
            deployment: observed.deployment.filter(|child| owns(service, child)),
            has_address: observed.service.is_some_and(|child| owns(service, &child)),
            claim: observed.claim.or(own_claim),
            pods: observed.pods,
            coming: Heard::default(),
            started: Heard::default(),
        }
    }
}

impl ApplyError {
    /// What to report if the API server calls a child invalid: trying again would not help.
    fn refusal(&self) -> Option<Refusal> {
        let Self::Write { kind, source, .. } = self else {
            return None;
        };
        let kube::Error::Api(answer) = &**source else {
            return None;
        };
        matches!(answer.code, 400 | 422).then(|| Refusal {
            reason: AcceptedReason::InvalidSpec,
            message: format!("the API server refuses the {kind}: {}", answer.message),
        })
    }
}

/// Whether `live` has to be written or deleted to be what is `wanted`.
fn is_due<K>(
    ctx: &Context,
    service: &InferenceService,
    wanted: Option<&K>,
    live: Option<&K>,
) -> bool
where
    K: Resource<DynamicType = ()> + Serialize,
{
    match (wanted, live) {
        (Some(wanted), Some(live)) => !is_as(ctx, &Child::of(wanted), live),
        (Some(_), None) => true,
        (None, Some(live)) => owns(service, live) && live.meta().deletion_timestamp.is_none(),
        (None, None) => false,
    }
}

/// Whether `live` says what `child` wants: as it was written last, and as the API server made of that.
fn is_as<K: Resource<DynamicType = ()> + Serialize>(
    ctx: &Context,
    child: &Child,
    live: &K,
) -> bool {
    let applied = live.annotations().get(APPLIED_ANNOTATION);
    if applied != Some(&child.digest) {
        return false;
    }
    let live = to_json(live);
    is_within(&child.body, &live)
        || ctx
            .written
            .is(&child.key, (&child.digest, projection(&child.body, &live)))
}

/// Makes `live` what is `wanted`, and returns it as the API server then has it.
async fn converge<K>(
    ctx: &Context,
    service: &InferenceService,
    wanted: Option<&K>,
    live: Option<&K>,
) -> Result<Option<K>, ApplyError>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    K: Clone + Debug + DeserializeOwned + Serialize,
{
    if !is_due(ctx, service, wanted, live) {
        return Ok(live.filter(|_| wanted.is_some()).cloned());
    }
    if !ctx.leadership.holds() {
        return Err(ApplyError::NotLeading);
    }
    let ServiceKey { namespace, name } = ServiceKey::of(service);
    let api: Api<K> = Api::namespaced(ctx.client.clone(), &namespace);
    let kind = K::kind(&()).into_owned();
    let failed = |verb, source: kube::Error| ApplyError::Write {
        verb,
        kind: kind.clone(),
        name: format!("{namespace}/{name}"),
        source: Box::new(source),
    };
    let Some(wanted) = wanted else {
        let preconditions = Preconditions {
            uid: live.and_then(ResourceExt::uid),
            resource_version: live.and_then(ResourceExt::resource_version),
        };
        let params = DeleteParams {
            preconditions: Some(preconditions),
            ..Default::default()
        };
        // What is applied is put right by the next reconcile; what is deleted is gone. So the specification is asked once more.
        let now = service_now(&ctx.client, service).await?;
        if now.is_none_or(|now| now.metadata.generation != service.metadata.generation) {
            return Err(ApplyError::Outdated);
        }
        ctx.metrics.wrote(&kind, "delete");
        return match api.delete(&name, &params).await {
            Ok(_) => Ok(None),
            Err(kube::Error::Api(answer)) if answer.code == 404 => Ok(None),
            Err(source) => Err(failed("delete", source)),
        };
    };
    let child = Child::of(wanted);
    ctx.metrics.wrote(&kind, "apply");
    let params = PatchParams::apply(FIELD_MANAGER).force();
    let applied = api
        .patch(&name, &params, &Patch::Apply(child.over(live)))
        .await;
    let applied: K = applied.map_err(|source| failed("apply", source))?;
    let made = to_json(&applied);
    if !is_within(&child.body, &made) {
        let digests = (child.digest.clone(), projection(&child.body, &made));
        ctx.written.remember(child.key, digests);
    }
    Ok(Some(applied))
}

/// A version that no object has.
const NO_VERSION: &str = "1";

/// A child as it is written.
struct Child {
    /// Kind, namespace and name.
    key: String,
    /// Every field that we own.
    body: Value,
    /// Of the body; the object bears it, so that what was written is known after a restart, too.
    digest: String,
}

impl Child {
    fn of<K: Resource<DynamicType = ()> + Serialize>(wanted: &K) -> Self {
        let mut body = to_json(wanted);
        let digest = format!("{:016x}", fnv1a(body.to_string().as_bytes()));
        body["metadata"]["annotations"][APPLIED_ANNOTATION] = Value::from(digest.as_str());
        let ServiceKey { namespace, name } = ServiceKey::of(wanted);
        Self {
            key: format!("{}/{namespace}/{name}", K::kind(&())),
            body,
            digest,
        }
    }

    /// The body with what must hold for it to be written: that the object is still the one, and the version of it, that
    /// was looked at. A writer that was held up finds that somebody else has written meanwhile.
    fn over(&self, live: Option<&impl ResourceExt>) -> Value {
        let mut body = self.body.clone();
        let metadata = &mut body["metadata"];
        match live {
            Some(live) => {
                metadata["uid"] = Value::from(live.uid());
                metadata["resourceVersion"] = Value::from(live.resource_version());
            }
            // Nothing was there. The API server ignores a version where it creates, and answers 409 where somebody has created
            // an object of this name meanwhile, which is theirs.
            None => metadata["resourceVersion"] = Value::from(NO_VERSION),
        }
        body
    }
}

fn to_json(object: &impl Serialize) -> Value {
    serde_json::to_value(object).expect("Kubernetes types serialize")
}
