//! Writes to the status, and the events that tell a person of a change. Only where something differs.

use candela_crds::{
    ConditionType, InferenceService, InferenceServiceStatus, ReadyReason, names::FIELD_MANAGER,
};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{
    Api, Resource,
    api::{ApiResource, DynamicObject, Patch, PatchParams},
    runtime::events::{Event, EventType},
};
use serde_json::json;

use super::{Applied, Context, Reconciled, status};

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
    /// Another replica may be writing by now.
    #[error("this replica no longer leads")]
    NotLeading,
}

/// Brings the status of `service` to what `applied` shows.
pub(super) async fn report(
    ctx: &Context,
    service: &InferenceService,
    applied: &Applied,
) -> Result<Reconciled, ReportError> {
    let wanted = status(service, applied, Timestamp::now());
    let reconciled = Reconciled {
        accepted: applied.refusal.is_none(),
        settled: is_settled(&wanted),
    };
    if service.status.as_ref() == Some(&wanted) {
        return Ok(reconciled);
    }
    // The watched copy may be old. What is compared and dated from is the stored status.
    let namespace = service.metadata.namespace.as_deref().unwrap_or_default();
    let api: Api<InferenceService> = Api::namespaced(ctx.client.clone(), namespace);
    let name = service.metadata.name.as_deref().unwrap_or_default();
    let stored = api
        .get_opt(name)
        .await
        .map_err(|e| failed("read", service, e))?;
    let Some(stored) = stored.filter(|stored| stored.metadata.uid == service.metadata.uid) else {
        return Ok(reconciled);
    };
    let before = stored.status.clone().unwrap_or_default();
    let dated = InferenceService {
        status: stored.status,
        ..service.clone()
    };
    let wanted = status(&dated, applied, Timestamp::now());
    if before != wanted {
        write(ctx, service, &wanted).await?;
        announce(ctx, service, &before, &wanted).await;
    }
    Ok(reconciled)
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
    let body = json!({
        "apiVersion": InferenceService::api_version(&()),
        "kind": InferenceService::kind(&()),
        "metadata": {"name": metadata.name, "namespace": metadata.namespace, "uid": metadata.uid},
        "status": status,
    });
    ctx.metrics.wrote("InferenceService", "status");
    let params = PatchParams::apply(FIELD_MANAGER).force();
    let name = metadata.name.as_deref().unwrap_or_default();
    // Untyped, since the answer may hold a specification that the types cannot.
    let namespace = metadata.namespace.as_deref().unwrap_or_default();
    let resource = ApiResource::erase::<InferenceService>(&());
    let api: Api<DynamicObject> = Api::namespaced_with(ctx.client.clone(), namespace, &resource);
    let written = api.patch_status(name, &params, &Patch::Apply(&body)).await;
    match written {
        Ok(_) => Ok(()),
        // Deleted meanwhile: there is no status to write.
        Err(kube::Error::Api(answer)) if answer.code == 404 => Ok(()),
        Err(source) => Err(failed("write", service, source)),
    }
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
