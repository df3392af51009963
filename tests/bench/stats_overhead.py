"""What stats cost: the engine's throughput with headers, the body's metrics and Prometheus on, over that with
`--disable-log-stats`. `stats_overhead.py ENGINE [MODEL]`.

Both servers run side by side and take turns, so that what else the machine does meets both alike: waves of streaming
completions, which of the two begins changing from pair to pair. The figure is the median of the pairs' ratios, with the
interval that holds it with 95 % (a bootstrap of the pairs). Time on processors for each token is noted beside it: others
on the same machine take less part in that.

Both map the same file of packed weights: of memory of their own, one may be given faster pages than the other, which makes more
of a difference than stats do.
"""

import argparse
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from contextlib import ExitStack
from pathlib import Path

import load
import processes

READY_SECONDS_MAX = 120
KEEP_SECONDS_MAX = 60
WAVE_SECONDS_MAX = 120
TARGET = 0.995
SEED = 5
RESAMPLES = 10_000
FLAGS = {
    "on": ["--enable-request-stats-headers", "--enable-per-request-metrics=always"],
    "off": ["--disable-log-stats"],
}


class Engine:
    """A server under way; leave the `with` block and it is stopped."""

    def __init__(self, program, model, flags, log):
        self.address = ("127.0.0.1", processes.free_port())
        self.command = [program, f"--model={model}", "--served-model-name=bench", "--host=127.0.0.1"]
        self.command += [f"--port={self.address[1]}", "--no-enable-prefix-caching", "--drain-grace=0", *flags]
        self.log = log

    def __enter__(self):
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(self.command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        deadline = time.monotonic() + READY_SECONDS_MAX
        while not processes.is_ready(self.address[1]):
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.__exit__()
                sys.exit(f"{' '.join(self.command)} did not become ready:\n{Path(self.log).read_text()}")
            time.sleep(0.05)
        return self

    def __exit__(self, *_):
        processes.stop(self.process)

    def get(self, path):
        """The body of an answer; None unless it is a success."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.address[1]}{path}", timeout=10) as answer:
                return answer.read().decode()
        except (urllib.error.URLError, ConnectionError):
            return None

    def processor_seconds(self):
        """Seconds that all threads spent on processors."""
        tasks = Path(f"/proc/{self.process.pid}/task").iterdir()
        return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9

    def wave(self, bodies, tokens):
        """Tokens a second of one wave, and tokens for each second on processors. Then /metrics is read, as a scraper does."""
        before = self.processor_seconds()
        wave = load.run_wave(self.address, bodies, tokens, WAVE_SECONDS_MAX)
        self.get("/metrics")
        return wave.tokens_per_second, len(bodies) * tokens / (self.processor_seconds() - before)


def keep_weights(start, folder):
    """Fills a folder with packed weights by an engine that ends again; a model may have none to keep."""
    with start([f"--weights-cache-dir={folder}"]):
        deadline = time.monotonic() + KEEP_SECONDS_MAX
        while not any(Path(folder).glob("*.weights")) and time.monotonic() < deadline:
            time.sleep(0.1)


def body(randomness, prompt, tokens):
    """A request. Ids from 300 on are letters and words in every tokenizer that is used here."""
    return {
        "model": "bench",
        "prompt": [randomness.randrange(300, 900) for _ in range(prompt)],
        "max_tokens": tokens,
        "temperature": 0,
        "ignore_eos": True,
        "stream": True,
        "stream_options": {"include_usage": True},
    }


def interval(ratios):
    """Where the median is, with 95 %."""
    randomness = random.Random(SEED)
    medians = sorted(statistics.median(randomness.choices(ratios, k=len(ratios))) for _ in range(RESAMPLES))
    return medians[RESAMPLES // 40], medians[-RESAMPLES // 40]


def report(what, ratios):
    """Prints the median of some ratios, and its spread."""
    low, high = interval(ratios)
    quartiles = statistics.quantiles(ratios, n=4)
    median = statistics.median(ratios)
    print(
        f"{what}: stats on / off {median:.4f} (95 %: {low:.4f} to {high:.4f}; half of the pairs between "
        f"{quartiles[0]:.4f} and {quartiles[2]:.4f})"
    )
    return median


def main():
    """Runs the pairs."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("engine")
    arguments.add_argument("model", nargs="?", default="builtin://demo")
    arguments.add_argument("--pairs", type=int, default=40)
    arguments.add_argument("--concurrency", type=int, default=16)
    arguments.add_argument("--prompt", type=int, default=32, help="tokens of each prompt")
    arguments.add_argument("--tokens", type=int, default=128, help="tokens of each answer")
    arguments.add_argument("--flags", nargs="*", default=[], help="more flags for both servers, without the dashes")
    given = arguments.parse_args()
    more = [f"--{flag}" for flag in given.flags]
    randomness = random.Random(SEED)
    throughput, processors = [], []
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())

        def engine(flags, log="log"):
            return Engine(given.engine, given.model, flags + more, os.path.join(folder, log))

        weights = os.path.join(folder, "weights")
        keep_weights(engine, weights)
        shared = [f"--weights-cache-dir={weights}"]
        engines = {name: stack.enter_context(engine(flags + shared, name)) for name, flags in FLAGS.items()}
        for pair in range(-1, given.pairs):
            bodies = [body(randomness, given.prompt, given.tokens) for _ in range(given.concurrency)]
            order = ("on", "off") if pair % 2 else ("off", "on")
            seen = {name: engines[name].wave(bodies, given.tokens) for name in order}
            # The first pair warms up.
            if pair >= 0:
                throughput.append(seen["on"][0] / seen["off"][0])
                processors.append(seen["on"][1] / seen["off"][1])
    print(f"{given.pairs} pairs of waves, {given.concurrency} streams of {given.tokens} tokens each")
    median = report("tokens a second", throughput)
    report("tokens per second on processors", processors)
    print(f"target {TARGET}: {'reached' if median >= TARGET else 'not reached'}")


if __name__ == "__main__":
    main()
