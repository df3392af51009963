#!/usr/bin/env python3
"""What a good client sees beside a thousand slow peers, as a ratio.

    tests/abuse/slow_peers.py PROGRAM [--peers 1000] [--pairs 6] [--requests 200]

Starts PROGRAM (a candela-engine) with the demo model, and measures a good client without and with slow
peers, in pairs whose order alternates, so that what else the machine does hits both alike. A third of
the peers send a head byte by byte, a third a body byte by byte, and a third ask and never read. They
are a process of their own. Prints one line of JSON at the end.
"""

import argparse
import http.client
import json
import os
import re
import resource
import selectors
import socket
import statistics
import subprocess
import sys
import time

BODY = json.dumps({"prompt": "Once upon a time", "max_tokens": 4, "temperature": 0, "ignore_eos": True})
HEADERS = {"Content-Type": "application/json"}
DRIP_SECONDS = 1.0


def raise_file_limit():
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


class Peer:
    """One slow peer. `step` sends what it sends now and then; a peer that was let go comes back."""

    def __init__(self, kind, address, selector):
        self.kind, self.address, self.selector = kind, address, selector
        self.socket = None
        self.connect()

    def connect(self):
        self.close()
        self.socket = socket.create_connection(self.address)
        if self.kind == "head":
            first = b"POST /v1/completions HTTP/1.1\r\nHost: a\r\nX: "
        elif self.kind == "body":
            first = (
                b"POST /v1/completions HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
                b"Content-Length: 100000\r\n\r\n{"
            )
        else:
            # Answers pile up in front of a reader that does not read.
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            first = b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n" * 64
        self.socket.setblocking(False)
        self.send(first)
        if self.kind != "reader":
            self.selector.register(self.socket, selectors.EVENT_READ, self)

    def close(self):
        if self.socket is not None:
            if self.kind != "reader":
                self.selector.unregister(self.socket)
            self.socket.close()
            self.socket = None

    def send(self, data):
        try:
            self.socket.send(data)
        except BlockingIOError:
            pass

    def step(self):
        try:
            if self.kind == "reader":
                self.send(b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n")
            else:
                self.send(b"a")
        except OSError:
            self.connect()

    def answered(self):
        """The server ended it: a timeout, or a refusal."""
        self.connect()


def run_peers(host, port, count):
    """Holds `count` slow peers open until standard input closes."""
    raise_file_limit()
    selector = selectors.DefaultSelector()
    kinds = ["head", "body", "reader"]
    peers = [Peer(kinds[i % 3], (host, port), selector) for i in range(count)]
    selector.register(sys.stdin, selectors.EVENT_READ, None)
    print("open", flush=True)
    while True:
        # Spread over the second, not all at once.
        for peer in peers:
            for key, _ in selector.select(DRIP_SECONDS / count):
                if key.data is None:
                    return
                key.data.answered()
            peer.step()


def measure(host, port, requests):
    """Seconds of each request of a good client on one connection."""
    connection = http.client.HTTPConnection(host, port, timeout=120)
    seconds = []
    for _ in range(requests):
        begun = time.perf_counter()
        connection.request("POST", "/v1/completions", BODY, HEADERS)
        answer = connection.getresponse()
        body = answer.read()
        seconds.append(time.perf_counter() - begun)
        assert answer.status == 200, body
    connection.close()
    return seconds


def percentile(values, share):
    values = sorted(values)
    return values[min(len(values) - 1, int(share * len(values)))]


def start_engine(program):
    engine = subprocess.Popen(
        [program, "--model=builtin://demo", "--host=127.0.0.1", "--port=0", "--log-format=json"],
        stderr=subprocess.PIPE,
        text=True,
    )
    for line in engine.stderr:
        found = re.search(r'"address":"([0-9.]+):([0-9]+)"', line)
        if found:
            host, port = found[1], int(found[2])
            break
    else:
        sys.exit("the engine did not start")
    while True:
        try:
            connection = http.client.HTTPConnection(host, port, timeout=5)
            connection.request("GET", "/ready")
            if connection.getresponse().status == 200:
                break
        except OSError:
            pass
        time.sleep(0.05)
    # Nobody reads the rest of the log: it must not fill a pipe.
    drain = subprocess.Popen(["cat"], stdin=engine.stderr, stdout=subprocess.DEVNULL)
    return engine, drain, host, port


def beside_peers(host, port, options):
    peers = subprocess.Popen(
        [sys.executable, os.path.abspath(__file__), "--as-peers", f"{host}:{port}", "--peers", str(options.peers)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert peers.stdout.readline().strip() == "open"
    try:
        # Their first requests are behind the server before anything is measured.
        measure(host, port, 20)
        return measure(host, port, options.requests)
    finally:
        peers.stdin.close()
        peers.wait()


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("program", nargs="?")
    parser.add_argument("--peers", type=int, default=1000)
    parser.add_argument("--pairs", type=int, default=6)
    parser.add_argument("--requests", type=int, default=200)
    parser.add_argument("--as-peers", metavar="ADDRESS", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.as_peers:
        host, port = options.as_peers.split(":")
        return run_peers(host, int(port), options.peers)
    engine, drain, host, port = start_engine(options.program)
    without, beside = [], []
    try:
        measure(host, port, 50)
        for pair in range(options.pairs):
            alone = lambda: without.append(measure(host, port, options.requests))
            crowded = lambda: beside.append(beside_peers(host, port, options))
            for phase in (alone, crowded) if pair % 2 == 0 else (crowded, alone):
                phase()
            p99 = [1e3 * percentile(runs[-1], 0.99) for runs in (without, beside)]
            print(f"pair {pair + 1}: p99 {p99[0]:.2f} ms alone, {p99[1]:.2f} ms beside {options.peers} slow peers")
    finally:
        engine.terminate()
        engine.wait()
        drain.wait()
    figures = {"peers": options.peers, "requests": options.pairs * options.requests}
    for name, share in (("p50", 0.5), ("p99", 0.99)):
        all_of = lambda runs: percentile([s for run in runs for s in run], share)
        figures[f"{name}_ms_alone"] = round(1e3 * all_of(without), 3)
        figures[f"{name}_ms_beside"] = round(1e3 * all_of(beside), 3)
        ratios = [percentile(b, share) / percentile(a, share) for a, b in zip(without, beside)]
        figures[f"{name}_ratio_of_pairs_median"] = round(statistics.median(ratios), 3)
        figures[f"{name}_ratio"] = round(all_of(beside) / all_of(without), 3)
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
