"""How the operator does with many InferenceServices, on a real API server: from creation to children, a start against all of them
converged, and rest. There are no nodes; this program stands in for the kubelet and says of every pod that it is ready.

  operator_scale.py --operator PROGRAM --bed PROGRAM --kubernetes FOLDER [--services 1000] [--json FILE]

The control plane runs on the same processors, so times are of both together.
"""

import argparse
import http.client
import json
import os
import queue
import ssl
import statistics
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path

NAMESPACE = "scale"
GROUP = f"/apis/inference.candela.dev/v1alpha1/namespaces/{NAMESPACE}/inferenceservices"
DEPLOYMENTS = f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments"
PODS = f"/api/v1/namespaces/{NAMESPACE}/pods"
REST_SECONDS = 60
# Services without an operator, made for comparison.
PLAIN_SERVICES = 400
PATIENCE_SECONDS = 3600


class Cluster:
    """The API server, as the administrator."""

    def __init__(self, kubeconfig):
        config = json.loads(Path(kubeconfig).read_text())
        cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
        self.host = cluster["server"].removeprefix("https://")
        self.tls = ssl.create_default_context(cafile=cluster["certificate-authority"])
        self.tls.load_cert_chain(user["client-certificate"], user["client-key"])
        self.own = threading.local()

    def ask(self, method, path, body=None, kind="application/json"):
        """The answer as JSON; a kept connection for each thread."""
        for attempt in (1, 2):
            connection = getattr(self.own, "connection", None)
            if connection is None:
                connection = self.own.connection = http.client.HTTPSConnection(self.host, context=self.tls, timeout=120)
            try:
                connection.request(method, path, None if body is None else json.dumps(body), {"Content-Type": kind})
                response = connection.getresponse()
                answer = json.loads(response.read())
            except (http.client.HTTPException, OSError):
                self.own.connection = None
                if attempt == 2:
                    raise
                continue
            if response.status >= 300 and response.status != 409:
                raise RuntimeError(f"{method} {path}: {response.status} {answer.get('message')}")
            return answer

    def watch(self, path):
        """Every event from now on, for ever."""
        version = "0"
        while True:
            connection = http.client.HTTPSConnection(self.host, context=self.tls, timeout=PATIENCE_SECONDS)
            connection.request("GET", f"{path}?watch=true&resourceVersion={version}&timeoutSeconds=3000")
            for line in connection.getresponse():
                event = json.loads(line)
                if event["type"] == "ERROR":
                    break
                version = event["object"]["metadata"]["resourceVersion"]
                yield event


class Operator:
    """The program under test, as one process."""

    def __init__(self, program, kubeconfig, port):
        self.port, self.started = port, time.monotonic()
        log = open(Path(kubeconfig).parent.parent / f"logs/operator-{port}.log", "w")
        command = [program, "run", "--engine-image-cpu=engine:1", f"--listen=127.0.0.1:{port}", "--network-policy"]
        environment = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
        self.process = subprocess.Popen(command, env=environment | {"KUBECONFIG": str(kubeconfig), "RUST_LOG": "warn"}, stdout=log, stderr=log)

    def metrics(self):
        """Sums by name, and by name and label."""
        try:
            text = urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=10).read().decode()
        except OSError:
            return {}
        found = {}
        for line in text.splitlines():
            if not line.startswith("#"):
                series, value = line.rsplit(" ", 1)
                name, labels, _ = series.partition("{")
                found[series] = float(value)
                if labels:
                    found[name] = found.get(name, 0) + float(value)
        return found

    def memory_peak_mib(self):
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) / 1024

    def cpu_seconds(self):
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def end(self):
        self.process.terminate()
        self.process.wait(60)


def beside(work):
    """Runs on a thread until the control plane is gone."""

    def until_it_is_gone():
        try:
            work()
        except (http.client.HTTPException, OSError):
            pass

    threading.Thread(target=until_it_is_gone, daemon=True).start()


def stand_in_kubelet(cluster, threads):
    """Makes every pod ready, as it comes."""
    work = queue.Queue()
    ready = {"status": {"phase": "Running", "conditions": [{"type": kind, "status": "True"} for kind in ("Ready", "PodScheduled")],
             "containerStatuses": [{"name": "engine", "image": "engine:1", "imageID": "", "ready": True, "restartCount": 0,
                                    "state": {"running": {"startedAt": "2026-01-01T00:00:00Z"}}}]}}

    def serve():
        while True:
            cluster.ask("PATCH", f"{PODS}/{work.get()}/status", ready, "application/merge-patch+json")

    def follow():
        for event in cluster.watch(PODS):
            if event["type"] == "ADDED":
                work.put(event["object"]["metadata"]["name"])

    for target in [follow] + [serve] * threads:
        beside(target)


def see_deployments(cluster, seen):
    """Notes when the Deployment of each service was first seen."""

    def follow():
        for event in cluster.watch(DEPLOYMENTS):
            seen.setdefault(event["object"]["metadata"]["name"], time.monotonic())

    beside(follow)


def in_threads(names, threads, work):
    """Does the work for every name, on so many threads, and waits for them."""
    left = queue.Queue()
    for name in names:
        left.put(name)

    def take():
        while True:
            try:
                work(left.get_nowait())
            except queue.Empty:
                return

    workers = [threading.Thread(target=take) for _ in range(threads)]
    [worker.start() for worker in workers]
    [worker.join() for worker in workers]


def create(cluster, count, threads):
    """Creates the services, and says when each was asked for."""
    asked = {}

    def ask(name):
        asked[name] = time.monotonic()
        cluster.ask("POST", GROUP, {"apiVersion": "inference.candela.dev/v1alpha1", "kind": "InferenceService",
                                    "metadata": {"name": name}, "spec": {"model": {"uri": "builtin://demo"}}})

    in_threads([f"s{number:05}" for number in range(count)], threads, ask)
    return asked


def plain_services_per_second(cluster, threads):
    """How fast this API server makes Services, which get an address each, for whoever asks: what bounds the operator as well."""
    path = f"/api/v1/namespaces/{NAMESPACE}/services"
    began = time.monotonic()
    in_threads(
        [f"plain{number:04}" for number in range(PLAIN_SERVICES)],
        threads,
        lambda name: cluster.ask("POST", path, {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
                                                "spec": {"ports": [{"port": 80}], "selector": {"app": name}}}),
    )
    return PLAIN_SERVICES / (time.monotonic() - began)


def until(what, look, seconds=PATIENCE_SECONDS):
    """Waits until `look` is true; prints how far it is meanwhile."""
    started = said = time.monotonic()
    while not look():
        now = time.monotonic()
        if now - started > seconds:
            raise TimeoutError(what)
        if now - said > 30:
            print(f"... {what}: {now - started:.0f} s", file=sys.stderr)
            said = now
        time.sleep(0.2)
    return time.monotonic() - started


def ready_services(cluster):
    """How many say that they serve."""
    count, more = 0, ""
    while True:
        page = cluster.ask("GET", f"{GROUP}?limit=1000{more}")
        for item in page["items"]:
            conditions = item.get("status", {}).get("conditions", [])
            count += any(own["type"] == "Ready" and own["status"] == "True" for own in conditions)
        if not page["metadata"].get("continue"):
            return count
        more = "&continue=" + page["metadata"]["continue"]


def writes(metrics):
    return metrics.get("candela_operator_writes_total", 0)


def measure(arguments, kubeconfig):
    cluster, count = Cluster(kubeconfig), arguments.services
    kubectl = [str(arguments.kubernetes / "kubectl"), "--kubeconfig", str(kubeconfig)]
    definition = Path(__file__).parents[2] / "crds/inferenceservices.yaml"
    subprocess.run([*kubectl, "apply", "--filename", definition], check=True, stdout=sys.stderr)
    subprocess.run([*kubectl, "wait", "--for=condition=Established", "crd/inferenceservices.inference.candela.dev"], check=True, stdout=sys.stderr)
    subprocess.run([*kubectl, "create", "namespace", NAMESPACE], check=True, stdout=sys.stderr)

    seen = {}
    see_deployments(cluster, seen)
    stand_in_kubelet(cluster, 4)
    operator = Operator(arguments.operator, kubeconfig, 18080)
    until("the operator's start", lambda: operator.metrics().get("candela_operator_leading") == 1, 60)
    began = time.monotonic()
    asked = create(cluster, count, 8)
    created_seconds = time.monotonic() - began
    until("all children", lambda: len(seen) >= count)
    children_seconds = time.monotonic() - began
    until("all ready", lambda: (time.sleep(2), ready_services(cluster))[1] >= count)
    ready_seconds = time.monotonic() - began
    time.sleep(5)
    waits = sorted(seen[name] - asked[name] for name in asked)
    calls = operator.metrics()
    result = {
        "services": count,
        "create": {
            "asked_per_second": count / created_seconds,
            "to_deployment_p50_seconds": statistics.median(waits),
            "to_deployment_p99_seconds": waits[int(len(waits) * 0.99)],
            "all_children_seconds": children_seconds,
            "all_ready_seconds": ready_seconds,
            "api_requests_per_service": calls["candela_operator_api_requests_total"] / count,
            "writes_per_service": writes(calls) / count,
            "cpu_ms_per_service": operator.cpu_seconds() / count * 1000,
            "memory_peak_mib": operator.memory_peak_mib(),
        },
    }
    print(json.dumps(result), file=sys.stderr)
    operator.end()
    time.sleep(2)

    operator = Operator(arguments.operator, kubeconfig, 18081)
    done = 'candela_operator_reconciles_total{outcome="done"}'
    until("the second start", lambda: operator.metrics().get(done, 0) >= count)
    start_seconds = time.monotonic() - operator.started
    at_start = operator.metrics()
    cpu = operator.cpu_seconds()
    time.sleep(REST_SECONDS)
    at_rest = operator.metrics()
    result["start"] = {
        "seconds": start_seconds,
        "cpu_seconds": cpu,
        "api_requests": at_start["candela_operator_api_requests_total"],
        "writes": writes(at_start),
        "memory_peak_mib": operator.memory_peak_mib(),
    }
    result["rest"] = {
        "seconds": REST_SECONDS,
        "writes": writes(at_rest) - writes(at_start),
        "api_requests": at_rest["candela_operator_api_requests_total"] - at_start["candela_operator_api_requests_total"],
        "cpu_seconds": operator.cpu_seconds() - cpu,
    }
    operator.end()
    result["plain_services_per_second"] = plain_services_per_second(cluster, 16)
    return result


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--operator", required=True, type=Path, help="the program candela-operator")
    parser.add_argument("--bed", required=True, type=Path, help="the program bed of the tests")
    parser.add_argument("--kubernetes", required=True, type=Path, help="the folder that tests/bed/kube/build.sh prints")
    parser.add_argument("--services", type=int, default=1000)
    parser.add_argument("--json", type=Path, help="where the figures are written as well")
    arguments = parser.parse_args()
    command = [str(arguments.bed), "up", "--control-plane", "--programs", str(arguments.kubernetes)]
    bed = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        kubeconfig = None
        for line in bed.stdout:
            if line.startswith("KUBECONFIG="):
                kubeconfig = Path(line.strip().removeprefix("KUBECONFIG="))
            if line.startswith("Ctrl-D"):
                break
        if kubeconfig is None:
            raise RuntimeError("the control plane did not come up")
        result = measure(arguments, kubeconfig)
    finally:
        bed.stdin.close()
        bed.wait(60)
    text = json.dumps(result, indent=2)
    print(text)
    if arguments.json:
        arguments.json.write_text(text + "\n")


if __name__ == "__main__":
    main()
