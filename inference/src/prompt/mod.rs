//! Between text and tokens: chat templates, the tokenizer, the incremental detokenizer, and stop
//! strings. It implements the engine's `StopCheck` and knows nothing of the server.

mod answer;
mod detokenizer;
mod json;
mod message;
mod special_tokens;
mod stop;
mod template;
mod tokenizer;

pub use answer::AnswerText;
pub use detokenizer::Detokenizer;
pub use message::{Message, MessageDelta, ToolCall, ToolCallDelta};
pub use stop::StopMatcher;
pub use template::{ChatInput, ChatTemplate, RenderError, TemplateError, TemplateFiles};
pub use tokenizer::{Tokenizer, TokenizerError, Truncation, TruncationSide};

#[cfg(test)]
mod test_tokenizer;
