//! Between text and tokens: chat templates, the tokenizer, the incremental detokenizer, and stop
//! strings. It implements the engine's `StopCheck` and knows nothing of the server.

mod answer;
mod answer_message;
mod content;
mod detokenizer;
mod json;
mod message;
mod parsers;
mod python;
mod special_tokens;
mod stop;
mod template;
mod token_bytes;
mod token_text;
mod tokenizer;

pub use answer::AnswerText;
pub use answer_message::AnswerMessage;
pub use detokenizer::Detokenizer;
pub use message::{Message, MessageDelta, ToolCall, ToolCallDelta};
pub use parsers::{
    AnswerParser, AnswerSyntax, CallFormat, CallIds, ReasoningFormat, ReasoningStart, detect_calls,
};
pub use stop::StopMatcher;
pub use template::{
    ChatInput, ChatTemplate, RENDERED_BYTES_MAX, RenderError, TEMPLATE_BYTES_MAX, TEMPLATE_FUEL,
    TemplateError, TemplateFiles,
};
pub use token_bytes::TokenBytes;
pub use token_text::TokenText;
pub use tokenizer::{
    TOKENIZER_BYTES_MAX, TOKENIZER_DEPTH_MAX, TOKENS_PER_BYTE_MAX, Tokenizer, TokenizerError,
    Truncation, TruncationSide,
};

#[cfg(test)]
mod test_tokenizer;
