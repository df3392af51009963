"""What the suites share: asking the engine for vectors, and comparing them."""

import base64
import json
import urllib.error
import urllib.request
from dataclasses import dataclass

import numpy as np
from engine import Engine

# Largest difference of a number of two vectors by their length, and of their cosine from 1. Both sides compute in f32 and
# differ in the order of sums; in bf16 every operation rounds to 8 bits.
TOLERANCES = {"float32": (1e-5, 1e-6), "bfloat16": (2e-2, 5e-3)}


@dataclass
class Check:
    """One thing that must hold, and how well it does."""

    name: str
    holds: bool
    figure: str = ""


class Embedder(Engine):
    """A running engine that makes embeddings."""

    def embed(self, inputs, **fields):
        """The vectors of a text, a list of them, or token ids, as f32, in the order of the inputs."""
        body = {"model": self.name, "input": inputs, "encoding_format": "base64"} | fields
        data = self.fetch("/v1/embeddings", body)["data"]
        assert [item["index"] for item in data] == list(range(len(data)))
        if body["encoding_format"] == "float":
            return np.array([item["embedding"] for item in data], dtype=np.float64).astype(np.float32)
        return np.stack([np.frombuffer(base64.b64decode(item["embedding"]), dtype="<f4") for item in data])

    def refusal(self, path, body):
        """Status and message of a request that is to be refused."""
        data = json.dumps(body).encode()
        url = f"http://127.0.0.1:{self.port}{path}"
        try:
            request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
            with urllib.request.urlopen(request) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)["error"]["message"]


def normalized(vectors):
    """Each vector one long."""
    vectors = np.asarray(vectors, dtype=np.float32)
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def close(name, seen, expected, dtype="float32"):
    """The vectors are the same, within the type's tolerance."""
    apart_max, cosine_max = TOLERANCES[dtype]
    seen, expected = np.asarray(seen, np.float64), np.asarray(expected, np.float64)
    if seen.shape != expected.shape:
        return Check(name, False, f"{seen.shape} is not {expected.shape}")
    length = np.linalg.norm(expected, axis=-1, keepdims=True)
    apart = (np.abs(seen - expected) / length).max()
    lengths = np.linalg.norm(seen, axis=-1) * length[:, 0]
    cosine = (1 - (seen * expected).sum(-1) / lengths).max()
    figure = f"within {apart:.1e} of {apart_max:.0e}, cosine 1 - {max(cosine, 0):.1e} of {cosine_max:.0e}"
    return Check(name, bool(apart <= apart_max and cosine <= cosine_max), figure)


def same(name, seen, expected):
    """The vectors are the same bit by bit."""
    return Check(name, bool(np.array_equal(seen, expected)), f"{len(seen)} vectors")


def equal(name, seen, expected):
    """Two values are equal."""
    return Check(name, seen == expected, "" if seen == expected else f"{seen!r} is not {expected!r}"[:500])


def refused(name, answer, *parts):
    """A 400 whose message has these parts."""
    status, message = answer
    holds = status == 400 and all(str(part) in message for part in parts)
    return Check(name, holds, message[:200])
