"""Queries on what may be removed by age: images of frames that nobody needs, and attempts to score that kept none.

A frame's rows stay for ever, since inferences, events and provenance name them; only its image goes, and its state says
so. What must stay is judged in one place, `_REASON`, and again under the lock of the row that is changed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import MetaData, text
from sqlmodel import Session, SQLModel

import db.tables  # noqa: F401  every table is known before it is asked what each names

NOT_PROTECTING = ("snapshot_ai_inferences", "scoring_events")
"""Tables that name snapshots and do not need their images: what models said of them."""
WORDS = {
    "rating_events": "rated",
    "webcam_snapshot_ratings": "rated",
    "label_leases": "being-rated",
    "dataset_rows": "in-dataset",
    "model_training_snapshot_labels": "in-training",
    "model_training_snapshot_ratings": "in-training",
    "disagreements": "disagreement",
}
"""Table that names a snapshot -> the reason why its image stays; another table `t` gives `in-t`."""
ONLY_WHILE = {"disagreements": "n.state = 'open'"}
"""Table -> the SQL condition on its row `n` under which alone it protects what it names."""


def naming(metadata: MetaData, target: str) -> list[tuple[str, str]]:
    """The tables and their columns with a foreign key to `table.column`, in order of table.

    A table that is added later protects what it names until somebody says otherwise here.
    """
    return sorted(
        (table.name, key.parent.name)
        for table in metadata.tables.values()
        for key in table.foreign_keys
        if key.target_fullname == target
    )


def _reason() -> str:
    named = [each for each in naming(SQLModel.metadata, "webcam_snapshots.id") if each[0] not in NOT_PROTECTING]
    order = [*WORDS, *(table for table, _ in named)]
    named.sort(key=lambda each: order.index(each[0]))
    whens = [
        f"WHEN EXISTS (SELECT 1 FROM {table} n WHERE n.{column} = s.id AND {ONLY_WHILE.get(table, 'true')}) "
        f"THEN '{WORDS.get(table, 'in-' + table.replace('_', '-'))}'"
        for table, column in named
    ]
    return f"""
    CASE
        WHEN s.image_state = 'removed' THEN 'removed-before'
        WHEN s.image_state <> 'present' THEN 'no-image'
        WHEN s.created_at >= :cutoff THEN 'recent'
        WHEN s.initial_rating IS NOT NULL THEN 'seeded'
        WHEN s.import_id IS NOT NULL THEN 'imported'
        {" ".join(whens)}
    END
    """


def _needed() -> str:
    others = [
        each
        for each in naming(SQLModel.metadata, "images.sha256")
        if each[0] not in ("webcam_snapshots", "image_removals")
    ]
    held = [("model_training_snapshot_labels", "image_sha256"), *others]
    return " OR ".join(
        [
            "EXISTS (SELECT 1 FROM webcam_snapshots s WHERE s.image_sha256 = i.sha256 AND s.image_state = 'present')",
            *(f"EXISTS (SELECT 1 FROM {table} n WHERE n.{column} = i.sha256)" for table, column in held),
        ]
    )


_REASON = _reason()
"""The SQL of why the image of the snapshot `s` stays; null where it may go. A rating that was taken back counts too."""
_NEEDED = _needed()
"""The SQL of whether the content of the image `i` is still needed by somebody."""


@dataclass(frozen=True)
class FrameCount:
    """Snapshots that stay for one reason, or that may go."""

    reason: str | None
    """Why the image stays; None where it may go."""
    frames: int
    bytes: int
    """Of their images, counted once for each snapshot; 0 where there is none any more."""


@dataclass(frozen=True)
class EventCounts:
    """Attempts to score."""

    total: int
    recent: int
    with_snapshot: int
    """Older ones that stay, since they tell how a snapshot was chosen."""

    @property
    def old(self) -> int:
        """Those that may go."""
        return self.total - self.recent - self.with_snapshot


def count_frames(session: Session, cutoff: datetime) -> list[FrameCount]:
    """All snapshots by the reason why their image stays; those that may go are older than `cutoff`."""
    rows = session.execute(
        text(
            f"""
            SELECT reason, count(*) AS frames, coalesce(sum(bytes), 0)::bigint AS bytes FROM (
                SELECT {_REASON} AS reason, CASE WHEN s.image_state = 'present' THEN i.byte_size ELSE 0 END AS bytes
                FROM webcam_snapshots s LEFT JOIN images i ON i.sha256 = s.image_sha256
            ) judged GROUP BY reason ORDER BY reason
            """
        ),
        {"cutoff": cutoff},
    )
    return [FrameCount(**row) for row in rows.mappings()]


def frames_to_remove(session: Session, cutoff: datetime, *, after: int, limit: int) -> list[int]:
    """Snapshots whose image may go, in order of id, from beyond `after`."""
    rows = session.execute(
        text(
            f"SELECT s.id FROM webcam_snapshots s WHERE s.id > :after AND {_REASON} IS NULL ORDER BY s.id LIMIT :limit"
        ),
        {"cutoff": cutoff, "after": after, "limit": limit},
    )
    return [row.id for row in rows]


def remove_frames(session: Session, snapshot_ids: Sequence[int], cutoff: datetime) -> int:
    """Say of snapshots that their image is removed, and note its content for removal; returns how many.

    The rows are locked first and judged again under the lock, so that whoever rates, exports or trains meanwhile is
    either seen here or sees the removal. One that somebody holds just now is left for another time.
    """
    locked = session.execute(
        text("SELECT id FROM webcam_snapshots WHERE id = ANY(:ids) ORDER BY id FOR UPDATE SKIP LOCKED"),
        {"ids": list(snapshot_ids)},
    )
    held = [row.id for row in locked]
    removed = session.execute(
        text(
            f"UPDATE webcam_snapshots s SET image_state = 'removed' WHERE s.id = ANY(:ids) AND {_REASON} IS NULL "
            "RETURNING image_sha256"
        ),
        {"ids": held, "cutoff": cutoff},
    )
    contents = [row.image_sha256 for row in removed]
    session.execute(
        text(
            "INSERT INTO image_removals (sha256) SELECT DISTINCT unnest(CAST(:contents AS text[])) ORDER BY 1 "
            "ON CONFLICT DO NOTHING"
        ),
        {"contents": contents},
    )
    return len(contents)


def images_to_remove(session: Session, *, after: str, limit: int) -> list[str]:
    """Contents that are noted for removal, in order, from beyond `after`."""
    rows = session.execute(
        text("SELECT sha256 FROM image_removals WHERE sha256 > :after ORDER BY sha256 LIMIT :limit"),
        {"after": after, "limit": limit},
    )
    return [row.sha256 for row in rows]


def release_images(session: Session, contents: Sequence[str]) -> dict[str, int]:
    """Lock contents that are noted for removal until the end of the transaction, and take the notes away.

    A new snapshot of such a content waits for the lock, so its writer, who stores bytes after the row, stores them anew.

    Returns:
        sha256 -> bytes of those that nobody needs: the caller's to remove from the store before the commit.
    """
    locked = session.execute(
        text("SELECT sha256 FROM images WHERE sha256 = ANY(:contents) ORDER BY sha256 FOR UPDATE SKIP LOCKED"),
        {"contents": list(contents)},
    )
    held = [row.sha256 for row in locked]
    free = session.execute(
        text(f"SELECT i.sha256, i.byte_size FROM images i WHERE i.sha256 = ANY(:held) AND NOT ({_NEEDED})"),
        {"held": held},
    )
    found = {row.sha256: int(row.byte_size) for row in free}
    session.execute(text("DELETE FROM image_removals WHERE sha256 = ANY(:held)"), {"held": held})
    return found


def count_events(session: Session, cutoff: datetime) -> EventCounts:
    """All attempts to score, and how many of them stay though they are older than `cutoff`."""
    row = session.execute(
        text(
            "SELECT count(*) AS total, count(*) FILTER (WHERE scored_at >= :cutoff) AS recent, "
            "count(*) FILTER (WHERE scored_at < :cutoff AND snapshot_id IS NOT NULL) AS with_snapshot FROM scoring_events"
        ),
        {"cutoff": cutoff},
    ).one()
    return EventCounts(row.total, row.recent, row.with_snapshot)


def remove_events(session: Session, cutoff: datetime, *, after: int, limit: int) -> tuple[int, int | None]:
    """Remove old attempts to score that name no snapshot, in order of id, from beyond `after`.

    Returns:
        How many, and the last id; None when there are no more.
    """
    session.execute(text("SELECT set_config('afterglow.retention', 'on', true)"))  # what lets the guard stand aside
    rows = session.execute(
        text(
            "DELETE FROM scoring_events WHERE id IN (SELECT id FROM scoring_events WHERE id > :after "
            "AND scored_at < :cutoff AND snapshot_id IS NULL ORDER BY id LIMIT :limit) RETURNING id"
        ),
        {"after": after, "cutoff": cutoff, "limit": limit},
    )
    ids = [row.id for row in rows]
    session.execute(text("SELECT set_config('afterglow.retention', 'off', true)"))
    return len(ids), max(ids, default=None)
