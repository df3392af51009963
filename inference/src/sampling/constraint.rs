//! What restricts a branch's next token: a grammar, say. The engine asks it before each token and tells
//! it what was chosen; it knows nothing of what stands behind.

/// A restriction that no token can satisfy any more; the request it belongs to fails with it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ConstraintError(pub String);

/// Decides which tokens may come next in one branch. Runs on the engine's thread.
pub trait TokenConstraint: Send {
    /// The tokens that may come next: bit `token % 32` of word `token / 32`, none beyond its end.
    ///
    /// # Errors
    /// [`ConstraintError`] when the branch cannot go on.
    fn allowed(&mut self) -> Result<&[u32], ConstraintError>;

    /// The tokens that are [`allowed`](Self::allowed), if any, do nothing but end the answer.
    fn is_complete(&self) -> bool {
        false
    }

    /// Takes the token that was chosen among those that were [`allowed`](Self::allowed).
    ///
    /// # Errors
    /// [`ConstraintError`] when the token cannot follow.
    fn accept(&mut self, token: u32) -> Result<(), ConstraintError>;
}
