"""The gateways of docs/examples/gateway, run for real between a client and the engine: what they log is what the engine reported."""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from engine import until
from wanted import FOX, HEADERS

EXAMPLES = Path(__file__).parents[3] / "docs" / "examples" / "gateway"
ASK = {"model": "demo", "messages": FOX, "temperature": 0}
# The names of the log's numbers, in the order of the headers.
NUMBERS = [
    "total_ms", "queue_ms", "inference_ms", "prefill_ms", "decode_ms",
    "prompt_tokens", "completion_tokens", "cached_tokens", "token_ms", "compute_ms",
]  # fmt: skip


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def adapted(name, folder, changes):
    """The example with other addresses, in a folder; everything that changes is in it exactly once."""
    text = (EXAMPLES / name).read_text()
    for old, new in changes.items():
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    path = folder / name
    path.write_text(text)
    return path


def nginx():
    """The program: installed, or unpacked from Debian's package by run.sh."""
    unpacked = Path(os.environ["CANDELA_ENVIRONMENTS"]) / "nginx" / "usr" / "sbin" / "nginx"
    found = shutil.which("nginx") or (str(unpacked) if unpacked.exists() else None)
    if not found and os.environ.get("CI"):
        pytest.fail("nginx is neither installed nor to be had from Debian")
    return found or pytest.skip("nginx is neither installed nor to be had from Debian")


@contextlib.contextmanager
def running(command, folder, port):
    """The gateway, until the block ends; it accepts connections when it begins."""
    output = folder / "output"
    with open(output, "wb") as log:
        process = subprocess.Popen([str(part) for part in command], cwd=folder, stdout=log, stderr=log)

    def accepts():
        assert process.poll() is None, output.read_text(errors="replace")
        with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/v1/models", timeout=5):
            return True

    try:
        until("the gateway answers", accepts)
        yield
    finally:
        process.terminate()
        process.wait(20)


@pytest.fixture(params=["nginx", "envoy"])
def gateway(request, servers, tmp_path):
    """Where it listens, its log's lines so far, and its name."""
    port = free_port()
    upstream = servers.demo.root.removeprefix("http://")
    host, upstream_port = upstream.split(":")
    if request.param == "nginx":
        program = nginx()
        changes = {"demo.default.svc:80": upstream, "listen 8080": f"listen 127.0.0.1:{port}"}
        # The package's own folders are not for everyone to write to.
        temporary = "".join(
            f" {kind}_temp_path {kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        config = adapted("nginx.conf", tmp_path, changes | {"http {": "http {" + temporary})
        command = [program, "-p", tmp_path, "-c", config, "-e", "stderr"]
    else:
        endpoint = "{address: demo.default.svc, port_value: 80}"
        changes = {endpoint: f"{{address: {host}, port_value: {upstream_port}}}"}
        changes |= {"{address: 0.0.0.0, port_value: 8080}": f"{{address: 127.0.0.1, port_value: {port}}}"}
        config = adapted("envoy.yaml", tmp_path, changes)
        command = [Path(sys.executable).parent / "envoy", "-c", config, "--concurrency", "1", "--log-level", "warn"]
        command += ["--base-id", port, "--file-flush-interval-msec", "50"]

    def line_of(request_id):
        """The log line of a request, once it is written."""
        found = []

        def written():
            lines = (tmp_path / "cost.log").read_text().splitlines()
            found[:] = [line for line in map(json.loads, lines) if line.get("request_id") == request_id]
            return found

        until(f"the line of {request_id}", written)
        [line] = found
        return line

    with running(command, tmp_path, port):
        yield request.param, f"http://127.0.0.1:{port}/v1", line_of


@pytest.fixture
def client(gateway):
    import openai

    with openai.OpenAI(base_url=gateway[1], api_key="key-of-team-a", max_retries=0, timeout=60) as client:
        yield client


def numbers(line):
    return [None if line.get(name) in (None, "") else float(line[name]) for name in NUMBERS]


def test_the_line_of_an_answer_has_what_its_headers_said(gateway, client, servers):
    name, _, line_of = gateway
    tenant = {"X-Candela-Tenant": "team-a"} if name == "envoy" else {"X-Candela-Tenant": "someone-else"}
    raw = client.chat.completions.with_raw_response.create(**ASK, extra_headers=tenant)
    line = line_of(raw.headers["x-request-id"])
    assert numbers(line) == [float(raw.headers[header]) for header in HEADERS]
    assert line["path"] == "/v1/chat/completions" and int(line["status"]) == 200 and line["tenant"] == "team-a"
    assert "kv_cache_usage_perc" in line["load"] and line["upstream"] in servers.demo.root

    def record():
        lines = servers.usage_log.read_text().splitlines()
        return [json.loads(line) for line in lines if raw.headers["x-request-id"] in line]

    until("its line in the usage log", record)
    assert record()[0]["tenant"] == "team-a"


def test_a_stream_passes_through_piece_by_piece(gateway, client):
    name, _, line_of = gateway
    with client.chat.completions.with_streaming_response.create(**ASK, stream=True) as response:
        pieces = [line for line in response.iter_lines() if line.startswith("data: ")]
    whole = client.chat.completions.create(**ASK)
    assert len(pieces) > whole.usage.completion_tokens / 2 and pieces[-1] == "data: [DONE]"
    line = line_of(response.headers["x-request-id"])
    if name == "envoy":
        assert line["completion_tokens"] == str(whole.usage.completion_tokens) and None not in numbers(line)
    else:
        assert numbers(line) == [None] * len(NUMBERS)


def test_an_error_is_the_engines(gateway, client):
    import openai

    with pytest.raises(openai.BadRequestError, match="temperature") as refused:
        client.chat.completions.create(**(ASK | {"temperature": -1}))
    line = gateway[2](refused.value.request_id)
    assert int(line["status"]) == 400 and numbers(line) == [None] * len(NUMBERS)


def test_a_client_that_hangs_up_frees_its_place(gateway, client, servers):
    from engine import metric

    stream = client.chat.completions.create(**ASK, stream=True, max_tokens=1800, extra_body={"ignore_eos": True})
    next(iter(stream))
    stream.close()
    until("nothing runs", lambda: metric(servers.demo.root, "vllm:num_requests_running") == 0)
