"""Sends waves of streaming requests and notes when each token came, at little cost: it shares the cores with the server.

While a wave runs, bytes are only kept with the time of their arrival; they are read as HTTP, events and JSON afterwards.
"""

import bisect
import json
import selectors
import socket
import time
from dataclasses import dataclass

END = b"data: [DONE]"
RECEIVE_BYTES = 1 << 16


class LoadFailed(Exception):
    """A server did not answer as it should."""


@dataclass(frozen=True)
class Answer:
    """One request's answer: seconds from the start of the wave, and how many tokens came."""

    first: float
    last: float
    tokens: int


@dataclass(frozen=True)
class Wave:
    """What one wave measured. Times in seconds; `own_cpu` is this process's time on processors as a share of `seconds`."""

    seconds: float
    tokens_per_second: float
    first_token: float
    per_token: float
    own_cpu: float


class Stream:
    """One request on a connection of its own."""

    def __init__(self, address, body):
        self.connection = socket.create_connection(address)
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        head = (
            f"POST /v1/completions HTTP/1.1\r\nHost: {address[0]}:{address[1]}\r\nContent-Type: application/json\r\n"
            f"Accept: text/event-stream\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        self.request = head.encode() + body
        self.received = bytearray()
        # Of each arrival: how many bytes there were after it, and when.
        self.ends, self.times = [], []

    def send(self):
        self.connection.sendall(self.request)
        self.connection.setblocking(False)

    def receive(self, now):
        """Takes what has come; whether the answer is whole."""
        data = self.connection.recv(RECEIVE_BYTES)
        if not data:
            return True
        before = len(self.received)
        self.received += data
        self.ends.append(len(self.received))
        self.times.append(now)
        return self.received.find(END, max(0, before - len(END))) >= 0

    def answer(self):
        """The answer, read from what was received."""
        events, usage = [], None
        for data, end in events_of(bytes(self.received)):
            event = json.loads(data)
            if "error" in event:
                raise LoadFailed(f"the server sent an error: {data[:500]}")
            usage = event.get("usage") or usage
            if any(choice.get("text") for choice in event.get("choices", [])):
                events.append(self.times[bisect.bisect_left(self.ends, end)])
        if not events or not usage:
            raise LoadFailed(f"no tokens or no usage in the answer: {bytes(self.received[:500])}")
        return Answer(events[0], events[-1], usage["completion_tokens"])


def events_of(received):
    """The events of an HTTP answer: the text of each, and how many bytes of the answer there were at its end."""
    head, separator, _ = received.partition(b"\r\n\r\n")
    status = head.split(b"\r\n", 1)[0]
    if not separator or b" 200" not in status:
        raise LoadFailed(f"answered {received[:500].decode(errors='replace')!r}")
    body, ends_of_body, ends_of_raw = bytearray(), [], []
    at = len(head) + 4
    chunked = b"transfer-encoding: chunked" in head.lower()
    while at < len(received):
        if chunked:
            line = received.find(b"\r\n", at)
            if line < 0:
                break
            size = int(received[at:line].split(b";")[0], 16)
            begin, at = line + 2, line + 2 + size + 2
        else:
            begin, size, at = at, len(received) - at, len(received)
        if size == 0:
            break
        body += received[begin : begin + size]
        ends_of_body.append(len(body))
        ends_of_raw.append(min(begin + size, len(received)))
    begin = 0
    # After the last empty line there is nothing, or an event that was cut short.
    for event in bytes(body).split(b"\n\n")[:-1]:
        end, begin = begin + len(event), begin + len(event) + 2
        data = b"".join(line[5:].strip() for line in event.split(b"\n") if line.startswith(b"data:"))
        if data == b"[DONE]":
            return
        if data:
            yield data, ends_of_raw[bisect.bisect_left(ends_of_body, end)]


def run_wave(address, bodies, output_tokens, seconds_max):
    """Sends all `bodies` at once and waits for all answers; each must have `output_tokens` tokens."""
    streams = [Stream(address, json.dumps(body).encode()) for body in bodies]
    try:
        begun, cpu_begun = time.perf_counter(), time.process_time()
        for stream in streams:
            stream.send()
        collect(streams, begun, seconds_max)
        ended, cpu_ended = time.perf_counter(), time.process_time()
    finally:
        for stream in streams:
            stream.connection.close()
    own_cpu = (cpu_ended - cpu_begun) / (ended - begun)
    return summary([stream.answer() for stream in streams], output_tokens, own_cpu)


def collect(streams, begun, seconds_max):
    """Receives until every answer is whole."""
    with selectors.DefaultSelector() as selector:
        for stream in streams:
            selector.register(stream.connection, selectors.EVENT_READ, stream)
        open_streams = len(streams)
        while open_streams:
            ready = selector.select(timeout=1.0)
            now = time.perf_counter() - begun
            if now > seconds_max:
                raise LoadFailed(f"{open_streams} of {len(streams)} answers not whole after {seconds_max} s")
            for key, _ in ready:
                if key.data.receive(now):
                    selector.unregister(key.fileobj)
                    open_streams -= 1


def summary(answers, output_tokens, own_cpu):
    """The wave's figures: throughput from its start to its last token, and means over its requests."""
    for answer in answers:
        if answer.tokens != output_tokens:
            raise LoadFailed(f"{answer.tokens} tokens in an answer instead of {output_tokens}")
    seconds = max(answer.last for answer in answers)
    spans = [(answer.last - answer.first) / max(1, answer.tokens - 1) for answer in answers]
    return Wave(
        seconds=seconds,
        tokens_per_second=sum(answer.tokens for answer in answers) / seconds,
        first_token=sum(answer.first for answer in answers) / len(answers),
        per_token=sum(spans) / len(spans),
        own_cpu=own_cpu,
    )
