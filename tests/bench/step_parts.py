"""Where the time of a decode step goes: `step_parts.py ENGINE MODEL`, with an engine that has its symbols
(`cargo build --profile bench`; `make bench-parts` does that).

Linux `perf` (a Debian package of that name: `linux-perf`) looks hundreds of times a second at what every thread runs, and who called it, while
all requests decode; each sample is counted for the part that its function belongs to. Nothing is built into the engine for
it, so nothing is paid when nobody looks. What no rule knows is shown as such.
"""

import argparse
import collections
import random
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import load
from stats_overhead import Engine, body

SAMPLES_PER_SECOND = 499
# Of the stack, kept with each sample: enough to see who called a kernel.
STACK_BYTES = 8192
WAIT_SECONDS_MAX = 300
# From a sample's function up through its callers, the first whose name one of these matches says which part it is. Kernels
# are not among them: products of tiles are those of whoever called them, a linear layer or the attention.
PARTS = [
    ("waiting for tasks", r"model::ops::team|crossbeam|rayon_core::(registry|sleep|latch)"),
    ("attention", r"model::ops::attention"),
    ("norms, rotary, elementwise", r"model::ops::(norm|layer_norm|rotary|elementwise|cache_write|heads|embedding)"),
    ("linear", r"model::ops::(?!kernels|team)|candle_core::quantized"),
    ("sampling", r"candela_engine::(sampling|grammar|engine::(choose|outcome))"),
    ("scheduling and events", r"candela_engine::(engine|stats)"),
    ("HTTP", r"candela_engine::(server|openai|prompt|request)|hyper|axum|serde_json|tokenizers|mio::|tokio::runtime"),
    ("tensors outside the operations", r"candela_engine::model::(?!ops)|candle_core"),
]
ENGINE_THREADS = re.compile(r"engine$|compute-\d+$")
HTTP_THREADS = re.compile(r"http|tokio")
SYSTEM = "the system: futexes, pages, network"
OTHERS = {"engine": "not known, of the engine's threads", "http": "HTTP", "other": "not known"}
UNKNOWN = "[unknown]"
UNKNOWN_SHARE_MAX = 0.5


def part_of(thread, stack):
    """Which part a sample counts for. `stack` has the function first, then its callers, each with its binary."""
    if "kernel" in stack[0][1] and not HTTP_THREADS.match(thread):
        return SYSTEM
    for function, _ in stack:
        for part, pattern in PARTS:
            if re.search(pattern, function):
                return part
    if ENGINE_THREADS.match(thread):
        return OTHERS["engine"]
    return OTHERS["http"] if HTTP_THREADS.match(thread) else OTHERS["other"]


def samples(path):
    """Of every sample its thread, its function and the part it counts for."""
    command = ["perf", "script", "-i", str(path), "-F", "comm,ip,sym,dso", "--no-inline"]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    for block in text.split("\n\n"):
        thread, *lines = block.strip("\n").splitlines() or [""]
        stack = [found.groups() for line in lines if (found := re.match(r"\s+[0-9a-f]+ (.+) \((.*)\)\s*$", line))]
        if stack:
            yield thread.strip(), stack[0][0], part_of(thread.strip(), stack)


def counters(engine):
    """Steps so far, seconds in them, prompt tokens, and sequences that run."""
    names = {
        "vllm:iteration_tokens_total_count": "steps",
        "candela:engine_busy_seconds_total": "busy",
        "vllm:prompt_tokens_total": "prompt_tokens",
        "vllm:num_requests_running": "running",
    }
    found = {}
    for line in engine.get("/metrics").splitlines():
        name = line.partition("{")[0]
        if name in names:
            found[names[name]] = float(line.rsplit(" ", 1)[1])
    return found


def wait_until(engine, holds):
    """The counters as soon as they are as wanted."""
    deadline = time.monotonic() + WAIT_SECONDS_MAX
    while time.monotonic() < deadline:
        if holds(seen := counters(engine)):
            return seen
        time.sleep(0.05)
    sys.exit("the engine did not come to decode all requests side by side: give it more room, or fewer requests")


def record(engine, path, concurrency, prompt, tokens):
    """Looks at a wave while all its requests decode. Returns steps, and seconds in them."""
    randomness = random.Random(concurrency)
    bodies = [body(randomness, prompt, tokens) for _ in range(concurrency)]
    begun = counters(engine)["prompt_tokens"]
    wave = threading.Thread(target=load.run_wave, args=(engine.address, bodies, tokens, WAIT_SECONDS_MAX))
    wave.start()
    wait_until(engine, lambda seen: seen["prompt_tokens"] - begun >= concurrency * prompt)
    command = ["perf", "record", "--quiet", "--event=cpu-clock", f"--freq={SAMPLES_PER_SECOND}", f"--call-graph=dwarf,{STACK_BYTES}"]
    watcher = subprocess.Popen([*command, f"--output={path}", f"--pid={engine.process.pid}"])
    first = last = counters(engine)
    while last["running"] >= concurrency:
        time.sleep(0.2)
        steps, last = last, counters(engine)
        if last["running"] < concurrency:
            last = steps
            break
    watcher.send_signal(signal.SIGINT)
    watcher.wait()
    wave.join()
    return last["steps"] - first["steps"], last["busy"] - first["busy"]


def print_table(path, concurrency, steps, busy, top):
    """Prints milliseconds of each part in a step, over all threads together."""
    if steps == 0:
        sys.exit(f"{concurrency} at once: all requests were done before a step was seen; give them more --tokens")
    functions = collections.Counter(samples(path))
    parts = collections.Counter()
    for (_, _, part), count in functions.items():
        parts[part] += count
    total = sum(parts.values())
    unknown = sum(count for (_, function, _), count in functions.items() if function == UNKNOWN)
    if unknown > UNKNOWN_SHARE_MAX * total:
        sys.exit("most functions have no names: build the engine with `--profile bench`, which leaves them in")
    print(f"\n{concurrency} at once: {steps:.0f} steps of {1e3 * busy / steps:.2f} ms, {total} samples")
    print("| part | ms on processors per step | share |")
    print("|---|---|---|")
    for part, count in parts.most_common():
        print(f"| {part} | {1e3 * count / SAMPLES_PER_SECOND / steps:.3f} | {100 * count / total:.1f} % |")
    for (thread, function, part), count in functions.most_common(top):
        print(f"    {100 * count / total:5.1f} %  {thread}: {function[:120]} ({part})")


def main():
    """Runs a wave for every number of requests."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("engine")
    arguments.add_argument("model")
    arguments.add_argument("--concurrency", type=int, nargs="+", default=[1, 16])
    arguments.add_argument("--prompt", type=int, default=128, help="tokens of each prompt")
    arguments.add_argument("--tokens", type=int, default=192, help="tokens of each answer")
    arguments.add_argument("--top", type=int, default=0, help="functions to name, those with most samples first")
    arguments.add_argument("--flags", nargs="*", default=[], help="more flags for the server, without the dashes")
    given = arguments.parse_args()
    flags = [f"--{flag}" for flag in given.flags]
    with tempfile.TemporaryDirectory() as folder:
        with Engine(given.engine, given.model, flags, Path(folder) / "log") as engine:
            for concurrency in given.concurrency:
                path = Path(folder) / f"perf-{concurrency}"
                steps, busy = record(engine, path, concurrency, given.prompt, given.tokens)
                print_table(path, concurrency, steps, busy, given.top)


main()
