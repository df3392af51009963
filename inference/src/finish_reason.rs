//! Why a request finished. A leaf: everyone may import it, it imports nothing.

/// Why a request finished. The names are the label values of `vllm:request_success`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FinishReason {
    /// The model ended its answer, or a stop string or stop token came.
    Stop,
    /// `max_tokens` or the context length was reached.
    Length,
    /// The client went away, or the server shut down.
    Abort,
    /// The engine failed.
    Error,
}

impl FinishReason {
    /// Every reason.
    pub const ALL: [Self; 4] = [Self::Stop, Self::Length, Self::Abort, Self::Error];

    /// The name on the wire and in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Length => "length",
            Self::Abort => "abort",
            Self::Error => "error",
        }
    }
}
