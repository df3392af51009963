//! Writes to children: server-side apply with one field manager, in an order in which each object
//! finds what it needs, and only where something differs.

use std::{collections::HashMap, fmt::Debug, sync::Mutex};

use candela_crds::{AcceptedReason, InferenceService, names::FIELD_MANAGER};
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

use super::{Children, Context, Observed, Progress, Refusal, pin::fnv1a, validate::owns};

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
    /// How far the newest pod is that is not ready.
    pub progress: Option<Progress>,
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
    /// Another replica may be writing by now.
    #[error("this replica no longer leads")]
    NotLeading,
}

/// Digests of what was written last and of what the API server made of it, by child. While both stay
/// the same there is nothing to write. Lost on restart: the first reconcile then applies once, which
/// the API server answers without changing the object.
#[derive(Debug, Default)]
pub struct Written(Mutex<HashMap<String, (u64, u64)>>);

/// Children that are remembered; beyond, all are forgotten and applied once more.
const REMEMBERED_MAX: usize = 200_000;

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
    let untouched = Applied {
        refusal: None,
        deployment: observed
            .deployment
            .clone()
            .filter(|child| owns(service, child)),
        has_address: observed
            .service
            .as_ref()
            .is_some_and(|child| owns(service, child)),
        claim: observed.claim.clone(),
        pods: observed.pods.clone(),
        progress: None,
    };
    let refused = |refusal| {
        Ok(Applied {
            refusal: Some(refusal),
            ..untouched.clone()
        })
    };
    let Children {
        deployment,
        service: address,
        service_account,
        disruption_budget,
        cache_claim,
    } = match children {
        Ok(children) => children,
        Err(refusal) => return refused(refusal),
    };
    let (account, budget) = (observed.service_account, observed.disruption_budget);
    let own_claim = observed.cache_claim;
    let written = async {
        converge(ctx, service, service_account.as_ref(), account.as_ref()).await?;
        converge(ctx, service, Some(&address), observed.service.as_ref()).await?;
        converge(ctx, service, disruption_budget.as_ref(), budget.as_ref()).await?;
        // Before the pods that mount it. One that is no longer wanted stays until they are gone: Kubernetes sees to that.
        let claim = converge(ctx, service, cache_claim.as_ref(), own_claim.as_ref()).await?;
        let deployment = converge(
            ctx,
            service,
            Some(&deployment),
            observed.deployment.as_ref(),
        )
        .await?;
        Ok::<_, ApplyError>((deployment, claim))
    };
    match written.await {
        Ok((deployment, claim)) => Ok(Applied {
            deployment,
            has_address: true,
            claim: claim.or(observed.claim),
            ..untouched
        }),
        Err(error) => refused(error.refusal().ok_or(error)?),
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
    let namespace = service.metadata.namespace.as_deref().unwrap_or_default();
    let name = service.metadata.name.as_deref().unwrap_or_default();
    let api: Api<K> = Api::namespaced(ctx.client.clone(), namespace);
    let kind = K::kind(&()).into_owned();
    let key = format!("{kind}/{namespace}/{name}");
    let failed = |verb, source: kube::Error| ApplyError::Write {
        verb,
        kind: kind.clone(),
        name: format!("{namespace}/{name}"),
        source: Box::new(source),
    };
    let Some(wanted) = wanted else {
        let Some(live) = live.filter(|live| owns(service, *live)) else {
            return Ok(None);
        };
        may_write(ctx)?;
        let preconditions = Preconditions {
            uid: live.uid(),
            resource_version: None,
        };
        let params = DeleteParams {
            preconditions: Some(preconditions),
            ..Default::default()
        };
        ctx.metrics.wrote(&kind, "delete");
        return match api.delete(name, &params).await {
            Ok(_) => Ok(None),
            Err(kube::Error::Api(answer)) if answer.code == 404 => Ok(None),
            Err(source) => Err(failed("delete", source)),
        };
    };
    let mut body = to_json(wanted);
    let digest = fnv1a(body.to_string().as_bytes());
    if let Some(live) = live {
        let seen = (digest, projection(&body, &to_json(live)));
        if ctx.written.is(&key, seen) {
            return Ok(Some(live.clone()));
        }
        // An object of this name that is no longer the one that was looked at is not ours to change.
        body["metadata"]["uid"] = Value::from(live.uid());
    }
    may_write(ctx)?;
    ctx.metrics.wrote(&kind, "apply");
    let params = PatchParams::apply(FIELD_MANAGER).force();
    let applied = api.patch(name, &params, &Patch::Apply(&body)).await;
    let applied = applied.map_err(|source| failed("apply", source))?;
    ctx.written.remember(
        key,
        (digest, projection(&to_json(wanted), &to_json(&applied))),
    );
    Ok(Some(applied))
}

fn may_write(ctx: &Context) -> Result<(), ApplyError> {
    if ctx.leadership.holds() {
        Ok(())
    } else {
        Err(ApplyError::NotLeading)
    }
}

fn to_json(object: &impl Serialize) -> Value {
    serde_json::to_value(object).expect("Kubernetes types serialize")
}

impl Written {
    fn is(&self, key: &str, digests: (u64, u64)) -> bool {
        self.lock().get(key) == Some(&digests)
    }

    fn remember(&self, key: String, digests: (u64, u64)) {
        let mut written = self.lock();
        if written.len() >= REMEMBERED_MAX {
            written.clear();
        }
        written.insert(key, digests);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, (u64, u64)>> {
        self.0
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// A digest of those parts of `live` that `wanted` has, too: what we own, as the API server spells it.
fn projection(wanted: &Value, live: &Value) -> u64 {
    fnv1a(project(wanted, live).to_string().as_bytes())
}

fn project(wanted: &Value, live: &Value) -> Value {
    match (wanted, live) {
        (Value::Object(wanted), Value::Object(live)) => wanted
            .iter()
            .map(|(name, wanted)| {
                (
                    name.clone(),
                    live.get(name)
                        .map_or(Value::Null, |live| project(wanted, live)),
                )
            })
            .collect(),
        (Value::Array(wanted), Value::Array(live)) => wanted
            .iter()
            .zip(live.iter().map(Some).chain(std::iter::repeat(None)))
            .map(|(wanted, live)| live.map_or(Value::Null, |live| project(wanted, live)))
            .collect(),
        (_, live) => live.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn projection_sees_owned_fields_only() {
        let wanted = json!({"spec": {"replicas": 1, "list": [{"name": "a"}]}});
        let live = |replicas: u32, foreign: u32| {
            json!({"spec": {"replicas": replicas, "other": foreign,
                            "list": [{"name": "a", "more": foreign}]}})
        };
        assert_eq!(
            projection(&wanted, &live(1, 1)),
            projection(&wanted, &live(1, 2))
        );
        assert_ne!(
            projection(&wanted, &live(1, 1)),
            projection(&wanted, &live(2, 1))
        );
        assert_ne!(
            projection(&wanted, &live(1, 1)),
            projection(&wanted, &json!({"spec": {}}))
        );
    }
}
