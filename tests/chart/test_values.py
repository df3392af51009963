"""What may be set, and that README.md and the schema know the same values as values.yaml."""

import json
import re
import tomllib

import pytest
import yaml
from chart import CHART, Refused, values
from variants import Variant

# What is set, and what Helm's refusal must say. Names are as a user mistypes them.
REFUSED = {
    "a value at the top that there is not": ({"replicas": 2}, "additional properties 'replicas' not allowed"),
    "a mistyped value of the operator": ({"operator": {"replica": 2}}, "at '/operator': additional properties 'replica' not allowed"),
    "a mistyped flag": ({"monitoring": {"serviceMonitor": {"enable": True}}}, "at '/monitoring/serviceMonitor': additional properties"),
    "a mistyped resource": ({"operator": {"resources": {"limit": {}}}}, "at '/operator/resources': additional properties 'limit'"),
    "a mistyped toleration": ({"operator": {"tolerations": [{"keys": "a"}]}}, "at '/operator/tolerations/0': additional properties 'keys'"),
    "an engine image as one string": ({"engine": {"images": {"cpu": "a:1"}}}, "at '/engine/images/cpu': got string, want object"),
    "a tag in the repository": (
        {"operator": {"image": {"repository": "a/b:1"}}},
        "at '/operator/image/repository': 'a/b:1' does not match",
    ),
    "no repository": ({"operator": {"image": {"repository": ""}}}, "at '/operator/image/repository': '' does not match"),
    "a tag that is a number": ({"operator": {"image": {"tag": 1.2}}}, "at '/operator/image/tag': got number, want string"),
    "half a digest": ({"engine": {"images": {"cpu": {"digest": "sha256:12"}}}}, "at '/engine/images/cpu/digest': 'sha256:12' does not"),
    "a registry with a scheme": ({"image": {"registry": "https://a"}}, "at '/image/registry': 'https://a' does not match"),
    "a registry that ends with a slash": ({"image": {"registry": "a/"}}, "at '/image/registry': 'a/' does not match"),
    "a pull secret as a string": ({"engine": {"imagePullSecrets": ["a"]}}, "at '/engine/imagePullSecrets/0': got string, want object"),
    "a pull policy that there is not": (
        {"operator": {"image": {"pullPolicy": "Sometimes"}}},
        "at '/operator/image/pullPolicy': value must be",
    ),
    "too many replicas": ({"operator": {"replicas": 11}}, "at '/operator/replicas': maximum: got 11, want 10"),
    "replicas as text": ({"operator": {"replicas": "2"}}, "at '/operator/replicas': got string, want integer"),
    "a namespace in capitals": ({"operator": {"watchNamespace": "Team"}}, "at '/operator/watchNamespace': 'Team' does not match"),
    "a label that is no text": ({"operator": {"podLabels": {"a": True}}}, "at '/operator/podLabels/a': got boolean, want string"),
    "an interval without a unit": ({"monitoring": {"serviceMonitor": {"interval": "15"}}}, "interval': '15' does not match"),
    "a scrape that outlasts its interval": (
        {"monitoring": {"serviceMonitor": {"enabled": True, "interval": "5s", "scrapeTimeout": "5001ms"}}},
        "scrapeTimeout (5001ms) is longer than its interval (5s)",
    ),
    "a port out of range": ({"networkPolicy": {"apiServerPorts": [0]}}, "at '/networkPolicy/apiServerPorts/0': minimum: got 0, want 1"),
    "a flag as text": ({"networkPolicy": {"enabled": "yes"}}, "at '/networkPolicy/enabled': got string, want boolean"),
    "a block that is taken away": ({"engine": None}, "missing property 'engine'"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_mistake_is_refused_and_named(helm, case):
    wrong, message = REFUSED[case]
    with pytest.raises(Refused, match=re.escape(message)):
        helm.manifest(Variant(case, wrong))


def test_values_of_a_parent_chart_are_let_through(helm):
    assert helm.manifest(Variant("global", {"global": {"imageRegistry": "ignored"}}))


def test_the_chart_bears_the_version_of_the_programs():
    workspace = tomllib.loads((CHART.parents[1] / "Cargo.toml").read_text())["workspace"]["package"]["version"]
    about = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert about["version"] == about["appVersion"] == workspace
    shown = yaml.safe_load(about["annotations"]["artifacthub.io/images"])
    assert [one["image"] for one in shown] == [f"candela-operator:{workspace}", f"candela-engine:{workspace}"]


def leaves(tree, path=""):
    """Every value: its path, and the default. A map that starts empty, or holds labels or quantities, is one value."""
    for name, value in tree.items():
        here = f"{path}.{name}" if path else name
        if isinstance(value, dict) and value and name not in ("labels", "resources"):
            yield from leaves(value, here)
        else:
            yield here, value


def test_readme_lists_every_value_with_its_default():
    rows = re.findall(r"^\| `([^`]+)` \| `([^`]*)` \| (\S.*) \|$", (CHART / "README.md").read_text(), re.MULTILINE)
    assert {path: json.loads(default) for path, default, _ in rows} == dict(leaves(values()))
    assert len(rows) == len(set(rows))


def objects(schema, path=""):
    """Every schema of an object in it."""
    if schema.get("type") == "object":
        yield path, schema
    for name, inner in {**schema.get("properties", {}), **schema.get("definitions", {})}.items():
        yield from objects(inner, f"{path}/{name}")
    if isinstance(schema.get("items"), dict):
        yield from objects(schema["items"], f"{path}/[]")


def test_the_schema_closes_every_object():
    """But for what other charts and Kubernetes itself own."""
    schema = json.loads((CHART / "values.schema.json").read_text())
    opened = {path for path, inner in objects(schema) if "additionalProperties" not in inner}
    affinities = {f"/operator/affinity/{name}" for name in ("nodeAffinity", "podAffinity", "podAntiAffinity")}
    peers = {f"/networkPolicy/from/[]/{name}" for name in ("namespaceSelector", "podSelector", "ipBlock")}
    assert opened == {"/global"} | affinities | peers


def test_the_schema_knows_no_value_that_there_is_not():
    def compare(schema, tree, path):
        if "$ref" in schema or schema.get("type") != "object" or not isinstance(schema.get("additionalProperties"), bool):
            return
        if path.endswith((".resources", ".affinity")):
            return
        assert set(schema["properties"]) - {"global"} == set(tree), path
        for name, inner in schema["properties"].items():
            if name != "global":
                compare(inner, tree[name], f"{path}.{name}")

    compare(json.loads((CHART / "values.schema.json").read_text()), values(), "")
