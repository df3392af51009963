"""The chart, rendered by Helm and read back as objects."""

import json
import subprocess
from functools import cache
from pathlib import Path

import yaml

CHART = Path(__file__).resolve().parents[2] / "charts" / "candela"


class Refused(Exception):
    """Helm does not render these values; the message is Helm's."""


class StrictLoader(yaml.SafeLoader):
    """Refuses a key that a mapping has twice, where YAML's usual readers take the last."""


def mapping(loader, node, deep=False):
    keys = [loader.construct_object(key, deep=True) for key, _ in node.value]
    twice = {key for key in keys if keys.count(key) > 1}
    if twice:
        raise yaml.constructor.ConstructorError(None, None, f"keys that are there twice: {twice}", node.start_mark)
    return loader.construct_mapping(node, deep)


StrictLoader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, mapping)


class Helm:
    """The program, and what it makes of the chart."""

    def __init__(self, program):
        self.program = str(program)
        self.text = cache(self.text)

    def run(self, *arguments, values=None):
        """What it prints. Values go in as JSON, which is YAML; an error is Helm's words."""
        command = [self.program, *arguments]
        if values is not None:
            command.append("--values=-")
        done = subprocess.run(command, input=json.dumps(values), capture_output=True, text=True, timeout=120)
        if done.returncode:
            raise Refused(done.stderr + done.stdout)
        return done.stdout

    def text(self, release, namespace, values):
        return self.run("template", release, str(CHART), "--namespace", namespace, values=json.loads(values))

    def manifest(self, variant):
        """All that the variant renders, as YAML."""
        return self.text(variant.release, variant.namespace, json.dumps(variant.values))

    def objects(self, variant):
        """All that the variant renders."""
        return [item for item in yaml.load_all(self.manifest(variant), StrictLoader) if item is not None]

    def one(self, variant, kind, suffix="-operator"):
        """The object of a kind whose name ends so."""
        (found,) = [item for item in self.objects(variant) if item["kind"] == kind and item["metadata"]["name"].endswith(suffix)]
        return found


def values():
    """The defaults."""
    return yaml.load((CHART / "values.yaml").read_text(), StrictLoader)


def version():
    """The chart's appVersion, which is the images' default tag."""
    return yaml.load((CHART / "Chart.yaml").read_text(), StrictLoader)["appVersion"]
