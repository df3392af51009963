//! Forms in which models write tool calls and thoughts, by vLLM's names.

use clap::ValueEnum;

/// Form in which a model writes tool calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub enum ToolCallParser {
    /// JSON between `<tool_call>` tags: Hermes, Qwen.
    Hermes,
    /// JSON, perhaps after `<|python_tag|>`: Llama 3.
    #[value(name = "llama3_json", alias = "llama4_json")]
    Llama3Json,
    /// After `[TOOL_CALLS]`: Mistral.
    Mistral,
}

/// Form in which a model writes what it thinks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub enum ReasoningParser {
    /// `<think>` or `[THINK]`, whichever the tokenizer knows.
    Auto,
    /// Between `<think>` and `</think>`; the first may be missing.
    #[value(name = "deepseek_r1")]
    DeepseekR1,
    /// Between `<think>` and `</think>`, in the prompt or in the answer.
    Qwen3,
    /// Between `[THINK]` and `[/THINK]`.
    Mistral,
}
