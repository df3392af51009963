#!/usr/bin/env python3
"""What becomes of throughput when there are fewer processors than threads: under a CPU quota, and beside a busy neighbour.

    tests/bench/threads.py ENGINE MODEL [--rounds 5] [--concurrency 4] [--tokens 32] [-- FLAGS OF THE ENGINE]

Prints for each case the output tokens per second, their ratio to the undisturbed engine's, and beside it the share of the
processors that the case leaves. Cases take turns. Linux, as root, at least two processors; cgroups of either version. The
groups are made for the run and removed after it.
"""

import argparse
import concurrent.futures
import contextlib
import dataclasses
import http.client
import json
import os
import pathlib
import shlex
import statistics
import subprocess
import sys
import tempfile
import time

import processes

PERIOD_MICROSECONDS = 100_000
START_SECONDS_MAX = 120
REQUEST_SECONDS_MAX = 300


class Group:
    """A cgroup with a CPU quota, in processors."""

    def __init__(self, name):
        root = pathlib.Path("/sys/fs/cgroup")
        self.version = 2 if (root / "cgroup.controllers").exists() else 1
        if self.version == 2:
            (root / "cgroup.subtree_control").write_text("+cpu")
        else:
            root = root / "cpu"
        self.folder = root / f"candela-threads-{os.getpid()}-{name}"
        self.folder.mkdir()
        # Whatever else runs on the machine weighs little beside it.
        weight, most = ("cpu.weight", 10_000) if self.version == 2 else ("cpu.shares", 262_144)
        (self.folder / weight).write_text(str(most))

    def limit(self, processors):
        quota = int(processors * PERIOD_MICROSECONDS) if processors else None
        if self.version == 2:
            (self.folder / "cpu.max").write_text(f"{quota or 'max'} {PERIOD_MICROSECONDS}")
        else:
            (self.folder / "cpu.cfs_quota_us").write_text(str(quota or -1))

    def join(self, pid):
        (self.folder / "cgroup.procs").write_text(str(pid))

    def remove(self):
        self.folder.rmdir()


@dataclasses.dataclass
class Case:
    """An engine and what disturbs it."""

    name: str
    threads: int | None
    quota: float | None
    neighbour: bool
    share: float


@dataclasses.dataclass
class Running:
    """A case's engine."""

    case: Case
    port: int
    pid: int
    threads: int


def cases(processors):
    undisturbed = Case("undisturbed", processors, None, False, 1.0)
    result = [undisturbed]
    for quota in (processors / 2, processors * 3 / 4):
        share = quota / processors
        result.append(Case(f"quota {quota:g}, threads by the quota", None, quota, False, share))
        result.append(Case(f"quota {quota:g}, {processors} threads", processors, quota, False, share))
    share = (processors - 0.5) / processors
    result.append(Case("a busy neighbour on one processor", processors, None, True, share))
    return result


def compute_threads(pid):
    names = (task / "comm" for task in pathlib.Path(f"/proc/{pid}/task").iterdir())
    return 1 + sum(name.read_text().startswith("compute-") for name in names)


@contextlib.contextmanager
def started(command, case, group):
    port = processes.free_port()
    threads = [f"--threads={case.threads}"] if case.threads else []
    command = [*command, *threads, "--host=127.0.0.1", f"--port={port}", "--served-model-name=bench"]
    group.limit(case.quota)
    with tempfile.TemporaryFile() as log:
        engine = subprocess.Popen(command, stderr=log, preexec_fn=lambda: group.join(os.getpid()))
        try:
            deadline = time.monotonic() + START_SECONDS_MAX
            while not processes.is_ready(port):
                if engine.poll() is not None or time.monotonic() > deadline:
                    log.seek(0)
                    sys.exit(f"{shlex.join(command)} did not start:\n{log.read().decode()}")
                time.sleep(0.05)
            yield Running(case, port, engine.pid, compute_threads(engine.pid))
        finally:
            processes.stop(engine)


def complete(port, prompt, tokens):
    body = {"model": "bench", "prompt": prompt, "max_tokens": tokens, "temperature": 0, "ignore_eos": True}
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=REQUEST_SECONDS_MAX)
    connection.request("POST", "/v1/completions", json.dumps(body), {"content-type": "application/json"})
    answer = connection.getresponse()
    content = json.loads(answer.read())
    connection.close()
    if answer.status != 200:
        sys.exit(f"a completion was answered {answer.status}: {content}")
    return content["usage"]["completion_tokens"]


@contextlib.contextmanager
def busy_neighbour(group):
    """A loop without a pause on the last processor, in the engine's group, so that both weigh the same."""
    last = max(os.sched_getaffinity(0))

    def place():
        group.join(os.getpid())
        os.sched_setaffinity(0, {last})

    neighbour = subprocess.Popen([sys.executable, "-c", "while True: pass"], preexec_fn=place)
    try:
        yield
    finally:
        processes.stop(neighbour)


def throughput(running, group, options, wave):
    """Output tokens per second of one wave of requests."""

    def request(index):
        # No prompt begins as another does: nothing comes out of a cache.
        prompt = [3 + (wave * 131 + index * 17 + at * 7) % 900 for at in range(options.prompt)]
        return complete(running.port, prompt, options.tokens)

    with contextlib.ExitStack() as stack:
        if running.case.neighbour:
            stack.enter_context(busy_neighbour(group))
        pool = stack.enter_context(concurrent.futures.ThreadPoolExecutor(options.concurrency))
        begun = time.monotonic()
        tokens = sum(pool.map(request, range(options.concurrency)))
        return tokens / (time.monotonic() - begun)


def table(engines, rates):
    whole = rates["undisturbed"]
    print("| case | threads | tok/s | ratio | share of the processors |")
    print("|---|---|---|---|---|")
    for running in engines:
        case = running.case
        ratio = statistics.median(mine / other for mine, other in zip(rates[case.name], whole))
        rate = statistics.median(rates[case.name])
        print(f"| {case.name} | {running.threads} | {rate:.1f} | {ratio:.2f} | {case.share:.2f} |", flush=True)


def main():
    own, _, engine_flags = " ".join(map(shlex.quote, sys.argv[1:])).partition(" -- ")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("engine")
    parser.add_argument("model")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--concurrency", type=int, default=4)
    parser.add_argument("--prompt", type=int, default=64, help="tokens of a prompt")
    parser.add_argument("--tokens", type=int, default=32, help="tokens of an answer")
    options = parser.parse_args(shlex.split(own))
    processors = len(os.sched_getaffinity(0))
    if processors < 2 or os.geteuid() != 0:
        sys.exit("this takes root, and two processors")
    command = [options.engine, f"--model={options.model}", "--no-enable-prefix-caching", "--kv-cache-memory-bytes=1073741824"]
    command += shlex.split(engine_flags)
    with contextlib.ExitStack() as stack:
        engines, groups = [], {}
        for index, case in enumerate(cases(processors)):
            groups[case.name] = Group(str(index))
            stack.callback(groups[case.name].remove)
            engines.append(stack.enter_context(started(command, case, groups[case.name])))
        rates = {running.case.name: [] for running in engines}
        for wave in range(options.rounds + 1):
            for running in engines:
                rate = throughput(running, groups[running.case.name], options, wave)
                if wave > 0:
                    rates[running.case.name].append(rate)
        table(engines, rates)


if __name__ == "__main__":
    main()
