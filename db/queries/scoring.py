"""Queries that write many scores at once: one statement each, however many webcams it concerns.

Legend: each list has one entry for one webcam, and no webcam comes twice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import text
from sqlalchemy.dialects.postgresql import insert
from sqlmodel import Session, col

from db.engine import LoneStatements
from db.errors import NotFound
from db.tables import Image, ScoringEvent, WebcamSnapshot


@dataclass(frozen=True)
class KnownWebcam:
    """What a request needs to know of the webcam that it names."""

    id: int
    last_image_hash: str | None
    """sha256 of the picture that was scored last."""
    ai_model_version: str | None
    """The version that scored it."""


@dataclass(frozen=True)
class Before:
    """Which snapshots a new frame finds."""

    known_id: int | None
    """The snapshot of this very frame."""
    known_probability: float | None
    recent_id: int | None
    """The newest snapshot of the webcam not long before the frame."""
    recent_sha256: str | None


def find_webcams(
    session: Session, ids: Sequence[int], names: Sequence[tuple[str, str]]
) -> dict[int | tuple[str, str], KnownWebcam]:
    """Webcams by id and by (source, id there), under what they were asked for by; unknown ones are left out."""
    found: dict[int | tuple[str, str], KnownWebcam] = {}
    rows = session.execute(
        _FIND_WEBCAMS,
        {"ids": list(ids), "sources": [source for source, _ in names], "names": [name for _, name in names]},
    )
    for webcam_id, source, external_id, last_image_hash, ai_model_version in rows:
        found[webcam_id] = found[source, external_id] = KnownWebcam(webcam_id, last_image_hash, ai_model_version)
    return found


def lock_webcams(session: Session, webcam_ids: Sequence[int]) -> dict[int, float | None]:
    """Lock webcams until the end of the transaction, in order of id so that two of these never wait for each other.

    Returns:
        Webcam -> longitude.

    Raises:
        NotFound: One of them is not known.
    """
    rows = session.execute(_LOCK_WEBCAMS, {"ids": sorted(webcam_ids)})
    found = {int(row.id): row.lng for row in rows}
    for webcam_id in webcam_ids:
        if webcam_id not in found:
            raise NotFound(what="webcam", key=webcam_id)
    return found


def set_webcam_scores(session: Session, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write the latest scores: `webcam_id`, `ai_rating`, `model_version`, `image_sha256`."""
    session.execute(_SET_WEBCAM_SCORES, _columns(rows, "webcam_id", "ai_rating", "model_version", "image_sha256"))


def snapshots_before(session: Session, rows: Sequence[Mapping[str, Any]], within: timedelta) -> list[Before]:
    """What frames find: `webcam_id`, `captured_at`, `image_sha256`; the answers stand in the same order."""
    given = _columns(rows, "webcam_id", "captured_at", "image_sha256") | {"within": within}
    found = {row[0]: Before(*row[1:]) for row in session.execute(_SNAPSHOTS_BEFORE, given)}
    return [found[row["webcam_id"]] for row in rows]


def keep_frames(session: Session, images: Sequence[Mapping[str, Any]], snapshots: Sequence[Mapping[str, Any]]) -> None:
    """Add image contents and snapshots by their columns; known ones are left as they are."""
    session.execute(insert(Image).values(list(images)).on_conflict_do_nothing(index_elements=["sha256"]))
    session.execute(
        insert(WebcamSnapshot)
        .values(list(snapshots))
        .on_conflict_do_nothing(index_elements=["webcam_id", "captured_at", "image_key"])
    )


def snapshot_ids(session: Session, rows: Sequence[Mapping[str, Any]]) -> list[int]:
    """The snapshots of `webcam_id`, `captured_at`, `image_key`, in the same order."""
    given = _columns(rows, "webcam_id", "captured_at", "image_key")
    found = {int(row.webcam_id): int(row.id) for row in session.execute(_SNAPSHOT_IDS, given)}
    return [found[row["webcam_id"]] for row in rows]


def add_inferences(session: Session, rows: Sequence[Mapping[str, Any]], *, shown: bool = True) -> set[int]:
    """Record what versions said of snapshots, and their latest scores: `snapshot_id`, `model_version`, `raw_score`,
    `ai_rating`. What a version has said before stays. Returns the snapshots that got a row.

    What a shadow says is not `shown`, nor what is only to be compared: the scores of the snapshots themselves stay as they are.
    """
    given = _columns(rows, "snapshot_id", "model_version", "raw_score", "ai_rating")
    added = {int(snapshot_id) for (snapshot_id,) in session.execute(_ADD_INFERENCES, given)}
    if shown:
        session.execute(_SET_SNAPSHOT_SCORES, given)
    return added


def add_scoring_events(session: Session, rows: Sequence[Mapping[str, Any]]) -> list[int]:
    """Append attempts to score; their ids in the same order. Webcams may come several times here."""
    statement = insert(ScoringEvent).returning(col(ScoringEvent.id), sort_by_parameter_order=True)
    return [int(event_id) for (event_id,) in session.execute(statement, list(rows))]


def add_lone_events(statements: LoneStatements, rows: Sequence[Mapping[str, Any]]) -> list[int]:
    """Append attempts to score pictures of no webcam, and commit them; their ids in the same order.

    Of each only `kind`, `image_sha256`, `model_version`, `raw_score`, `path_taken` and `reason` are written.
    """
    found = statements.run(_ADD_LONE_EVENTS, _columns(rows, *_LONE_EVENT))
    # Numbers are drawn in the order of the rows; in which order they are given back is nowhere promised.
    return sorted(int(event_id) for (event_id,) in found)


def wait_at_most(session: Session, milliseconds: int) -> None:
    """Have the rest of this transaction give up where it waits longer than this for somebody's lock."""
    session.execute(text("SELECT set_config('lock_timeout', :limit, true)"), {"limit": f"{milliseconds}ms"})


def _columns(rows: Sequence[Mapping[str, Any]], *names: str) -> dict[str, Any]:
    return {name: [row[name] for row in rows] for name in names}


_LONE_EVENT = ("kind", "image_sha256", "model_version", "raw_score", "path_taken", "reason")
_ADD_LONE_EVENTS = (
    f"INSERT INTO scoring_events ({', '.join(_LONE_EVENT)}) SELECT {', '.join(_LONE_EVENT)} "
    "FROM unnest(%(kind)s::text[], %(image_sha256)s::text[], %(model_version)s::text[], %(raw_score)s::float8[], "
    "%(path_taken)s::text[], %(reason)s::text[]) WITH ORDINALITY "
    f"AS given ({', '.join(_LONE_EVENT)}, place) ORDER BY place RETURNING id"
)
_FIND_WEBCAMS = text(
    "SELECT id, source, external_id, last_image_hash, ai_model_version FROM webcams "
    "WHERE id = ANY(CAST(:ids AS bigint[])) UNION "
    "SELECT id, source, external_id, last_image_hash, ai_model_version FROM webcams "
    "JOIN unnest(CAST(:sources AS text[]), CAST(:names AS text[])) AS given (source, external_id) "
    "USING (source, external_id)"
)
_LOCK_WEBCAMS = text("SELECT id, lng FROM webcams WHERE id = ANY(CAST(:ids AS bigint[])) ORDER BY id FOR NO KEY UPDATE")
_SET_WEBCAM_SCORES = text(
    "UPDATE webcams SET ai_rating = given.ai_rating, ai_model_version = given.model_version, "
    "last_image_hash = given.image_sha256, updated_at = now() "
    "FROM unnest(CAST(:webcam_id AS bigint[]), CAST(:ai_rating AS float8[]), CAST(:model_version AS text[]), "
    "CAST(:image_sha256 AS text[])) AS given (webcam_id, ai_rating, model_version, image_sha256) "
    "WHERE webcams.id = given.webcam_id"
)
_SNAPSHOTS_BEFORE = text(
    "SELECT given.webcam_id, known.id, known.sampling_probability, recent.id, recent.image_sha256 "
    "FROM unnest(CAST(:webcam_id AS bigint[]), CAST(:captured_at AS timestamptz[]), CAST(:image_sha256 AS text[])) "
    "AS given (webcam_id, captured_at, image_sha256) "
    "LEFT JOIN LATERAL (SELECT id, sampling_probability FROM webcam_snapshots AS one "
    "WHERE one.webcam_id = given.webcam_id AND one.captured_at = given.captured_at "
    "AND one.image_sha256 = given.image_sha256 LIMIT 1) AS known ON true "
    "LEFT JOIN LATERAL (SELECT id, image_sha256 FROM webcam_snapshots AS one "
    "WHERE one.webcam_id = given.webcam_id AND one.captured_at > given.captured_at - CAST(:within AS interval) "
    "AND one.captured_at <= given.captured_at ORDER BY captured_at DESC, id DESC LIMIT 1) AS recent ON true"
)
_SNAPSHOT_IDS = text(
    "SELECT one.webcam_id, one.id FROM webcam_snapshots AS one JOIN unnest(CAST(:webcam_id AS bigint[]), "
    "CAST(:captured_at AS timestamptz[]), CAST(:image_key AS text[])) AS given (webcam_id, captured_at, image_key) "
    "USING (webcam_id, captured_at, image_key)"
)
_ADD_INFERENCES = text(
    "INSERT INTO snapshot_ai_inferences (snapshot_id, model_version, raw_score, ai_rating) "
    "SELECT * FROM unnest(CAST(:snapshot_id AS bigint[]), CAST(:model_version AS text[]), "
    "CAST(:raw_score AS float8[]), CAST(:ai_rating AS float8[])) ON CONFLICT (snapshot_id, model_version) DO NOTHING "
    "RETURNING snapshot_id"
)
_SET_SNAPSHOT_SCORES = text(
    "UPDATE webcam_snapshots SET ai_rating = given.ai_rating, ai_model_version = given.model_version "
    "FROM unnest(CAST(:snapshot_id AS bigint[]), CAST(:model_version AS text[]), CAST(:ai_rating AS float8[])) "
    "AS given (snapshot_id, model_version, ai_rating) WHERE webcam_snapshots.id = given.snapshot_id"
)
