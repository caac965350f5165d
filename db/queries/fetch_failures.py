"""Queries on webcams whose picture could not be fetched."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import delete, func, text
from sqlmodel import Session, col, select

from db.tables import WebcamFetchFailure


def waiting_webcams(session: Session, addresses: Mapping[int, str]) -> dict[int, WebcamFetchFailure]:
    """Those of some webcams (id -> address) that failed there the last time and are not to be asked again yet."""
    rows = session.exec(
        select(WebcamFetchFailure).where(
            col(WebcamFetchFailure.webcam_id).in_(addresses), col(WebcamFetchFailure.retry_at) > func.now()
        )
    )
    return {row.webcam_id: row for row in rows if row.address == addresses[row.webcam_id]}


def add_fetch_failures(
    session: Session, rows: Sequence[Mapping[str, Any]], *, backoff_s: float, backoff_max_s: float
) -> None:
    """Remember failures: `webcam_id`, `address`, `reason`; no webcam twice.

    The first one at an address is waited out for `backoff_s` seconds, each further one twice as long as the one
    before, and none longer than `backoff_max_s`. A failure during such a wait, seen by a tick that began before it,
    counts for nothing.
    """
    columns = {name: [row[name] for row in rows] for name in ("webcam_id", "address", "reason")}
    session.execute(_ADD, columns | {"first": backoff_s, "longest": backoff_max_s})


def clear_fetch_failures(session: Session, webcam_ids: Sequence[int]) -> None:
    """Forget the failures of webcams that gave a picture."""
    session.execute(delete(WebcamFetchFailure).where(col(WebcamFetchFailure.webcam_id).in_(webcam_ids)))


# 2^20 times the first wait is longer than any longest one, and far from what a number can hold. In order of webcam, so
# that two ticks never wait for each other.
_ADD = text(
    "INSERT INTO webcam_fetch_failures AS known (webcam_id, address, failures, reason, failed_at, retry_at) "
    "SELECT webcam_id, address, 1, reason, now(), "
    "now() + make_interval(secs => least(CAST(:first AS float8), CAST(:longest AS float8))) "
    "FROM unnest(CAST(:webcam_id AS bigint[]), CAST(:address AS text[]), CAST(:reason AS text[])) "
    "AS given (webcam_id, address, reason) ORDER BY webcam_id "
    "ON CONFLICT (webcam_id) DO UPDATE SET address = excluded.address, reason = excluded.reason, failed_at = now(), "
    "failures = CASE WHEN known.address = excluded.address THEN known.failures + 1 ELSE 1 END, "
    "retry_at = CASE WHEN known.address = excluded.address THEN now() + make_interval(secs => "
    "least(CAST(:first AS float8) * 2 ^ least(known.failures, 20), CAST(:longest AS float8))) "
    "ELSE excluded.retry_at END "
    "WHERE known.address <> excluded.address OR known.retry_at <= now()"
)
