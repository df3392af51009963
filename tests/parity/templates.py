"""Chat templates: what the engine renders must be what `transformers` renders, for many random conversations.

    tests/parity/run.sh --suite tests/parity/templates.py --render target/debug/examples/render

The templates in `templates/` are ours. Each behaves as those of a family of models do: where system messages, tools,
calls, answers of tools and thoughts go, what is refused, and by which means of Jinja it is written.
"""

import argparse
import json
import random
import subprocess
import sys
import tempfile
from datetime import datetime, timezone
from pathlib import Path

import jinja2
from tokenizers import Tokenizer
from tokenizers.models import BPE
from transformers import PreTrainedTokenizerFast
from transformers.utils import chat_template_utils

import conversations

HERE = Path(__file__).parent / "templates"
NOW = 1_753_000_000
SHOWN_MAX = 5
TOKENS = {"bos_token": "<s>", "eos_token": "</s>"}


class Family:
    """A template, and what conversations it is tried with: shares, and the variables that it reads.

    `form` is how its calls are to be read. A template with `prints_tools` prints tools as Python's `repr` does; numbers
    with an exponent are then the one thing that the engine writes otherwise, 1e16 for 1e+16."""

    def __init__(
        self,
        *,
        reads="text",
        calls=0.4,
        tools=0.5,
        system=0.5,
        reasoning=0.0,
        continued=0.5,
        kwargs=None,
        form=None,
        prints_tools=False,
    ):
        self.reads, self.calls, self.tools, self.system = reads, calls, tools, system
        self.reasoning, self.continued, self.kwargs, self.form = reasoning, continued, kwargs or {}, form
        self.sends_parts, self.prints_tools = True, prints_tools


FAMILIES = {
    "qwen2_5": Family(form="Hermes"),
    "qwen3": Family(reasoning=0.5, kwargs={"enable_thinking": [True, False]}, form="Hermes"),
    "llama3_1": Family(
        kwargs={"date_string": ["1 Jan 2025"], "tools_in_user_message": [True, False]}, form="Llama3Json"
    ),
    "mistral_v3": Family(form="Mistral"),
    "mistral_v7": Family(reads="both", form="Mistral"),
    "hermes": Family(form="Hermes"),
    "gemma": Family(calls=0.05, system=0.1),
    "gemma3": Family(reads="both", calls=0.05, system=0.3),
    "phi3": Family(calls=0.1),
    "phi4": Family(calls=0.1),
    "granite": Family(
        calls=0.1,
        kwargs={"thinking": [True, False], "controls": [{"length": "long"}], "documents": [[{"title": "a", "text": "b"}]]},
    ),
    "smollm3": Family(calls=0.2, kwargs={"enable_thinking": [True, False]}, prints_tools=True),
    "olmo2": Family(calls=0.1),
    "deepseek_r1": Family(reasoning=0.3),
    "parts": Family(reads="parts", calls=0.1),
    "features": Family(continued=0.0),
}


def config(name):
    """A `tokenizer_config.json` with the family's template, or its list of templates."""
    named = sorted(HERE.glob(f"{name}.*.jinja"))
    if named:
        template = [{"name": path.name.split(".")[1], "template": path.read_text()} for path in named]
    else:
        template = (HERE / f"{name}.jinja").read_text()
    return TOKENS | {"chat_template": template}


class FixedDate(datetime):
    """The date that the engine is told."""

    @classmethod
    def now(cls, tz=None):
        return datetime.fromtimestamp(NOW, timezone.utc)


def reference(name):
    """A tokenizer of `transformers` with the same templates."""
    made = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(BPE()), **TOKENS)
    template = config(name)["chat_template"]
    made.chat_template = template if isinstance(template, str) else {one["name"]: one["template"] for one in template}
    return made


def expected(tokenizer, family, body):
    """The text that `transformers` renders; None if the template refuses."""
    given = [conversations.as_given(message, family) for message in body["messages"]]
    continued = body.get("continue_final_message", False)
    try:
        return tokenizer.apply_chat_template(
            given,
            tools=body.get("tools"),
            tokenize=False,
            add_generation_prompt=body.get("add_generation_prompt", True),
            continue_final_message=continued,
            **body.get("chat_template_kwargs", {}),
        )
    except (jinja2.exceptions.TemplateError, ValueError, TypeError, AttributeError, KeyError, IndexError) as error:
        return error


def differences(name, cases, answers):
    """What differs between the engine and `transformers` for one family."""
    tokenizer, family = reference(name), FAMILIES[name]
    found, refused = [], 0
    for body, answer in zip(cases, answers):
        wanted = expected(tokenizer, family, body)
        if isinstance(wanted, Exception):
            refused += 1
            if "refused" not in answer:
                found.append((body, f"refused: {wanted!r}", answer))
        elif answer.get("text") != wanted:
            found.append((body, wanted, answer))
    return found, refused


def show(name, found):
    """Says the first differences."""
    for body, wanted, answer in found[:SHOWN_MAX]:
        print(f"--- {name}: {json.dumps(body, ensure_ascii=False)}")
        got = answer.get("text", answer.get("refused"))
        if isinstance(wanted, str) and "text" in answer:
            at = next((i for i, (a, b) in enumerate(zip(wanted, got)) if a != b), min(len(wanted), len(got)))
            print(f"    at {at}: transformers {wanted[max(0, at - 40):at + 80]!r}")
            print(f"    at {at}: candela      {got[max(0, at - 40):at + 80]!r}")
        else:
            print(f"    transformers {wanted[:300]!r}\n    candela      {got[:300]!r}")


def main():
    """Draws the cases, has them rendered by both, and compares."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--render", required=True, type=Path, help="the program of inference/examples/render.rs")
    parser.add_argument("--cases", type=int, default=400, help="conversations per template")
    parser.add_argument("--seed", type=int, default=random.randrange(2**32), help="replays a run")
    parser.add_argument("--only", choices=list(FAMILIES), help="one template")
    arguments = parser.parse_args()
    names = [arguments.only] if arguments.only else list(FAMILIES)
    print(f"templates: seed {arguments.seed}, {arguments.cases} conversations for each of {len(names)} templates")
    rng = random.Random(arguments.seed)
    cases = {name: [conversations.request(rng, FAMILIES[name]) for _ in range(arguments.cases)] for name in names}
    chat_template_utils.datetime = FixedDate
    with tempfile.TemporaryDirectory() as folder:
        asked, answered = Path(folder) / "cases.json", Path(folder) / "out.json"
        flat = [{"template": name, "request": body} for name in names for body in cases[name]]
        asked.write_text(json.dumps({"templates": {name: config(name) for name in names}, "cases": flat, "now": NOW}))
        subprocess.run([arguments.render, "--cases", asked, "--out", answered], check=True)
        out = json.loads(answered.read_text())
    passed = failed = 0
    for number, name in enumerate(names):
        answers = out["rendered"][number * arguments.cases:][:arguments.cases]
        found, refused = differences(name, cases[name], answers)
        form = out["calls"][name]
        if form != FAMILIES[name].form:
            print(f"--- {name}: calls are read as {form}, not {FAMILIES[name].form}")
        show(name, found)
        equal = arguments.cases - len(found)
        print(f"{name:12} {equal}/{arguments.cases} equal, {refused} of them refused; calls {form}")
        good = not found and form == FAMILIES[name].form and refused < arguments.cases
        passed, failed = passed + good, failed + (not good)
    print(f"{passed} passed, {failed} failed")
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
