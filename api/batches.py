"""One thread that works on everything that has queued up: the more there is to do, the less each costs."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

import structlog

T = TypeVar("T")
log = structlog.get_logger("batches")
LINGER_S, LINGER_STEP_S = 0.040, 0.004
"""How long a batch waits for more at most, and how often it looks whether that is still worth it."""


class Batches(Generic[T]):
    """A thread that gives `work` all items that have come since it looked last, in their order.

    Args:
        name: Of the thread.
        work: Takes a batch; what it raises fails every item of it.
        fail: Takes an item and what was raised.
        linger: Whether more items are sure to come soon: then a batch waits for them a little, which makes it larger
            and costs nobody time, since those who wait for a batch would only get in line again.
        max_size: Items of one batch at most.
    """

    def __init__(
        self,
        name: str,
        work: Callable[[list[T]], None],
        fail: Callable[[T, Exception], None],
        linger: Callable[[], bool] = lambda: False,
        max_size: int = 64,
    ) -> None:
        self._work = work
        self._fail = fail
        self._linger = linger
        self._max_size = max_size
        self._items: queue.SimpleQueue[T | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def put(self, item: T) -> None:
        """Add an item to the next batch."""
        self._items.put(item)

    def close(self) -> None:
        """Work off what has come, then end the thread."""
        self._items.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (first := self._items.get()) is not None:
            batch, until = [first], time.monotonic() + LINGER_S
            while len(batch) < self._max_size:
                try:
                    item = self._items.get_nowait()
                except queue.Empty:
                    if not self._linger() or time.monotonic() > until:
                        break
                    try:
                        item = self._items.get(timeout=LINGER_STEP_S)
                    except queue.Empty:
                        continue
                if item is None:
                    self._work_on(batch)
                    return
                batch.append(item)
            self._work_on(batch)

    def _work_on(self, batch: list[T]) -> None:
        try:
            self._work(batch)
        except Exception as error:  # whoever waits for an item must hear of whatever it was
            log.exception("a batch failed", items=len(batch))
            for item in batch:
                self._fail(item, error)
