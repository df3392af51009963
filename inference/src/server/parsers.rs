//! How this model's answers are read: by the flags, or by what the chat template shows.

use candela_flags::{EngineFlags, ReasoningParser, ToolCallParser};

use super::tool_grammar::{ARGUMENTS_MARKER, behind_reasoning, tool_grammar};
use crate::{
    grammar::{Grammar, GrammarError},
    prompt::{
        AnswerSyntax, CallFormat, CallIds, ChatTemplate, ReasoningFormat, Tokenizer, detect_calls,
    },
    request::{AskedGrammar, CheckedChat, RequestError, ToolChoice, ToolUse, grammar_error},
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
    /// Mistral's tokenizer has a token between a call's name and its arguments.
    arguments_marked: bool,
    reasoning: Option<ReasoningFormat>,
    /// Chats that may call no tools show the model none.
    exclude_tools: bool,
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
            arguments_marked: tokenizer.token_id(ARGUMENTS_MARKER).is_some(),
            reasoning: reasoning.transpose()?,
            exclude_tools: flags.exclude_tools_when_tool_choice_none,
        })
    }

    /// Takes the tools out of a chat that may call none, if the flags say so.
    pub(super) fn hide_tools(&self, chat: &mut CheckedChat) {
        if self.exclude_tools && chat.tools.choice == ToolChoice::None {
            chat.input.tools = None;
        }
    }

    /// How the answers to this chat are read, whose prompt begins them. Restricts them as the tools
    /// want, and behind what the model thinks only.
    ///
    /// # Errors
    /// A 400 for a model that shall decide about calls which cannot be read, and for schemas that are
    /// too large.
    pub(super) fn read(
        &self,
        chat: &mut CheckedChat,
        prompt: &str,
    ) -> Result<AnswerSyntax, RequestError> {
        let syntax = self.syntax(chat, prompt)?;
        if syntax.hide_reasoning && syntax.reasoning.is_some() {
            chat.options.hide_answer_tokens();
        }
        let asked = chat.options.grammar.take();
        let calls = self.tool_grammar(&chat.tools, &syntax, asked.is_some());
        let calls = calls.map_err(|error| grammar_error("tools", &error))?;
        let asked = combined(asked, calls, &chat.tools);
        chat.options.grammar = asked.map(|asked| match syntax.reasoning {
            Some((format, start)) => AskedGrammar {
                grammar: behind_reasoning(asked.grammar, format, start),
                ..asked
            },
            None => asked,
        });
        Ok(syntax)
    }

    fn syntax(&self, chat: &CheckedChat, prompt: &str) -> Result<AnswerSyntax, RequestError> {
        let calls = match chat.tools.choice {
            ToolChoice::None => None,
            ToolChoice::Auto => Some(self.calls.clone().ok_or_else(unknown_calls)?),
            // A grammar makes calls in the model's own form; without one, in any.
            ToolChoice::Required => Some(self.calls.clone().unwrap_or(CallFormat::List)),
            ToolChoice::Named => {
                let name = chat
                    .tools
                    .functions
                    .first()
                    .map(|function| function.name.clone());
                let arguments = CallFormat::Arguments(name.unwrap_or_default());
                Some(self.calls.clone().unwrap_or(arguments))
            }
        };
        let last = chat.input.messages.last();
        let last = last.and_then(|message| message["content"].as_str());
        let continued = last.filter(|_| chat.input.continue_final_message);
        let start = |format: ReasoningFormat| (format, format.start(prompt, continued));
        Ok(AnswerSyntax {
            reasoning: self.reasoning.map(start),
            hide_reasoning: !chat.include_reasoning,
            calls,
            call_ids: self.call_ids,
            one_call: chat.tools.one_call || chat.tools.choice == ToolChoice::Named,
            named_tool: chat.tools.choice == ToolChoice::Named,
        })
    }

    fn tool_grammar(
        &self,
        tools: &ToolUse,
        syntax: &AnswerSyntax,
        in_form: bool,
    ) -> Result<Option<Grammar>, GrammarError> {
        let calls = syntax.calls.as_ref();
        let calls = calls.map(|format| tool_grammar(tools, format, self.arguments_marked, in_form));
        Ok(calls.transpose()?.flatten())
    }
}

/// What an answer follows of which a form is asked, and which may call tools. Calls are no content, which
/// is all that response_format is about: an answer is one or the other.
fn combined(
    asked: Option<AskedGrammar>,
    calls: Option<Grammar>,
    tools: &ToolUse,
) -> Option<AskedGrammar> {
    let Some(calls) = calls else { return asked };
    match asked {
        Some(asked) if tools.choice == ToolChoice::Auto => Some(AskedGrammar {
            // Only schemas of strict tools are part of it, and could be what does not compile.
            param: match tools.functions.iter().any(|function| function.strict) {
                true => format!("{}, tools", asked.param),
                false => asked.param,
            },
            grammar: Grammar::Any(vec![asked.grammar, calls]),
        }),
        _ => Some(AskedGrammar {
            param: "tools".to_owned(),
            grammar: calls,
        }),
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

fn reasoning(
    parser: ReasoningParser,
    tokenizer: &Tokenizer,
) -> Result<ReasoningFormat, ParserError> {
    let has = |format: ReasoningFormat| tokenizer.token_id(format.close);
    let format = match parser {
        ReasoningParser::DeepseekR1 => ReasoningFormat::THINK_IMPLIED,
        ReasoningParser::Qwen3 => ReasoningFormat::THINK,
        ReasoningParser::Mistral => ReasoningFormat::MISTRAL,
        ReasoningParser::Auto if has(ReasoningFormat::THINK).is_none() => ReasoningFormat::MISTRAL,
        ReasoningParser::Auto => ReasoningFormat::THINK,
    };
    match has(format) {
        Some(_) => Ok(format),
        None => Err(ParserError::NoTag { tag: format.close }),
    }
}
