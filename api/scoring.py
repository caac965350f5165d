"""One picture from a request to its answer. Runs in threads: no session and no pixel on the event loop.

A picture goes through up to three steps, each handing on to the next without going back to the loop: webcams are
looked up for all requests that wait for it together, each picture is decoded and scored in a pool, and the rows of
all that are done are committed together. An answer is given when its rows are committed, never before.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby
from typing import Any

import structlog
from sqlmodel import Session

from api.active_models import ActiveModels
from api.batches import Batches
from api.errors import InvalidInput
from api.metrics import Metrics
from api.picture_input import Picture
from api.pool import BoundedPool, answer, call_on, refuse
from api.schemas.frames import DEFAULT_SOURCE, FrameFields
from api.schemas.score import ScoreAnswer, answer_of
from api.settings import ApiSettings
from db.engine import LoneStatements, is_away, session_scope
from db.errors import NotFound
from db.queries import scoring, webcams
from db.tables import Webcam
from ml.bundle import BundleError
from ml.images.decode import sha256_of
from ml.images.fetch import FetchError, fetch_image
from ml.images.store import FileStore
from ml.judgements import judgement
from worker.settings import worker_settings
from worker.stages.score import (
    Attempt,
    Frame,
    Scored,
    record_lone_scores,
    record_scores,
    score_pixels,
    unchanged,
)

log = structlog.get_logger("score")
REFUSED_URLS = ("url_blocked", "scheme", "bad_url")
"""Fetching was never tried: the address itself is the caller's mistake. All else is a dead image, which is recorded."""
LOCK_WAIT_MS, LONE_LOCK_WAIT_MS = 250, 1000
"""How long many rows, or those of one picture alone, wait for a webcam that somebody else has locked: all others wait
behind them."""


@dataclass
class Pending:
    """A picture on its way."""

    kind: str
    data: bytes | None
    fields: FrameFields
    loop: asyncio.AbstractEventLoop
    done: asyncio.Future[None]
    """Fulfilled on `loop` when its rows are committed."""
    scored: Scored | None = None
    webcam_id: int | None = None
    is_over: bool = False
    """Whether it has its answer or its error, and its place in the pool is free."""
    context: dict[str, Any] = field(default_factory=dict)
    """What log lines on it carry."""

    @property
    def webcam_key(self) -> int | tuple[str, str] | None:
        """The webcam as it is named: by id, or by source and id there."""
        if self.fields.webcam is not None:
            return self.fields.source or DEFAULT_SOURCE, self.fields.webcam
        return self.fields.webcam_id

    def attempt(self) -> Attempt:
        """Its rows to be."""
        assert self.scored is not None
        frame = Frame(self.webcam_id, self.fields.phase, self.fields.captured_at)
        return Attempt(self.kind, frame, self.scored, self.data, judgement(self.kind).scores_snapshots)


class ScoringDesk:
    """What scoring needs of the running API. Owns two threads; close it."""

    def __init__(
        self,
        models: ActiveModels,
        store: FileStore,
        settings: ApiSettings,
        metrics: Metrics,
        score_pool: BoundedPool,
        fetch_pool: BoundedPool,
    ) -> None:
        self.models = models
        self.store = store
        self.settings = settings
        self.metrics = metrics
        self.score_pool = score_pool
        self.fetch_pool = fetch_pool
        # While pictures wait for a thread of the pool there is no hurry: one more in line, or one fewer, changes nothing.
        self._look_ups: Batches[Pending] = Batches("look-up", self._look_up, self._fail, lambda: score_pool.is_behind)
        self._statements = LoneStatements()
        self._records: Batches[Pending] = Batches("record", self._record, self._fail, lambda: score_pool.is_behind)

    async def score(self, kind: str, picture: Picture) -> ScoreAnswer:
        """Fetch if need be, score, and record.

        Raises:
            UnknownKind: There is no such kind.
            NotFound: The named webcam is not known.
            InvalidInput: The address is one that is never fetched.
            Busy: Too many pictures wait already.
        """
        judgement(kind)
        data, failure = picture.data, None
        if data is None and picture.url is not None:
            try:
                data = await self.fetch_pool.run(self._fetch, picture.url)
            except FetchError as error:
                if error.reason in REFUSED_URLS:
                    raise InvalidInput("url", str(error)) from error
                failure = Scored("unscored", reason=f"{error.reason}: {error}")
        began = time.perf_counter()
        loop = asyncio.get_running_loop()
        context = structlog.contextvars.get_contextvars()
        pending = Pending(kind, data, picture.frame, loop, loop.create_future(), failure, context=context)
        self.score_pool.take_place()
        if picture.frame.names_webcam:
            self._look_ups.put(pending)
        else:
            self._hand_on(pending)
        await pending.done
        assert pending.scored is not None
        self.metrics.note_score(kind, pending.scored.path_taken, time.perf_counter() - began)
        return answer_of(kind, pending.scored, pending.webcam_id)

    def close(self) -> None:
        """End the threads, when no request is under way any more."""
        self._look_ups.close()
        self._records.close()
        self._statements.close()

    def _fetch(self, url: str) -> bytes:
        allowed = worker_settings().allowed_hosts
        return fetch_image(url, allow_hosts=allowed, total_s=self.settings.fetch_timeout_s, retries=1)

    def _look_up(self, batch: list[Pending]) -> None:
        """Find the webcams of a batch, and the answers for pictures that have not changed; hand all on."""
        keys = [pending.webcam_key for pending in batch]
        found: list[Pending] = []
        with session_scope() as session:
            known = scoring.find_webcams(
                session, [key for key in keys if isinstance(key, int)], [key for key in keys if isinstance(key, tuple)]
            )
            for pending, key in zip(batch, keys, strict=True):
                webcam = known.get(key) if key is not None else None
                if webcam is None:
                    self._fail(pending, _unknown_webcam(pending.fields))
                    continue
                pending.webcam_id = webcam.id
                if pending.data is not None and webcam.last_image_hash == sha256_of(pending.data):
                    frame = Frame(webcam.id)
                    pending.scored = unchanged(session, self.models.served(pending.kind), frame, pending.data)
                found.append(pending)
        for pending in found:
            self._hand_on(pending)

    def _hand_on(self, pending: Pending) -> None:
        if pending.scored is None:
            self.score_pool.start(partial(self._run_model, pending), partial(self._fail, pending))
        else:
            self._records.put(pending)

    def _run_model(self, pending: Pending) -> None:
        assert pending.data is not None
        pending.scored = self._scored(pending)
        self._records.put(pending)

    def _scored(self, pending: Pending) -> Scored:
        assert pending.data is not None
        served = self.models.served(pending.kind)
        try:
            if served is None:
                return score_pixels(None, pending.data, self.models.reason(pending.kind))
            return score_pixels(served, pending.data)
        except BundleError as error:
            log.error("model failed", error=str(error), **pending.context)
            return Scored("unscored", reason=f"the model failed: {error}", image_sha256=sha256_of(pending.data))

    def _record(self, batch: list[Pending]) -> None:
        for together in each_webcam_once(batch):
            self._commit(together)

    def _commit(self, together: Sequence[Pending]) -> None:
        """Write the rows of pictures in one unit of work, then let their answers go.

        Where that fails by what one of them holds, each is tried by itself, so that it spoils no other.
        """
        alone = len(together) == 1
        try:
            self._write([pending.attempt() for pending in together], LONE_LOCK_WAIT_MS if alone else LOCK_WAIT_MS)
        except Exception as error:  # noqa: BLE001 whoever waits must hear of whatever it was
            if alone or is_away(error):
                for pending in together:
                    self._fail(pending, error)
                return
            log.warning("rows are written one by one", pictures=len(together), error=str(error)[:500])
            for pending in together:
                self._commit([pending])
        else:
            self.score_pool.give_back(len(together))
            for pending in together:
                pending.is_over = True
            for loop, parts in groupby(together, lambda pending: pending.loop):
                call_on(loop, _let_go, list(parts))

    def _write(self, attempts: Sequence[Attempt], lock_wait_ms: int) -> None:
        if all(attempt.frame.webcam_id is None for attempt in attempts):
            record_lone_scores(self._statements, attempts)
            return
        with session_scope() as session:
            scoring.wait_at_most(session, lock_wait_ms)
            record_scores(session, attempts, store=self.store, exploration_share=self.settings.exploration_share)

    def _fail(self, pending: Pending, error: BaseException) -> None:
        if pending.is_over:
            return
        pending.is_over = True
        self.score_pool.give_back()
        call_on(pending.loop, refuse, pending.done, error)


def each_webcam_once(batch: Sequence[Pending]) -> Iterator[list[Pending]]:
    """Split a batch so that no part has two pictures of one webcam: the gate looks at each after the one before it."""
    rest = list(batch)
    while rest:
        taken: set[int] = set()
        now: list[Pending] = []
        later: list[Pending] = []
        for pending in rest:
            if pending.webcam_id is not None and pending.webcam_id in taken:
                later.append(pending)
                continue
            if pending.webcam_id is not None:
                taken.add(pending.webcam_id)
            now.append(pending)
        yield now
        rest = later


def _let_go(together: Sequence[Pending]) -> None:
    for pending in together:
        answer(pending.done, None)


def _unknown_webcam(fields: FrameFields) -> NotFound:
    named = f"{fields.source or DEFAULT_SOURCE}/{fields.webcam}" if fields.webcam is not None else fields.webcam_id
    return NotFound(f"there is no webcam {named}: add it with POST /v1/webcams")


def find_named_webcam(session: Session, fields: FrameFields) -> Webcam:
    """The webcam that a request names, by id or by source and its id there.

    Raises:
        NotFound: It is not known; the message says how to add it.
    """
    try:
        if fields.webcam is not None:
            found = webcams.find_webcam(session, fields.source or DEFAULT_SOURCE, fields.webcam)
            if found is not None:
                return found
        else:
            assert fields.webcam_id is not None
            return webcams.get_webcam(session, fields.webcam_id)
    except NotFound as error:
        raise _unknown_webcam(fields) from error
    raise _unknown_webcam(fields)
