//! Tools and choices that are refused, each naming its member, and the schemas of those that are not.

use super::*;

fn tool(name: &str) -> Value {
    json!({"type": "function", "function": {"name": name, "parameters": {
        "type": "object", "properties": {"x": {"$ref": "#/$defs/x"}}, "$defs": {"x": {"type": "integer"}}
    }}})
}

fn check_fields(
    tools: Value,
    tool_choice: Value,
) -> Result<(ToolUse, Option<Vec<Value>>), RequestError> {
    check(ToolFields {
        tools: tools.as_array().cloned(),
        tool_choice: (!tool_choice.is_null()).then_some(tool_choice),
        parallel_tool_calls: None,
    })
}

fn chosen(name: &str) -> Value {
    json!({"type": "function", "function": {"name": name}})
}

fn allowed_tools(mode: &str, names: &[&str]) -> Value {
    let tools: Vec<Value> = names.iter().map(|name| chosen(name)).collect();
    json!({"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": tools}})
}

#[test]
fn each_bad_member_is_named() {
    let one = || json!([tool("f")]);
    let function = |members: Value| json!([{"type": "function", "function": members}]);
    let cases = [
        ("tools", json!([]), Value::Null),
        (
            "tools",
            json!(vec![tool("f"); limits::TOOLS_MAX + 1]),
            Value::Null,
        ),
        ("tools[0]", json!([1]), Value::Null),
        (
            "tools[0].type",
            json!([{"function": {"name": "f"}}]),
            Value::Null,
        ),
        (
            "tools[0].type",
            json!([{"type": "retrieval"}]),
            json!("none"),
        ),
        (
            "tools[0].function.name",
            json!([{"type": "function"}]),
            Value::Null,
        ),
        (
            "tools[0].function.name",
            function(json!({"name": "a b"})),
            Value::Null,
        ),
        (
            "tools[0].function.name",
            function(json!({"name": ""})),
            Value::Null,
        ),
        (
            "tools[0].function.name",
            function(json!({"name": "a".repeat(65)})),
            Value::Null,
        ),
        (
            "tools[0].function.name",
            function(json!({"name": 1})),
            Value::Null,
        ),
        (
            "tools[1].function.name",
            json!([tool("f"), tool("f")]),
            Value::Null,
        ),
        (
            "tools[0].function.description",
            function(json!({"name": "f", "description": 1})),
            Value::Null,
        ),
        (
            "tools[0].function.parameters",
            function(json!({"name": "f", "parameters": []})),
            Value::Null,
        ),
        (
            "tools[0].function.parameters.type",
            function(json!({"name": "f", "parameters": {"type": "array"}})),
            Value::Null,
        ),
        ("tool_choice", Value::Null, json!("auto")),
        ("tool_choice", Value::Null, chosen("f")),
        ("tool_choice", one(), json!("any")),
        ("tool_choice", one(), json!(1)),
        ("tool_choice.type", one(), json!({"type": "custom"})),
        (
            "tool_choice.function.name",
            one(),
            json!({"type": "function"}),
        ),
        ("tool_choice.function.name", one(), chosen("g")),
        (
            "tool_choice.allowed_tools",
            one(),
            json!({"type": "allowed_tools"}),
        ),
        (
            "tool_choice.allowed_tools.mode",
            one(),
            allowed_tools("none", &["f"]),
        ),
        (
            "tool_choice.allowed_tools.tools",
            one(),
            allowed_tools("auto", &[]),
        ),
        (
            "tool_choice.allowed_tools.tools",
            one(),
            allowed_tools("auto", &["g"]),
        ),
    ];
    for (param, tools, choice) in cases {
        let error = check_fields(tools.clone(), choice.clone()).unwrap_err();
        assert_eq!(
            error.param.as_deref(),
            Some(param),
            "{tools} {choice}: {error}"
        );
        assert!(error.message.starts_with(param), "{error}");
    }
}

#[test]
fn the_choice_is_auto_unless_it_is_given() {
    let tools = json!([tool("f"), tool("g")]);
    let choice = |choice| {
        let tool_use = check_fields(tools.clone(), choice).unwrap().0;
        (tool_use.choice, tool_use.functions.len())
    };
    assert_eq!(choice(Value::Null), (ToolChoice::Auto, 2));
    assert_eq!(choice(json!("auto")), (ToolChoice::Auto, 2));
    assert_eq!(choice(json!("none")), (ToolChoice::None, 2));
    assert_eq!(choice(json!("required")), (ToolChoice::Required, 2));
    assert_eq!(choice(chosen("g")), (ToolChoice::Named, 1));
    assert_eq!(
        check_fields(Value::Null, json!("none")).unwrap().0,
        ToolUse::default()
    );
}

#[test]
fn allowed_tools_are_the_only_ones() {
    let tools = json!([tool("f"), tool("g"), tool("h")]);
    let (tool_use, shown) =
        check_fields(tools.clone(), allowed_tools("auto", &["h", "f"])).unwrap();
    assert_eq!(
        (tool_use.choice, shown),
        (ToolChoice::Auto, Some(vec![tool("f"), tool("h")]))
    );
    let (tool_use, _) = check_fields(tools, allowed_tools("required", &["g"])).unwrap();
    assert_eq!(
        (tool_use.choice, tool_use.functions.len()),
        (ToolChoice::Required, 1)
    );
    assert_eq!(tool_use.functions[0].name, "g");
}

#[test]
fn parameters_are_those_of_an_object() {
    let function = |members: Value| {
        let tools = json!([{"type": "function", "function": members}]);
        check_fields(tools, Value::Null)
            .unwrap()
            .0
            .functions
            .remove(0)
    };
    let none = function(json!({"name": "f", "strict": true}));
    assert_eq!(
        (none.parameters["type"].as_str(), none.strict),
        (Some("object"), true)
    );
    let untyped = function(json!({"name": "f", "parameters": {"properties": {"x": {}}}}));
    assert_eq!(untyped.parameters["type"], "object");
}
