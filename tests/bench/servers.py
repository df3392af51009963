"""The servers that are compared: how each is started, asked and measured. All get the same weights and the same cores."""

import os
import random
import signal
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

import load
import machine
import processes

READY_SECONDS_MAX = 1800
STOP_SECONDS_MAX = 30
FIRST_PROMPT_TOKENS = 16
SPECIAL_TOKENS = 3
SEQUENCES_MAX = 16
CONTEXT = 2048
KV_BYTES = 2 << 30


class ServerFailed(Exception):
    """A server did not start."""


@dataclass(frozen=True)
class Server:
    """One program with one precision. `sized` are the files and folders that installing it takes."""

    key: str
    precision: str
    version: str
    command: list
    health: str
    sized: list
    read_first: list
    environment: dict = field(default_factory=dict)
    body: dict = field(default_factory=dict)

    def installed_bytes(self):
        """Bytes on disk of the program, without model."""
        return sum(size_of(Path(path)) for path in self.sized)


def size_of(path):
    """Bytes of a file, or of all files of a folder; a file with several names counts once."""
    files = path.rglob("*") if path.is_dir() else [path]
    seen = {}
    for file in files:
        if file.is_file() and not file.is_symlink():
            status = file.stat()
            seen[(status.st_dev, status.st_ino)] = status.st_size
    return sum(seen.values())


def candela(key, precision, version, engine, model, cache, flags):
    """Our engine. It keeps packed weights in a folder, as a pod with a volume does."""
    weights = cache / "weights"
    weights.mkdir(parents=True, exist_ok=True)
    command = [str(engine), f"--model={model}", "--served-model-name=bench", "--host=127.0.0.1", "--port={port}"]
    command += [f"--max-model-len={CONTEXT}", f"--max-num-seqs={SEQUENCES_MAX}", f"--kv-cache-memory-bytes={KV_BYTES}"]
    command += [f"--weights-cache-dir={weights}", "--drain-grace=0", *flags]
    return Server(key, precision, version, command, "/ready", [engine], [engine, model, weights])


def vllm(version, venv, model, cache):
    """vLLM for CPUs, in its own Python environment."""
    cores = sorted(os.sched_getaffinity(0))
    command = [f"{venv}/bin/vllm", "serve", str(model), "--served-model-name=bench", "--host=127.0.0.1", "--port={port}"]
    command += ["--dtype=bfloat16", f"--max-model-len={CONTEXT}", f"--max-num-seqs={SEQUENCES_MAX}"]
    environment = {
        "VLLM_CPU_KVCACHE_SPACE": str(KV_BYTES >> 30),
        "VLLM_CPU_OMP_THREADS_BIND": ",".join(str(core) for core in cores),
        "VLLM_NO_USAGE_STATS": "1",
        "VLLM_CACHE_ROOT": f"{cache}/vllm",
        "TORCHINDUCTOR_CACHE_DIR": f"{cache}/inductor",
        "HF_HUB_OFFLINE": "1",
        "PATH": f"{venv}/bin:{os.environ['PATH']}",
    }
    return Server("vllm-bf16", "bf16", version, command, "/health", [venv], [model], environment)


def llama(key, precision, version, folder, gguf):
    """llama.cpp's server. Its context is split among the slots."""
    threads = str(len(os.sched_getaffinity(0)))
    context = str(SEQUENCES_MAX * 640)
    command = [f"{folder}/bin/llama-server", "-m", str(gguf), "-a", "bench", "--host", "127.0.0.1", "--port", "{port}"]
    command += ["-t", threads, "-tb", threads, "-np", str(SEQUENCES_MAX), "-c", context, "-b", "2048", "-ub", "512"]
    command += ["-fa", "on", "--no-warmup"]
    sized = [f"{folder}/bin/llama-server"]
    return Server(key, precision, version, command, "/health", sized, sized + [gguf], body={"cache_prompt": False})


@dataclass(frozen=True)
class Start:
    """Seconds from a server's process start to its being ready, and to the first token of its first request."""

    ready: float
    first_token: float


class Running:
    """A started server; leave the `with` block and all its processes are stopped."""

    def __init__(self, server, log, vocab, randomness):
        self.server, self.log, self.vocab, self.randomness = server, log, vocab, randomness

    def __enter__(self):
        for path in self.server.read_first:
            processes.read_through(Path(path))
        self.address = ("127.0.0.1", processes.free_port())
        first = self.bodies(1, FIRST_PROMPT_TOKENS, 1)
        command = [word.replace("{port}", str(self.address[1])) for word in self.server.command]
        self.output = open(self.log, "ab")
        self.begun = time.perf_counter()
        self.process = subprocess.Popen(
            command,
            env=os.environ | self.server.environment,
            stdin=subprocess.DEVNULL,
            stdout=self.output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            self.wait_until_ready()
            ready = time.perf_counter() - self.begun
            self.start = Start(ready, ready + load.run_wave(self.address, first, 1, READY_SECONDS_MAX).first_token)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        """Asks the server's own processes to end, then makes them."""
        for asked in (signal.SIGTERM, signal.SIGKILL):
            for process in machine.session_processes(self.process.pid):
                try:
                    os.kill(process, asked)
                except ProcessLookupError:
                    pass
            deadline = time.monotonic() + STOP_SECONDS_MAX
            while self.process.poll() is None or machine.session_processes(self.process.pid):
                if time.monotonic() > deadline:
                    break
                time.sleep(0.05)
        self.output.close()

    def wait_until_ready(self):
        """Asks until the server says that it is ready; seldom where that takes long."""
        while True:
            waited = time.perf_counter() - self.begun
            if self.process.poll() is not None:
                raise ServerFailed(f"{self.server.key} exited with {self.process.returncode}: {self.tail()}")
            if waited > READY_SECONDS_MAX:
                raise ServerFailed(f"{self.server.key} not ready after {READY_SECONDS_MAX} s: {self.tail()}")
            if processes.is_ready(self.address[1], self.server.health):
                return
            time.sleep(0.002 if waited < 4 else 0.1)

    def bodies(self, count, prompt_tokens, output_tokens):
        """Requests with prompts of random ids, no two alike, so that no cache of prefixes helps."""
        common = {
            "model": "bench",
            "max_tokens": output_tokens,
            "temperature": 0,
            "ignore_eos": True,
            "stream": True,
            "stream_options": {"include_usage": True},
        } | self.server.body
        draw = lambda: [self.randomness.randrange(SPECIAL_TOKENS, self.vocab) for _ in range(prompt_tokens)]
        return [common | {"prompt": draw()} for _ in range(count)]

    def wave(self, cell, output_tokens, seconds_max):
        """One wave, with the shares of the cores that others and the hypervisor took meanwhile."""
        bodies = self.bodies(cell.concurrency, cell.prompt, output_tokens)
        before, own_before = machine.processors(), self.accounted()
        wave = load.run_wave(self.address, bodies, output_tokens, seconds_max)
        others, stolen = machine.shares(before, machine.processors(), self.accounted() - own_before)
        return wave, others, stolen

    def accounted(self):
        """Seconds that the server and this process computed until now."""
        return sum(machine.session_processes(self.process.pid).values()) + time.process_time()

    def memory(self):
        """The memory of the server's processes."""
        return machine.memory(machine.session_processes(self.process.pid))

    def tail(self):
        """The last lines that the server wrote."""
        with open(self.log, errors="replace") as log:
            return "".join(log.readlines()[-5:]).strip()


def randomness(seed, server, round_number):
    """Random numbers of their own for each server and round, and the same in every run."""
    return random.Random(f"{seed} {server.key} {round_number}")
