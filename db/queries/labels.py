"""Queries on labels: rating a snapshot, and the named label sources that datasets are made of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import text
from sqlalchemy.dialects.postgresql import insert
from sqlmodel import Session, col, select

from db.errors import Conflict
from db.queries.counting import COUNTS, excluded_as_of, import_counts
from db.queries.paging import page_rows
from db.queries.settling import open_again, settle
from db.queries.webcams import get_snapshot
from db.tables import RatingEvent, WebcamSnapshot, WebcamSnapshotRating


@dataclass(frozen=True)
class LabelRow:
    """One labelled snapshot of one source: the common shape of every label query."""

    snapshot_id: int
    webcam_id: int
    lng: float | None
    label_source: str
    label_value: float | None
    rating_count: int
    num_verdicts: int
    """People who judged it, "not a sunset" included; 0 for a source without raters."""
    image_path_or_url: str
    image_sha256: str | None
    phase: str
    captured_at: datetime
    named_group: str | None
    image_removed: bool
    """Retention took the image before anybody rated; that is for ever, so it holds as of any time."""


def rate_snapshot(
    session: Session,
    *,
    snapshot_id: int,
    rater: str,
    rating: int | None,
    is_sunset: bool,
    label_source: str,
    shown_model_version: str | None = None,
    import_id: int | None = None,
    idempotency_key: str | None = None,
) -> None:
    """Append a rating event, make it the rater's current verdict, and recompute the snapshot, in one transaction.

    `rating` is 1..5, or None when `is_sunset` is false; `import_id` names the import that brings it in. Locks the
    snapshot's row. What an excluded rater says is kept all the same, and does not count; a rating that does settles what
    waits for it in review sets. With an `idempotency_key` that the rater used for this before, nothing happens, whatever
    was said since.

    Raises:
        Conflict: The verdict is none, or the key was used for something else.
    """
    if is_sunset == (rating is None):
        raise Conflict("a sunset is rated 1 to 5; a frame that is not a sunset has no rating")
    _lock(session, snapshot_id)
    event = RatingEvent(
        snapshot_id=snapshot_id,
        user_session_id=rater,
        action="rate",
        rating=rating,
        is_sunset_verdict=is_sunset,
        label_source=label_source,
        shown_model_version=shown_model_version,
        import_id=import_id,
        idempotency_key=idempotency_key,
    )
    if _is_known(session, event):
        return
    _make_current(session, event)
    recompute_ratings(session, [snapshot_id])
    settle(session, snapshot_id, rater)


def _make_current(session: Session, event: RatingEvent) -> None:
    """Record a rating, and have it be the rater's current verdict."""
    session.add(event)
    values = {name: getattr(event, name) for name in ("rating", "is_sunset_verdict", "label_source", "import_id")}
    session.execute(
        insert(WebcamSnapshotRating)
        .values(snapshot_id=event.snapshot_id, user_session_id=event.user_session_id, **values)
        .on_conflict_do_update(index_elements=["snapshot_id", "user_session_id"], set_=values)
    )
    session.flush()


def retract_rating(
    session: Session, *, snapshot_id: int, rater: str, restore: bool = False, idempotency_key: str | None = None
) -> bool:
    """Undo a rater's current verdict by a new event; False when there was none. What it had settled is open again.

    With `restore`, the verdict that it had replaced is the rater's once more, by another event. With an `idempotency_key`
    that the rater used for this before, nothing happens, and it is True again.

    Raises:
        Conflict: The key was used for something else.
    """
    _lock(session, snapshot_id)
    event = RatingEvent(
        snapshot_id=snapshot_id, user_session_id=rater, action="retract", label_source="", idempotency_key=idempotency_key
    )  # fmt: skip
    if _is_known(session, event):
        return True
    current = session.exec(
        select(WebcamSnapshotRating).where(
            col(WebcamSnapshotRating.snapshot_id) == snapshot_id,
            col(WebcamSnapshotRating.user_session_id) == rater,
        )
    ).one_or_none()
    if current is None:
        return False
    replaced = _replaced_verdict(session, snapshot_id, rater) if restore else None
    event.label_source = current.label_source
    session.add(event)
    session.delete(current)
    session.flush()
    if replaced is not None:
        _make_current(session, replaced)
    recompute_ratings(session, [snapshot_id])
    open_again(session, snapshot_id, rater)
    return True


def _replaced_verdict(session: Session, snapshot_id: int, rater: str) -> RatingEvent | None:
    """The verdict before the rater's last one, as an event to come; None where there was none or it had been taken back."""
    own = (col(RatingEvent.snapshot_id) == snapshot_id, col(RatingEvent.user_session_id) == rater)
    last = session.exec(select(RatingEvent).where(*own).order_by(col(RatingEvent.id).desc()).limit(2)).all()
    if len(last) < 2 or last[1].action != "rate":
        return None
    return RatingEvent(**last[1].model_dump(exclude={"id", "created_at", "idempotency_key"}))


def _is_known(session: Session, event: RatingEvent) -> bool:
    """Whether the rater's program sent this very act before, by its key."""
    if event.idempotency_key is None:
        return False
    known = session.exec(
        select(RatingEvent).where(
            col(RatingEvent.user_session_id) == event.user_session_id,
            col(RatingEvent.idempotency_key) == event.idempotency_key,
        )
    ).one_or_none()
    if known is None:
        return False
    if any(
        getattr(known, name) != getattr(event, name)
        for name in ("snapshot_id", "action", "rating", "is_sunset_verdict")
    ):
        raise Conflict("the Idempotency-Key was used before, for another rating: use a new one for each")
    return True


EXCLUSIONS_LOCK = "hashtext('label_exclusions')"
"""Advisory lock: shared while somebody rates, alone while an exclusion recomputes, so that neither misses the other."""


def _lock(session: Session, snapshot_id: int) -> None:
    get_snapshot(session, snapshot_id)
    session.execute(text(f"SELECT pg_advisory_xact_lock_shared({EXCLUSIONS_LOCK})"))
    session.execute(text("SELECT 1 FROM webcam_snapshots WHERE id = :id FOR NO KEY UPDATE"), {"id": snapshot_id})


def recompute_ratings(session: Session, snapshot_ids: Sequence[int]) -> None:
    """Set `calculated_rating` (mean of the non-null ratings that count) and `rating_count` (how many those are).

    Of each rater the last word that counts, as in the label queries: an earlier one where the later is excluded.
    """
    session.execute(
        text(
            f"""
            WITH excluded AS ({excluded_as_of("'infinity'")}),
            v AS (
                SELECT DISTINCT ON (snapshot_id, user_session_id) snapshot_id, CASE WHEN action = 'rate' THEN rating END AS rating
                FROM rating_events WHERE snapshot_id = ANY(:ids) AND {COUNTS}
                ORDER BY snapshot_id, user_session_id, id DESC
            ),
            r AS (
                SELECT c.id, round(avg(rating), 2) AS mean, count(rating) AS n FROM unnest(CAST(:ids AS bigint[])) c (id)
                LEFT JOIN v ON v.snapshot_id = c.id GROUP BY c.id
            )
            UPDATE webcam_snapshots s SET calculated_rating = r.mean, rating_count = r.n FROM r WHERE s.id = r.id
            """
        ),
        {"ids": list(snapshot_ids)},
    )
    for known in [each for each in session.identity_map.values() if isinstance(each, WebcamSnapshot)]:
        session.refresh(known, ["calculated_rating", "rating_count"])


def settled_time(session: Session) -> datetime:
    """The latest time of which all labels are known: no transaction that is still open can add one before it.

    An event carries the time at which its transaction began, so one that commits later would otherwise slip into an
    export of the past. Open transactions of a minute that have written nothing are readers, and do not hold it back.
    """
    moment: datetime = session.execute(
        text(
            """
            SELECT least(clock_timestamp(), min(xact_start) - interval '1 microsecond') FROM pg_stat_activity
            WHERE datname = current_database() AND pid <> pg_backend_pid() AND xact_start IS NOT NULL
              AND (backend_xid IS NOT NULL OR xact_start > clock_timestamp() - interval '60 s')
            """
        )
    ).scalar_one()
    return moment


def list_ratings(
    session: Session, snapshot_id: int, *, cursor: int | None = None, limit: int | None = None
) -> Sequence[WebcamSnapshotRating]:
    """Current verdicts on a snapshot, the first rater's first, from beyond the row `cursor`; all without a limit."""
    query = select(WebcamSnapshotRating).where(col(WebcamSnapshotRating.snapshot_id) == snapshot_id)
    return page_rows(session, query, col(WebcamSnapshotRating.id), cursor=cursor, limit=limit)


_SNAPSHOT_FACTS = """
    s.id AS snapshot_id, s.webcam_id, w.lng, coalesce(s.firebase_url, s.firebase_path, '') AS image_path_or_url,
    CASE WHEN s.image_known_at <= :as_of THEN s.image_sha256 END AS image_sha256,
    s.phase, s.captured_at, s.group_name AS named_group, s.image_state = 'removed' AS image_removed
"""

_EXCLUDED = f"excluded AS ({excluded_as_of(':as_of')})"
_VERDICTS = f"""
    {_EXCLUDED}, verdicts AS (
        SELECT DISTINCT ON (snapshot_id, user_session_id)
               snapshot_id, user_session_id, action, rating, is_sunset_verdict, label_source, import_id
        FROM rating_events WHERE created_at <= :as_of AND {COUNTS}
        ORDER BY snapshot_id, user_session_id, id DESC
    )
"""
"""Tables for a WITH: the last word of each rater on each snapshot as of a time, as if what is excluded then were not."""

_CALCULATED_RATING = f"""
    WITH {_VERDICTS},
    summary AS (
        SELECT snapshot_id, avg(rating) AS mean, count(rating) AS rating_count, count(*) AS num_verdicts,
               count(*) FILTER (WHERE NOT is_sunset_verdict) AS num_not_sunset
        FROM verdicts WHERE action = 'rate' GROUP BY snapshot_id
    )
    SELECT {_SNAPSHOT_FACTS}, 'calculated_rating' AS label_source,
           CASE WHEN 2 * num_not_sunset >= num_verdicts THEN 0 ELSE round(mean, 2) END::float8 AS label_value,
           v.rating_count, v.num_verdicts
    FROM summary v JOIN webcam_snapshots s ON s.id = v.snapshot_id JOIN webcams w ON w.id = s.webcam_id
    WHERE s.created_at <= :as_of ORDER BY s.id
"""

_MANUAL_SEED = f"""
    WITH {_EXCLUDED}
    SELECT {_SNAPSHOT_FACTS}, 'manual_seed' AS label_source, s.initial_rating::float8 AS label_value,
           0 AS rating_count, 0 AS num_verdicts
    FROM webcam_snapshots s JOIN webcams w ON w.id = s.webcam_id
    WHERE s.initial_rating IS NOT NULL AND s.created_at <= :as_of AND {import_counts("s.import_id")} ORDER BY s.id
"""


def _rows(sql: str) -> Callable[[Session, datetime], list[LabelRow]]:
    def query(session: Session, as_of: datetime) -> list[LabelRow]:
        return [LabelRow(**row) for row in session.execute(text(sql), {"as_of": as_of}).mappings()]

    return query


LABEL_QUERIES: dict[str, Callable[[Session, datetime], list[LabelRow]]] = {
    "calculated_rating": _rows(_CALCULATED_RATING),
    "manual_seed": _rows(_MANUAL_SEED),
}
"""Label source -> its rows as they stood at a time, in order of snapshot. Most verdicts "not a sunset", a tie too: 0."""


@dataclass(frozen=True)
class RawRating:
    """One rater's verdict on a snapshot, as it stood at a time."""

    snapshot_id: int
    user_session_id: str
    rating: int | None
    is_sunset_verdict: bool
    label_source: str
    import_id: int | None
    """The import that brought it in, where that is known."""


def raw_ratings(session: Session, as_of: datetime) -> list[RawRating]:
    """Every verdict that counts as of a time, in order of snapshot and rater."""
    sql = (
        f"WITH {_VERDICTS} SELECT snapshot_id, user_session_id, rating, is_sunset_verdict, label_source, import_id "
        "FROM verdicts WHERE action = 'rate' ORDER BY snapshot_id, user_session_id"
    )
    return [RawRating(**row) for row in session.execute(text(sql), {"as_of": as_of}).mappings()]
