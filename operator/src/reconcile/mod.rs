//! One reconcile: observe, validate, build, apply, report. Reads are in `observe`, writes in `apply`
//! and `report`; what is between is pure.

mod apply;
mod build;
mod observe;
mod pin;
mod pod;
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
use kube::{Client, runtime::events::Recorder};

pub use apply::{Applied, ApplyError, Written};
pub use build::{Children, build};
pub use observe::{ObserveError, Observed, observe};
pub use progress::{ASK_INTERVAL, Asked, Progress};
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
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The engine's images.
    pub images: Images,
}

/// What every reconcile needs.
pub struct Context {
    /// The API server.
    pub client: Client,
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
    /// Every pod answers, or none is wanted: nothing is expected to change by itself.
    pub settled: bool,
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
    let observed = observe(&ctx.client, service).await?;
    let validated = validate(service, &observed, &ctx.settings);
    let children = validated.map(|valid| build(&valid, &observed));
    let mut applied = apply::apply(ctx, service, observed, children).await?;
    applied.progress = ctx.asked.newest(&applied.pods).await;
    Ok(report::report(ctx, service, &applied).await?)
}
