"""Queries on the label queue: which frames a rater is shown next, and why. No two raters are given the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import text
from sqlmodel import Session

from db.queries.backlog import open_frames

LEASE_TIME = timedelta(minutes=5)
"""A frame is kept for a rater so long after the last time that the rater's page asked."""
TURNS = ("review", "unsure", "review", "random")
"""By what reasons frames are chosen, one after the other."""
MANY = 10_000
"""Frames that wait are counted up to this."""
_DRAWN_AT_ONCE = 64
"""Numbers that are drawn to find a few snapshots at random; enough where not nearly all are labelled."""


@dataclass(frozen=True)
class Seat:
    """Who asks, and what must not be given."""

    rater: str
    seat: str
    """The open page, by a name that it made itself."""
    skipped: Sequence[int] = ()
    """Snapshots that the rater has put off."""

    @property
    def given(self) -> dict[str, Any]:
        """Parameters of the statements below."""
        return {"rater": self.rater, "seat": self.seat, "skipped": list(self.skipped)}


@dataclass(frozen=True)
class QueuedFrame:
    """A frame that is kept for a rater: what is known of it, and nothing that a model or a person said."""

    snapshot_id: int
    reason: str
    expires_at: datetime
    image_sha256: str
    width: int
    height: int
    phase: str
    captured_at: datetime
    title: str | None
    city: str | None
    country: str | None


@dataclass(frozen=True)
class QueueCounts:
    """How far the work is."""

    rated: int
    """Snapshots on which the rater has a verdict."""
    waiting: int
    """Snapshots with an image on which nobody has one, `MANY` at most."""


def lease_frames(
    session: Session, seat: Seat, *, kind: str, count: int, band: tuple[float, float]
) -> list[QueuedFrame]:
    """Keep up to `count` frames for a rater: those kept already first, in their order, then new ones.

    New ones come by turns as `TURNS` has it: what waits in review sets of `kind`, what a model is unsure of, with an AI
    rating within `band`, and what is drawn from all that nobody has labelled. Where one sort runs out the others fill up.
    """
    _extend(session, seat)
    held = _held(session, seat)
    if len(held) < count:
        # One after the other, or two who choose the same at once would both come away with less than they asked for.
        session.execute(text("SELECT pg_advisory_xact_lock(hashtext('label_leases'))"))
        _add_leases(session, seat, _by_turns(session, seat, kind, count - len(held), band))
        held = _held(session, seat)
    return held[:count]


def count_queue(session: Session, rater: str) -> QueueCounts:
    """How much a rater has rated, and how much nobody has."""
    row = session.execute(
        text(
            f"""
            SELECT (SELECT count(*) FROM webcam_snapshot_ratings WHERE user_session_id = :rater) AS rated,
                   (SELECT count(*) FROM (SELECT 1 FROM webcam_snapshots s WHERE {_UNLABELLED} LIMIT {MANY}) w) AS waiting
            """
        ),
        {"rater": rater},
    ).one()
    return QueueCounts(row.rated, row.waiting)


_UNLABELLED = """
    s.image_state = 'present' AND NOT EXISTS (SELECT 1 FROM webcam_snapshot_ratings v WHERE v.snapshot_id = s.id)
"""
_NOT_KEPT = """
    s.id <> ALL(:skipped)
    AND NOT EXISTS (SELECT 1 FROM label_leases l WHERE l.snapshot_id = s.id AND l.expires_at > now())
"""
_FREE = f"{_UNLABELLED} AND {_NOT_KEPT}"
_OWN = """
    l.rater = :rater AND l.seat = :seat AND l.expires_at > now() AND l.snapshot_id <> ALL(:skipped)
    AND coalesce((
        SELECT e.action FROM rating_events e
        WHERE e.snapshot_id = l.snapshot_id AND e.user_session_id = :rater AND e.created_at >= l.leased_at
        ORDER BY e.id DESC LIMIT 1
    ), '') <> 'rate'
"""
"""Leases that are still to be judged at this seat. One that was rated stays until it expires, so that whoever takes the
rating back has the frame still."""


def _extend(session: Session, seat: Seat) -> None:
    until = {**seat.given, "time": LEASE_TIME}
    session.execute(text(f"UPDATE label_leases l SET expires_at = now() + :time WHERE {_OWN}"), until)
    session.execute(
        text(
            "DELETE FROM label_leases WHERE id IN "
            "(SELECT id FROM label_leases WHERE expires_at <= now() FOR UPDATE SKIP LOCKED)"
        )
    )


def _held(session: Session, seat: Seat) -> list[QueuedFrame]:
    rows = session.execute(
        text(
            f"""
            SELECT l.snapshot_id, l.reason, l.expires_at, s.image_sha256, i.width, i.height, s.phase, s.captured_at,
                   w.title, w.city, w.country
            FROM label_leases l JOIN webcam_snapshots s ON s.id = l.snapshot_id JOIN webcams w ON w.id = s.webcam_id
            JOIN images i ON i.sha256 = s.image_sha256
            WHERE {_OWN} ORDER BY l.id
            """
        ),
        seat.given,
    )
    return [QueuedFrame(**row) for row in rows.mappings()]


def _by_turns(session: Session, seat: Seat, kind: str, count: int, band: tuple[float, float]) -> dict[int, str]:
    """Up to `count` free snapshots in the order in which they are to be shown, each with its reason."""
    waiting = {
        "review": _find_open(session, seat, kind),
        "unsure": _find_unsure(session, seat, count, band),
        "random": _find_random(session, seat, count),
    }
    chosen: dict[int, str] = {}
    while any(waiting.values()):
        for reason in TURNS:
            while waiting[reason]:
                snapshot_id = waiting[reason].pop(0)
                if snapshot_id not in chosen:
                    chosen[snapshot_id] = reason
                    break
            if len(chosen) == count:
                return chosen
    return chosen


def _add_leases(session: Session, seat: Seat, chosen: dict[int, str]) -> None:
    session.execute(
        text(
            """
            INSERT INTO label_leases (snapshot_id, rater, seat, reason, expires_at)
            SELECT snapshot_id, :rater, :seat, reason, now() + :time
            FROM unnest(CAST(:ids AS bigint[]), CAST(:reasons AS text[])) WITH ORDINALITY AS given (snapshot_id, reason, place)
            ORDER BY place
            ON CONFLICT (snapshot_id) DO UPDATE
                SET rater = excluded.rater, seat = excluded.seat, reason = excluded.reason, leased_at = now(),
                    expires_at = excluded.expires_at
                WHERE label_leases.expires_at <= now()
            """
        ),
        {**seat.given, "time": LEASE_TIME, "ids": list(chosen), "reasons": list(chosen.values())},
    )


def _find_open(session: Session, seat: Seat, kind: str) -> list[int]:
    """What waits in review sets and is free, the most urgent first."""
    ids = [each.snapshot_id for each in open_frames(session, kind, rater=seat.rater, limit=MANY)]
    free = session.execute(
        text(f"SELECT s.id FROM webcam_snapshots s WHERE s.id = ANY(:ids) AND {_NOT_KEPT}"), {**seat.given, "ids": ids}
    )
    allowed = {row.id for row in free}
    return [snapshot_id for snapshot_id in ids if snapshot_id in allowed]


def _find_unsure(session: Session, seat: Seat, limit: int, band: tuple[float, float]) -> list[int]:
    """The newest free frames whose AI rating lies in the band."""
    given = {**seat.given, "limit": limit, "low": band[0], "high": band[1]}
    rows = session.execute(
        text(
            f"SELECT s.id FROM webcam_snapshots s WHERE s.ai_rating BETWEEN :low AND :high AND {_FREE} "
            "ORDER BY s.id DESC LIMIT :limit"
        ),
        given,
    )
    return [row.id for row in rows]


def _find_random(session: Session, seat: Seat, limit: int) -> list[int]:
    """Free frames drawn at random, each with the same chance.

    Numbers are drawn first and looked up, which needs no look at the whole table; what is not there is drawn in vain.
    """
    given = {**seat.given, "limit": limit, "drawn": _DRAWN_AT_ONCE}
    rows = session.execute(
        text(
            f"""
            WITH ends AS (SELECT min(id) AS low, max(id) AS high FROM webcam_snapshots),
            drawn AS (
                SELECT DISTINCT low + floor(random() * (high - low + 1))::bigint AS id
                FROM ends, generate_series(1, :drawn)
            )
            SELECT s.id FROM drawn JOIN webcam_snapshots s ON s.id = drawn.id WHERE {_FREE} ORDER BY random() LIMIT :limit
            """
        ),
        given,
    )
    found = [row.id for row in rows]
    if len(found) >= limit:
        return found
    rows = session.execute(
        text(f"SELECT s.id FROM webcam_snapshots s WHERE {_FREE} ORDER BY random() LIMIT :limit"), given
    )
    return [row.id for row in rows]
