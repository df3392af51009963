"""Recording rules and alerts, by Prometheus' own tool, and that no rule goes without a test."""

import subprocess
from pathlib import Path

import yaml
from chart import CHART
from variants import VARIANTS

RULES = CHART / "files" / "rules.yaml"
CASES = Path(__file__).with_name("rules_test.yaml")


def rules():
    return [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]


def promtool(found, *arguments):
    done = subprocess.run([found["prometheus"] / "promtool", *arguments], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_rules_are_ones_that_prometheus_reads(found):
    promtool(found, "check", "rules", "--lint=all", "--lint-fatal", str(RULES))


def test_every_alert_fires_when_it_should_and_only_then(found):
    promtool(found, "test", "rules", str(CASES))


def test_every_rule_is_tested_both_ways():
    tests = yaml.safe_load(CASES.read_text())["tests"]
    fired, silent, recorded = set(), set(), set()
    for test in tests:
        for case in test.get("alert_rule_test", []):
            (fired if case["exp_alerts"] else silent).add(case["alertname"])
        recorded |= {case["expr"] for case in test.get("promql_expr_test", [])}
    assert fired == silent == {rule["alert"] for rule in rules() if "alert" in rule}
    assert recorded == {rule["record"] for rule in rules() if "record" in rule}


def test_every_alert_says_how_bad_and_what_to_do():
    for rule in rules():
        if "alert" in rule:
            assert rule["labels"]["severity"] in ("warning", "critical"), rule["alert"]
            assert rule["annotations"].keys() == {"summary", "description"}, rule["alert"]
            assert rule["alert"].startswith("Candela")


def test_the_rendered_rules_are_the_same(helm):
    for variant in VARIANTS:
        if variant.values.get("monitoring", {}).get("prometheusRule", {}).get("enabled"):
            assert helm.one(variant, "PrometheusRule")["spec"] == yaml.safe_load(RULES.read_text())
