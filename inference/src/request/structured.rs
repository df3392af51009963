//! What an answer must follow, checked as far as it can be without compiling it: `response_format` and
//! `structured_outputs`, of which a request has at most one.

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{
    RequestError, limits,
    parse::{self, NestedJson},
};
use crate::{
    grammar::{Grammar, GrammarError, SchemaOptions, Structure, Tagged},
    openai::{
        GenerationOptions, GuidedDecoding, ResponseFormat, StructuralTag, StructuredOutputs,
        TaggedStructure,
    },
};

/// A grammar, and the field that asked for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AskedGrammar {
    /// To blame where it does not compile.
    pub param: String,
    /// What the answer must follow.
    pub grammar: Grammar,
}

impl AskedGrammar {
    fn new(param: &str, grammar: Result<Grammar, GrammarError>) -> Result<Self, RequestError> {
        match grammar {
            Ok(grammar) => Ok(Self {
                param: param.to_owned(),
                grammar,
            }),
            Err(error) => Err(grammar_error(param, &error)),
        }
    }
}

/// A 400 for a grammar that cannot be used.
pub fn grammar_error(param: &str, error: &GrammarError) -> RequestError {
    RequestError::invalid(param, format!("{param}: {error}"))
}

/// What the request's answers must follow, if anything.
pub(super) fn asked_grammar(
    options: &GenerationOptions,
) -> Result<Option<AskedGrammar>, RequestError> {
    refuse_former_fields(&options.guided)?;
    let format = options.response_format.as_ref();
    let format = format.map(response_format).transpose()?.flatten();
    let structured = options.structured_outputs.as_ref();
    let structured = structured.map(structured_outputs).transpose()?;
    match (format, structured) {
        (Some(_), Some(_)) => Err(RequestError::invalid(
            "structured_outputs",
            "structured_outputs: only one of response_format and structured_outputs may restrict \
             an answer; leave one out",
        )),
        (format, structured) => Ok(format.or(structured)),
    }
}

fn refuse_former_fields(guided: &GuidedDecoding) -> Result<(), RequestError> {
    let GuidedDecoding {
        guided_json,
        guided_regex,
        guided_choice,
        guided_grammar,
        guided_whitespace_pattern,
        guided_decoding_backend,
        guided_json_object,
    } = guided;
    for (field, value, instead) in [
        ("guided_json", guided_json, "use structured_outputs.json"),
        ("guided_regex", guided_regex, "use structured_outputs.regex"),
        (
            "guided_choice",
            guided_choice,
            "use structured_outputs.choice",
        ),
        (
            "guided_grammar",
            guided_grammar,
            "use structured_outputs.grammar",
        ),
        (
            "guided_json_object",
            guided_json_object,
            "use structured_outputs.json_object",
        ),
        (
            "guided_whitespace_pattern",
            guided_whitespace_pattern,
            "use structured_outputs.disable_any_whitespace",
        ),
        (
            "guided_decoding_backend",
            guided_decoding_backend,
            "leave it out; there is one backend",
        ),
    ] {
        if value.is_some() {
            let message = format!("{field}: no longer a field of vLLM's API; {instead}");
            return Err(RequestError::invalid(field, message));
        }
    }
    Ok(())
}

fn response_format(format: &ResponseFormat) -> Result<Option<AskedGrammar>, RequestError> {
    match format.kind.as_str() {
        "text" => Ok(None),
        "json_object" => {
            let object = Grammar::json_object(SchemaOptions::default());
            AskedGrammar::new("response_format", Ok(object)).map(Some)
        }
        "json_schema" => {
            let param = "response_format.json_schema";
            let Some(wanted) = &format.json_schema else {
                let message = format!("{param}: required with \"type\": \"json_schema\"");
                return Err(RequestError::invalid(param, message));
            };
            let param = "response_format.json_schema.schema";
            AskedGrammar::new(param, Grammar::json_schema(&wanted.schema)).map(Some)
        }
        "structural_tag" => {
            let ResponseFormat {
                structures,
                triggers,
                format,
                ..
            } = format.clone();
            let tag = StructuralTag {
                structures,
                triggers,
                format,
            };
            structural_tag("response_format", tag, SchemaOptions::default()).map(Some)
        }
        kind => {
            let param = "response_format.type";
            let kind: String = kind.chars().take(limits::ECHOED_CHARS_MAX).collect();
            let message = format!(
                "{param}: must be text, json_object, json_schema or structural_tag, not `{kind}`"
            );
            Err(RequestError::invalid(param, message))
        }
    }
}

fn structured_outputs(asked: &StructuredOutputs) -> Result<AskedGrammar, RequestError> {
    let StructuredOutputs {
        json,
        regex,
        choice,
        grammar,
        json_object,
        structural_tag: tag,
        disable_any_whitespace,
        disable_additional_properties,
        whitespace_pattern,
    } = asked;
    let options = SchemaOptions {
        compact: disable_any_whitespace.unwrap_or(false),
        closed: disable_additional_properties.unwrap_or(false),
    };
    if whitespace_pattern.is_some() {
        let param = "structured_outputs.whitespace_pattern";
        let message = format!("{param}: not supported; use disable_any_whitespace");
        return Err(RequestError::invalid(param, message));
    }
    let mut kinds = Vec::new();
    let mut texts = NestedJson::new();
    if let Some(json) = json {
        let param = "structured_outputs.json";
        let schema = parsed(&mut texts, param, json)?;
        kinds.push(AskedGrammar::new(
            param,
            Grammar::json_schema_with(&schema, options),
        ));
    }
    if let Some(regex) = regex {
        kinds.push(AskedGrammar::new(
            "structured_outputs.regex",
            Grammar::regex(regex),
        ));
    }
    if let Some(choice) = choice {
        kinds.push(AskedGrammar::new(
            "structured_outputs.choice",
            Grammar::choice(choice.clone()),
        ));
    }
    if let Some(grammar) = grammar {
        kinds.push(AskedGrammar::new(
            "structured_outputs.grammar",
            Grammar::context_free(grammar),
        ));
    }
    if json_object == &Some(true) {
        kinds.push(AskedGrammar::new(
            "structured_outputs.json_object",
            Ok(Grammar::json_object(options)),
        ));
    }
    if let Some(tag) = tag {
        let param = "structured_outputs.structural_tag";
        let tag: StructuralTag = fields(param, parsed(&mut texts, param, tag)?)?;
        kinds.push(structural_tag(param, tag, options));
    }
    match kinds.len() {
        1 => kinds.remove(0),
        count => Err(RequestError::invalid(
            "structured_outputs",
            format!(
                "structured_outputs: exactly one of json, regex, choice, grammar, json_object and \
                 structural_tag, not {count}"
            ),
        )),
    }
}

/// Text, in which each trigger begins one of the parts.
fn structural_tag(
    param: &str,
    tag: StructuralTag,
    options: SchemaOptions,
) -> Result<AskedGrammar, RequestError> {
    let refuse = |message: &str| {
        let message = format!("{param}: {message}");
        Err(RequestError::invalid(param, message))
    };
    let StructuralTag {
        structures,
        triggers,
        format,
    } = tag;
    if format.is_some() {
        return refuse("`format` is not supported; use structures and triggers");
    }
    let (Some(structures), Some(triggers)) = (structures, triggers) else {
        return refuse("structures and triggers are required");
    };
    let max = limits::STRUCTURES_MAX;
    if !(1..=max).contains(&structures.len()) {
        return refuse(&format!("from 1 to {max} structures"));
    }
    let mut parts = Vec::new();
    for (i, TaggedStructure { begin, schema, end }) in structures.into_iter().enumerate() {
        let begins = |trigger: &&String| !trigger.is_empty() && begin.starts_with(trigger.as_str());
        let Some(trigger) = triggers.iter().find(begins).cloned() else {
            return refuse(&format!(
                "structures[{i}].begin begins with none of the triggers"
            ));
        };
        let content = Grammar::json_schema_with(&schema, options);
        parts.push(Structure {
            begin: begin[trigger.len()..].to_owned(),
            trigger,
            content: content.map_err(|error| grammar_error(param, &error))?,
            end,
        });
    }
    let tagged = Tagged {
        text: true,
        structures: parts,
        at_least: 0,
        at_most: None,
        separator: String::new(),
    };
    AskedGrammar::new(param, Ok(Grammar::Tagged(tagged)))
}

/// JSON that may come as its text.
fn parsed(texts: &mut NestedJson, param: &str, value: &Value) -> Result<Value, RequestError> {
    let Some(text) = value.as_str() else {
        return Ok(value.clone());
    };
    texts.read(param, text)?.map_err(|error| {
        RequestError::invalid(
            param,
            format!("{param}: the text is not valid JSON: {error}"),
        )
    })
}

fn fields<T: DeserializeOwned>(param: &str, value: Value) -> Result<T, RequestError> {
    serde_json::from_value(value).map_err(|error| {
        let error = parse::shortened(&error.to_string());
        RequestError::invalid(param, format!("{param}: {error}"))
    })
}

#[cfg(test)]
#[path = "structured_tests.rs"]
mod tests;
