//! Grammars of answers that call tools: every call is one that the model's own form allows, and its
//! arguments follow the tool's schema. And of answers that come after thoughts.

use crate::{
    grammar::{Grammar, GrammarError, SchemaOptions, Structure, Tagged},
    prompt::{CallFormat, ReasoningFormat, ReasoningStart},
    request::{Function, ToolChoice, ToolUse, limits},
};

/// What newer tokenizers of Mistral put between a call's name and its arguments.
pub(super) const ARGUMENTS_MARKER: &str = "[ARGS]";

/// Objects of arguments have no members that the schema does not name, unless it says so: a function
/// could not take them.
const ARGUMENTS: SchemaOptions = SchemaOptions {
    compact: false,
    closed: true,
};

/// What an answer follows that calls these tools; `None` where it may say anything. `arguments_marked`:
/// calls of Mistral's models are written with [`ARGUMENTS_MARKER`]. With `in_form` what is no call follows
/// a form of its own, so that calls stand alone, also where the model decides on them.
///
/// # Errors
/// [`GrammarError::TooLarge`] for one of the schemas.
pub(super) fn tool_grammar(
    tools: &ToolUse,
    format: &CallFormat,
    arguments_marked: bool,
    in_form: bool,
) -> Result<Option<Grammar>, GrammarError> {
    let ToolUse {
        choice,
        functions,
        one_call,
    } = tools;
    let forced = match choice {
        ToolChoice::None => return Ok(None),
        // What begins without a marker cannot be told from text before it is over.
        ToolChoice::Auto if format.marker().is_none() || *format == CallFormat::Llama3Json => {
            return Ok(None);
        }
        ToolChoice::Auto if !in_form && !functions.iter().any(|function| function.strict) => {
            return Ok(None);
        }
        ToolChoice::Auto => false,
        ToolChoice::Required | ToolChoice::Named => true,
    };
    let most = match choice {
        ToolChoice::Named => 1,
        _ if *one_call => 1,
        _ => limits::REQUIRED_CALLS_MAX,
    };
    let calls = Calls {
        functions,
        format,
        within_text: !forced && !in_form,
        forced,
        most,
    };
    calls.grammar(arguments_marked).map(Some)
}

struct Calls<'a> {
    functions: &'a [Function],
    format: &'a CallFormat,
    /// Text may stand around them.
    within_text: bool,
    /// The model does not decide on them: all follow their schemas.
    forced: bool,
    most: usize,
}

impl Calls<'_> {
    fn grammar(&self, arguments_marked: bool) -> Result<Grammar, GrammarError> {
        match self.format {
            CallFormat::Hermes => {
                let call = self.each(|function| Structure {
                    trigger: "<tool_call>".to_owned(),
                    end: "}\n</tool_call>".to_owned(),
                    ..object("\n", function, "arguments")
                })?;
                Ok(self.several(call, "\n"))
            }
            CallFormat::Llama3Json => {
                let call = self.each(|function| object("", function, "parameters"))?;
                Ok(self.several(call, "; "))
            }
            CallFormat::Mistral if arguments_marked => {
                let call = self.each(|function| Structure {
                    trigger: "[TOOL_CALLS]".to_owned(),
                    begin: function.name.clone(),
                    ..empty()
                })?;
                let marked = |structure: Structure| Structure {
                    content: one(Structure {
                        trigger: ARGUMENTS_MARKER.to_owned(),
                        content: structure.content,
                        ..empty()
                    }),
                    ..structure
                };
                Ok(self.several(call.into_iter().map(marked).collect(), ""))
            }
            CallFormat::Mistral => self.list("[TOOL_CALLS]", " [", "arguments"),
            CallFormat::List => self.list("", "[", "parameters"),
            CallFormat::Arguments(_) => match self.functions.first() {
                Some(function) => self.arguments(function),
                None => Ok(Grammar::json_object(ARGUMENTS)),
            },
        }
    }

    /// A part for each tool; its content is the tool's arguments.
    fn each(&self, part: impl Fn(&Function) -> Structure) -> Result<Vec<Structure>, GrammarError> {
        let parts = self.functions.iter().map(|function| {
            Ok(Structure {
                content: self.arguments(function)?,
                ..part(function)
            })
        });
        parts.collect()
    }

    fn arguments(&self, function: &Function) -> Result<Grammar, GrammarError> {
        if !self.forced && !function.strict {
            return Ok(Grammar::json_object(SchemaOptions::default()));
        }
        Grammar::json_schema_with(&function.parameters, ARGUMENTS)
    }

    fn several(&self, structures: Vec<Structure>, separator: &str) -> Grammar {
        Grammar::Tagged(Tagged {
            text: self.within_text,
            structures,
            at_least: usize::from(!self.within_text),
            at_most: (!self.within_text).then_some(self.most),
            separator: separator.to_owned(),
        })
    }

    /// A JSON list of calls, once.
    fn list(&self, trigger: &str, begin: &str, member: &str) -> Result<Grammar, GrammarError> {
        let inner = Calls {
            within_text: false,
            ..*self
        };
        let calls = self.each(|function| object("", function, member))?;
        let outer = Structure {
            trigger: trigger.to_owned(),
            begin: begin.to_owned(),
            content: inner.several(calls, ", "),
            end: "]".to_owned(),
        };
        let once = Calls { most: 1, ..*self };
        Ok(once.several(vec![outer], ""))
    }
}

/// `{"name": …, "arguments": …}` with room for the arguments.
fn object(before: &str, function: &Function, member: &str) -> Structure {
    Structure {
        begin: format!("{before}{{\"name\": \"{}\", \"{member}\": ", function.name),
        end: "}".to_owned(),
        ..empty()
    }
}

/// A part without markup. Its content is to be replaced.
fn empty() -> Structure {
    Structure {
        trigger: String::new(),
        begin: String::new(),
        content: Grammar::Choice(Vec::new()),
        end: String::new(),
    }
}

/// Nothing but one part.
fn one(structure: Structure) -> Grammar {
    Grammar::Tagged(Tagged {
        text: false,
        structures: vec![structure],
        at_least: 1,
        at_most: Some(1),
        separator: String::new(),
    })
}

/// What `grammar` allows, behind thoughts if the model has any.
pub(super) fn behind_reasoning(
    grammar: Grammar,
    format: ReasoningFormat,
    start: ReasoningStart,
) -> Grammar {
    match start {
        ReasoningStart::Over => grammar,
        ReasoningStart::Thinking => grammar.after(format.close),
        ReasoningStart::Undecided if format.implied => grammar.after(format.close),
        ReasoningStart::Undecided => {
            let thought = one(Structure {
                trigger: format.open.to_owned(),
                content: grammar.clone().after(format.close),
                ..empty()
            });
            Grammar::Any(vec![grammar, thought])
        }
    }
}
