"""Every query of the dashboard, and every rule, in a real Prometheus that scrapes a real engine and a real operator."""

import json
import re
import time

import pytest
from chart import CHART
from control_plane import until
from live import HOME, NAMESPACE, PROMPT, RELEASE, SERVICE, Prometheus, engine, operator
from test_rules import rules
from variants import Variant

# What Grafana puts in for its own variables, with a scrape each second; the others are the dashboard's.
VARIABLES = {"$__rate_interval": "30s", "$__range": "1m"}
SECONDS_MAX = 120
DEFINITION = "crd/inferenceservices.inference.candela.dev"
METRIC = re.compile(r"(?<![\w:])(?:vllm:|candela:|candela_operator_)\w+")


def dashboard():
    return json.loads((CHART / "files" / "dashboard.json").read_text())


def queries():
    """Each query of each panel: the panel's title, and the expression."""
    return [(panel["title"], target["expr"]) for panel in dashboard()["panels"] for target in panel.get("targets", [])]


def filled(expression, namespace=NAMESPACE, service=SERVICE):
    for name, value in (VARIABLES | {"$namespace": namespace, "$service": service}).items():
        expression = expression.replace(name, value)
    return expression


@pytest.fixture(scope="module")
def prometheus(found, helm, cluster, tmp_path_factory):
    """It has seen both programs at work: an engine that answered, an operator that made and changed a service."""
    folder = tmp_path_factory.mktemp("live")
    for namespace in (HOME, NAMESPACE):
        cluster.namespace(namespace)
    cluster.run("helm", "install", RELEASE, str(CHART), "--namespace", HOME)
    cluster.kubectl("wait", "--for=condition=Established", "--timeout=60s", DEFINITION)
    with (
        engine(found, folder) as served,
        operator(found, folder, cluster) as reconciles,
        Prometheus(found, folder, served.address, reconciles.address) as prometheus,
    ):
        work_until_seen(prometheus, served, cluster)
        yield prometheus
    assert "forbidden" not in (folder / "operator.log").read_text().lower()
    cluster.run("helm", "uninstall", RELEASE, "--namespace", HOME)
    cluster.kubectl("delete", DEFINITION)


def work_until_seen(prometheus, served, cluster):
    """Asks and changes until every panel has something to show, so that rates have two samples to stand on."""
    deadline = time.monotonic() + SECONDS_MAX
    turn = 0
    while not all(shows(prometheus, expression) for _, expression in queries()):
        if time.monotonic() > deadline:
            return  # the tests say what is missing
        turn += 1
        work(served, cluster, turn)


def shows(prometheus, expression):
    try:
        return prometheus.numbers(filled(expression))
    except RuntimeError:
        return []


def work(served, cluster, turn):
    for _ in range(2):
        served.ask("/v1/completions", {"model": SERVICE, "prompt": PROMPT, "max_tokens": 8, "ignore_eos": True})
    service = {
        "apiVersion": "inference.candela.dev/v1alpha1",
        "kind": "InferenceService",
        "metadata": {"name": SERVICE, "namespace": NAMESPACE},
        "spec": {"model": {"uri": "builtin://demo"}, "replicas": 1 + turn % 3},
    }
    cluster.kubectl("apply", "--filename=-", manifest=json.dumps(service))


@pytest.mark.parametrize(("title", "expression"), queries(), ids=lambda text: text[:60].replace(" ", "-"))
def test_a_panel_shows_data(prometheus, title, expression):
    assert prometheus.numbers(filled(expression)), f"{title}: {filled(expression)} gives nothing"
    # As Grafana fills variables that stand for all, and for several.
    assert prometheus.numbers(filled(expression, ".*", f"({SERVICE}|other)")), title


def test_a_panel_shows_nothing_of_others(prometheus):
    """A namespace without services has no data, but for what is the operator's."""
    for title, expression in queries():
        if "$namespace" in expression:
            assert "$service" in expression, title
            assert not prometheus.numbers(filled(expression, "elsewhere", ".*")), title


def test_the_variables_offer_what_there_is(prometheus):
    for variable in dashboard()["templating"]["list"]:
        if variable["type"] == "query":
            series, label = re.fullmatch(r"label_values\((.*), (\w+)\)", variable["query"]["query"]).groups()
            offered = prometheus.api(f"label/{label}/values", **{"match[]": filled(series)})
            assert offered == [{"namespace": NAMESPACE, "service": SERVICE}[label]]


def test_every_rule_is_evaluated_without_an_error_and_no_alert_is_up(prometheus):
    seen = [rule for group in prometheus.api("rules")["groups"] for rule in group["rules"]]
    assert len(seen) == len(rules())
    for rule in seen:
        assert (rule["health"], rule.get("lastError", "")) == ("ok", ""), rule
        assert rule.get("state", "inactive") == "inactive", rule


def test_every_recorded_series_has_data(prometheus):
    for rule in rules():
        if "record" in rule:
            series = f'{rule["record"]}{{namespace="{NAMESPACE}", service="{SERVICE}"}}'
            # A rate needs two scrapes and the evaluation after them.
            until(f"{series} has data", lambda series=series: prometheus.numbers(series))


def test_every_metric_that_is_named_is_there(prometheus):
    """An alert on a metric that nobody serves never fires."""
    there = set(prometheus.api("label/__name__/values"))
    named = {
        metric
        for expression in [rule["expr"] for rule in rules()] + [query for _, query in queries()]
        for metric in METRIC.findall(expression)
    }
    assert named and named <= there, named - there


def test_monitors_choose_the_services_that_there_are(prometheus, helm, cluster):
    """The operator's, which the chart made, and the engine's, which the operator made; each by a port that it has."""
    variant = Variant("chosen", {"monitoring": {"serviceMonitor": {"enabled": True}}})
    for suffix, namespace, name in (("-operator", HOME, f"{RELEASE}-operator"), ("-engines", NAMESPACE, SERVICE)):
        monitor = helm.one(variant, "ServiceMonitor", suffix)["spec"]
        selector = ",".join(f"{label}={value}" for label, value in monitor["selector"]["matchLabels"].items())
        (service,) = cluster.get("services", "--all-namespaces", "--selector", selector)["items"]
        assert (service["metadata"]["namespace"], service["metadata"]["name"]) == (namespace, name)
        assert [endpoint["port"] for endpoint in monitor["endpoints"]] == [port["name"] for port in service["spec"]["ports"]]


def test_the_network_policy_names_the_pods_that_the_operator_makes(prometheus, helm, cluster):
    engines = helm.one(Variant("policy", {"networkPolicy": {"enabled": True}}), "NetworkPolicy")["spec"]["egress"][-1]
    pod = cluster.get("deployment", SERVICE, "--namespace", NAMESPACE)["spec"]["template"]
    assert engines["to"][0]["podSelector"]["matchLabels"].items() <= pod["metadata"]["labels"].items()
    opened = [port["containerPort"] for container in pod["spec"]["containers"] for port in container["ports"]]
    assert [port["port"] for port in engines["ports"]] == opened


def test_panels_are_told_apart():
    """What Grafana needs to draw them: ids of their own, no two on the same place, the variable as data source."""
    panels = dashboard()["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken = set()
    for panel in panels:
        place = panel["gridPos"]
        cells = {(x, y) for x in range(place["x"], place["x"] + place["w"]) for y in range(place["y"], place["y"] + place["h"])}
        assert not cells & taken and place["x"] + place["w"] <= 24, panel["title"]
        taken |= cells
        for target in panel.get("targets", []):
            assert target["datasource"] == panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}, panel["title"]
