//! A stored object that the types cannot hold: it is older than a bound, or was written past the
//! schema. It gets a condition; its pods, and every other object, are left alone.

use candela_crds::{AcceptedReason, ConditionType, InferenceService, InferenceServiceStatus};
use jiff::Timestamp;
use kube::{
    Api, ResourceExt,
    api::DynamicObject,
    core::{ApiResource, PartialObjectMetaExt, error_boundary::InvalidObject},
};

use super::{
    Context, ReconcileError, ReportError,
    report::{announce, write},
    status::refused,
};
use crate::reconcile::Refusal;

/// Reports that `object` cannot be read, and why.
///
/// # Errors
/// [`ReconcileError::Report`] when the API server failed.
pub async fn report_unreadable(
    object: &InvalidObject,
    ctx: &Context,
) -> Result<(), ReconcileError> {
    let namespace = object.metadata.namespace.as_deref().unwrap_or_default();
    let name = object.metadata.name.as_deref().unwrap_or_default();
    let resource = ApiResource::erase::<InferenceService>(&());
    let api: Api<DynamicObject> = Api::namespaced_with(ctx.client.clone(), namespace, &resource);
    let stored = api
        .get_opt(name)
        .await
        .map_err(|source| ReportError::Status {
            verb: "read",
            service: format!("{namespace}/{name}"),
            source,
        })?;
    let Some(stored) = stored.filter(|stored| stored.uid() == object.metadata.uid) else {
        return Ok(());
    };
    let before: InferenceServiceStatus = stored
        .data
        .get("status")
        .and_then(|status| serde_json::from_value(status.clone()).ok())
        .unwrap_or_default();
    let refusal = Refusal {
        reason: AcceptedReason::InvalidSpec,
        message: format!("the stored object does not fit the API: {}", object.error),
    };
    let mut after = before.clone();
    after.observed_generation = object.metadata.generation;
    let condition = refused(
        &refusal,
        object.metadata.generation,
        &before.conditions,
        Timestamp::now(),
    );
    after
        .conditions
        .retain(|c| c.type_ != ConditionType::Accepted.as_str());
    after
        .conditions
        .insert(after.conditions.len().min(1), condition);
    if before != after {
        let service = stored.metadata.into_response_partial::<InferenceService>();
        write(ctx, &service, &after).await?;
        announce(ctx, &service, &before, &after).await;
    }
    Ok(())
}
