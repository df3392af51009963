//! Grammars made to be expensive: each is refused, or compiled and used, in bounded time.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{tests::*, *};

/// A regular expression, a grammar or a schema.
fn bombs() -> Vec<(&'static str, Result<Grammar, GrammarError>)> {
    let regex = |text: &str| Grammar::regex(text);
    let cfg = |text: &str| Grammar::context_free(text);
    let schema = |value: Value| Grammar::json_schema(&value);
    let chain = |count: usize, link: &dyn Fn(usize) -> Value| {
        let defs: serde_json::Map<_, _> =
            (0..count).map(|i| (format!("d{i}"), link(i + 1))).collect();
        let mut all = Value::from(defs);
        all[format!("d{count}")] = json!({"type": "null"});
        json!({"$defs": all, "$ref": "#/$defs/d0"})
    };
    let options = |count: usize| -> Value {
        (0..count)
            .map(|i| json!({"properties": {format!("p{i}"): {"const": i}}}))
            .collect()
    };
    let nested = |open: &str, close: &str, count: usize| {
        format!("{}a{}", open.repeat(count), close.repeat(count))
    };
    let powers = |levels: usize, sep: &str, upper: bool| {
        let name = |i: usize| {
            if upper {
                format!("X{i}")
            } else {
                format!("x{i}")
            }
        };
        let mut text = format!("start{sep} {}\n", name(0));
        for i in 0..levels {
            text += &format!("{}{sep} {}\n", name(i), vec![name(i + 1); 10].join(" "));
        }
        text + &format!("{}{sep} \"a\"\n", name(levels))
    };
    let gbnf_powers = powers(12, " ::=", false).replace("start", "root");
    let rules = |count: usize| {
        let mut text = "start: r0\n".to_owned();
        for i in 0..count {
            text += &format!("r{i}: r{}\n", i + 1);
        }
        text + &format!("r{count}: \"a\"\n")
    };
    vec![
        ("repeat2", regex("(a{1,1000}){1,1000}")),
        ("repeat3", regex("((a{1,100}){1,100}){1,100}b")),
        ("repeat4", regex("(((a{9,99}){9,99}){9,99}){9,99}b")),
        ("class repeat", regex(r"\w{1,100000}")),
        ("class repeat u32", regex(r"\w{1,4000000000}")),
        ("exponential states", regex("(a|b)*a(a|b){200}")),
        ("exponential states 2", regex("(.|\n)*a(.|\n){500}")),
        ("many stars", regex(&format!("({}).*", ".*a".repeat(500)))),
        ("alternatives", regex(&(0..2000).map(|i| format!("a{i}b*")).collect::<Vec<_>>().join("|"))),
        ("unicode classes", regex(&r"\p{L}\p{N}*".repeat(500))),
        ("nested", regex(&nested("(", ")", 5000))),
        ("nested 60", regex(&nested("(", ")*", 60))),
        ("long", regex(&"ab*".repeat(5_000))),
        ("optional", regex(&"a?".repeat(8_000))),
        ("long const", schema(json!({"const": "a".repeat(200_000)}))),
        ("long choice", Grammar::choice(vec!["ab".repeat(30_000)])),
        ("long literal", cfg(&format!("start: \"{}\"\n", "ab".repeat(30_000)))),
        ("long sequence", cfg(&format!("start: {}\n", "\"a\" ".repeat(15_000)))),
        ("case", regex(&format!("(?i){}", "k".repeat(5000)))),
        ("escaped parens", regex(&r"\(".repeat(1000))),
        ("powers", cfg(&powers(12, ":", false))),
        ("terminal powers", cfg(&powers(12, ":", true))),
        ("gbnf powers", cfg(&gbnf_powers)),
        ("rules", cfg(&rules(5000))),
        ("gbnf rules", cfg(&rules(900).replace("start", "root").replace(':', " ::="))),
        ("repeat rules", cfg("start: a{1000}\na: b{1000}\nb: c{1000}\nc: \"x\" | \"y\"\n")),
        ("repeat rule", cfg("start: (\"x\" | \"y\"){1000000000}\n")),
        ("ambiguous", cfg("start: start start | \"a\" | \"\"\n")),
        ("ambiguous 3", cfg("start: start start start | \"a\" | start start\n")),
        ("ambiguous letters", cfg("start: x\nx: x x | /[a-z]/ | /[a-z]+/\n")),
        ("lark nested", cfg(&format!("start: {}\n", nested("(", ")", 5000).replace('a', "\"a\"")))),
        ("lark nested 60", cfg(&format!("start: {}\n", nested("(", ")*", 60).replace('a', "\"a\"")))),
        ("not", cfg("start: A\nA: ~/(.|\\n)*foo(.|\\n)*/ & ~/(.|\\n)*bar(.|\\n){30}/ & /(?s:.*)/\n")),
        ("nots", cfg(&format!("start: A\nA: {}\n", (0..40).map(|i| format!("~/(.|\\n)*a(.|\\n){{{i}}}b/")).collect::<Vec<_>>().join(" & ")))),
        ("undefined", cfg("start: x\n")),
        ("left recursion", cfg("start: start\n")),
        ("import", cfg("%import /etc/passwd\nstart: \"a\"\n")),
        ("special", cfg("start: <|nope|>\n")),
        ("any tokens", cfg("start: <[*]>\n")),
        ("substring", cfg(&format!("start: A\nA: %regex {{\"substring_chars\": \"{}\"}}\n", "ab".repeat(20000)))),
        ("max items", schema(json!({"type": "array", "items": {"type": "integer"}, "maxItems": 1_000_000_000}))),
        ("min items", schema(json!({"type": "array", "items": {"type": "integer"}, "minItems": 1_000_000_000}))),
        ("min items u64", schema(json!({"type": "array", "minItems": u64::MAX}))),
        ("nested items", schema((0..12).fold(json!({"type": "null"}), |inner, _| json!({"type": "array", "items": inner, "minItems": 100, "maxItems": 100})))),
        ("min length", schema(json!({"type": "string", "minLength": 1_000_000_000}))),
        ("max length", schema(json!({"type": "string", "maxLength": 1_000_000_000}))),
        ("number", schema(json!({"type": "number", "minimum": 1e-300, "maximum": 1e300}))),
        ("integer", schema(json!({"type": "integer", "minimum": -9.2e18, "maximum": 1.8e19}))),
        ("multiple", schema(json!({"type": "number", "multipleOf": 1e-9}))),
        ("multiple big", schema(json!({"type": "integer", "multipleOf": 999_999_937}))),
        ("properties", schema(json!({"type": "object", "properties": (0..5000).map(|i| (format!("p{i}"), json!({"type": "string"}))).collect::<serde_json::Map<_, _>>()}))),
        ("patterns", schema(json!({"type": "object", "patternProperties": (0..200).map(|i| (format!("^a{i}.*b"), json!(true))).collect::<serde_json::Map<_, _>>()}))),
        ("enum", schema(json!({"enum": (0..20000).map(|i| format!("v{i}")).collect::<Vec<_>>()}))),
        ("refs", schema(chain(5000, &|i| json!({"$ref": format!("#/$defs/d{i}")})))),
        ("all of refs", schema(chain(3000, &|i| json!({"allOf": [{"$ref": format!("#/$defs/d{i}")}]})))),
        ("doubling refs", schema(chain(40, &|i| json!({"anyOf": [{"type": "array", "items": {"$ref": format!("#/$defs/d{i}")}}, {"properties": {"a": {"$ref": format!("#/$defs/d{i}")}}}]})))),
        ("doubling all of", schema(chain(40, &|i| json!({"allOf": [{"$ref": format!("#/$defs/d{i}")}, {"$ref": format!("#/$defs/d{i}")}]})))),
        ("cross product", schema(json!({"allOf": (0..8).map(|_| json!({"anyOf": options(10)})).collect::<Vec<_>>()}))),
        ("one of", schema(json!({"oneOf": options(300)}))),
        ("any of", schema(json!({"anyOf": options(2000)}))),
        ("deep", schema((0..120).fold(json!({"type": "null"}), |inner, _| json!({"properties": {"a": inner}})))),
        ("deep any", schema((0..100).fold(json!({"type": "null"}), |inner, _| json!({"anyOf": [inner, {"type": "integer"}]})))),
        ("self all of", schema(json!({"$defs": {"a": {"allOf": [{"$ref": "#/$defs/a"}, {"type": "object"}]}}, "$ref": "#/$defs/a"}))),
        ("self", schema(json!({"$ref": "#"}))),
        ("remote", schema(json!({"$ref": "http://127.0.0.1:9/x"}))),
        ("file", schema(json!({"$ref": "file:///etc/passwd"}))),
        ("false", schema(json!(false))),
        ("number schema", schema(json!(3))),
        ("pattern", schema(json!({"type": "string", "pattern": "(a{1,1000}){1,1000}"}))),
        ("pattern states", schema(json!({"type": "string", "pattern": "(a|b)*a(a|b){200}"}))),
        ("lookahead", schema(json!({"type": "string", "pattern": "(?=a)b"}))),
        ("min properties", schema(json!({"type": "object", "minProperties": 1_000_000, "additionalProperties": {"type": "null"}}))),
        ("choice", Grammar::choice((0..5000).map(|i| format!("c{i}")).collect())),
        ("after", Grammar::choice(vec!["a".to_owned()]).map(|g| (0..50).fold(g, |g, _| g.after("x")))),
    ]
}

#[test]
fn operators_in_a_row_are_counted() {
    for operator in ["?", "*", "+", "{1}"] {
        let count = 60_000 / operator.len();
        for (before, after) in [("\"a\"", ""), ("(\"a\" root", ")")] {
            let chain = operator.repeat(count);
            let error = Grammar::context_free(&format!("root ::= {before}{chain}{after}\n"));
            let error = error.unwrap_err().to_string();
            assert!(error.contains("more than 4 repetitions"), "{error}");
        }
    }
    let most = "(".repeat(64) + "\"a\"*+?{1}" + &")*+?{1}".repeat(64);
    Grammar::context_free(&format!("root ::= {most} root?\n")).unwrap();
}

/// Each of them is known to be a terminal only when the next one is.
#[test]
fn rules_in_the_worst_order_are_read() {
    let name = |i: usize| match i {
        0 => "root".to_owned(),
        _ => format!("r{i}"),
    };
    let rule = |i| format!("{} ::= {}{}\n", name(i), "[a]".repeat(16), name(i + 1));
    let text: String = (0..900).map(rule).collect();
    Grammar::context_free(&(text + "r900 ::= \"a\"\n")).unwrap();
}

/// After its first token the answer may end, and what else may come takes too long to find out.
#[test]
fn a_mask_that_fails_is_no_end_of_an_answer() {
    let compiler = compiler();
    let grammar = Grammar::regex(&"a?".repeat(8_000)).unwrap();
    let grammar = compile(&compiler, grammar).unwrap();
    let mut constraint = grammar.constraint(false)();
    constraint.allowed().unwrap();
    let a = tokenizer().encode("a", false).unwrap()[0];
    constraint.accept(a).unwrap();
    let error = constraint.allowed().unwrap_err();
    assert!(!constraint.is_complete(), "{error}");
}

#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "a bound on time is what is tested"
)]
fn expensive_grammars_are_refused_or_used_in_bounded_time() {
    let compiler = compiler();
    compile(&compiler, Grammar::choice(vec!["a".to_owned()]).unwrap()).unwrap();
    for (name, grammar) in bombs() {
        let begun = Instant::now();
        let outcome = grammar.and_then(|grammar| compile(&compiler, grammar));
        let compiled = begun.elapsed();
        let mut slowest = Duration::ZERO;
        let mut steps = 0;
        let told = match outcome {
            Err(error) => error.to_string(),
            Ok(grammar) => {
                let mut constraint = grammar.constraint(false)();
                let mut told = "ok".to_owned();
                for step in 0..60 {
                    let begun = Instant::now();
                    let words = constraint.allowed();
                    slowest = slowest.max(begun.elapsed());
                    let mut allowed = match words {
                        Ok(words) => tokens_in(words),
                        Err(error) => {
                            told = error.to_string();
                            break;
                        }
                    };
                    allowed.retain(|t| !EOS.contains(t));
                    if allowed.is_empty() {
                        break;
                    }
                    let token = allowed[(step * 7919) % allowed.len()];
                    constraint.accept(token).unwrap();
                    steps += 1;
                }
                told
            }
        };
        println!(
            "{name:20} compile {compiled:>10.1?} slowest mask {slowest:>10.1?} steps {steps} {told}"
        );
    }
}
