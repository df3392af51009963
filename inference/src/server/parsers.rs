//! How this model's answers are read: by the flags, or by what the chat template shows.

use candela_flags::{EngineFlags, ReasoningParser, ToolCallParser};

use crate::{
    prompt::{
        AnswerSyntax, CallFormat, CallIds, ChatTemplate, ReasoningFormat, Tokenizer, detect_calls,
    },
    request::{CheckedChat, RequestError, ToolChoice},
};

/// The model's answers cannot be read as the flags want.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParserError {
    /// `--enable-auto-tool-choice`, and no form of calls.
    #[error(
        "--enable-auto-tool-choice: the chat template writes no tool calls in a form that is known \
         here: name one with --tool-call-parser"
    )]
    UnknownCalls,
    /// `--reasoning-parser`, and a tokenizer without its tags.
    #[error(
        "--reasoning-parser: the tokenizer has no token `{tag}`, so that this model does not mark its \
         thoughts by it: choose another parser, or leave the flag out"
    )]
    NoTag {
        /// The tag that ends the thoughts.
        tag: &'static str,
    },
}

/// How the model's answers are read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Parsers {
    calls: Option<CallFormat>,
    call_ids: CallIds,
    reasoning: Option<Reasoning>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Reasoning {
    format: ReasoningFormat,
    /// The token of its closing tag.
    end: u32,
}

impl Parsers {
    pub(super) fn new(
        flags: &EngineFlags,
        template: Option<&ChatTemplate>,
        tokenizer: &Tokenizer,
    ) -> Result<Self, ParserError> {
        let calls = match flags.tool_call_parser {
            Some(ToolCallParser::Hermes) => Some(CallFormat::Hermes),
            Some(ToolCallParser::Llama3Json) => Some(CallFormat::Llama3Json),
            Some(ToolCallParser::Mistral) => Some(CallFormat::Mistral),
            None => template.and_then(detect_calls),
        };
        if flags.enable_auto_tool_choice && calls.is_none() {
            return Err(ParserError::UnknownCalls);
        }
        let call_ids = match calls {
            Some(CallFormat::Mistral) => CallIds::NineCharacters,
            _ => CallIds::Long,
        };
        let reasoning = flags
            .reasoning_parser
            .map(|parser| reasoning(parser, tokenizer));
        Ok(Self {
            calls,
            call_ids,
            reasoning: reasoning.transpose()?,
        })
    }

    /// How the answers to this chat are read, whose prompt begins them.
    ///
    /// # Errors
    /// A 400 for a model that shall decide about calls which cannot be read.
    pub(super) fn syntax(
        &self,
        chat: &CheckedChat,
        prompt: &str,
    ) -> Result<AnswerSyntax, RequestError> {
        let calls = match &chat.tools.choice {
            ToolChoice::None => None,
            ToolChoice::Auto => Some(self.calls.clone().ok_or_else(unknown_calls)?),
            ToolChoice::Required(_) => Some(CallFormat::List),
            ToolChoice::Named(function) => Some(CallFormat::Arguments(function.name.clone())),
        };
        let last = chat.input.messages.last();
        let last = last.and_then(|message| message["content"].as_str());
        let continued = last.filter(|_| chat.input.continue_final_message);
        let start = |format: ReasoningFormat| (format, format.start(prompt, continued));
        Ok(AnswerSyntax {
            reasoning: self.reasoning.map(|reasoning| start(reasoning.format)),
            hide_reasoning: !chat.include_reasoning,
            calls,
            call_ids: self.call_ids,
            one_call: chat.tools.one_call,
        })
    }
}

fn unknown_calls() -> RequestError {
    RequestError::invalid(
        "tool_choice",
        "tool_choice: \"auto\" tool choice requires --enable-auto-tool-choice and --tool-call-parser: \
         this model's chat template writes no tool calls in a form that is known; start the server \
         with these flags, or set tool_choice to \"none\", \"required\" or a named tool",
    )
}

fn reasoning(parser: ReasoningParser, tokenizer: &Tokenizer) -> Result<Reasoning, ParserError> {
    let has = |format: ReasoningFormat| tokenizer.token_id(format.close);
    let format = match parser {
        ReasoningParser::DeepseekR1 => ReasoningFormat::THINK_IMPLIED,
        ReasoningParser::Qwen3 => ReasoningFormat::THINK,
        ReasoningParser::Mistral => ReasoningFormat::MISTRAL,
        ReasoningParser::Auto if has(ReasoningFormat::THINK).is_none() => ReasoningFormat::MISTRAL,
        ReasoningParser::Auto => ReasoningFormat::THINK,
    };
    match has(format) {
        Some(end) => Ok(Reasoning { format, end }),
        None => Err(ParserError::NoTag { tag: format.close }),
    }
}
