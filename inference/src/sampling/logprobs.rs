//! How likely the chosen token was, and which were likelier.

/// Log probabilities at one position of an answer or a prompt, from the model's own logits, before
/// temperature, penalties and masks.
#[derive(Debug, Clone, PartialEq)]
pub struct TokenLogprobs {
    /// The token at this position.
    pub token: u32,
    /// Its natural log probability.
    pub logprob: f32,
    /// 1 for the likeliest token of the vocabulary.
    pub rank: usize,
    /// The likeliest tokens, the likeliest first.
    pub top: Vec<(u32, f32)>,
}
