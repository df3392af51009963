"""Servers as processes: a port for one, whether it is ready, its end, and its files in the page cache."""

import os
import shutil
import signal
import socket
import subprocess

STOP_SECONDS_MAX = 30


def free_port():
    """A port that nothing listens on now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def is_ready(port, path="/ready"):
    """Whether the path answers 200."""
    request = f"GET {path} HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n"
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
            connection.sendall(request.encode())
            return b" 200" in connection.recv(256).split(b"\r\n", 1)[0]
    except OSError:
        return False


def stop(process):
    """Ends a process that was started here."""
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(STOP_SECONDS_MAX)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def read_through(path):
    """Reads files, so that they are in the page cache."""
    for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
        if file.is_file():
            with open(file, "rb") as data, open(os.devnull, "wb") as nowhere:
                shutil.copyfileobj(data, nowhere, 1 << 22)
