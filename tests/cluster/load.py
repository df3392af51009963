"""A steady load of chat requests, told apart by how they are sent, with every failure counted by its cause.

It sends at a fixed rate whatever comes back: plain and streamed requests, each on kept and on fresh connections. It never tries
again: a failed request is a failed request. It says "sending" once requests are answered, goes on until its standard input closes,
waits for what is still under way, and prints one line of JSON.
"""

import argparse
import asyncio
import json
import sys
import time
from collections import Counter
from urllib.parse import urlsplit

ANSWERED_FIRST = 5  # good answers before the load says that it is one
EXAMPLES_KEPT = 12


class Failure(Exception):
    pass


class Connection:
    """An HTTP/1.1 connection."""

    def __init__(self, reader, writer):
        self.reader, self.writer = reader, writer

    @classmethod
    async def open(cls, host, port):
        try:
            return cls(*await asyncio.open_connection(host, port))
        except OSError as error:
            raise Failure(f"connect: {type(error).__name__}") from error

    def is_closed(self):
        return self.reader.at_eof() or self.writer.is_closing()

    def close(self):
        self.writer.close()

    async def ask(self, host, path, body, keep):
        """Status, body, and whether the connection may be used again."""
        payload = json.dumps(body).encode()
        head = (
            f"POST {path} HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\n"
            f"content-length: {len(payload)}\r\n{'' if keep else 'connection: close' + chr(13) + chr(10)}\r\n"
        )
        try:
            self.writer.write(head.encode() + payload)
            await self.writer.drain()
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        except asyncio.IncompleteReadError as error:
            raise Failure("no answer: closed" if not error.partial else "cut in the head") from error
        except OSError as error:
            raise Failure(f"no answer: {type(error).__name__}") from error
        status, *lines = head.strip().split("\r\n")
        headers = {name.strip().lower(): value.strip() for name, value in (line.split(":", 1) for line in lines)}
        try:
            content = await self.read_body(headers)
        except (OSError, asyncio.IncompleteReadError, ValueError) as error:
            raise Failure(f"cut in the body: {type(error).__name__}") from error
        return int(status.split()[1]), content, headers.get("connection", "").lower() != "close"

    async def read_body(self, headers):
        if headers.get("transfer-encoding", "").lower() != "chunked":
            return await self.reader.readexactly(int(headers.get("content-length", 0)))
        content = b""
        while size := int((await self.reader.readuntil(b"\r\n")).split(b";")[0], 16):
            content += (await self.reader.readexactly(size + 2))[:-2]
        while (await self.reader.readuntil(b"\r\n")) != b"\r\n":
            pass  # trailers
        return content


class Load:
    def __init__(self, options):
        url = urlsplit(options.url)
        self.host, self.port, self.path = url.hostname, url.port or 80, f"{url.path}/chat/completions"
        self.options = options
        self.idle = []
        self.sent = self.ok = 0
        self.failed = Counter()
        self.examples = []
        self.begun = time.monotonic()
        self.last_good = self.begun
        self.gap = 0.0

    async def one(self, number):
        stream, keep = bool(number & 1), bool(number & 2)
        self.sent += 1
        at = time.monotonic() - self.begun
        try:
            async with asyncio.timeout(self.options.patience):
                await self.exchange(stream, keep)
        except TimeoutError:
            self.count("timeout", at, stream, keep)
        except Failure as failure:
            self.count(str(failure), at, stream, keep)
        else:
            self.ok += 1
            now = time.monotonic()
            self.gap = max(self.gap, now - self.last_good)
            self.last_good = now
            if self.ok == ANSWERED_FIRST:
                print("sending", flush=True)

    def count(self, cause, at, stream, keep):
        self.failed[cause] += 1
        if len(self.examples) < EXAMPLES_KEPT:
            kind = f"{'streamed' if stream else 'plain'}, {'kept' if keep else 'fresh'} connection"
            self.examples.append(f"{at:.2f} s: {cause} ({kind})")

    async def exchange(self, stream, keep):
        connection = None
        while keep and self.idle and connection is None:
            connection = self.idle.pop(0)
            if connection.is_closed():
                connection.close()
                connection = None
        connection = connection or await Connection.open(self.host, self.port)
        body = {
            "model": self.options.model, "stream": stream, "max_tokens": self.options.tokens, "temperature": 0,
            "messages": [{"role": "user", "content": "What is the sun?"}],
        }
        reusable = False
        try:
            status, content, reusable = await connection.ask(self.host, self.path, body, keep)
        finally:
            if keep and reusable:
                self.idle.append(connection)
            else:
                connection.close()
        if status != 200:
            raise Failure(f"status {status}")
        if stream and not content.rstrip().endswith(b"data: [DONE]"):
            raise Failure("a stream without its end")
        if not stream and not json.loads(content)["choices"]:
            raise Failure("an answer without a choice")

    async def run(self, stop):
        requests = set()
        number = 0
        while not stop.is_set():
            request = asyncio.create_task(self.one(number))
            requests.add(request)
            request.add_done_callback(requests.discard)
            number += 1
            late = self.begun + number / self.options.rate - time.monotonic()
            try:
                await asyncio.wait_for(stop.wait(), max(late, 0.0))
            except TimeoutError:
                pass
        await asyncio.gather(*requests)
        # What ended unanswered is a gap, too.
        self.gap = max(self.gap, time.monotonic() - self.last_good) if self.failed else self.gap
        return {
            "sent": self.sent, "ok": self.ok, "failed": sum(self.failed.values()), "causes": dict(self.failed),
            "seconds": round(time.monotonic() - self.begun, 1), "longest_gap_seconds": round(self.gap, 2),
            "examples": self.examples,
        }


async def main(options):
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_reader(sys.stdin, stop.set)
    print(json.dumps(await Load(options).run(stop)), flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", required=True, help="base address, which ends in /v1")
    parser.add_argument("--model", required=True)
    parser.add_argument("--rate", type=float, default=10.0, help="requests a second")
    parser.add_argument("--tokens", type=int, default=8, help="tokens of each answer, at most")
    parser.add_argument("--patience", type=float, default=60.0, help="seconds after which a request has failed")
    asyncio.run(main(parser.parse_args()))
