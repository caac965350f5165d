"""Fetching and scoring the pictures of a tick: many hosts at once, few connections to each, an end to all of it."""

from __future__ import annotations

import os
import queue
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from urllib.parse import urlsplit

from db.engine import session_scope
from ml.bundle import BundleError
from ml.images.decode import sha256_of
from ml.images.fetch import FetchError, fetch_image
from ml.images.host_turns import CONNECTIONS_PER_HOST
from worker.stages.score import Frame, Scored, score_pixels, unchanged
from worker.stages.served import Served

_SCORING = threading.BoundedSemaphore(os.cpu_count() or 1)
"""More models than cores at once would only make each slower."""
POLL_S = 0.1
"""How often it is looked whether the time is over, when nothing comes."""


@dataclass(frozen=True)
class Ask:
    """One picture to fetch and score."""

    place: int
    """Of its row in the tick."""
    url: str
    webcam_id: int
    last_image_hash: str | None
    """sha256 of the picture that was scored last."""


@dataclass(frozen=True)
class Come:
    """What came of one picture: a score, or why there is none."""

    place: int
    scored: Scored
    data: bytes | None = None
    failure: str | None = None
    """One word for why there is no score."""
    fetch_error: FetchError | None = None


def unscored(word: str, says: str, image_sha256: str | None = None) -> Scored:
    """No score, and why: one word for programs and a sentence for people."""
    return Scored("unscored", reason=f"{word}: {says}", image_sha256=image_sha256)


class TickFetches:
    """Threads that fetch and score. What was not taken from here when the tick ends is never heard of again.

    A picture's time begins when its turn at its host does, so that one slow camera does not use up the time of the
    others there.

    Args:
        asks: The pictures, each of another webcam.
        served: The model.
        allow_hosts: `host:port` in private networks that may be fetched from.
        at_once: Fetches that run at the same time at most.
        image_s: Seconds for one fetch.
        stop_at: Monotonic time at which the tick's work ends.
        is_stopping: Whether it ends before.
    """

    def __init__(
        self,
        asks: Iterable[Ask],
        served: Served,
        *,
        allow_hosts: frozenset[str],
        at_once: int,
        image_s: float,
        stop_at: float,
        is_stopping: Callable[[], bool],
    ) -> None:
        self._waiting: dict[str, deque[Ask]] = {}
        for ask in asks:
            self._waiting.setdefault(_host(ask.url), deque()).append(ask)
        self._served = served
        self._allow_hosts = allow_hosts
        self._at_once = at_once
        self._image_s = image_s
        self._stop_at = stop_at
        self._is_stopping = is_stopping
        self._running: Counter[str] = Counter()
        self._come: queue.SimpleQueue[tuple[str, Come]] = queue.SimpleQueue()
        self._threads = ThreadPoolExecutor(at_once, thread_name_prefix="tick")

    def take(self) -> list[Come]:
        """Wait for the next that are done and give all that are; none where nothing is left or the time is over."""
        self._start()
        done: list[Come] = []
        while self._running.total() and not self._is_over():
            try:
                host, come = self._come.get_nowait() if done else self._come.get(timeout=POLL_S)
            except queue.Empty:
                if done:
                    break
                continue
            self._running[host] -= 1
            done.append(come)
        return [] if self._is_over() else done

    def _is_over(self) -> bool:
        return time.monotonic() >= self._stop_at or self._is_stopping()

    def close(self) -> None:
        """Start nothing more; what runs ends by itself within the time of one picture."""
        self._waiting.clear()
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _start(self) -> None:
        while self._running.total() < self._at_once:
            free = [
                host
                for host, waiting in self._waiting.items()
                if waiting and self._running[host] < CONNECTIONS_PER_HOST
            ]
            if not free:
                return
            # The host that is asked least comes first, so that the slow ones do not take every thread.
            host = min(free, key=lambda each: self._running[each])
            self._running[host] += 1
            self._threads.submit(self._work, host, self._waiting[host].popleft())

    def _work(self, host: str, ask: Ask) -> None:
        try:
            come = self._fetch_and_score(ask)
        except Exception as error:  # noqa: BLE001 the tick must hear of whatever it was
            come = Come(ask.place, unscored("failed", f"{type(error).__name__}: {error}"[:500]), None, "failed")
        self._come.put((host, come))

    def _fetch_and_score(self, ask: Ask) -> Come:
        left_s = self._stop_at - time.monotonic()
        try:
            data = fetch_image(
                ask.url, allow_hosts=self._allow_hosts, total_s=max(0.001, min(self._image_s, left_s)), retries=1
            )
        except FetchError as error:
            if error.reason == "timeout" and left_s < self._image_s:
                return Come(ask.place, unscored("deadline", "it came too late"), None, "deadline")
            return Come(ask.place, unscored(error.reason, str(error)), None, error.reason, error)
        if ask.last_image_hash is not None and ask.last_image_hash == sha256_of(data):
            with session_scope() as session:
                known = unchanged(session, self._served, Frame(ask.webcam_id), data)
            if known is not None:
                return Come(ask.place, known, data)
        with _SCORING:
            if time.monotonic() >= self._stop_at:
                return Come(ask.place, unscored("deadline", "its turn to be scored came too late"), None, "deadline")
            try:
                scored = score_pixels(self._served, data)
            except BundleError as error:
                return Come(ask.place, unscored("model_failed", str(error), sha256_of(data)), data, "model_failed")
        word = None if scored.path_taken != "unscored" else str(scored.reason).partition(":")[0]
        return Come(ask.place, scored, data, word)


def _host(url: str) -> str:
    """Where a URL leads, as far as it says; what makes no sense is refused by whoever fetches it."""
    try:
        return urlsplit(url).netloc.rpartition("@")[2].lower()
    except ValueError:
        return ""
