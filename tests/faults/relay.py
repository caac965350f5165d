"""A relay between a client and Postgres that can be told to cut: how a test takes the database away."""

from __future__ import annotations

import select
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from sqlalchemy.engine import URL


class Relay:
    """Passes bytes between clients on a TCP port and the server of `url`, one thread for each connection."""

    def __init__(self, url: URL) -> None:
        host = url.query.get("host") or url.host or "127.0.0.1"
        assert isinstance(host, str)
        self._server = (f"{host}/.s.PGSQL.{url.port or 5432}",) if host.startswith("/") else (host, url.port or 5432)
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.url = url.set(host="127.0.0.1", port=self._listening.getsockname()[1], query={})
        self._is_away = threading.Event()
        self._cut_at: bytes | None = None
        self._ended = threading.Event()
        self.num_cut = 0
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def cut_after(self, words: bytes) -> None:
        """The next request that holds `words` reaches the server, whose answer to it is lost with the connection."""
        self._cut_at = words

    @contextmanager
    def away(self) -> Iterator[None]:
        """Break all connections and refuse new ones meanwhile."""
        self._is_away.set()
        try:
            yield
        finally:
            self._is_away.clear()

    def go_away(self, is_away: bool = True) -> None:
        """As `away`, from now on or no longer."""
        (self._is_away.set if is_away else self._is_away.clear)()

    def close(self) -> None:
        """End all threads and connections."""
        self._ended.set()
        for thread in self._threads:
            thread.join()
        self._listening.close()

    def _accept(self) -> None:
        while not self._ended.is_set():
            readable, _, _ = select.select([self._listening], [], [], 0.02)
            if not readable:
                continue
            client, _ = self._listening.accept()
            thread = threading.Thread(target=self._serve, args=(client,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _connect(self) -> socket.socket:
        if len(self._server) == 1:
            server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            server.connect(self._server[0])
            return server
        return socket.create_connection(self._server)  # type: ignore[arg-type]

    def _serve(self, client: socket.socket) -> None:
        with client, suppress(OSError):
            if self._is_away.is_set():
                return
            with self._connect() as server:
                self._pass(client, server)

    def _pass(self, client: socket.socket, server: socket.socket) -> None:
        while not self._ended.is_set() and not self._is_away.is_set():
            readable, _, _ = select.select([client, server], [], [], 0.02)
            for source in readable:
                data = source.recv(65536)
                if not data:
                    return
                if source is server:
                    client.sendall(data)
                    continue
                server.sendall(data)
                if self._cut_at is not None and self._cut_at in data:
                    self._cut_at = None
                    server.recv(65536)  # the server has answered, so it has done what was asked
                    self.num_cut += 1
                    return


@contextmanager
def relayed(url: URL) -> Iterator[Relay]:
    """A relay for the duration."""
    relay = Relay(url)
    try:
        yield relay
    finally:
        relay.close()
