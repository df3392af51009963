#!/usr/bin/env python3
"""How long a start takes, and what it holds: from the start of the process to /ready and to the first token of a short
completion, and its memory, as medians of several starts. Files are read once before, so they lie in the page cache.

    tests/bench/cold_start.py MODEL NAME=ENGINE [NAME=ENGINE …] [--runs 5] [--prompt 16] [-- FLAGS OF THE ENGINE]

Several engines take turns: A B A B. `{fresh}` among the flags of an engine, as in `NAME=ENGINE --weights-cache-dir={fresh}`,
is an empty folder for each of its starts; `{kept}` one folder for all of them, filled by a start that is not counted.
"""

import argparse
import http.client
import json
import os
import pathlib
import shlex
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

import processes

START_SECONDS_MAX = 120
POLL_SECONDS = 0.002
MEMORY = ("VmHWM", "VmRSS", "RssAnon", "RssFile")


def first_token(port, prompt_tokens):
    """Waits for the first event of a streamed completion of token ids."""
    body = json.dumps(
        {
            "model": "bench",
            "prompt": [100 + at % 900 for at in range(prompt_tokens)],
            "max_tokens": 2,
            "temperature": 0,
            "ignore_eos": True,
            "stream": True,
        }
    )
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=START_SECONDS_MAX)
    connection.request("POST", "/v1/completions", body, {"content-type": "application/json"})
    answer = connection.getresponse()
    if answer.status != 200:
        sys.exit(f"the completion was answered {answer.status}: {answer.read().decode()}")
    while not answer.readline().startswith(b"data: "):
        pass
    now = time.monotonic()
    answer.read()
    connection.close()
    return now


def memory_mib(pid):
    status = pathlib.Path(f"/proc/{pid}/status").read_text().splitlines()
    values = dict(line.split(":", 1) for line in status)
    return {key: int(values[key].split()[0]) / 1024 for key in MEMORY}


def start(command, prompt_tokens, wait_for=None):
    """One start: seconds to ready and to the first token, and memory afterwards in MiB. Ends when there is such a file, if one is
    to be waited for."""
    port = processes.free_port()
    begun = time.monotonic()
    with tempfile.TemporaryFile() as log:
        engine = subprocess.Popen(
            [*command, "--host=127.0.0.1", f"--port={port}", "--served-model-name=bench"], stderr=log
        )
        try:
            while not processes.is_ready(port):
                if engine.poll() is not None or time.monotonic() - begun > START_SECONDS_MAX:
                    log.seek(0)
                    sys.exit(f"{shlex.join(command)} did not start:\n{log.read().decode()}")
                time.sleep(POLL_SECONDS)
            ready = time.monotonic() - begun
            at_ready = memory_mib(engine.pid)
            token = first_token(port, prompt_tokens) - begun
            memory = memory_mib(engine.pid)
            while wait_for and not list(wait_for.parent.glob(wait_for.name)):
                if engine.poll() is not None or time.monotonic() - begun > START_SECONDS_MAX:
                    sys.exit(f"{shlex.join(command)} wrote no {wait_for}")
                time.sleep(POLL_SECONDS)
        finally:
            processes.stop(engine)
    return {"ready s": ready, "first token s": token, "RSS at ready MiB": at_ready["VmRSS"]} | {
        f"{key} MiB": value for key, value in memory.items()
    }


def main():
    own, _, engine_flags = " ".join(map(shlex.quote, sys.argv[1:])).partition(" -- ")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=pathlib.Path)
    parser.add_argument("engines", nargs="+", metavar="NAME=ENGINE")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--prompt", type=int, default=16, help="tokens of the prompt")
    options = parser.parse_args(shlex.split(own))
    engines = dict(engine.split("=", 1) for engine in options.engines)
    folder = pathlib.Path(tempfile.mkdtemp(prefix="cold-start-", dir=os.environ.get("CANDELA_CACHE")))
    runs = {name: [] for name in engines}

    def run(name, fill=False):
        fresh, kept = folder / "fresh", folder / f"kept-{name}"
        shutil.rmtree(fresh, ignore_errors=True)
        command = shlex.split(engines[name].format(fresh=fresh, kept=kept))
        wait_for = kept / "*.weights" if fill else None
        return start([*command, f"--model={options.model}", *shlex.split(engine_flags)], options.prompt, wait_for)

    try:
        processes.read_through(options.model)
        for name in engines:
            if "{kept}" in engines[name]:
                run(name, fill=True)
        for _ in range(options.runs):
            for name in engines:
                runs[name].append(run(name))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    columns = list(runs[next(iter(runs))][0])
    print(f"medians of {options.runs} starts, {options.prompt} tokens of prompt")
    print("| engine | " + " | ".join(columns) + " |")
    print("|---" * (len(columns) + 1) + "|")
    for name, results in runs.items():
        medians = [statistics.median(result[column] for result in results) for column in columns]
        cells = [f"{value:.2f}" if column.endswith(" s") else f"{value:.0f}" for column, value in zip(columns, medians)]
        print(f"| {name} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
