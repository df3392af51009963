//! The bounds of a request's fields.

/// Most answers to one prompt (`n`), as in OpenAI's API.
pub const ANSWERS_MAX: usize = 128;
/// Most prompts in one `/v1/completions` request.
pub const PROMPTS_MAX: usize = 1_024;
/// Most inputs in one `/v1/embeddings` request, as in OpenAI's API.
pub const INPUTS_MAX: usize = 2_048;
/// Most tokens that `/detokenize` takes.
pub const DETOKENIZED_MAX: usize = 1 << 19;
/// Most messages in one chat.
pub const MESSAGES_MAX: usize = 4_096;
/// Most items in the input of a responses request.
pub const INPUT_ITEMS_MAX: usize = 4_096;
/// Most pairs of `metadata`, as in OpenAI's API.
pub const METADATA_PAIRS_MAX: usize = 16;
/// Longest key of `metadata`, in characters, as in OpenAI's API.
pub const METADATA_KEY_CHARS_MAX: usize = 64;
/// Longest value of `metadata`, in characters, as in OpenAI's API.
pub const METADATA_VALUE_CHARS_MAX: usize = 512;
/// Most of a request that its response repeats (instructions, tools, the text's format, the choice of
/// tools), as bytes of JSON: it is kept until the answer ends.
pub const RESPONSE_ECHO_BYTES_MAX: usize = 1 << 20;
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
/// Most structured parts of a `structural_tag`.
pub const STRUCTURES_MAX: usize = 128;
/// Answer of a `/v1/completions` request that does not say, in tokens, as in OpenAI's API.
pub const COMPLETION_TOKENS_DEFAULT: usize = 16;
/// Smallest temperature that is not greedy, as in vLLM; below it logits overflow.
pub const TEMPERATURE_MIN: f64 = 0.01;
/// Largest temperature. OpenAI takes 2; beyond 100 sampling is uniform for any model.
pub const TEMPERATURE_MAX: f64 = 100.0;
/// Largest presence or frequency penalty, and the smallest below 0, as in OpenAI's API.
pub const PENALTY_MAX: f64 = 2.0;
/// Largest repetition penalty; vLLM has no bound, and beyond this one it tells no tokens apart.
pub const REPETITION_PENALTY_MAX: f64 = 100.0;
/// Largest bias of a logit, and the smallest below 0, as in OpenAI's API.
pub const LOGIT_BIAS_MAX: f64 = 100.0;
/// Most tokens with a bias.
pub const LOGIT_BIAS_TOKENS_MAX: usize = 1_024;
/// Most likeliest tokens in one place, as in OpenAI's API and vLLM.
pub const LOGPROBS_MAX: usize = 20;
// A device has room for so many.
const _: () = assert!(LOGPROBS_MAX <= crate::sampling::TOP_LOGPROBS_MAX);
/// Most log probabilities of one request: of the tokens of all prompts and answers, and of the likeliest in
/// their places. An answer whose length is left open ends there; held as JSON they are 100 bytes each.
pub const LOGPROB_ENTRIES_MAX: usize = 1 << 20;
/// How much of a client's value an error message repeats.
pub const ECHOED_CHARS_MAX: usize = 100;
/// Most tools of one chat. OpenAI takes 128; gateways to many servers of tools send more.
pub const TOOLS_MAX: usize = 512;
/// Longest name of a tool, as in OpenAI's API.
pub const TOOL_NAME_CHARS_MAX: usize = 64;
/// Most calls of an answer that has to call tools, so that it comes to an end.
pub const REQUIRED_CALLS_MAX: usize = 64;
/// Most calls in one message of a conversation.
pub const MESSAGE_CALLS_MAX: usize = 512;
/// Most values in the JSON of a body, objects, lists and keys counted. Each takes up to 100 bytes of
/// memory once it is read, so a body of two bytes a value would take fifty times its size.
pub const JSON_VALUES_MAX: usize = 1 << 20;
/// How deep the JSON of a body may be nested: `serde_json`'s own limit.
pub const JSON_DEPTH_MAX: usize = 127;
