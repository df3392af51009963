"""What a real API server says to every variant, and to a life of the chart: install, upgrade, uninstall, install again.

A dry run on the server decodes strictly (an unknown or doubled field is an error), defaults, validates by Kubernetes' own code and by the
definitions of the Prometheus operator, and runs admission. A schema alone (kubeconform) would see the first of these only."""

import json
import shutil

import chart
import pytest
import yaml
from chart import CHART
from control_plane import Refused
from variants import Variant

DEFINITION = "crd/inferenceservices.inference.candela.dev"
SERVICE = {
    "apiVersion": "inference.candela.dev/v1alpha1",
    "kind": "InferenceService",
    "metadata": {"name": "kept"},
    "spec": {"model": {"uri": "builtin://demo"}},
}


def test_the_api_server_accepts_every_object(helm, cluster, variant):
    for namespace in (variant.namespace, variant.watched):
        cluster.namespace(namespace)
    cluster.judge(helm.manifest(variant))


def test_the_pod_is_one_of_a_restricted_namespace(helm, cluster, variant):
    cluster.namespace(variant.namespace)
    template = helm.one(variant, "Deployment")["spec"]["template"]
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "pod", "namespace": variant.namespace} | template["metadata"]}
    pod["spec"] = template["spec"] | {"serviceAccountName": "default"}  # the operator's account is not there in a dry run
    cluster.judge(json.dumps(pod), verb="create")


@pytest.mark.parametrize(
    ("field", "value"),
    [("runAsNonRoot", False), ("seccompProfile", {"type": "Unconfined"})],
)
def test_a_pod_with_more_power_would_be_refused(helm, cluster, field, value):
    """So the test above can fail."""
    variant = Variant("default")
    cluster.namespace(variant.namespace)
    template = helm.one(variant, "Deployment")["spec"]["template"]
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "pod", "namespace": variant.namespace}}
    pod["spec"] = template["spec"] | {"serviceAccountName": "default"}
    pod["spec"]["securityContext"] = pod["spec"]["securityContext"] | {field: value}
    with pytest.raises(Refused, match="violates PodSecurity"):
        cluster.judge(json.dumps(pod), verb="create")


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({}, "terminationMessagePolicy"),
        ({"networkPolicy": {"enabled": True}}, "policyTypes"),
        ({"monitoring": {"serviceMonitor": {"enabled": True}}}, "scrapeTimeout"),
        ({"monitoring": {"prometheusRule": {"enabled": True}}}, "expr"),
    ],
)
def test_an_unknown_field_would_be_refused(helm, cluster, values, field):
    """So the dry run sees what a user's API server would only prune."""
    manifest = helm.manifest(Variant(field, values))
    assert f"{field}:" in manifest
    cluster.namespace("candela-system")
    with pytest.raises(Refused, match=f"unknown field .*{field}s|{field}: Required value"):
        cluster.judge(manifest.replace(f"{field}:", f"{field}s:"))


@pytest.fixture(scope="module")
def older(helm, tmp_path_factory):
    """The chart as an earlier version may have been: one field less in its definition."""
    folder = tmp_path_factory.mktemp("older") / "candela"
    shutil.copytree(CHART, folder)
    about = folder / "Chart.yaml"
    about.write_text(about.read_text().replace("\nversion: ", "\nversion: 0.0.1 # ", 1))
    file = folder / "files/inferenceservices.yaml"
    definition = yaml.safe_load(file.read_text())
    del definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]["rollout"]
    file.write_text(yaml.safe_dump(definition))
    return folder


def test_a_life_of_the_chart(helm, cluster, older):
    """The definition is upgraded with the chart; it and the services survive the chart, and the chart comes back to them."""
    cluster.namespace("life")
    here = ["--namespace", "life"]

    def fields():
        definition = cluster.get(DEFINITION)
        return definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]

    cluster.run("helm", "install", "candela", str(older), *here)
    cluster.kubectl("wait", "--for=condition=Established", "--timeout=60s", DEFINITION)
    assert "rollout" not in fields()
    cluster.kubectl("apply", *here, "--filename=-", manifest=json.dumps(SERVICE))
    uid = cluster.get("infsvc", "kept", *here)["metadata"]["uid"]

    cluster.run("helm", "upgrade", "candela", str(CHART), *here, "--set=operator.replicas=2")
    assert "rollout" in fields()
    assert cluster.exists("pdb", "candela-operator", *here)

    cluster.run("helm", "uninstall", "candela", *here)
    assert cluster.get("infsvc", "kept", *here)["metadata"]["uid"] == uid
    for kind in ("deployment", "service", "pdb", "role", "rolebinding"):
        assert not cluster.exists(kind, *here, "--selector=app.kubernetes.io/instance=candela"), kind
    for kind in ("clusterrole", "clusterrolebinding"):
        assert not cluster.exists(kind, "--selector=app.kubernetes.io/instance=candela"), kind

    cluster.run("helm", "install", "candela", str(CHART), *here, "--set=operator.replicas=0")
    assert cluster.get("infsvc", "kept", *here)["metadata"]["uid"] == uid
    cluster.run("helm", "uninstall", "candela", *here)
    cluster.kubectl("delete", "infsvc", "kept", *here)
    cluster.kubectl("delete", DEFINITION)


def test_examples_of_the_chart_are_accepted(helm, cluster):
    """Those that Artifact Hub shows, and the one that NOTES.txt tells to apply."""
    (definition,) = [item for item in helm.objects(Variant("default")) if item["kind"] == "CustomResourceDefinition"]
    cluster.kubectl("apply", "--filename=-", manifest=json.dumps(definition))
    cluster.kubectl("wait", "--for=condition=Established", "--timeout=60s", DEFINITION)
    annotations = yaml.load((CHART / "Chart.yaml").read_text(), chart.StrictLoader)["annotations"]
    examples = yaml.load(annotations["artifacthub.io/crdsExamples"], chart.StrictLoader)
    notes = helm.run("install", "candela", str(CHART), "--dry-run=client").split("\nNOTES:\n")[1]
    examples.append(yaml.load(notes.split("<<END\n")[1].split("END\n")[0], chart.StrictLoader))
    for example in examples:
        cluster.judge(json.dumps(example))
    cluster.kubectl("delete", DEFINITION)
