"""What run.sh found or built, the control plane that judges the objects, and the line that says how many tests passed."""

from pathlib import Path

import pytest
from chart import Helm
from control_plane import ControlPlane
from variants import VARIANTS

OPTIONS = {
    "programs": "folder of candela-engine and candela-operator",
    "bed": "the program of the test bed",
    "kubernetes": "folder of kube-apiserver, kubectl, helm and the rest",
    "prometheus": "folder of prometheus and promtool",
    "definitions": "folder of the Prometheus operator's CustomResourceDefinitions",
}


def pytest_addoption(parser):
    for name, what in OPTIONS.items():
        parser.addoption(f"--{name}", type=Path, required=True, help=what)


def pytest_terminal_summary(terminalreporter):
    counts = {outcome: len(terminalreporter.stats.get(outcome, [])) for outcome in ("passed", "failed", "error")}
    terminalreporter.write_line(f"{counts['passed']} passed, {counts['failed'] + counts['error']} failed")


@pytest.fixture(scope="session")
def found(request):
    """The folders and programs, by the names of the options."""
    return {name: request.config.getoption(name).resolve() for name in OPTIONS}


@pytest.fixture(scope="session")
def helm(found):
    return Helm(found["kubernetes"] / "helm")


@pytest.fixture(params=VARIANTS, ids=lambda variant: variant.name.replace(" ", "-"))
def variant(request):
    return request.param


@pytest.fixture(scope="session")
def cluster(found, tmp_path_factory):
    """A real API server with the Prometheus operator's kinds."""
    with ControlPlane(found["bed"], found["kubernetes"], tmp_path_factory.mktemp("control-plane")) as cluster:
        for kind in ("servicemonitors", "prometheusrules"):
            definition = found["definitions"] / f"monitoring.coreos.com_{kind}.yaml"
            cluster.kubectl("apply", "--server-side", "--filename", str(definition))
            cluster.kubectl("wait", "--for=condition=Established", "--timeout=60s", f"crd/{kind}.monitoring.coreos.com")
        yield cluster
