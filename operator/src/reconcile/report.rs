//! Writes to the status, and the events that tell a person of a change. Only where something differs.

use candela_crds::{
    AcceptedReason, ConditionType, InferenceService, InferenceServiceStatus, ReadyReason,
    names::FIELD_MANAGER,
};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{
    Api, Resource,
    api::{ApiResource, DynamicObject, Patch, PatchParams},
    runtime::events::{Event, EventType},
};
use serde_json::{Value, json};

use super::{
    Applied, Context, ObserveError, Outlook, Reconciled, Refusal, View, observe::service_now,
    progress::is_unmeasured, readiness::is_ready, status,
};

/// Characters of an event's note; the API server takes 1024 bytes.
const NOTE_MAX: usize = 250;

/// A write to the status that failed.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// The API server failed.
    #[error("could not {verb} the status of {service}: {source}")]
    Status {
        /// What was tried.
        verb: &'static str,
        /// Namespace and name.
        service: String,
        /// What the API server said.
        source: kube::Error,
    },
    /// The service could not be read.
    #[error(transparent)]
    Observe(#[from] ObserveError),
    /// Another replica may be writing by now.
    #[error("this replica no longer leads")]
    NotLeading,
}

/// Brings the status of `service` to what `applied` shows.
pub(super) async fn report(
    ctx: &Context,
    service: &InferenceService,
    applied: &Applied,
    view: View,
) -> Result<Reconciled, ReportError> {
    let wanted = status(service, applied, Timestamp::now());
    let reconciled = Reconciled {
        accepted: applied.refusal.is_none(),
        outlook: outlook(service, applied, &wanted),
    };
    if service.status.as_ref() == Some(&wanted) {
        return Ok(reconciled);
    }
    if view == View::Now {
        replace(ctx, service, &wanted).await?;
        return Ok(reconciled);
    }
    // What is compared, dated from and written over is the stored status of the same specification.
    let stored = service_now(&ctx.client, service).await?;
    let generation = service.metadata.generation;
    if let Some(stored) = stored.filter(|stored| stored.metadata.generation == generation) {
        let wanted = status(&stored, applied, Timestamp::now());
        if stored.status.as_ref() != Some(&wanted) {
            replace(ctx, &stored, &wanted).await?;
        }
    }
    Ok(reconciled)
}

/// Writes `after` in place of the status of `service`, and tells of what changed.
async fn replace(
    ctx: &Context,
    service: &InferenceService,
    after: &InferenceServiceStatus,
) -> Result<(), ReportError> {
    write(ctx, service, after).await?;
    let before = service.status.clone().unwrap_or_default();
    announce(ctx, service, &before, after).await;
    Ok(())
}

/// Writes `status`, and nothing else, to `service`.
pub(super) async fn write(
    ctx: &Context,
    service: &impl Resource<DynamicType = ()>,
    status: &InferenceServiceStatus,
) -> Result<(), ReportError> {
    if !ctx.leadership.holds() {
        return Err(ReportError::NotLeading);
    }
    let metadata = service.meta();
    let mut body = json!({
        "apiVersion": InferenceService::api_version(&()),
        "kind": InferenceService::kind(&()),
        // Of a custom resource, the API server holds the version to what is stored, and the uid not.
        "metadata": {"name": metadata.name, "namespace": metadata.namespace, "uid": metadata.uid,
                     "resourceVersion": metadata.resource_version},
        "status": status,
    });
    ctx.metrics.wrote("InferenceService", "status");
    let params = PatchParams::apply(FIELD_MANAGER).force();
    let name = metadata.name.as_deref().unwrap_or_default();
    // Untyped, since the answer may hold a specification that the types cannot.
    let namespace = metadata.namespace.as_deref().unwrap_or_default();
    let resource = ApiResource::erase::<InferenceService>(&());
    let api: Api<DynamicObject> = Api::namespaced_with(ctx.client.clone(), namespace, &resource);
    let mut written = api.patch_status(name, &params, &Patch::Apply(&body)).await;
    if let Err(kube::Error::Api(answer)) = &written
        && drop_undeclared(&mut body, &answer.message)
    {
        tracing::warn!(
            name,
            "the installed CustomResourceDefinition is older than this operator and lacks fields of the status, which are \
             left out: apply that of this version"
        );
        written = api.patch_status(name, &params, &Patch::Apply(&body)).await;
    }
    match written {
        Ok(_) => Ok(()),
        // Deleted meanwhile: there is no status to write.
        Err(kube::Error::Api(answer)) if answer.code == 404 => Ok(()),
        Err(source) => Err(failed("write", service, source)),
    }
}

/// Removes from `body` what the API server's `message` calls undeclared, one path a line; says whether there was any.
fn drop_undeclared(body: &mut Value, message: &str) -> bool {
    let lines = message.lines().map(str::trim);
    let paths = lines.filter_map(|line| line.strip_suffix(": field not declared in schema"));
    let mut dropped = false;
    for path in paths {
        let Some((parents, field)) = path.rsplit_once('.') else {
            continue;
        };
        let parent = body.pointer_mut(&parents.replace('.', "/"));
        let removed = parent
            .and_then(Value::as_object_mut)
            .and_then(|parent| parent.remove(field));
        dropped |= removed.is_some();
    }
    dropped
}

/// Tells of each change of reason. Events are a courtesy: one that cannot be written is logged.
pub(super) async fn announce(
    ctx: &Context,
    service: &impl Resource<DynamicType = ()>,
    before: &InferenceServiceStatus,
    after: &InferenceServiceStatus,
) {
    for kind in [ConditionType::Accepted, ConditionType::Ready] {
        let Some(condition) = find(after, kind) else {
            continue;
        };
        let same = find(before, kind).is_some_and(|earlier| {
            earlier.reason == condition.reason && earlier.status == condition.status
        });
        if same {
            continue;
        }
        let event = Event {
            type_: event_type(condition),
            reason: condition.reason.clone(),
            note: Some(condition.message.chars().take(NOTE_MAX).collect()),
            action: "Reconcile".to_owned(),
            secondary: None,
        };
        if let Err(error) = ctx.recorder.publish(&event, &service.object_ref(&())).await {
            tracing::warn!(%error, reason = condition.reason, "an event could not be recorded");
        }
    }
}

fn event_type(condition: &Condition) -> EventType {
    const EXPECTED: [ReadyReason; 4] = [
        ReadyReason::Loading,
        ReadyReason::Downloading,
        ReadyReason::RollingOut,
        ReadyReason::ScaledToZero,
    ];
    let expected = EXPECTED
        .iter()
        .any(|reason| reason.as_str() == condition.reason);
    if condition.status == "True" || expected {
        EventType::Normal
    } else {
        EventType::Warning
    }
}

/// Whether nothing is expected to change by itself.
fn is_settled(status: &InferenceServiceStatus) -> bool {
    find(status, ConditionType::Ready).is_some_and(|ready| {
        ready.status == "True" || ready.reason == ReadyReason::ScaledToZero.as_str()
    })
}

fn outlook(
    service: &InferenceService,
    applied: &Applied,
    status: &InferenceServiceStatus,
) -> Outlook {
    let started = applied.pods.iter().find(|pod| is_ready(pod));
    let conflict = |refusal: &Refusal| refusal.reason == AcceptedReason::NameConflict;
    match is_settled(status) {
        // The object in the way may be one that no watch shows.
        _ if applied.refusal.as_ref().is_some_and(conflict) => Outlook::Unsettled,
        false => Outlook::Unsettled,
        true if started.is_some_and(|pod| is_unmeasured(service, pod)) => Outlook::Measuring,
        true => Outlook::Settled,
    }
}

fn find(status: &InferenceServiceStatus, kind: ConditionType) -> Option<&Condition> {
    status
        .conditions
        .iter()
        .find(|condition| condition.type_ == kind.as_str())
}

fn failed(
    verb: &'static str,
    service: &impl Resource<DynamicType = ()>,
    source: kube::Error,
) -> ReportError {
    let metadata = service.meta();
    let namespace = metadata.namespace.as_deref().unwrap_or_default();
    let name = metadata.name.as_deref().unwrap_or_default();
    ReportError::Status {
        verb,
        service: format!("{namespace}/{name}"),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_older_definition_lacks_is_left_out() {
        // As kube-apiserver 1.36 says it.
        let message = "failed to create typed patch object (a/b; g/v1, Kind=K): errors:\n  \
                       .status.coldStart.pod: field not declared in schema\n  \
                       .status.model.uri: field not declared in schema";
        let mut body = json!({"status": {"coldStart": {"pod": "p", "loadSeconds": 1},
                                         "model": {"uri": "u", "name": "n"}}});
        assert!(drop_undeclared(&mut body, message));
        assert_eq!(
            body,
            json!({"status": {"coldStart": {"loadSeconds": 1}, "model": {"name": "n"}}})
        );
        assert!(!drop_undeclared(&mut body, message));
        assert!(!drop_undeclared(&mut body, "etcdserver: request timed out"));
    }
}
