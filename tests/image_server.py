"""A camera park on this machine: real HTTP on several ports, some cameras slow, some dead, some sending a page."""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Lock, Thread
from typing import Any

PAGE = b"<!doctype html><title>offline</title><p>This camera is offline."


@dataclass
class Cameras:
    """What each path shows. A path that is not named is answered 404."""

    hosts: list[str] = field(default_factory=list)
    """`host:port` of the servers."""
    dead_hosts: list[str] = field(default_factory=list)
    """`host:port` where nobody listens."""
    shows: dict[str, bytes] = field(default_factory=dict)
    slow: set[str] = field(default_factory=set)
    """Paths that send a first byte and then nothing more."""
    asked: Counter[str] = field(default_factory=Counter)
    """How often each path was asked for."""
    released: Event = field(default_factory=Event)
    lock: Lock = field(default_factory=Lock)

    @property
    def allowed(self) -> str:
        """The value of AFTERGLOW_FETCH_ALLOW_HOSTS."""
        return ",".join((*self.hosts, *self.dead_hosts))

    def url(self, path: str, data: bytes | None = None, *, host: int = 0, slow: bool = False) -> str:
        """Show something at a path (PAGE for a page); its address."""
        if data is not None:
            self.shows[path] = data
        if slow:
            self.slow.add(path)
        return f"http://{self.hosts[host % len(self.hosts)]}{path}"


@contextmanager
def running_cameras(num_hosts: int = 8, num_dead: int = 5) -> Iterator[Cameras]:
    """Cameras on ports of their own, and ports that stay closed as long as this lasts."""
    cameras = Cameras()
    servers = [_serve(cameras) for _ in range(num_hosts)]
    cameras.hosts = [f"127.0.0.1:{server.server_port}" for server in servers]
    # Bound and not listening: a connection is refused, and nobody else gets the port.
    closed = [socket.socket() for _ in range(num_dead)]
    for each in closed:
        each.bind(("127.0.0.1", 0))
    cameras.dead_hosts = [f"127.0.0.1:{each.getsockname()[1]}" for each in closed]
    try:
        yield cameras
    finally:
        cameras.released.set()
        for server in servers:
            server.shutdown()
            server.server_close()
        for each in closed:
            each.close()


def _serve(cameras: Cameras) -> ThreadingHTTPServer:
    class Camera(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            with cameras.lock:
                cameras.asked[path] += 1
            self._answer(path)

        def _answer(self, path: str) -> None:
            data = cameras.shows.get(path)
            self.send_response(404 if data is None else 200)
            self.send_header("Content-Type", "text/html" if data == PAGE else "image/png")
            self.send_header("Content-Length", str(len(data or b"")))
            self.end_headers()
            if path in cameras.slow and data is not None:
                self.wfile.write(data[:1])
                cameras.released.wait(60)
                data = data[1:]
            if data is not None:
                try:
                    self.wfile.write(data)
                except OSError:
                    self.close_connection = True

        def log_message(self, *args: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Camera)
    server.daemon_threads = True
    Thread(target=server.serve_forever, daemon=True).start()
    return server
