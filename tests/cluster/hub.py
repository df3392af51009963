"""A hub for pods to download from: one folder's files under every repository of `org`, and one line on standard output for each
request that was let in.

`org/slow` sends its large files slowly, `org/none` is not there, and whoever brings another token than the one that is set sees none.
"""

import argparse
import hashlib
import json
import re
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

LARGE_BYTES = 10_000
CHUNK = 16 << 10


class Hub(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    files = {}
    token = ""
    slow_seconds = 0.0

    def do_HEAD(self):
        self.answer()

    def do_GET(self):
        self.answer()

    def answer(self):
        path = urlsplit(self.path).path
        if self.headers.get("authorization") != f"Bearer {self.token}":
            return self.refuse(403 if "authorization" in self.headers else 401, "GatedRepo", "Access is restricted.")
        if "org/none" in path:
            return self.refuse(404, "RepoNotFound", "Repository not found")
        print(self.command, path, flush=True)
        if re.fullmatch(r"/api/models/org/[\w-]+(/revision/\w+)?", path):
            return self.send_json({"sha": self.commit(), "siblings": [{"rfilename": name} for name in self.files]})
        if re.fullmatch(r"/api/models/org/[\w-]+/tree/\w+", path):
            return self.send_json([self.entry(name, content) for name, content in self.files.items()])
        found = re.fullmatch(r"/org/([\w-]+)/resolve/\w+/(.+)", path)
        if found and found[2] in self.files:
            return self.send_file(self.files[found[2]], found[1] == "slow")
        return self.refuse(404, "EntryNotFound", "Entry not found")

    def commit(self):
        return hashlib.sha1(b"".join(self.files.values())).hexdigest()

    @staticmethod
    def entry(name, content):
        blob = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
        entry = {"type": "file", "path": name, "size": len(content), "oid": blob}
        if len(content) >= LARGE_BYTES:
            entry["lfs"] = {"oid": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 134}
        return entry

    def send_json(self, value):
        self.send_whole(200, json.dumps(value).encode(), {"content-type": "application/json"})

    def refuse(self, status, code, said):
        self.send_whole(status, b"", {"x-error-code": code, "x-error-message": said})

    def send_whole(self, status, content, headers):
        self.send_response(status)
        for name, value in {**headers, "content-length": len(content)}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def send_file(self, content, slowly):
        wanted = re.fullmatch(r"bytes=(\d+)-", self.headers.get("range", ""))
        begin = int(wanted[1]) if wanted else 0
        self.send_response(206 if wanted else 200)
        self.send_header("x-repo-commit", self.commit())
        self.send_header("etag", f'"{hashlib.sha256(content).hexdigest()}"')
        self.send_header("content-length", len(content) - begin)
        if wanted:
            self.send_header("content-range", f"bytes {begin}-{len(content) - 1}/{len(content)}")
        self.end_headers()
        if self.command == "HEAD":
            return
        rest = content[begin:]
        pause = self.slow_seconds * CHUNK / len(content) if slowly and len(content) >= LARGE_BYTES else 0
        for at in range(0, len(rest), CHUNK):
            self.wfile.write(rest[at : at + CHUNK])
            time.sleep(pause)

    def log_message(self, *_):
        pass


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, required=True, help="whose files are the model's")
    parser.add_argument("--address", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--token", required=True, help="the one that lets in")
    parser.add_argument("--slow-seconds", type=float, default=20.0, help="what a large file of org/slow takes")
    options = parser.parse_args()
    Hub.files = {path.name: path.read_bytes() for path in sorted(options.folder.iterdir()) if path.is_file()}
    Hub.token, Hub.slow_seconds = options.token, options.slow_seconds
    ThreadingHTTPServer((options.address, options.port), Hub).serve_forever()


if __name__ == "__main__":
    sys.exit(main())
