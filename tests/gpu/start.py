"""From the start of the engine's process to the first token, for a model of 16 GB whose files are in the page cache.

    python3 tests/gpu/start.py --engine PROGRAM [--device cuda] [--small] [--runs 3]

Writes the model, reads it once, and starts the engine some times; prints each start, and exits with 1 where the median is beyond the
target of 5 seconds.
"""

import argparse
import http.client
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import model

TARGET_SECONDS = 5.0
GIVE_UP_SECONDS = 300


def first_token(host: str, begun: float) -> float:
    """Seconds since the start until the first event of a stream with a token."""
    connection = http.client.HTTPConnection(host, timeout=GIVE_UP_SECONDS)
    body = {"model": "model", "prompt": [3, 4, 5, 6], "max_tokens": 4, "stream": True, "temperature": 0, "ignore_eos": True}
    connection.request("POST", "/v1/completions", json.dumps(body), {"content-type": "application/json"})
    reply = connection.getresponse()
    if reply.status != 200:
        raise RuntimeError(f"{reply.status}: {reply.read().decode()}")
    for line in reply:
        if line.startswith(b"data: {"):
            return time.perf_counter() - begun
    raise RuntimeError("the stream ended without a token")


def ready(host: str) -> bool:
    connection = http.client.HTTPConnection(host, timeout=5)
    try:
        connection.request("GET", "/ready")
        return connection.getresponse().status == 200
    except OSError:
        return False


def start(program: Path, folder: Path, device: str) -> tuple[float, float]:
    """Seconds to ready, and to the first token."""
    begun = time.perf_counter()
    command = [program, f"--model={folder}", "--served-model-name=model", f"--device={device}", "--host=127.0.0.1", "--port=0",
               "--max-model-len=4096", "--log-format=json"]
    with subprocess.Popen([str(part) for part in command], stderr=subprocess.PIPE, text=True) as process:
        try:
            host = json.loads(process.stderr.readline())["fields"]["address"]
            while not ready(host):
                if process.poll() is not None or time.perf_counter() - begun > GIVE_UP_SECONDS:
                    raise RuntimeError(f"it does not become ready: {process.stderr.read() if process.poll() is not None else host}")
                time.sleep(0.01)
            is_ready = time.perf_counter() - begun
            return is_ready, first_token(host, begun)
        finally:
            process.terminate()
            process.communicate()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--engine", type=Path, required=True)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--runs", type=int, default=3)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        config = model.write(Path(folder), args.small)
        model.write_weights(Path(folder), config)
        weights = Path(folder) / "model.safetensors"
        with open(weights, "rb") as file:
            while file.read(64 << 20):
                pass
        print(f"{weights.stat().st_size / 1e9:.2f} GB in the page cache")
        taken = []
        for run in range(args.runs):
            is_ready, token = start(args.engine, Path(folder), args.device)
            taken.append(token)
            print(f"start {run + 1}: ready after {is_ready:.2f} s, first token after {token:.2f} s")
    median = sorted(taken)[len(taken) // 2]
    print(f"median {median:.2f} s, target {TARGET_SECONDS:.0f} s")
    return 0 if median <= TARGET_SECONDS else 1


if __name__ == "__main__":
    sys.exit(main())
