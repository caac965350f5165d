"""One thread that works on everything that has queued up: the more there is to do, the less each costs."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Generic, TypeVar

import structlog

T = TypeVar("T")
log = structlog.get_logger("batches")
LINGER_S, LINGER_STEP_S = 0.040, 0.004
"""How long a batch waits for more at most, and how often it looks by itself whether that is still worth it."""


class Batches(Generic[T]):
    """A thread that gives `work` all items that have come since it looked last, in their order.

    Args:
        name: Of the thread.
        work: Takes a batch; what it raises fails every item of it.
        fail: Takes an item and what was raised.
        linger: Whether more items are sure to come soon: then a batch waits for them a little, which makes it larger
            and costs nobody time, since those who wait for a batch would only get in line again.
        max_size: Items of one batch at most.
        linger_s: Seconds that a batch waits for more at most.
    """

    def __init__(
        self,
        name: str,
        work: Callable[[list[T]], None],
        fail: Callable[[T, Exception], None],
        linger: Callable[[], bool] = lambda: False,
        max_size: int = 64,
        linger_s: float = LINGER_S,
    ) -> None:
        self._work = work
        self._fail = fail
        self._linger = linger
        self._max_size = max_size
        self._linger_s = linger_s
        self._items: list[T] = []
        self._lock = threading.Lock()
        self._signals: queue.SimpleQueue[bool] = queue.SimpleQueue()
        """True: look at the items; False: the last time."""
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def put(self, item: T) -> None:
        """Add an item to the next batch."""
        with self._lock:
            self._items.append(item)
            count = len(self._items)
        # The thread is not woken for each item that it would only wait on: a waking costs as much as the item's row.
        if count == 1 or count == self._max_size or not self._linger():
            self._signals.put(True)

    def close(self) -> None:
        """Work off what has come, then end the thread."""
        self._signals.put(False)
        self._thread.join()

    def _run(self) -> None:
        is_open = True
        while is_open:
            is_open = self._signals.get()
            until = time.monotonic() + self._linger_s
            while is_open and 0 < len(self._items) < self._max_size and self._linger() and time.monotonic() < until:
                with suppress(queue.Empty):
                    is_open = self._signals.get(timeout=LINGER_STEP_S)
            self._work_on(self._take())
        while self._items:
            self._work_on(self._take())

    def _take(self) -> list[T]:
        with self._lock:
            batch, self._items = self._items[: self._max_size], self._items[self._max_size :]
            if self._items:
                self._signals.put(True)
        return batch

    def _work_on(self, batch: list[T]) -> None:
        if not batch:
            return  # a signal of an item that went with the batch before
        try:
            self._work(batch)
        except Exception as error:  # whoever waits for an item must hear of whatever it was
            log.exception("a batch failed", items=len(batch))
            for item in batch:
                self._fail(item, error)
