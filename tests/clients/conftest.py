"""The servers that the suites talk to, which run.py started, and what every suite asks them."""

import gc
import json
import os
from pathlib import Path
from types import SimpleNamespace

import pytest


@pytest.fixture(scope="session")
def servers():
    """`demo`, `keyed` and `embed`: each with `root` and `url` (of `/v1`); `key` opens the keyed one; the usage log is demo's."""
    described = json.loads(os.environ["CANDELA_SERVERS"])
    return SimpleNamespace(
        **{name: SimpleNamespace(root=root, url=f"{root}/v1") for name, root in described["roots"].items()},
        key=described["key"],
        usage_log=Path(described["usage_log"]),
    )


@pytest.fixture(autouse=True)
def garbage_waits():
    """A stream that a test did not read to its end closes itself when it is collected. httpcore takes the lock of its pool for that, and
    waits for ever where the collector runs while the same thread holds it: so it runs between tests."""
    gc.disable()
    yield
    gc.collect()
    gc.enable()


@pytest.fixture
def anyio_backend():
    return "asyncio"
