//! The tools of a chat, checked: which may be called, how many at once, and what a call looks like.

use std::collections::HashSet;

use serde_json::{Map, Value, json};

use super::{RequestError, limits};

/// What an answer may do with tools.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ToolUse {
    /// Whether it calls any.
    pub choice: ToolChoice,
    /// Those that it may call.
    pub functions: Vec<Function>,
    /// Take the first call only.
    pub one_call: bool,
}

/// `tool_choice`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ToolChoice {
    /// The answer is text.
    #[default]
    None,
    /// The model decides.
    Auto,
    /// At least one tool is called.
    Required,
    /// The only one is called.
    Named,
}

/// A tool that can be called.
#[derive(Debug, Clone, PartialEq)]
pub struct Function {
    /// Letters, digits, `_` and `-`.
    pub name: String,
    /// JSON schema of the arguments: an object.
    pub parameters: Value,
    /// Calls follow the schema, also where the model decides whether to call.
    pub strict: bool,
}

/// What of a request is about tools, as it came.
#[derive(Debug, Default)]
pub(super) struct ToolFields {
    pub(super) tools: Option<Vec<Value>>,
    pub(super) tool_choice: Option<Value>,
    pub(super) parallel_tool_calls: Option<bool>,
}

/// Checks tools and choice. Returns what may be done, and the tools that the template gets: with
/// `allowed_tools` only those.
///
/// # Errors
/// A 400 naming the member.
pub(super) fn check(fields: ToolFields) -> Result<(ToolUse, Option<Vec<Value>>), RequestError> {
    let ToolFields {
        tools,
        tool_choice,
        parallel_tool_calls,
    } = fields;
    let choice = tool_choice.unwrap_or(Value::Null);
    let Some(tools) = tools else {
        if choice.is_null() || choice == "none" {
            return Ok((ToolUse::default(), None));
        }
        return Err(refuse("tool_choice", "only with tools"));
    };
    let mut functions = functions(&tools)?;
    let mut tools = tools;
    let choice = match choice {
        Value::Null => ToolChoice::Auto,
        Value::String(word) => match word.as_str() {
            "none" => ToolChoice::None,
            "auto" => ToolChoice::Auto,
            "required" => ToolChoice::Required,
            _ => return Err(refuse("tool_choice", CHOICES)),
        },
        Value::Object(object) if object.get("type") == Some(&json!("allowed_tools")) => {
            let (names, required) = allowed(&object)?;
            let position = |name: &String| {
                let at = functions.iter().position(|function| function.name == *name);
                at.ok_or_else(|| unknown("tool_choice.allowed_tools.tools", name))
            };
            let at = names
                .iter()
                .map(position)
                .collect::<Result<HashSet<_>, _>>()?;
            functions = kept(functions, &at);
            tools = kept(tools, &at);
            match required {
                true => ToolChoice::Required,
                false => ToolChoice::Auto,
            }
        }
        Value::Object(object) => {
            let name = named("tool_choice", &object)?;
            functions.retain(|function| function.name == name);
            if functions.is_empty() {
                return Err(unknown("tool_choice.function.name", &name));
            }
            ToolChoice::Named
        }
        _ => return Err(refuse("tool_choice", CHOICES)),
    };
    let tool_use = ToolUse {
        choice,
        functions,
        one_call: parallel_tool_calls == Some(false),
    };
    Ok((tool_use, Some(tools)))
}

const CHOICES: &str = "must be \"none\", \"auto\", \"required\", {\"type\": \"function\", \"function\": \
                       {\"name\": …}} or {\"type\": \"allowed_tools\", …}";

fn refuse(field: impl Into<String>, what: &str) -> RequestError {
    let field = field.into();
    let message = format!("{field}: {what}");
    RequestError::invalid(field, message)
}

fn unknown(field: &str, name: &str) -> RequestError {
    let name: String = name.chars().take(limits::ECHOED_CHARS_MAX).collect();
    refuse(field, &format!("`{name}` is none of the tools"))
}

fn kept<T>(items: Vec<T>, at: &HashSet<usize>) -> Vec<T> {
    let items = items.into_iter().enumerate();
    items
        .filter_map(|(i, item)| at.contains(&i).then_some(item))
        .collect()
}

/// The name in `{"type": "function", "function": {"name": …}}`.
fn named(field: &str, object: &Map<String, Value>) -> Result<String, RequestError> {
    if object.get("type").is_some_and(|kind| kind != "function") {
        return Err(refuse(format!("{field}.type"), "must be \"function\""));
    }
    let name = object
        .get("function")
        .and_then(|function| function.get("name"));
    let name = name.and_then(Value::as_str);
    let field = format!("{field}.function.name");
    Ok(name
        .ok_or_else(|| refuse(field, "must be a string"))?
        .to_owned())
}

/// The names of `allowed_tools`, and whether one must be called.
fn allowed(object: &Map<String, Value>) -> Result<(Vec<String>, bool), RequestError> {
    const FIELD: &str = "tool_choice.allowed_tools";
    let inner = object.get("allowed_tools").and_then(Value::as_object);
    let inner = inner.ok_or_else(|| refuse(FIELD, "must be an object"))?;
    let required = match inner.get("mode").and_then(Value::as_str) {
        Some("auto") => false,
        Some("required") => true,
        _ => {
            return Err(refuse(
                format!("{FIELD}.mode"),
                "must be \"auto\" or \"required\"",
            ));
        }
    };
    let tools = inner.get("tools").and_then(Value::as_array);
    let tools = tools.filter(|tools| (1..=limits::TOOLS_MAX).contains(&tools.len()));
    let field = || format!("{FIELD}.tools");
    let tools = tools.ok_or_else(|| refuse(field(), "must be a list of at least one tool"))?;
    let names = tools.iter().enumerate().map(|(i, tool)| {
        let field = format!("{FIELD}.tools[{i}]");
        match tool.as_object() {
            Some(tool) => named(&field, tool),
            None => Err(refuse(field, "must be an object")),
        }
    });
    Ok((names.collect::<Result<_, _>>()?, required))
}

fn functions(tools: &[Value]) -> Result<Vec<Function>, RequestError> {
    let max = limits::TOOLS_MAX;
    match tools.len() {
        0 => {
            let what = "an empty list; leave the field out, or name at least one tool";
            return Err(refuse("tools", what));
        }
        count if count > max => {
            return Err(refuse(
                "tools",
                &format!("at most {max} tools, not {count}"),
            ));
        }
        _ => {}
    }
    let mut names = HashSet::new();
    let functions = tools.iter().enumerate().map(|(i, tool)| {
        let function = function(&format!("tools[{i}]"), tool)?;
        if !names.insert(function.name.clone()) {
            let field = format!("tools[{i}].function.name");
            return Err(refuse(field, "another tool has this name"));
        }
        Ok(function)
    });
    functions.collect()
}

fn function(field: &str, tool: &Value) -> Result<Function, RequestError> {
    let Some(object) = tool.as_object() else {
        return Err(refuse(field, "must be an object"));
    };
    match object.get("type").and_then(Value::as_str) {
        Some("function") => {}
        _ => return Err(refuse(format!("{field}.type"), "must be \"function\"")),
    }
    let name = named(field, object)?;
    let is_name = |c: char| c.is_ascii_alphanumeric() || "_-".contains(c);
    if !(1..=limits::TOOL_NAME_CHARS_MAX).contains(&name.len()) || !name.chars().all(is_name) {
        let max = limits::TOOL_NAME_CHARS_MAX;
        let what = format!("must be from 1 to {max} letters, digits, `_` and `-`");
        return Err(refuse(format!("{field}.function.name"), &what));
    }
    let function = &object["function"];
    if function
        .get("description")
        .is_some_and(|text| !text.is_string() && !text.is_null())
    {
        return Err(refuse(
            format!("{field}.function.description"),
            "must be a string",
        ));
    }
    let parameters = match function.get("parameters") {
        None | Some(Value::Null) => json!({"type": "object", "properties": {}}),
        Some(schema @ Value::Object(map)) => {
            if map.get("type").is_some_and(|kind| kind != "object") {
                let what = "must be \"object\": arguments have names";
                return Err(refuse(format!("{field}.function.parameters.type"), what));
            }
            schema.clone()
        }
        Some(_) => {
            let what = "must be the JSON schema of an object";
            return Err(refuse(format!("{field}.function.parameters"), what));
        }
    };
    let strict = match function.get("strict") {
        None | Some(Value::Null) => false,
        Some(Value::Bool(strict)) => *strict,
        Some(_) => {
            return Err(refuse(
                format!("{field}.function.strict"),
                "must be a boolean",
            ));
        }
    };
    Ok(Function {
        name,
        parameters: object_schema(parameters),
        strict,
    })
}

/// A schema that says no type is of an object all the same.
fn object_schema(mut schema: Value) -> Value {
    if let Value::Object(map) = &mut schema {
        map.entry("type").or_insert_with(|| "object".into());
    }
    schema
}

#[cfg(test)]
#[path = "tools_tests.rs"]
mod tests;
