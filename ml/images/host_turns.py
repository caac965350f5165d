"""At most two connections to a host at a time, over all threads of this process: a webcam's server is often small."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

CONNECTIONS_PER_HOST = 2


class HostTurns:
    """Who may connect to which host now."""

    def __init__(self, limit: int = CONNECTIONS_PER_HOST) -> None:
        self._limit = limit
        self._changed = threading.Condition()
        self._open: Counter[str] = Counter()

    @contextmanager
    def turn(self, host_port: str, timeout_s: float) -> Iterator[None]:
        """Wait for a turn and hold it.

        Raises:
            TimeoutError: There was none in `timeout_s` seconds.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: self._open[host_port] < self._limit, timeout_s):
                raise TimeoutError(f"{self._limit} other fetches from {host_port} took all the time")
            self._open[host_port] += 1
        try:
            yield
        finally:
            with self._changed:
                self._open[host_port] -= 1
                if not self._open[host_port]:
                    del self._open[host_port]
                self._changed.notify_all()
