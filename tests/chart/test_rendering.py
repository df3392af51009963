"""What every variant renders, as an administrator reads it: names, labels, images, rights, arguments. No cluster is asked."""

import json
import re
import subprocess
from functools import cache

import pytest
from chart import CHART, Refused, version
from variants import DIGEST, EVERYTHING, REGISTRY, VARIANTS, Variant

OWN_LABELS = {"name", "instance", "component", "part-of", "managed-by", "version"}
CLUSTER_WIDE = {"ClusterRole", "ClusterRoleBinding", "CustomResourceDefinition"}
IMAGE_ARGUMENTS = ("--engine-image-cpu=", "--engine-image-gpu=")


def by_name(name):
    (found,) = [variant for variant in VARIANTS if variant.name == name]
    return found


def container(helm, variant):
    (only,) = helm.one(variant, "Deployment")["spec"]["template"]["spec"]["containers"]
    return only


def images(helm, variant):
    """Of the operator, and those that it gives to engines."""
    operator = container(helm, variant)
    given = [argument.split("=", 1)[1] for argument in operator["args"] if argument.startswith(IMAGE_ARGUMENTS)]
    return [operator["image"], *given]


def kinds(helm, variant):
    return {item["kind"] for item in helm.objects(variant)}


def test_no_object_is_there_twice(helm, variant):
    names = [(item["kind"], item["metadata"].get("namespace"), item["metadata"]["name"]) for item in helm.objects(variant)]
    assert len(names) == len(set(names)), names


def test_every_object_bears_the_labels_and_its_namespace(helm, variant):
    for item in helm.objects(variant):
        metadata = item["metadata"]
        assert {f"app.kubernetes.io/{label}" for label in OWN_LABELS} | {"helm.sh/chart"} <= metadata["labels"].keys(), item["kind"]
        assert metadata["labels"]["app.kubernetes.io/instance"] == variant.release
        where = {variant.namespace, variant.watched} - {""}
        assert (metadata.get("namespace") in where) != (item["kind"] in CLUSTER_WIDE), metadata


def test_the_selector_finds_the_pods_and_bears_no_version(helm, variant):
    deployment = helm.one(variant, "Deployment")
    selector = deployment["spec"]["selector"]["matchLabels"]
    assert selector == {"app.kubernetes.io/name": "candela-operator", "app.kubernetes.io/instance": variant.release}
    assert selector.items() <= deployment["spec"]["template"]["metadata"]["labels"].items()
    assert helm.one(variant, "Service")["spec"]["selector"] == selector


def test_rights_are_of_one_namespace_or_of_all(helm, variant):
    """With watchNamespace nothing of the release has rights beyond it, but for the lease in the release's own namespace."""
    wide = {"ClusterRole", "ClusterRoleBinding"} & kinds(helm, variant)
    assert wide == (set() if variant.watched else {"ClusterRole", "ClusterRoleBinding"})
    if variant.watched:
        assert helm.one(variant, "Role")["metadata"]["namespace"] == variant.watched
        assert f"--namespace={variant.watched}" in container(helm, variant)["args"]
    lease = helm.one(variant, "Role", "-operator-lease")
    assert lease["metadata"]["namespace"] == variant.namespace
    assert {group for rule in lease["rules"] for group in rule["apiGroups"]} == {"coordination.k8s.io"}


def test_no_right_is_a_wildcard_or_reaches_secrets(helm, variant):
    for role in (item for item in helm.objects(variant) if item["kind"] in ("Role", "ClusterRole")):
        for rule in role["rules"]:
            assert not {"*"} & {*rule["verbs"], *rule["resources"], *rule["apiGroups"]}, rule
            assert not {"secrets", "configmaps", "pods/exec", "pods/log"} & set(rule["resources"]), rule


def test_network_policies_come_with_the_flag_and_the_right_to_them_is_always_there(helm, variant):
    """Without the right, those that the operator made could not go when the value is turned off."""
    enabled = variant.values.get("networkPolicy", {}).get("enabled", False)
    role = helm.one(variant, "Role" if variant.watched else "ClusterRole")
    assert [rule for rule in role["rules"] if rule["resources"] == ["networkpolicies"]]
    assert ("NetworkPolicy" in kinds(helm, variant)) == enabled == ("--network-policy" in container(helm, variant)["args"])


def test_those_who_may_send_requests_are_passed_on_with_the_operator_among_them(helm):
    peer = {"namespaceSelector": {"matchLabels": {"team": "a"}}}
    variant = Variant("peers", {"networkPolicy": {"enabled": True, "from": [peer]}}, namespace="candela")
    [given] = [arg for arg in container(helm, variant)["args"] if arg.startswith("--network-policy-from=")]
    first, own = json.loads(given.partition("=")[2])
    assert first == peer
    assert own["namespaceSelector"] == {"matchLabels": {"kubernetes.io/metadata.name": "candela"}}
    assert own["podSelector"] == {"matchLabels": helm.one(variant, "Deployment")["spec"]["selector"]["matchLabels"]}


def test_the_operator_reaches_dns_the_api_server_and_engines_only(helm):
    for name, ports, namespaces in (
        ("network policy", [443, 6443], {}),
        ("network policy of one namespace", [443, 6443], {"matchLabels": {"kubernetes.io/metadata.name": "team-a"}}),
        ("everything", [16443], {"matchLabels": {"kubernetes.io/metadata.name": "team-a"}}),
    ):
        policy = helm.one(by_name(name), "NetworkPolicy")["spec"]
        assert policy["policyTypes"] == ["Ingress", "Egress"]
        assert [[port["port"] for port in way["ports"]] for way in policy["ingress"]] == [[8080]]
        dns, api_server, engines = policy["egress"]
        assert [port["port"] for port in dns["ports"]] == [53, 53]
        assert [port["port"] for port in api_server["ports"]] == ports
        assert engines["to"][0]["namespaceSelector"] == namespaces
        assert engines["to"][0]["podSelector"]["matchLabels"]["app.kubernetes.io/name"] == "candela-engine"
        assert [port["port"] for port in engines["ports"]] == [8000]


def test_the_disruption_budget_and_the_spread_come_with_a_second_replica(helm, variant):
    deployment = helm.one(variant, "Deployment")["spec"]
    several = deployment["replicas"] > 1
    assert ("PodDisruptionBudget" in kinds(helm, variant)) == several
    spread = deployment["template"]["spec"].get("topologySpreadConstraints", [])
    assert [one["whenUnsatisfiable"] for one in spread] == ["ScheduleAnyway"] * several


def test_every_image_is_under_the_registry_of_a_mirror(helm):
    for variant in (by_name("registry"), by_name("everything")):
        for image in images(helm, variant):
            assert image.startswith(f"{REGISTRY}/"), image


def test_images_are_named_by_tag_or_by_digest(helm):
    default = f"candela-operator:{version()}", f"candela-engine:{version()}"
    assert images(helm, by_name("default")) == [*default]
    assert images(helm, by_name("digests")) == [f"candela-operator@{DIGEST}", f"candela-engine@{DIGEST}"]
    assert images(helm, by_name("GPU image")) == [*default, "candela-engine-gpu:0.1.0-cu13"]
    assert images(helm, by_name("everything")) == [f"{REGISTRY}/{name}@{DIGEST}" for name in ("operator", "engine", "engine-gpu")]


def test_pull_secrets_reach_the_operator_and_the_engines(helm):
    everything = by_name("everything")
    pod = helm.one(everything, "Deployment")["spec"]["template"]["spec"]
    assert pod["imagePullSecrets"] == EVERYTHING["operator"]["imagePullSecrets"]
    secrets = [argument for argument in container(helm, everything)["args"] if argument.startswith("--image-pull-secret")]
    assert secrets == ["--image-pull-secret=pull", "--image-pull-secret=pull-2"]


def test_labels_of_the_chart_are_not_changed_by_further_ones(helm):
    variant = by_name("labels that are the chart's")
    labels = helm.one(variant, "Deployment")["spec"]["template"]["metadata"]["labels"]
    assert (labels["mine"], labels["app.kubernetes.io/name"]) == ("yes", "candela-operator")
    labels = helm.one(variant, "ConfigMap", "-dashboard")["metadata"]["labels"]
    assert (labels["mine"], labels["app.kubernetes.io/instance"]) == ("yes", "candela")


def test_nothing_of_monitoring_is_there_unless_asked_for(helm):
    assert not {"ServiceMonitor", "PrometheusRule", "ConfigMap"} & kinds(helm, by_name("default"))
    for name, kind in (("service monitors", "ServiceMonitor"), ("rules", "PrometheusRule"), ("dashboard", "ConfigMap")):
        assert kinds(helm, by_name(name)) - kinds(helm, by_name("default")) == {kind}


def test_the_definition_is_kept_and_is_the_one_of_the_api(helm):
    (definition,) = [item for item in helm.objects(by_name("default")) if item["kind"] == "CustomResourceDefinition"]
    assert definition["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"
    assert "CustomResourceDefinition" not in kinds(helm, by_name("no definition"))


def test_names_of_several_releases_differ(helm):
    names = [helm.one(Variant(release, release=release), "Deployment")["metadata"]["name"] for release in ("a", "b", "1", "x" * 53)]
    assert len(set(names)) == len(names)


def test_every_argument_is_one_that_the_operator_knows(helm, variant, found):
    """A pod whose operator refuses its arguments would only be seen in a cluster."""
    known = operator_help(found["programs"] / "candela-operator")
    for argument in container(helm, variant)["args"][1:]:
        flag = argument.split("=")[0]
        assert re.search(rf"(?m)^\s+{flag}\b", known), f"candela-operator run has no {flag}"


@cache
def operator_help(program):
    return subprocess.run([program, "run", "--help"], capture_output=True, text=True, check=True).stdout


def test_helm_lint_has_nothing_to_say(helm, variant):
    said = helm.run("lint", "--strict", str(CHART), "--namespace", variant.namespace, values=variant.values)
    assert "[WARNING]" not in said and "[ERROR]" not in said, said


def test_an_older_kubernetes_is_refused(helm):
    with pytest.raises(Refused, match="chart requires kubeVersion: >=1.34"):
        helm.run("template", "candela", str(CHART), "--kube-version", "1.33.0")
