"""One tick: the pictures of many webcams fetched, scored and recorded, in bounded time.

Only the thread that runs the tick writes rows. What is not done when the time is over is recorded as that, and whatever
comes of it later is dropped: nothing is written after the answer.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

import structlog
from sqlmodel import Session

from db.engine import is_away, session_scope
from db.errors import Conflict, NotFound
from db.queries import fetch_failures, scoring, webcams
from ml.images.fetch import FetchError
from ml.images.store import FileStore
from ml.judgements import judgement
from worker.settings import ServingSettings
from worker.stages.score import NO_MODEL, Attempt, Frame, likely_phase, record_scores
from worker.stages.served import Served
from worker.stages.tick_fetches import Ask, Come, TickFetches, unscored
from worker.stages.tick_rows import TickResult, TickRow

log = structlog.get_logger("tick")
WORK_SHARE = 0.95
"""Part of the time after which no more work begins: the rest is for writing down what was not done."""
LOCK_WAIT_MS = 250
"""How long rows wait for a webcam that somebody else has locked."""
NEVER_FETCHED = ("url_blocked", "scheme", "bad_url")
"""The address itself is the caller's mistake: the row is refused, and nothing is remembered of it."""


def tick(
    rows: Sequence[TickRow | Exception],
    served: Served | None,
    *,
    kind: str,
    store: FileStore,
    settings: ServingSettings,
    without: str = NO_MODEL,
    allow_hosts: frozenset[str] = frozenset(),
    may_add: bool = False,
    is_stopping: Callable[[], bool] = lambda: False,
) -> list[TickResult]:
    """Score the pictures of many webcams within `settings.tick_total_s` seconds.

    Args:
        rows: The webcams, each once; one that made no sense is the error that says so, and is passed through.
        served: The model; without one nothing is fetched.
        without: The reason then.
        kind: Kind of judgement.
        store: Where kept frames go.
        settings: Times, and the gate's exploration share.
        allow_hosts: `host:port` in private networks that may be fetched from.
        may_add: Whether webcams that are not known may be added with the facts of their row.
        is_stopping: Whether the process is about to end: then the rest is left, as when the time is over.

    Returns:
        What came of each row, in their order. A bad one spoils no other.

    Raises:
        UnknownKind: There is no such kind.
        DBAPIError, NoDatabase: The database cannot be used from the start.
    """
    stop_at = time.monotonic() + settings.tick_total_s * WORK_SHARE
    return _Tick(rows, served, kind, store, settings, may_add, without).run(allow_hosts, stop_at, is_stopping)


class _Tick:
    """The state of one tick."""

    def __init__(
        self,
        rows: Sequence[TickRow | Exception],
        served: Served | None,
        kind: str,
        store: FileStore,
        settings: ServingSettings,
        may_add: bool,
        without: str,
    ) -> None:
        self.results = [TickResult(None, error=row) if isinstance(row, Exception) else TickResult(row) for row in rows]
        self.served = served
        self.kind = kind
        self.writes_snapshots = judgement(kind).scores_snapshots
        self.store = store
        self.settings = settings
        self.may_add = may_add
        self.without = without

    def run(self, allow_hosts: frozenset[str], stop_at: float, is_stopping: Callable[[], bool]) -> list[TickResult]:
        """Find the webcams, ask for their pictures, record what comes and then what did not."""
        with session_scope() as session:
            self._find_webcams(session)
            resting = self._resting(session)
        self._record(resting)
        if self.served is not None:
            asks = [
                Ask(place, each.row.url, each.webcam.id, each.webcam.last_image_hash)
                for place, each in enumerate(self.results)
                if each.is_open and each.row and each.webcam and each.webcam.id
            ]
            fetches = TickFetches(
                asks, self.served, allow_hosts=allow_hosts, at_once=self.settings.tick_at_once,
                image_s=self.settings.tick_image_s, stop_at=stop_at, is_stopping=is_stopping,
            )  # fmt: skip
            try:
                while comes := fetches.take():
                    self._record([come for come in comes if not self._is_refused(come)])
            finally:
                fetches.close()
        self._leave("stopped" if is_stopping() else "deadline")
        return self.results

    def _leave(self, word: str) -> None:
        """Record of what is still open that it was not done."""
        says = {
            "deadline": f"it was not done within {self.settings.tick_total_s:g} s",
            "stopped": "the server was stopped before it was done",
        }[word]
        self._record(
            [Come(place, unscored(word, says), None, word) for place, each in enumerate(self.results) if each.is_open]
        )

    def _find_webcams(self, session: Session) -> None:
        """Name the webcam of each row, adding those that are new; refuse rows whose webcam is not known or named twice."""
        rows: dict[int | tuple[str, str], TickRow] = {}  # of a webcam named twice the first row that says where it is
        for each in self.results:
            if each.row is not None and (each.row.webcam not in rows or not rows[each.row.webcam].facts):
                rows[each.row.webcam] = each.row
        ids = [key for key in rows if isinstance(key, int)]
        known = scoring.find_webcams(session, ids, [key for key in rows if isinstance(key, tuple)])
        facts = {row.id: row for row in webcams.webcam_facts(session, sorted({each.id for each in known.values()}))}
        found = {key: facts[known[key].id] for key in rows if key in known}
        # In order of name, so that two ticks that add the same webcams never wait for each other.
        new = sorted(key for key in rows if isinstance(key, tuple) and key not in found and rows[key].facts)
        if self.may_add:
            found |= {key: webcams.find_or_add_webcam(session, *key, **rows[key].facts)[0] for key in new}
        taken: dict[int | None, int] = {}
        for place, each in enumerate(self.results):
            if each.row is None:
                continue
            webcam = found.get(each.row.webcam)
            if webcam is None:
                each.error = _unknown(each.row)
            elif webcam.id in taken:
                each.error = Conflict(f"this webcam stands in row {taken[webcam.id] + 1} of the tick already")
            else:
                taken[webcam.id] = place
                each.webcam = webcam
                each.phase = each.row.phase or likely_phase(each.row.captured_at or datetime.now(UTC), webcam.lng)

    def _resting(self, session: Session) -> list[Come]:
        """Rows that are done before any picture is asked for: no model, or a webcam that is left alone for a while."""
        places = {each.webcam.id: place for place, each in enumerate(self.results) if each.is_open and each.webcam}
        if self.served is None:
            return [Come(place, unscored("no_model", self.without), None, "no_model") for place in places.values()]
        addresses = {webcam_id: self._row(place).address for webcam_id, place in places.items() if webcam_id}
        return [
            Come(
                places[webcam_id],
                unscored("backoff", f"failed {wait.failures} times, the last time with {wait.reason}; "
                                    f"it is asked again from {wait.retry_at:%Y-%m-%dT%H:%M:%SZ} on"),
                None,
                "backoff",
            )
            for webcam_id, wait in fetch_failures.waiting_webcams(session, addresses).items()
        ]  # fmt: skip

    def _row(self, place: int) -> TickRow:
        row = self.results[place].row
        assert row is not None
        return row

    def _is_refused(self, come: Come) -> bool:
        if come.failure in NEVER_FETCHED:
            self.results[come.place].error = come.fetch_error
            return True
        return False

    def _record(self, comes: Sequence[Come]) -> None:
        """Write what came of some rows in one unit of work; where that fails by one of them, each by itself."""
        if not comes:
            return
        try:
            with session_scope() as session:
                scoring.wait_at_most(session, LOCK_WAIT_MS)
                self._write(session, comes)
        except Exception as error:  # noqa: BLE001 each row must hear of whatever it was
            # Of a statement that failed only what the driver said: its parameters are nobody's to read.
            says = f"{type(error).__name__}: {getattr(error, 'orig', error)}"[:500]
            if len(comes) > 1 and not is_away(error):
                log.warning("rows are written one by one", rows=len(comes), error=says)
                for come in comes:
                    self._record([come])
                return
            log.error("a tick could not write its rows", rows=len(comes), error=says)
            for come in comes:
                lost = unscored("not_recorded", "its rows could not be written; the server's log says why")
                self._settle(Come(come.place, lost, None, "not_recorded"))
        else:
            for come in comes:
                self._settle(come)

    def _settle(self, come: Come) -> None:
        result = self.results[come.place]
        result.scored, result.failure = come.scored, come.failure

    def _write(self, session: Session, comes: Sequence[Come]) -> None:
        attempts, dead, alive = [], [], []
        for come in comes:
            result, row = self.results[come.place], self._row(come.place)
            assert result.webcam is not None and result.webcam.id is not None
            frame = Frame(result.webcam.id, result.phase, row.captured_at)
            attempts.append(Attempt(self.kind, frame, come.scored, come.data, self.writes_snapshots))
            if isinstance(come.fetch_error, FetchError):
                dead.append({"webcam_id": result.webcam.id, "address": row.address, "reason": come.failure})
            elif come.data is not None:
                alive.append(result.webcam.id)
        record_scores(session, attempts, store=self.store, exploration_share=self.settings.exploration_share)
        if dead:
            fetch_failures.add_fetch_failures(
                session, dead, backoff_s=self.settings.tick_backoff_s, backoff_max_s=self.settings.tick_backoff_max_s
            )
        if alive:
            fetch_failures.clear_fetch_failures(session, alive)


def _unknown(row: TickRow) -> NotFound:
    if isinstance(row.webcam, int):
        return NotFound(f"there is no webcam {row.webcam}: add it with POST /v1/webcams")
    if row.facts:
        how = "a key with the scope ingest, beside score, adds it by the tick"
    else:
        how = "add it with POST /v1/webcams, or say its title or where it is in the tick"
    return NotFound(f"there is no webcam {'/'.join(row.webcam)}: {how}")
