//! How the next token is chosen and when an answer ends. Values are checked where a request is
//! (`request`); here they are taken as they are.

/// How tokens are chosen and when the answer ends, for every branch of a request.
#[derive(Debug, Clone, PartialEq)]
pub struct SamplingParams {
    /// 0 is greedy; otherwise logits are divided by it.
    pub temperature: f32,
    /// Keep the `top_k` likeliest tokens; 0 keeps all.
    pub top_k: u32,
    /// Keep the likeliest tokens whose probabilities add up to `top_p`; in (0, 1].
    pub top_p: f32,
    /// Keep tokens at least so likely as this share of the likeliest; 0 keeps all.
    pub min_p: f32,
    /// Taken from the logit of every token that the answer has already.
    pub presence_penalty: f32,
    /// Taken from a token's logit once for each time that the answer has it.
    pub frequency_penalty: f32,
    /// Divides the positive logits, and multiplies the negative, of tokens of prompt and answer; above 0.
    pub repetition_penalty: f32,
    /// Added to the logits of these tokens.
    pub logit_bias: Vec<(u32, f32)>,
    /// Report the chosen token's log probability and those of so many likeliest tokens.
    pub logprobs: Option<usize>,
    /// Report the log probability of every prompt token after the first, and those of so many likeliest
    /// tokens in its place.
    pub prompt_logprobs: Option<usize>,
    /// With a seed the output is reproduced whatever else is in the batch. Branch `i` uses `seed + i`.
    pub seed: Option<u64>,
    /// Most tokens to generate; 0 only computes the prompt. Prompt and answer together fit the context.
    pub max_tokens: usize,
    /// No end-of-sequence or stop token before so many tokens; at most `max_tokens`.
    pub min_tokens: usize,
    /// Go on after the end-of-sequence token.
    pub ignore_eos: bool,
    /// Tokens that end the answer, the model's own end-of-sequence tokens aside.
    pub stop_token_ids: Vec<u32>,
}

impl SamplingParams {
    /// Greedy decoding of at most `max_tokens` tokens.
    pub fn greedy(max_tokens: usize) -> Self {
        Self {
            temperature: 0.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            presence_penalty: 0.0,
            frequency_penalty: 0.0,
            repetition_penalty: 1.0,
            logit_bias: Vec::new(),
            logprobs: None,
            prompt_logprobs: None,
            seed: None,
            max_tokens,
            min_tokens: 0,
            ignore_eos: false,
            stop_token_ids: Vec::new(),
        }
    }
    /// Logits depend on the tokens that came before, not only by way of the model.
    pub(super) fn has_penalties(&self) -> bool {
        self.presence_penalty != 0.0
            || self.frequency_penalty != 0.0
            || self.repetition_penalty != 1.0
    }
}
