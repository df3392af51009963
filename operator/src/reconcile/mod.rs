//! One reconcile: observe, validate, build, apply, report. Reads are in `observe`, writes in `apply`
//! and `report`; what is between is pure.
//!
//! **Invariant** Whether there is anything to write is decided from what watches have shown, and costs no call. What is
//! written is decided from what the API server has at that moment: an old view can delay a write, never cause one.

mod apply;
mod build;
mod likeness;
mod observe;
mod pin;
mod pod;
mod pod_events;
mod progress;
mod readiness;
mod report;
mod source;
mod status;
mod unreadable;
mod validate;

#[cfg(test)]
mod build_tests;
#[cfg(test)]
mod status_tests;

use candela_crds::InferenceService;
use k8s_openapi::api::networking::v1::NetworkPolicyPeer;
use kube::{Client, runtime::events::Recorder};

use observe::service_now;

pub use apply::{Applied, ApplyError};
pub use build::{Children, build};
pub use likeness::Written;
pub use observe::{Caches, ObserveError, Observed, observe, observe_now};
pub use pod_events::{EventCaches, PodEvents};
pub use progress::{ASK_INTERVAL, Asked, Heard, Progress};
pub use report::ReportError;
pub use source::{Credentials, Download, Source};
pub use status::status;
pub use unreadable::report_unreadable;
pub use validate::{Refusal, Validated, validate};

use crate::{leader::Leadership, metrics::Metrics};

/// The images that the chart configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Images {
    /// For services without a GPU.
    pub cpu: String,
    /// For services with one.
    pub gpu: Option<String>,
}

/// What the operator was started with that children depend on.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// The engine's images.
    pub images: Images,
    /// Secrets that engine pods pull their image with, unless their specification names Secrets or an account.
    pub image_pull_secrets: Vec<String>,
    /// Makes a NetworkPolicy for every service.
    pub network_policy: Option<NetworkPolicySettings>,
}

/// What a service's NetworkPolicy allows.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct NetworkPolicySettings {
    /// Who may send requests; anyone in the cluster if empty.
    pub from: Vec<NetworkPolicyPeer>,
}

/// What every reconcile needs.
pub struct Context {
    /// The API server.
    pub client: Client,
    /// What watches have shown.
    pub caches: Caches,
    /// What children depend on besides the specification.
    pub settings: Settings,
    /// The right to write.
    pub leadership: Leadership,
    /// Where writes are counted.
    pub metrics: Metrics,
    /// Where events are recorded.
    pub recorder: Recorder,
    /// What was written last, so that a steady state needs no write.
    pub written: Written,
    /// What pods said of how far they are.
    pub asked: Asked,
}

/// What a reconcile came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reconciled {
    /// The specification is carried out.
    pub accepted: bool,
    /// What is expected to happen by itself.
    pub outlook: Outlook,
}

/// What is expected to happen to a service by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outlook {
    /// Pods are on their way, or something is in theirs.
    Unsettled,
    /// Every pod answers; one of them may still say what its start cost.
    Measuring,
    /// Every pod answers, or none is wanted.
    Settled,
}

impl Reconciled {
    /// There is no such service any more.
    const GONE: Self = Self {
        accepted: true,
        outlook: Outlook::Settled,
    };
}

/// How old what is known of a service may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum View {
    /// As a watch has shown it.
    Seen,
    /// As the API server had it a moment ago.
    Now,
}

/// A reconcile that has to be tried again.
#[derive(Debug, thiserror::Error)]
pub enum ReconcileError {
    /// A read failed.
    #[error(transparent)]
    Observe(#[from] ObserveError),
    /// A write to a child failed.
    #[error(transparent)]
    Apply(#[from] ApplyError),
    /// A write to the status failed.
    #[error(transparent)]
    Report(#[from] ReportError),
}

impl Images {
    /// The image for a service with a GPU, or without.
    pub fn for_gpu(&self, gpu: bool) -> Option<String> {
        if gpu {
            self.gpu.clone()
        } else {
            Some(self.cpu.clone())
        }
    }
}

/// Brings the children of `service` and its status to what its specification says.
///
/// # Guarantees
/// Nothing is written when nothing has to change; nothing is written that another owns; the
/// specification is never written.
///
/// # Errors
/// [`ReconcileError`] when the API server did not do its part; trying again is always safe.
pub async fn reconcile(
    service: &InferenceService,
    ctx: &Context,
) -> Result<Reconciled, ReconcileError> {
    let seen = observe(&ctx.caches, service);
    let children = children(service, &seen, &ctx.settings);
    if !apply::is_wanting(ctx, service, &seen, &children) {
        let applied = Applied::untouched(service, seen, children.err());
        return finish(ctx, service, applied, View::Seen).await;
    }
    let Some(service) = service_now(&ctx.client, service).await? else {
        return Ok(Reconciled::GONE);
    };
    let observed = observe_now(&ctx.client, &service, &ctx.settings, seen).await?;
    let children = self::children(&service, &observed, &ctx.settings);
    let applied = apply::apply(ctx, &service, observed, children).await?;
    finish(ctx, &service, applied, View::Now).await
}

/// What `service` should have, or why that cannot be said.
fn children(
    service: &InferenceService,
    observed: &Observed,
    settings: &Settings,
) -> Result<Children, Refusal> {
    validate(service, observed, settings).map(|valid| build(&valid, observed, settings))
}

async fn finish(
    ctx: &Context,
    service: &InferenceService,
    mut applied: Applied,
    view: View,
) -> Result<Reconciled, ReconcileError> {
    let (events, pods) = (&ctx.caches.events, &applied.pods);
    applied.coming = ctx.asked.of_coming(events, pods).await;
    applied.started = ctx.asked.of_started(events, service, pods).await;
    Ok(report::report(ctx, service, &applied, view).await?)
}
