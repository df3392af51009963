"""Asks the engine with the demo model for structured outputs, in batches with unconstrained requests, and checks each answer with
jsonschema, re and a parser of its own. Ends with a line `N passed, M failed`."""

import argparse
import concurrent.futures
import json
import pathlib
import re
import sys
import tempfile
import urllib.error
import urllib.request

import jsonschema

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "clients"))
from engine import Engine, metric  # noqa: E402

TEMPERATURES = (0, 1, 5)
SEEDS = (1, 2)
ANSWERS = 2
TOKENS_MAX = 700

SCHEMAS = {
    "flat": {
        "type": "object",
        "properties": {
            "name": {"type": "string", "minLength": 1, "maxLength": 12},
            "age": {"type": "integer", "minimum": 0, "maximum": 150},
            "score": {"type": "number", "minimum": -1, "maximum": 1},
            "member": {"type": "boolean"},
            "note": {"type": ["string", "null"], "maxLength": 8},
        },
        "required": ["name", "age", "score", "member", "note"],
        "additionalProperties": False,
    },
    "formats": {
        "type": "object",
        "properties": {
            name: {"type": "string", "format": name}
            for name in ("date", "time", "date-time", "uuid", "ipv4", "ipv6", "email")
        },
        "required": ["date", "time", "date-time", "uuid", "ipv4", "ipv6", "email"],
        "additionalProperties": False,
    },
    "lists": {
        "type": "array",
        "items": {"enum": ["red", "green", "\"blue\"", 4, None, {"five": [5.5]}]},
        "minItems": 2,
        "maxItems": 5,
    },
    "definitions": {
        "$defs": {
            "node": {
                "type": "object",
                "properties": {"value": {"type": "integer", "minimum": -9, "maximum": 9}, "next": {"$ref": "#/$defs/last"}},
                "required": ["value"],
                "additionalProperties": False,
            },
            "last": {"type": "object", "properties": {"value": {"const": "end"}}, "required": ["value"], "additionalProperties": False},
        },
        "type": "array",
        "items": {"$ref": "#/$defs/node"},
        "minItems": 1,
        "maxItems": 3,
    },
    "union": {
        "anyOf": [
            {
                "type": "object",
                "properties": {"kind": {"const": "circle"}, "radius": {"type": "integer", "minimum": 1, "maximum": 99}},
                "required": ["kind", "radius"],
                "additionalProperties": False,
            },
            {"type": "string", "pattern": "^[a-z]{2,4}-\\d{2}$"},
        ]
    },
}
EXPRESSIONS = [r"[a-f]{2,8}(-\d{3}){0,2}", r"(yes|no), because .{1,20}\.", r"\p{Lu}[a-zé]{0,9}!?"]
CHOICES = ["positive", "negative", "neither \"one\"\n"]
GRAMMARS = {
    "lark": 'start: term (("+" | "-") term)*\nterm: NUMBER | "(" start ")"\nNUMBER: /[0-9]{1,3}/\n',
    "gbnf": 'root ::= term ([+-] term)*\nterm ::= [0-9]{1,3} | "(" root ")"\n',
}


class Checks:
    """Counts what holds and says what does not."""

    def __init__(self):
        self.passed, self.failed, self.cut = 0, 0, 0

    def check(self, name, holds, detail=""):
        self.passed += bool(holds)
        self.failed += not holds
        if not holds:
            print(f"FAILED {name}: {detail}"[:2000])


def post(root, path, body):
    request = urllib.request.Request(
        root + path, json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=600) as response:
        return response.read().decode()


def ask(root, restriction, temperature, seed, stream):
    """The texts of all answers to a chat, each with its finish reason."""
    body = {
        "messages": [{"role": "user", "content": "Answer as you are told."}],
        "temperature": temperature,
        "seed": seed,
        "n": ANSWERS,
        "max_tokens": TOKENS_MAX,
        "stream": stream,
        **restriction,
    }
    answer = post(root, "/v1/chat/completions", body)
    if not stream:
        return [(c["message"]["content"], c["finish_reason"]) for c in json.loads(answer)["choices"]]
    texts, reasons = [""] * ANSWERS, [None] * ANSWERS
    for line in answer.splitlines():
        if not line.startswith("data: {"):
            continue
        for choice in json.loads(line[len("data: "):])["choices"]:
            texts[choice["index"]] += choice["delta"].get("content") or ""
            reasons[choice["index"]] = choice["finish_reason"] or reasons[choice["index"]]
    return list(zip(texts, reasons))


def refuse(constant):
    raise ValueError(constant)


def json_check(schema):
    draft = jsonschema.Draft202012Validator
    validator = draft(schema, format_checker=draft.FORMAT_CHECKER)

    def check(text):
        validator.validate(json.loads(text, parse_constant=refuse))

    return check


def expression_check(expression):
    # Python's re has no \p.
    pattern = re.compile(expression.replace(r"\p{Lu}", "[^\\W\\d_a-z]"))

    def check(text):
        if not pattern.fullmatch(text):
            raise ValueError(f"does not match {expression}")

    return check


def one_of(choices):
    def check(text):
        if text not in choices:
            raise ValueError("not one of the choices")

    return check


def sum_check(text):
    """`1+(2-3)`, by hand."""
    while (shorter := re.sub(r"\(\d{1,3}([+-]\d{1,3})*\)", "1", text)) != text:
        text = shorter
    if not re.fullmatch(r"\d{1,3}([+-]\d{1,3})*", text):
        raise ValueError("no sum")


def any_object(text):
    if not isinstance(json.loads(text, parse_constant=refuse), dict):
        raise ValueError("no object")


def cases():
    """Each restriction with its check, and whether every answer to it must end in time."""
    for name, schema in SCHEMAS.items():
        wanted = {"type": "json_schema", "json_schema": {"name": name, "schema": schema, "strict": True}}
        yield f"response_format {name}", {"response_format": wanted}, json_check(schema), True
        compact = {"json": schema, "disable_any_whitespace": True}
        yield f"json {name}", {"structured_outputs": compact}, json_check(schema), True
    yield "json_object", {"response_format": {"type": "json_object"}}, any_object, False
    for expression in EXPRESSIONS:
        yield f"regex {expression}", {"structured_outputs": {"regex": expression}}, expression_check(expression), True
    yield "choice", {"structured_outputs": {"choice": CHOICES}}, one_of(CHOICES), True
    for name, grammar in GRAMMARS.items():
        yield f"grammar {name}", {"structured_outputs": {"grammar": grammar}}, sum_check, False


def check_answers(checks, name, answers, check, ends):
    for text, reason in answers:
        if reason == "length":
            # What is not complete cannot be checked; where it must be, that is a failure.
            checks.cut += 1
            checks.check(name, not ends, f"cut: {text!r}")
            continue
        try:
            check(text)
        except Exception as error:  # noqa: BLE001 - whatever a validator throws is the finding
            checks.check(name, False, f"{type(error).__name__} {error}: {text!r}")
        else:
            checks.check(name, reason == "stop", reason)


def greedy(root, question):
    body = {"messages": [{"role": "user", "content": question}], "temperature": 0, "max_tokens": 24}
    return json.loads(post(root, "/v1/chat/completions", body))["choices"][0]["message"]["content"]


def check_all(root, checks):
    questions = ["What is a fox?", "Tell me a story.", "What is two plus three?", "Hello!"]
    alone = [greedy(root, question) for question in questions]
    with concurrent.futures.ThreadPoolExecutor(12) as pool:
        free = [(question, pool.submit(greedy, root, question)) for question in questions * 6]
        asked = []
        for name, restriction, check, ends in cases():
            for temperature in TEMPERATURES:
                for seed in SEEDS:
                    both = [pool.submit(ask, root, restriction, temperature, seed, stream) for stream in (False, True)]
                    asked.append((f"{name}, temperature {temperature}, seed {seed}", both, check, ends))
        for name, (whole, streamed), check, ends in asked:
            check_answers(checks, name, whole.result(), check, ends)
            checks.check(f"{name}, streamed", streamed.result() == whole.result(), streamed.result())
        for question, answer in free:
            checks.check(f"beside others: {question}", answer.result() == alone[questions.index(question)], answer.result())


def check_refusals(root, checks):
    for field, body in {
        "structured_outputs.regex": {"structured_outputs": {"regex": "(?=a)b"}},
        "structured_outputs.grammar": {"structured_outputs": {"grammar": "start: nothing"}},
        "structured_outputs.json": {"structured_outputs": {"json": {"type": "strange"}}},
        "response_format.json_schema.schema": {
            "response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": {"not": {}}}}
        },
        "guided_json": {"guided_json": {}},
    }.items():
        try:
            post(root, "/v1/chat/completions", {"messages": [{"role": "user", "content": "a"}], **body})
            checks.check(field, False, "not refused")
        except urllib.error.HTTPError as error:
            told = json.load(error)["error"]
            checks.check(field, error.code == 400 and told["param"] == field, told)


def figures(root):
    """How long masks took, and how much of that steps waited."""
    name = "candela:structured_output"
    count, took = metric(root, f"{name}_mask_seconds_count"), metric(root, f"{name}_mask_seconds_sum")
    waited = metric(root, f"{name}_wait_seconds_sum")
    print(f"{count:.0f} masks, {took / count * 1e6:.0f} us each; steps waited {waited / took:.1%} of that time")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--engine", required=True, help="the built candela-engine")
    options = parser.parse_args()
    checks = Checks()
    with tempfile.TemporaryDirectory() as folder:
        with Engine(options.engine, f"{folder}/log", "--model=builtin://demo") as engine:
            check_all(engine.root, checks)
            check_refusals(engine.root, checks)
            figures(engine.root)
    print(f"{checks.cut} answers were cut by max_tokens")
    print(f"{checks.passed} passed, {checks.failed} failed")
    return 1 if checks.failed else 0


if __name__ == "__main__":
    sys.exit(main())
