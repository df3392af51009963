"""Starts the engine on loopback, on a port that the system chooses, and looks at its metrics."""

import contextlib
import json
import subprocess
import time
import urllib.request

READY_SECONDS_MAX = 120


class EngineFailed(Exception):
    """The engine did not start."""


class Engine:
    """A running engine; leave the `with` block and it is stopped."""

    def __init__(self, binary, log, *flags):
        self.log = log
        self.command = [str(binary), "--host=127.0.0.1", "--port=0", "--log-format=json", "--drain-grace=0", *flags]

    def __enter__(self):
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(self.command, stdout=log, stderr=log)
        try:
            self.wait_until_ready()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def wait_until_ready(self):
        """Reads the address from the log's first line, then polls `/ready`."""
        deadline = time.monotonic() + READY_SECONDS_MAX
        self.root = None
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise EngineFailed(f"the engine exited with {self.process.returncode}: {self.tail()}")
            self.root = self.root or self.address()
            if self.root:
                with contextlib.suppress(OSError), urllib.request.urlopen(f"{self.root}/ready", timeout=5):
                    return
            time.sleep(0.02)
        raise EngineFailed(f"not ready after {READY_SECONDS_MAX} s: {self.tail()}")

    def address(self):
        """Where it listens, as soon as the log says so."""
        with open(self.log, errors="replace") as log:
            line = log.readline()
        return f"http://{json.loads(line)['fields']['address']}" if line.endswith("\n") else None

    def tail(self):
        """The last lines that the engine wrote."""
        with open(self.log, errors="replace") as log:
            return "".join(log.readlines()[-5:]).strip()


def metric(root, name, **labels):
    """The value of a metric of `/metrics`, over all its lines that carry the labels."""
    with urllib.request.urlopen(f"{root}/metrics", timeout=10) as response:
        lines = response.read().decode().splitlines()
    wanted = [f'{key}="{value}"' for key, value in labels.items()]
    values = [
        float(line.rsplit(" ", 1)[1])
        for line in lines
        if line.startswith((name + "{", name + " ")) and all(label in line for label in wanted)
    ]
    if not values:
        raise KeyError(f"{name} {labels}")
    return sum(values)


def until(what, condition, seconds=30):
    """Polls until the condition holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {seconds} s: {what}")
        time.sleep(0.02)
