//! The bounds of a request's fields.

/// Most answers to one prompt (`n`), as in OpenAI's API.
pub const ANSWERS_MAX: usize = 128;
/// Most prompts in one `/v1/completions` request.
pub const PROMPTS_MAX: usize = 1_024;
/// Most inputs in one `/v1/embeddings` request, as in OpenAI's API.
pub const INPUTS_MAX: usize = 2_048;
/// Most tokens that `/detokenize` takes.
pub const DETOKENIZED_MAX: usize = 1 << 20;
/// Most messages in one chat.
pub const MESSAGES_MAX: usize = 4_096;
/// Most stop strings. OpenAI takes 4; vLLM's clients send more.
pub const STOP_STRINGS_MAX: usize = 16;
/// Longest stop string, in bytes.
pub const STOP_STRING_BYTES_MAX: usize = 1_024;
/// Most stop tokens.
pub const STOP_TOKEN_IDS_MAX: usize = 128;
/// Longest `user`, in bytes.
pub const USER_BYTES_MAX: usize = 1_024;
/// Longest `cache_salt`, in bytes.
pub const CACHE_SALT_BYTES_MAX: usize = 1_024;
/// Answer of a `/v1/completions` request that does not say, in tokens, as in OpenAI's API.
pub const COMPLETION_TOKENS_DEFAULT: usize = 16;
/// Smallest temperature that is not greedy, as in vLLM; below it logits overflow.
pub const TEMPERATURE_MIN: f64 = 0.01;
/// Largest temperature. OpenAI takes 2; beyond 100 sampling is uniform for any model.
pub const TEMPERATURE_MAX: f64 = 100.0;
/// How much of a client's value an error message repeats.
pub const ECHOED_CHARS_MAX: usize = 100;
