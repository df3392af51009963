"""A control plane of the test bed on loopback: objects are admitted, defaulted, owned and collected; no pod starts."""

import json
import os
import subprocess
import time

READY_LINE = "Ctrl-D removes the bed"
RESTRICTED = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "warn")}


class Refused(Exception):
    """The API server, or kubectl, said no; the message is its own."""


class ControlPlane:
    """It runs inside the `with` block."""

    def __init__(self, bed, programs, folder):
        self.bed, self.programs, self.folder = bed, programs, folder
        self.namespaces = set()

    def __enter__(self):
        command = [str(self.bed), "up", "--control-plane", "--programs", str(self.programs)]
        # It ends by itself when its standard input closes, so also with this process.
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.kubeconfig = None
        for line in self.process.stdout:
            if line.startswith("KUBECONFIG="):
                self.kubeconfig = line.strip().removeprefix("KUBECONFIG=")
            if line.startswith(READY_LINE):
                return self
        raise RuntimeError(f"no control plane: bed ended with {self.process.wait()}")

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.wait(60)
        self.process.stdout.close()

    def run(self, program, *arguments, manifest=None):
        """What a program of Kubernetes prints: the answer, and what was said beside it."""
        environment = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
        done = subprocess.run(
            [str(self.programs / program), *arguments],
            env=environment | {"KUBECONFIG": self.kubeconfig, "HOME": str(self.folder)},
            input=manifest,
            capture_output=True,
            text=True,
            timeout=180,
        )
        if done.returncode:
            raise Refused(done.stderr)
        return done.stdout, done.stderr

    def kubectl(self, *arguments, manifest=None):
        return self.run("kubectl", *arguments, manifest=manifest)[0]

    def get(self, *arguments):
        """Objects as JSON."""
        return json.loads(self.kubectl("get", *arguments, "--output=json"))

    def judge(self, manifest, verb="apply"):
        """What the API server would say to these objects: every field, every rule of admission. Warnings count as refusals."""
        _, said = self.run("kubectl", verb, "--dry-run=server", "--validate=strict", "--filename=-", manifest=manifest)
        if said.strip():
            raise Refused(said)

    def namespace(self, name):
        """Makes sure of a namespace in which pods must be restricted."""
        if name and name not in self.namespaces:
            namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": RESTRICTED}}
            self.kubectl("apply", "--filename=-", manifest=json.dumps(namespace))
            until(f"the service account of {name}", lambda: self.exists("serviceaccount", "default", "--namespace", name))
            self.namespaces.add(name)

    def exists(self, *arguments):
        return bool(self.kubectl("get", *arguments, "--ignore-not-found", "--output=name"))


def until(what, condition, seconds=120):
    """Polls until the condition holds, and gives what it gave."""
    deadline = time.monotonic() + seconds
    while not (held := condition()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {seconds} s: {what}")
        time.sleep(0.1)
    return held
