"""Threads with a bounded queue: what does not fit is refused at once rather than kept waiting for ever."""

from __future__ import annotations

import asyncio
import contextvars
import queue
import threading
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from api.errors import Busy

P = ParamSpec("P")
T = TypeVar("T")
Step = tuple[Callable[[], None], Callable[[BaseException], None]]


class BoundedPool:
    """`threads` calls run at once and `max_waiting` wait; one more raises Busy.

    Work of several steps takes a place first, starts steps in the pool and elsewhere, and gives its place back when
    all is done, so that what waits anywhere is bounded.
    """

    def __init__(self, name: str, threads: int, max_waiting: int) -> None:
        self.threads = threads
        self._limit = threads + max_waiting
        self._num_taken = 0
        self._lock = threading.Lock()
        self._is_closed = False
        self._steps: queue.SimpleQueue[Step | None] = queue.SimpleQueue()
        self._threads = [
            threading.Thread(target=self._run, name=f"{name}_{number}", daemon=True) for number in range(threads)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def is_closed(self) -> bool:
        """Whether it is closing: what runs long should end."""
        return self._is_closed

    @property
    def is_behind(self) -> bool:
        """Whether a step waits for a thread."""
        return not self._steps.empty()

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call `function` in a thread, with the caller's logging context.

        Raises:
            Busy: Too many calls wait already.
        """
        loop, context = asyncio.get_running_loop(), contextvars.copy_context()
        future: asyncio.Future[T] = loop.create_future()

        def call() -> None:
            result = context.run(function, *args, **kwargs)
            self.give_back()
            call_on(loop, answer, future, result)

        def fail(error: BaseException) -> None:
            self.give_back()
            call_on(loop, refuse, future, error)

        # A caller who goes away cancels his wait, not the work: the place stays taken until that has ended.
        self.take_place()
        self.start(call, fail)
        return await future

    def take_place(self) -> None:
        """Take a place.

        Raises:
            Busy: Too many calls wait already.
        """
        with self._lock:
            if self._num_taken >= self._limit:
                raise Busy(Busy.__doc__)
            self._num_taken += 1

    def give_back(self, places: int = 1) -> None:
        """Give places back."""
        with self._lock:
            self._num_taken -= places

    def start(self, step: Callable[[], None], fail: Callable[[BaseException], None]) -> None:
        """Call `step` in a thread, or `fail` with what it raised, or with Busy where the pool closes before."""
        if self._is_closed:
            fail(Busy("the server is stopping; try again in a moment"))
        else:
            self._steps.put((step, fail))

    def close(self) -> None:
        """Let running calls end, drop waiting ones."""
        self._is_closed = True
        try:
            while True:
                dropped = self._steps.get_nowait()
                if dropped is not None:
                    dropped[1](Busy("the server is stopping; try again in a moment"))
        except queue.Empty:
            pass
        for _ in self._threads:
            self._steps.put(None)
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        while (given := self._steps.get()) is not None:
            step, fail = given
            try:
                step()
            except BaseException as error:  # noqa: BLE001 whoever waits must hear of whatever it was
                fail(error)


def call_on(loop: asyncio.AbstractEventLoop, callback: Callable[P, object], *args: P.args, **_: P.kwargs) -> None:
    """Call back on the event loop; not where it has ended meanwhile, with all who waited on it."""
    try:
        loop.call_soon_threadsafe(callback, *args)
    except RuntimeError:
        if not loop.is_closed():
            raise


def answer(future: asyncio.Future[T], result: T) -> None:
    """Fulfil a future, unless whoever waited for it went away."""
    if not future.done():
        future.set_result(result)


def refuse(future: asyncio.Future[T], error: BaseException) -> None:
    """Fail a future, unless whoever waited for it went away."""
    if not future.done():
        future.set_exception(error)
