"""The ways to install the chart that the tests render: one value or one flag each, and everything at once."""

from dataclasses import dataclass, field

DIGEST = "sha256:" + "0123456789abcdef" * 4
REGISTRY = "mirror.example:5000/team"
MONITORING = {
    "serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
    "prometheusRule": {"enabled": True, "labels": {"release": "prometheus"}},
    "dashboard": {"enabled": True, "annotations": {"grafana_folder": "Inference"}},
}


@dataclass(frozen=True)
class Variant:
    """A release, and the values that differ from the defaults."""

    name: str
    values: dict = field(default_factory=dict)
    release: str = "candela"
    namespace: str = "candela-system"

    @property
    def watched(self):
        """The only namespace that is reconciled; empty where all are."""
        return self.values.get("operator", {}).get("watchNamespace", "")


EVERYTHING = {
    "image": {"registry": REGISTRY},
    "operator": {
        "image": {"repository": "operator", "digest": DIGEST, "pullPolicy": "Always"},
        "imagePullSecrets": [{"name": "pull"}],
        "replicas": 3,
        "watchNamespace": "team-a",
        "log": "debug,hyper=info",
        "resources": {"requests": {"cpu": 1, "memory": "1Gi"}, "limits": {"memory": "1Gi"}},
        "nodeSelector": {"kubernetes.io/os": "linux"},
        "tolerations": [{"key": "node-role.kubernetes.io/control-plane", "operator": "Exists", "effect": "NoSchedule"}],
        "affinity": {
            "nodeAffinity": {
                "preferredDuringSchedulingIgnoredDuringExecution": [
                    {
                        "weight": 1,
                        "preference": {"matchExpressions": [{"key": "kubernetes.io/arch", "operator": "In", "values": ["amd64"]}]},
                    }
                ]
            }
        },
        "podLabels": {"team": "platform"},
        "podAnnotations": {"example.com/note": "true"},
        "priorityClassName": "system-cluster-critical",
    },
    "engine": {
        "images": {"cpu": {"repository": "engine", "digest": DIGEST}, "gpu": {"repository": "engine-gpu", "digest": DIGEST}},
        "imagePullSecrets": [{"name": "pull"}, {"name": "pull-2"}],
    },
    "networkPolicy": {"enabled": True, "from": [{"namespaceSelector": {}}], "apiServerPorts": [16443]},
    "monitoring": MONITORING,
}

VARIANTS = [
    Variant("default"),
    Variant("everything", EVERYTHING),
    Variant("one namespace", {"operator": {"watchNamespace": "team-a"}}),
    Variant("two replicas", {"operator": {"replicas": 2}}),
    Variant("no replica", {"operator": {"replicas": 0}}),
    Variant("GPU image", {"engine": {"images": {"gpu": {"repository": "candela-engine-gpu", "tag": "0.1.0-cu13"}}}}),
    Variant(
        "digests",
        {"operator": {"image": {"digest": DIGEST}}, "engine": {"images": {"cpu": {"digest": DIGEST, "tag": "not-this"}}}},
    ),
    Variant("registry", {"image": {"registry": REGISTRY}}),
    Variant("registry in the repository", {"operator": {"image": {"repository": "registry.example:5000/a/candela-operator"}}}),
    Variant("pull secrets", {"operator": {"imagePullSecrets": [{"name": "a.b"}]}, "engine": {"imagePullSecrets": [{"name": "a.b"}]}}),
    Variant("network policy", {"networkPolicy": {"enabled": True}}),
    Variant("network policy of one namespace", {"networkPolicy": {"enabled": True}, "operator": {"watchNamespace": "team-a"}}),
    Variant("service monitors", {"monitoring": {"serviceMonitor": {"enabled": True}}}),
    Variant("rules", {"monitoring": {"prometheusRule": {"enabled": True}}}),
    Variant("dashboard", {"monitoring": {"dashboard": {"enabled": True}}}),
    Variant("monitoring of one namespace", {"monitoring": MONITORING, "operator": {"watchNamespace": "team-a"}}),
    Variant("no definition", {"crds": {"install": False}}),
    Variant("no resources", {"operator": {"resources": None}}),
    Variant(
        "labels that are the chart's",
        {
            "operator": {"podLabels": {"app.kubernetes.io/name": "mine", "mine": "yes"}},
            "monitoring": {"dashboard": {"enabled": True, "labels": {"app.kubernetes.io/instance": "mine", "mine": "yes"}}},
        },
    ),
    Variant("longest release", {"monitoring": MONITORING, "networkPolicy": {"enabled": True}}, release="candela-" + "x" * 45),
    Variant("longest release that begins with a digit", {"monitoring": MONITORING}, release="1" * 53),
    Variant("release with dots", {"monitoring": MONITORING}, release="team.candela"),
    Variant("release of another name", release="models"),
    Variant(
        "numbers for names",
        {"operator": {"watchNamespace": "789", "replicas": 2}, "monitoring": MONITORING, "networkPolicy": {"enabled": True}},
        release="123",
        namespace="456",
    ),
]
