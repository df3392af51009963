//! Work on a body that takes long where the body is long: tokenizing, above all.

use super::{error::ApiError, limits};

/// Runs `work` where it is called for a body of few `bytes`, else on a thread of its own.
///
/// # Errors
/// What `work` says.
pub(super) async fn run<T: Send + 'static>(
    bytes: usize,
    work: impl FnOnce() -> Result<T, ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    if bytes <= limits::INLINE_BODY_BYTES_MAX {
        return work();
    }
    let outcome = tokio::task::spawn_blocking(work).await;
    outcome.unwrap_or_else(|error| {
        tracing::error!(%error, "checking a request failed");
        Err(ApiError::internal())
    })
}
