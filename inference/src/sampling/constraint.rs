//! What restricts a branch's next token: a grammar, say. The engine asks it before each token and tells
//! it what was chosen; it knows nothing of what stands behind.

/// A restriction that no token can satisfy any more; the request it belongs to fails with it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ConstraintError(pub String);

/// Decides which tokens may come next in one branch. Runs on the engine's thread.
pub trait TokenConstraint: Send {
    /// Sets the logits of all tokens that may not come next to minus infinity.
    ///
    /// # Errors
    /// [`ConstraintError`] when no token may.
    fn mask(&mut self, logits: &mut [f32]) -> Result<(), ConstraintError>;

    /// The tokens that [`mask`](Self::mask) last left, if any, do nothing but end the answer.
    fn is_complete(&self) -> bool {
        false
    }

    /// Takes the token that was chosen among those that [`mask`](Self::mask) left.
    ///
    /// # Errors
    /// [`ConstraintError`] when the token cannot follow.
    fn accept(&mut self, token: u32) -> Result<(), ConstraintError>;
}
