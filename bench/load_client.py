"""The load: one process that keeps N connections busy with raw JPEG bodies, on sockets, without an HTTP library.

    python -m bench.load_client PORT KEY FRAMES WEBCAM_IDS

Reads a line `<variant> <clients> <seconds>` and answers with a JSON line of `Slice`. Every body ends in bytes of its
own behind the JPEG's end, so that no picture comes twice; every answer is checked. The variant `event` names no
webcam; `webcam` and `kept` do, at times more than half an hour apart.
"""

from __future__ import annotations

import itertools
import json
import selectors
import socket
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

FIRST_MOMENT = {"webcam": datetime(2000, 1, 1, tzinfo=UTC), "kept": datetime(2010, 1, 1, tzinfo=UTC)}
STEP = timedelta(minutes=31)
END = b"\r\n\r\n"


@dataclass
class Slice:
    """What one slice of load saw."""

    in_time: int = 0
    """Answers within the slice."""
    answered: int = 0
    """All answers, also those that came after its end."""
    errors: int = 0
    """Answers that were no score by the model."""
    seconds: float = 0.0
    cpu_share: float = 0.0
    """CPU seconds of this process per second."""
    latencies_ms: list[float] = field(default_factory=list)
    first_error: str = ""


@dataclass
class Connection:
    """One client: its socket, what is still to be sent, and what has come."""

    socket: socket.socket
    unsent: list[memoryview] = field(default_factory=list)
    received: bytearray = field(default_factory=bytearray)
    began: float = 0.0


class Load:
    """Makes requests and counts answers."""

    def __init__(self, port: int, key: str, frames: Path, webcam_ids: list[int]) -> None:
        self.port, self.key, self.webcam_ids = port, key, webcam_ids
        self.images = [path.read_bytes() for path in sorted(frames.glob("*.jpg"))]
        self.numbers: Iterator[int] = itertools.count()

    def request(self, variant: str) -> list[memoryview]:
        """The next request, in parts."""
        number = next(self.numbers)
        body = self.images[number % len(self.images)]
        mark = b"%020d" % number
        target = "/v1/score"
        if variant != "event":
            turn, place = divmod(number, len(self.webcam_ids))
            moment = (FIRST_MOMENT[variant] + turn * STEP).strftime("%Y-%m-%dT%H:%M:%SZ")
            target += f"?webcam_id={self.webcam_ids[place]}&captured_at={moment}"
        head = (
            f"POST {target} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {self.key}\r\n"
            f"Content-Type: image/jpeg\r\nContent-Length: {len(body) + len(mark)}\r\n\r\n"
        ).encode()
        return [memoryview(head), memoryview(body), memoryview(mark)]

    def run(self, variant: str, clients: int, seconds: float) -> Slice:
        """Keep `clients` connections busy for a slice, then wait for what is under way."""
        found, selector = Slice(), selectors.DefaultSelector()
        for _ in range(clients):
            opened = socket.create_connection(("127.0.0.1", self.port))
            opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            opened.setblocking(False)
            selector.register(opened, selectors.EVENT_READ, Connection(opened))
        busy = {key.data.socket: key.data for key in list(selector.get_map().values())}
        began, cpu_began = time.perf_counter(), time.process_time()
        end = began + seconds
        for connection in busy.values():
            self._start(connection, variant, selector)
        while busy:
            for key, events in selector.select(5.0):
                connection = key.data
                if events & selectors.EVENT_WRITE:
                    self._send(connection, selector)
                if events & selectors.EVENT_READ and self._receive(connection, found, end):
                    if time.perf_counter() < end:
                        self._start(connection, variant, selector)
                    else:
                        selector.unregister(connection.socket)
                        connection.socket.close()
                        del busy[connection.socket]
        found.cpu_share = (time.process_time() - cpu_began) / (time.perf_counter() - began)
        found.seconds = seconds
        selector.close()
        return found

    def _start(self, connection: Connection, variant: str, selector: selectors.BaseSelector) -> None:
        connection.unsent = self.request(variant)
        connection.received = bytearray()
        connection.began = time.perf_counter()
        self._send(connection, selector)

    def _send(self, connection: Connection, selector: selectors.BaseSelector) -> None:
        was_waiting = bool(selector.get_key(connection.socket).events & selectors.EVENT_WRITE)
        try:
            sent = connection.socket.sendmsg(connection.unsent)
        except BlockingIOError:
            sent = 0
        while connection.unsent and sent >= len(connection.unsent[0]):
            sent -= len(connection.unsent.pop(0))
        if connection.unsent:
            connection.unsent[0] = connection.unsent[0][sent:]
        if bool(connection.unsent) != was_waiting:
            wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if connection.unsent else 0)
            selector.modify(connection.socket, wanted, connection)

    def _receive(self, connection: Connection, found: Slice, end: float) -> bool:
        """Whether the answer is whole."""
        data = connection.socket.recv(65536)
        if not data:
            raise ConnectionError("the server closed a connection")
        connection.received += data
        at = connection.received.find(END)
        if at < 0:
            return False
        head = connection.received[:at].lower()
        length = int(head.split(b"content-length:")[1].split(b"\r\n")[0])
        if len(connection.received) < at + len(END) + length:
            return False
        now = time.perf_counter()
        found.answered += 1
        if not head.startswith(b"http/1.1 200") or b'"pathTaken":"onnx"' not in connection.received:
            found.errors += 1
            found.first_error = found.first_error or connection.received.decode(errors="replace")[:1000]
        if now <= end:
            found.in_time += 1
            found.latencies_ms.append((now - connection.began) * 1000)
        return True


def main(port: str, key: str, frames: str, webcam_ids: str) -> None:
    """Answer until the input ends."""
    load = Load(int(port), key, Path(frames), json.loads(webcam_ids))
    print(json.dumps({"images": len(load.images)}), flush=True)
    for line in sys.stdin:
        variant, clients, seconds = line.split()
        print(json.dumps(asdict(load.run(variant, int(clients), float(seconds)))), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
