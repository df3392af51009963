"""Starts the engine on loopback and asks it for completions over HTTP."""

import json
import os
import socket
import subprocess
import time
import urllib.error
import urllib.request
from dataclasses import dataclass

READY_SECONDS_MAX = 60
ANSWER_SECONDS_MAX = 120


class EngineFailed(Exception):
    """The engine did not start, or did not answer as it should."""


def free_port():
    """A port that nothing listens on now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@dataclass
class Completion:
    """What came back for one prompt: token ids, and how many tokens of the prompt were in the prefix cache."""

    tokens: list
    cached: int


class Engine:
    """A running engine; leave the `with` block and it is stopped."""

    def __init__(self, binary, model, log, **flags):
        self.log, self.max_model_len = log, flags.get("max_model_len")
        self.port = free_port()
        flags = {"model": model, "host": "127.0.0.1", "port": self.port, "drain_grace": 0} | flags
        self.command = [str(binary), "--enable-prompt-tokens-details"]
        self.command += [f"--{name.replace('_', '-')}={value}" for name, value in flags.items()]
        # The device of software, or a GPU: CANDELA_DEVICE=cuda.
        self.command += [f"--device={device}"] if (device := os.environ.get("CANDELA_DEVICE")) else []

    def __enter__(self):
        self.output = open(self.log, "ab")
        self.process = subprocess.Popen(self.command, stdout=self.output, stderr=subprocess.STDOUT)
        try:
            self.wait_until_ready()
            self.name = self.fetch("/v1/models")["data"][0]["id"]
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
        self.output.close()

    def wait_until_ready(self):
        """Polls `/ready` until it is 200."""
        deadline = time.monotonic() + READY_SECONDS_MAX
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise EngineFailed(f"the engine exited with {self.process.returncode}: {self.tail()}")
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/ready", timeout=5):
                    return
            except OSError:
                time.sleep(0.02)
        raise EngineFailed(f"not ready after {READY_SECONDS_MAX} s: {self.tail()}")

    def tail(self):
        """The last lines that the engine wrote."""
        with open(self.log, errors="replace") as log:
            return "".join(log.readlines()[-3:]).strip()

    def fetch(self, path, body=None):
        """GET, or POST of a JSON body; the parsed answer."""
        return json.loads(self.read(path, body))

    def read(self, path, body=None):
        """GET, or POST of a JSON body; the answer as bytes."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}{path}", data, {"Content-Type": "application/json"}
        )
        try:
            with urllib.request.urlopen(request, timeout=ANSWER_SECONDS_MAX) as response:
                return response.read()
        except urllib.error.HTTPError as error:
            raise EngineFailed(
                f"{path} answered {error.code}: {error.read().decode(errors='replace')[:500]}"
            ) from error

    def complete(self, prompt, count, salt):
        """The `Completion` of each choice for one prompt of ids, or for a list of prompts. Only requests of the same
        `salt` share their prefixes."""
        body = {
            "model": self.name,
            "prompt": prompt,
            "temperature": 0,
            "max_tokens": count,
            "ignore_eos": True,
            "return_token_ids": True,
        }
        if salt:
            body["cache_salt"] = salt
        answer = self.fetch("/v1/completions", body)
        details = answer["usage"].get("prompt_tokens_details") or {}
        choices = sorted(answer["choices"], key=lambda choice: choice["index"])
        return [Completion(choice["token_ids"], details.get("cached_tokens") or 0) for choice in choices]

    def metric(self, name):
        """The value of a counter of /metrics, over all its labels."""
        lines = self.read("/metrics").decode().splitlines()
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith((name + "{", name + " ")))
