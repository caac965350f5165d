"""Queries on the label queue: which frames a rater is shown next, and why. No two raters are given the same."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import text
from sqlmodel import Session

LEASE_TIME = timedelta(minutes=5)
"""A frame is kept for a rater so long after the last time that the rater's page asked."""
MANY = 10_000
"""Frames that wait are counted up to this."""
_DRAWN_AT_ONCE = 64
"""Numbers that are drawn to find a few snapshots at random; enough where not nearly all are labelled."""


@dataclass(frozen=True)
class Desk:
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


def lease_frames(session: Session, desk: Desk, *, count: int, band: tuple[float, float]) -> list[QueuedFrame]:
    """Keep up to `count` frames for a rater: those kept already first, in their order, then new ones.

    New ones are half such that a model is unsure of, with an AI rating within `band`, and half drawn from all that
    nobody has labelled; where one sort runs out, the other fills up.
    """
    _extend(session, desk)
    held = _held(session, desk)
    if len(held) < count:
        # One after the other, or two who choose the same at once would both come away with less than they asked for.
        session.execute(text("SELECT pg_advisory_xact_lock(hashtext('label_leases'))"))
        _add_leases(session, desk, count - len(held), band)
        held = _held(session, desk)
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
_FREE = f"""
    {_UNLABELLED} AND s.id <> ALL(:skipped)
    AND NOT EXISTS (SELECT 1 FROM label_leases l WHERE l.snapshot_id = s.id AND l.expires_at > now())
"""
_OWN = """
    l.rater = :rater AND l.seat = :seat AND l.expires_at > now() AND l.snapshot_id <> ALL(:skipped)
    AND NOT EXISTS (
        SELECT 1 FROM webcam_snapshot_ratings v WHERE v.snapshot_id = l.snapshot_id AND v.user_session_id = :rater
    )
"""
"""Leases that are still to be judged at this desk. One that was rated stays until it expires, so that whoever takes the
rating back has the frame still."""


def _extend(session: Session, desk: Desk) -> None:
    until = {**desk.given, "time": LEASE_TIME}
    session.execute(text(f"UPDATE label_leases l SET expires_at = now() + :time WHERE {_OWN}"), until)
    session.execute(
        text(
            "DELETE FROM label_leases WHERE id IN "
            "(SELECT id FROM label_leases WHERE expires_at <= now() FOR UPDATE SKIP LOCKED)"
        )
    )


def _held(session: Session, desk: Desk) -> list[QueuedFrame]:
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
        desk.given,
    )
    return [QueuedFrame(**row) for row in rows.mappings()]


def _add_leases(session: Session, desk: Desk, count: int, band: tuple[float, float]) -> None:
    """Lease up to `count` new frames."""
    chosen: dict[int, str] = {}
    for share in ((count + 1) // 2, count):
        for reason, find in _WAYS.items():
            taken = sum(each == reason for each in chosen.values())
            limit = min(share - taken, count - len(chosen))
            if limit > 0:
                found = find(session, desk, limit + len(chosen), band)
                fresh = [snapshot_id for snapshot_id in found if snapshot_id not in chosen][:limit]
                chosen |= dict.fromkeys(fresh, reason)
    session.execute(
        text(
            """
            INSERT INTO label_leases (snapshot_id, rater, seat, reason, expires_at)
            SELECT snapshot_id, :rater, :seat, reason, now() + :time
            FROM unnest(CAST(:ids AS bigint[]), CAST(:reasons AS text[])) AS given (snapshot_id, reason)
            ORDER BY snapshot_id
            ON CONFLICT (snapshot_id) DO UPDATE
                SET rater = excluded.rater, seat = excluded.seat, reason = excluded.reason, leased_at = now(),
                    expires_at = excluded.expires_at
                WHERE label_leases.expires_at <= now()
            """
        ),
        {**desk.given, "time": LEASE_TIME, "ids": sorted(chosen), "reasons": [chosen[each] for each in sorted(chosen)]},
    )


def _find_unsure(session: Session, desk: Desk, limit: int, band: tuple[float, float]) -> list[int]:
    """The newest free frames whose AI rating lies in the band."""
    given = {**desk.given, "limit": limit, "low": band[0], "high": band[1]}
    rows = session.execute(
        text(
            f"SELECT s.id FROM webcam_snapshots s WHERE s.ai_rating BETWEEN :low AND :high AND {_FREE} "
            "ORDER BY s.id DESC LIMIT :limit"
        ),
        given,
    )
    return [row.id for row in rows]


def _find_random(session: Session, desk: Desk, limit: int, _band: tuple[float, float]) -> list[int]:
    """Free frames drawn at random, each with the same chance.

    Numbers are drawn first and looked up, which needs no look at the whole table; what is not there is drawn in vain.
    """
    given = {**desk.given, "limit": limit, "drawn": _DRAWN_AT_ONCE}
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


_WAYS: dict[str, Callable[[Session, Desk, int, tuple[float, float]], list[int]]] = {
    "unsure": _find_unsure,
    "random": _find_random,
}
"""Why a frame is chosen -> which are free for that reason."""
REASONS = tuple(_WAYS)
