"""Import snapshots and their ratings from a CSV. A bad row is refused by name and never stops the good ones."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from sqlmodel import Session

from db.engine import session_scope
from db.queries import exclusions, images, labels, webcams
from db.queries.exclusions import Subject
from db.tables import Webcam, WebcamSnapshot
from ml.images.decode import ImageInfo
from ml.images.store import FileStore
from worker.importers.snapshot_rows import OPTIONAL, REQUIRED, SEED_SOURCE, SnapshotRow, check_row, read_image
from worker.importers.table import ImportRefused, RowRefused, Table

__all__ = ["ImportRefused", "ImportReport", "Kept", "Refusal", "import_snapshots"]

# Ratings of one image by several people mostly stand in rows near each other.
_IMAGES_REMEMBERED = 4096


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why one row was refused."""

    row: int
    """Line of the file where the row begins, the header being line 1."""
    column: str
    reason: str


@dataclass(frozen=True, slots=True)
class Kept:
    """A fact about a webcam that was not taken, since the webcam is stored with another; the row itself was taken."""

    row: int
    """Line of the first row that says so."""
    column: str
    reason: str


@dataclass
class ImportReport:
    """What an import did. `imported + known + len(refused)` is the number of rows."""

    rows: int = 0
    """0 where the file has a header and nothing else: there was nothing to import, which is no error."""
    imported: int = 0
    known: int = 0
    refused: list[Refusal] = field(default_factory=list)
    kept: list[Kept] = field(default_factory=list)
    """Facts about webcams that stay as they are stored; each is named once."""
    snapshots_added: int = 0
    ratings_added: int = 0
    webcams_added: int = 0
    import_id: int | None = None
    """The recorded import, which its labels name."""

    def to_json(self) -> dict[str, Any]:
        """The report as a JSON object."""
        return asdict(self)

    def counts(self) -> dict[str, int]:
        """How many of everything: what is recorded of the import."""
        counted = ("rows", "imported", "known", "webcams_added", "snapshots_added", "ratings_added")
        return {**{name: getattr(self, name) for name in counted}, "refused": len(self.refused)}


def import_snapshots(
    path: Path,
    image_dir: Path | None,
    store: FileStore,
    progress: Callable[[int, int], None] = lambda done, all_: None,
    by: str = "import",
) -> ImportReport:
    """Import a CSV of snapshots, one line in memory at a time.

    Each row is a unit of work of its own; a second import adds nothing. The import is recorded, and whatever it adds
    names it, so that it can be excluded later; where one is, the next import of a
    mended file takes the place of its ratings. A webcam that is known keeps its title, region and position: what the file
    says otherwise is reported, not taken.

    Args:
        path: UTF-8 CSV with a header: `image, webcam, phase, captured_at` and optionally `rating, rater,
            label_source, group, title, lat, lng, region, source`.
        image_dir: Directory under which `image` paths lie; None where all images are URLs.
        store: Where images are kept.
        progress: Called with rows done and rows in all.
        by: Who imports, for the record.

    Raises:
        ImportRefused: The file cannot be read, is no CSV in UTF-8, or lacks a column; nothing was written.
    """
    table = Table(path, REQUIRED, OPTIONAL)
    report = ImportReport(rows=table.num_rows, import_id=_begin(path, by))
    root = image_dir.resolve() if image_dir is not None else None
    told: set[tuple[str, str, str, object]] = set()

    @lru_cache(maxsize=_IMAGES_REMEMBERED)
    def stored_image(name: str) -> ImageInfo:
        data, info = read_image(name, root)
        store.put_image(data)
        return info

    for done, line in enumerate(table.lines(), start=1):
        try:
            if line.refused is not None:
                raise line.refused
            row = check_row(line.cells)
            info = None if row.is_url else stored_image(row.image)
            with session_scope() as session:
                changed, webcam = _write(session, row, info, report)
                if changed and info is not None and not store.has_image(info.sha256):  # retention came between
                    store.put_image(read_image(row.image, root)[0])
                differing = _differing(webcam, row)
            if changed:
                report.imported += 1
            else:
                report.known += 1
            for column, reason in differing:
                key = (row.source, row.webcam, column, row.facts[column])
                if key not in told:
                    told.add(key)
                    report.kept.append(Kept(line.number, column, reason))
        except RowRefused as refusal:
            report.refused.append(Refusal(line.number, refusal.column, refusal.reason))
        progress(done, report.rows)
    with session_scope() as session:
        assert report.import_id is not None
        exclusions.end_import(session, report.import_id, report.counts())
    return report


def _begin(path: Path, by: str) -> int:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    with session_scope() as session:
        return exclusions.begin_import(session, file_name=path.name, file_sha256=digest, by=by)


def _differing(webcam: Webcam, row: SnapshotRow) -> list[tuple[str, str]]:
    """The facts of a row that a known webcam is stored without or with another value: column and what to say."""
    return [
        (column, f"webcam {row.webcam!r} is kept as stored, with {column} {_said(stored)}; {given!r} was not taken")
        for column, given in row.facts.items()
        if given is not None and (stored := getattr(webcam, column)) != given
    ]


def _said(stored: object) -> str:
    return "empty" if stored is None else repr(stored)


def _write(session: Session, row: SnapshotRow, info: ImageInfo | None, report: ImportReport) -> tuple[bool, Webcam]:
    """Write one row; returns whether anything was new, and the webcam as it is stored."""
    webcam, webcam_added = webcams.find_or_add_webcam(session, row.source, row.webcam, **row.facts)
    facts: dict[str, Any] = {"image_key": f"url:{row.image}", "image_state": "unfetched", "firebase_url": row.image}
    if info is not None:
        images.add_image(session, info.sha256, info.media_type, info.width, info.height, info.byte_size)
        facts = {
            "image_key": f"sha256:{info.sha256}",
            "image_sha256": info.sha256,
            "image_state": "present",
            "image_known_at": webcams.database_time(session),
            "firebase_path": row.image,
        }
    seed = row.rating if row.label_source == SEED_SOURCE else None
    snapshot, snapshot_added = webcams.add_snapshot(
        session,
        webcam_id=webcam.id,
        phase=row.phase,
        captured_at=row.captured_at,
        group_name=row.group,
        initial_rating=seed,
        import_id=report.import_id,
        **facts,
    )
    _check_same(session, snapshot, row, seed)
    assert snapshot.id is not None
    rated = (
        row.rating is not None
        and row.label_source != SEED_SOURCE
        and _rate(session, snapshot.id, row, report.import_id)
    )
    report.webcams_added += webcam_added
    report.snapshots_added += snapshot_added
    report.ratings_added += rated
    return webcam_added or snapshot_added or rated, webcam


def _is_excluded(session: Session, import_id: int | None) -> bool:
    return import_id is not None and Subject(import_id=import_id) in exclusions.excluded_now(session)


def _check_same(session: Session, snapshot: WebcamSnapshot, row: SnapshotRow, seed: float | None) -> None:
    """A known snapshot is never changed by an import; a row that says otherwise is refused."""
    if snapshot.phase != row.phase:
        raise RowRefused("phase", f"snapshot {snapshot.id} is known as {snapshot.phase}")
    if row.group is not None and snapshot.group_name != row.group:
        raise RowRefused("group", f"snapshot {snapshot.id} is known in group {snapshot.group_name!r}: groups are kept")
    if seed is not None and _is_excluded(session, snapshot.import_id):
        raise RowRefused(
            "rating", f"the seed of snapshot {snapshot.id} came with import {snapshot.import_id}, which is excluded, and a "
            "seed is never changed: give the row another label_source, as a rating"
        )  # fmt: skip
    if seed is not None and snapshot.initial_rating != seed:
        raise RowRefused("rating", f"snapshot {snapshot.id} is known with the seed {snapshot.initial_rating}")


def _rate(session: Session, snapshot_id: int, row: SnapshotRow, import_id: int | None) -> bool:
    """Add the rater's verdict if this rater has not judged the snapshot yet; another verdict is refused.

    What came with an import that is excluded now does not count, so the new verdict takes its place, the same one too.
    """
    assert row.rating is not None
    rating = int(row.rating) or None
    known = {each.user_session_id: each for each in labels.list_ratings(session, snapshot_id)}.get(row.rater)
    if known is not None and not _is_excluded(session, known.import_id):
        if known.rating != rating:
            said = known.rating or "not a sunset"
            raise RowRefused(
                "rating", f"{row.rater!r} rated snapshot {snapshot_id} already, as {said}: "
                f"change it on the page or over HTTP, an import never overwrites what counts"
            )  # fmt: skip
        return False
    labels.rate_snapshot(
        session,
        snapshot_id=snapshot_id,
        rater=row.rater,
        rating=rating,
        is_sunset=rating is not None,
        label_source=row.label_source,
        import_id=import_id,
    )
    return True
