"""Starts the engine with the demo model and a short context, and runs schemathesis over its OpenAPI document: first as anyone may
call it, then with API keys, then with the model serving embeddings. Ends with a line `N passed, M failed`.

    suite.py ENGINE SCHEMATHESIS
"""

import os
import pathlib
import re
import secrets
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

HERE = pathlib.Path(__file__).resolve().parent
READY_SECONDS = 60
RUN_SECONDS = 600
# A test that is run on every change makes the same requests each time; SEED=random makes others.
SEED = "20261122"
KEY = "openapi-suite"
# The document's bounds are those of single fields. What a request may ask for also depends on the model and on its other fields (a
# prompt that fits, tokens of the vocabulary, a schema that compiles), so a request that is valid by the document may well be a 400,
# which the document says. All other checks are on.
UNCHECKED = "positive_data_acceptance"
# A context that any generation fills at once, and a queue that `n` cannot fill for long.
ENGINE_FLAGS = ["--model", "builtin://demo", "--served-model-name", "demo", "--max-model-len", "64", "--max-queued-requests", "32"]


def main():
    engine, schemathesis = sys.argv[1:]
    seed = os.environ.get("SEED", SEED)
    if seed == "random":
        seed = str(secrets.randbelow(1 << 32))
    with tempfile.TemporaryDirectory() as folder:
        keys = pathlib.Path(folder, "keys")
        keys.write_text(KEY + "\n")
        runs = [
            ("open", [], [], ["--max-examples", "40"]),
            ("with keys", ["--api-key-file", str(keys)], ["--header", f"Authorization: Bearer {KEY}"], ["--max-examples", "5"]),
            # Some operations alone: their links lead nowhere.
            (
                "embeddings",
                ["--runner", "pooling"],
                [],
                ["--max-examples", "40", "--include-path-regex", "embeddings|tokenize|completions$"]
                + ["--phases", "examples,coverage,fuzzing"],
            ),
        ]
        outcomes = [run(engine, schemathesis, seed, *one) for one in runs]
    failed = outcomes.count(False)
    print(f"openapi: SEED={seed}")
    print(f"{len(outcomes) - failed} passed, {failed} failed")
    return failed != 0


def run(engine, schemathesis, seed, name, engine_flags, headers, effort):
    """One server, and one run of schemathesis against it."""
    print(f"openapi: {name}", flush=True)
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    with tempfile.TemporaryDirectory() as folder, open(pathlib.Path(folder, "engine.log"), "w+") as log:
        server = subprocess.Popen([engine, *ENGINE_FLAGS, *engine_flags, "--host", "127.0.0.1", "--port", str(port)], stderr=log)
        try:
            wait_until_ready(server, address)
            command = [schemathesis, "run", f"{address}/openapi.json", "--no-color", "--seed", seed, "--continue-on-failure"]
            command += ["--checks", "all", "--exclude-checks", UNCHECKED, "--request-timeout", "60"]
            command += ["--generation-database", "none", *headers, *effort]
            environment = os.environ | {"SCHEMATHESIS_HOOKS": str(HERE / "hooks.py")}
            status = subprocess.run(command, env=environment, cwd=folder, timeout=RUN_SECONDS).returncode
            alive = server.poll() is None
        finally:
            server.terminate()
            ended = server.wait(READY_SECONDS)
        log.seek(0)
        text = log.read()
        panics = re.findall(r".*panick.*", text)
    if status or not alive or ended or panics:
        print(f"openapi: {name}: schemathesis {status}, alive {alive}, exit {ended}, panics {panics}\n{text[-4000:]}", flush=True)
        return False
    return True


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_until_ready(server, address):
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline and server.poll() is None:
        try:
            urllib.request.urlopen(f"{address}/ready", timeout=5)
            return
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
    raise SystemExit(f"openapi: the engine is not ready after {READY_SECONDS} s (exit {server.poll()})")


if __name__ == "__main__":
    sys.exit(main())
