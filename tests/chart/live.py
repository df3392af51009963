"""What a user's monitoring sees: a real engine and a real operator on loopback, and a Prometheus that scrapes both, with the labels that
the chart's ServiceMonitors would give."""

import contextlib
import json
import os
import re
import signal
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

import yaml
from chart import CHART
from control_plane import until

NAMESPACE, SERVICE = "team-a", "demo"
RELEASE, HOME = "candela", "candela-system"
# Long enough that its beginning fills blocks of the prefix cache.
PROMPT = "Once upon a time there was a fox that lived in a wood and knew every path of it. " * 4


class Process:
    """A program with its log, ended with the `with` block. `address` is what the log says by `pattern`."""

    def __init__(self, log, command, pattern, environment=None):
        self.log, self.command, self.pattern = log, [str(part) for part in command], pattern
        self.environment = os.environ | (environment or {})

    def __enter__(self):
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(self.command, stdout=log, stderr=log, env=self.environment)
        try:
            self.address = until(f"{self.command[0]} listens", self.find)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(30)
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def find(self):
        text = self.log.read_text(errors="replace")
        if self.process.poll() is not None:
            raise RuntimeError(f"{self.command[0]} ended with {self.process.returncode}: {text[-2000:]}")
        match = re.search(self.pattern, text)
        return match and match.group(1)

    def ask(self, path, body=None):
        """The answer as text; an error's answer is an exception."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"http://{self.address}{path}", data, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=60) as response:
            return response.read().decode()


def engine(found, folder):
    command = [found["programs"] / "candela-engine", "--model=builtin://demo", f"--served-model-name={SERVICE}", "--host=127.0.0.1"]
    command += ["--port=0", "--log-format=json", "--drain-grace=0"]
    return Process(folder / "engine.log", command, r'"address":"([^"]+)"')


def operator(found, folder, cluster):
    """With the arguments of the chart's Deployment, and the rights of its service account."""
    deployment = cluster.get("deployment", f"{RELEASE}-operator", "--namespace", HOME)
    arguments = deployment["spec"]["template"]["spec"]["containers"][0]["args"]
    kubeconfig = json.loads(Path(cluster.kubeconfig).read_text())
    token = cluster.kubectl("create", "token", f"{RELEASE}-operator", "--namespace", HOME).strip()
    kubeconfig["users"][0]["user"] = {"token": token}
    (folder / "operator.kubeconfig").write_text(json.dumps(kubeconfig))
    environment = {"KUBECONFIG": str(folder / "operator.kubeconfig"), "POD_NAME": "operator-0", "POD_NAMESPACE": HOME, "RUST_LOG": "info"}
    command = [found["programs"] / "candela-operator", *arguments, "--listen=127.0.0.1:0"]
    return Process(folder / "operator.log", command, r"address=(127\.0\.0\.1:\d+)", environment)


class Prometheus(Process):
    """It scrapes every second and evaluates the chart's rules as often."""

    def __init__(self, found, folder, engine_address, operator_address):
        targets = {
            "engines": (engine_address, {"namespace": NAMESPACE, "service": SERVICE, "pod": f"{SERVICE}-0"}),
            "operator": (operator_address, {"namespace": HOME, "service": f"{RELEASE}-operator", "pod": "operator-0"}),
        }
        configuration = {
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": [str(CHART / "files" / "rules.yaml")],
            "scrape_configs": [
                {"job_name": name, "static_configs": [{"targets": [address], "labels": labels}]}
                for name, (address, labels) in targets.items()
            ],
        }
        (folder / "prometheus.yaml").write_text(yaml.safe_dump(configuration))
        command = [found["prometheus"] / "prometheus", f"--config.file={folder}/prometheus.yaml"]
        command += [f"--storage.tsdb.path={folder}/data", "--web.listen-address=127.0.0.1:0"]
        super().__init__(folder / "prometheus.log", command, r'msg="Listening on" address=(\S+)')

    def __enter__(self):
        super().__enter__()
        until("Prometheus is ready", self.ready)
        return self

    def ready(self):
        try:
            return self.ask("/-/ready")
        except (urllib.error.URLError, OSError):
            return None

    def api(self, path, **parameters):
        """The data of an answer. What Prometheus cannot read is a RuntimeError in its words."""
        try:
            answer = json.loads(self.ask(f"/api/v1/{path}?{urllib.parse.urlencode(parameters)}"))
        except urllib.error.HTTPError as error:
            raise RuntimeError(error.read().decode()) from None
        return answer["data"]

    def numbers(self, expression):
        """The values of an instant query that are numbers."""
        result = self.api("query", query=expression)["result"]
        return [float(sample["value"][1]) for sample in result if sample["value"][1] != "NaN"]
