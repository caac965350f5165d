"""Threads with a bounded queue: what does not fit is refused at once rather than kept waiting for ever."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from api.errors import Busy

P = ParamSpec("P")
T = TypeVar("T")


class BoundedPool:
    """`threads` calls run at once and `max_waiting` wait; one more raises Busy."""

    def __init__(self, name: str, threads: int, max_waiting: int) -> None:
        self.threads = threads
        self._limit = threads + max_waiting
        self._num_taken = 0
        self._lock = threading.Lock()
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix=name)

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call `function` in a thread, with the caller's logging context.

        Raises:
            Busy: Too many calls wait already.
        """
        with self._lock:
            if self._num_taken >= self._limit:
                raise Busy(Busy.__doc__)
            self._num_taken += 1
        context = contextvars.copy_context()
        try:
            future = self._executor.submit(context.run, lambda: function(*args, **kwargs))
        except BaseException:
            self._give_back(None)
            raise
        future.add_done_callback(self._give_back)
        return await asyncio.wrap_future(future)

    def _give_back(self, _future: Future[T] | None) -> None:
        # Called when the call has ended, also when its caller went away before.
        with self._lock:
            self._num_taken -= 1

    def close(self) -> None:
        """Let running calls end, drop waiting ones."""
        self._executor.shutdown(wait=True, cancel_futures=True)
