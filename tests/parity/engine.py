"""Starts the engine on loopback and asks it for completions over HTTP."""

import json
import socket
import subprocess
import time
import urllib.error
import urllib.request

READY_SECONDS_MAX = 60
ANSWER_SECONDS_MAX = 120


class EngineFailed(Exception):
    """The engine did not start, or did not answer as it should."""


def free_port():
    """A port that nothing listens on now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class Engine:
    """A running engine; leave the `with` block and it is stopped."""

    def __init__(self, binary, model, dtype, log):
        self.binary, self.model, self.dtype, self.log = binary, model, dtype, log
        self.port = free_port()

    def __enter__(self):
        command = [
            self.binary,
            "--model",
            str(self.model),
            "--dtype",
            self.dtype,
            "--host",
            "127.0.0.1",
            "--port",
            str(self.port),
        ]
        self.output = open(self.log, "wb")
        self.process = subprocess.Popen(command, stdout=self.output, stderr=subprocess.STDOUT)
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
                raise EngineFailed(f"the engine exited with {self.process.returncode}:\n{self.tail()}")
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/ready", timeout=5):
                    return
            except OSError:
                time.sleep(0.02)
        raise EngineFailed(f"not ready after {READY_SECONDS_MAX} s:\n{self.tail()}")

    def tail(self):
        """The last lines that the engine wrote."""
        with open(self.log, errors="replace") as log:
            return "".join(log.readlines()[-12:])

    def fetch(self, path, body=None):
        """GET, or POST of a JSON body; the parsed answer."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}{path}", data, {"Content-Type": "application/json"}
        )
        try:
            with urllib.request.urlopen(request, timeout=ANSWER_SECONDS_MAX) as response:
                return json.load(response)
        except urllib.error.HTTPError as error:
            raise EngineFailed(
                f"{path} answered {error.code}: {error.read().decode(errors='replace')[:500]}"
            ) from error

    def complete(self, prompt, count):
        """The token ids of each choice for one prompt of ids, or for a list of prompts."""
        body = {
            "model": self.name,
            "prompt": prompt,
            "temperature": 0,
            "max_tokens": count,
            "ignore_eos": True,
            "return_token_ids": True,
        }
        choices = sorted(self.fetch("/v1/completions", body)["choices"], key=lambda choice: choice["index"])
        return [choice["token_ids"] for choice in choices]
