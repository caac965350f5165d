"""Import snapshots and their ratings from a CSV. A bad row is refused by name and never stops the good ones."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from sqlmodel import Session

from db.engine import session_scope
from db.queries import images, labels, webcams
from db.tables.webcams import PHASES
from ml.images.decode import MAX_IMAGE_BYTES, ImageError, ImageInfo, inspect
from ml.images.store import FileStore

REQUIRED = ("image", "webcam", "phase", "captured_at")
OPTIONAL = ("rating", "rater", "label_source", "group", "title", "lat", "lng", "region", "source")
SEED_SOURCE = "manual_seed"
DEFAULT_SOURCE = "import"
DEFAULT_RATER = "import"
MAX_CSV_BYTES = 1 << 30
MAX_TEXT = 200
MAX_URL = 2000
"""Characters of a cell at most: what HTTP takes too, and what an index of the database can hold."""
EARLIEST_YEAR, LATEST_YEAR = 1970, 2200
_SLUG = re.compile(r"[A-Za-z0-9_.:-]{1,64}")


class ImportRefused(ValueError):
    """The file as a whole cannot be imported; the message says why and what to do."""


class RowRefused(ValueError):
    """One row cannot be imported."""

    def __init__(self, column: str, reason: str) -> None:
        self.column, self.reason = column, reason
        super().__init__(f"{column}: {reason}")


@dataclass(frozen=True)
class Refusal:
    """Why one row was refused."""

    row: int
    """Line of the file, the header being 1."""
    column: str
    reason: str


@dataclass
class ImportReport:
    """What an import did. `imported + known + len(refused)` is the number of rows."""

    rows: int = 0
    imported: int = 0
    known: int = 0
    refused: list[Refusal] = field(default_factory=list)
    snapshots_added: int = 0
    ratings_added: int = 0
    webcams_added: int = 0

    def to_json(self) -> dict[str, Any]:
        """The report as a JSON object."""
        return {**self.__dict__, "refused": [each.__dict__ for each in self.refused]}


@dataclass(frozen=True)
class _Row:
    """One row, read and checked."""

    image: str
    is_url: bool
    webcam: str
    source: str
    phase: str
    captured_at: datetime
    rating: float | None
    rater: str
    label_source: str
    group: str | None
    facts: dict[str, Any]


def import_snapshots(
    path: Path, image_dir: Path | None, store: FileStore, progress: Callable[[int, int], None] = lambda done, all_: None
) -> ImportReport:
    """Import a CSV of snapshots. Each row is a unit of work of its own; a second import adds nothing.

    Args:
        path: UTF-8 CSV with a header: `image, webcam, phase, captured_at` and optionally `rating, rater,
            label_source, group, title, lat, lng, region, source`.
        image_dir: Directory under which `image` paths lie; None where all images are URLs.
        store: Where images are kept.
        progress: Called with rows done and rows in all.

    Raises:
        ImportRefused: The file cannot be read, is not UTF-8, or lacks a column.
    """
    table = _read(path)
    report = ImportReport(rows=len(table))
    root = image_dir.resolve() if image_dir is not None else None
    stored: dict[str, ImageInfo] = {}  # an image with ratings of several people stands in several rows
    for done, (line, cells) in enumerate(table, start=1):
        try:
            row = _check(cells)
            if not row.is_url and row.image not in stored:
                data, info = _read_image(row.image, root)
                store.put_image(data)
                stored[row.image] = info
            with session_scope() as session:
                changed = _write(session, row, stored.get(row.image), report)
            if changed:
                report.imported += 1
            else:
                report.known += 1
        except RowRefused as refusal:
            report.refused.append(Refusal(line, refusal.column, refusal.reason))
        progress(done, len(table))
    return report


def _read(path: Path) -> list[tuple[int, dict[str, str]]]:
    try:
        if path.stat().st_size > MAX_CSV_BYTES:
            raise ImportRefused(f"{path} is larger than 1 GiB: split it")
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise ImportRefused(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ImportRefused(
            f"{path} is not UTF-8 (byte {error.start} is {error.object[error.start]:#04x}): save it as UTF-8"
        ) from error
    if "\0" in text:
        raise ImportRefused(f"{path} holds NUL characters: it is not a CSV (UTF-16? save it as UTF-8)")
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        header = [name.strip() for name in next(reader, [])]
        _check_header(path, header)
        return list(_cells(reader, header))
    except csv.Error as error:
        raise ImportRefused(f"{path} line {reader.line_num} is not CSV: {error}") from error


def _check_header(path: Path, header: list[str]) -> None:
    missing = [name for name in REQUIRED if name not in header]
    unknown = [name for name in header if name not in REQUIRED + OPTIONAL]
    twice = sorted({name for name in header if header.count(name) > 1})
    if missing:
        found = ", ".join(header) or "nothing"
        hint = "; separate cells by commas" if len(header) == 1 and re.search(r"[;\t]", found) else ""
        raise ImportRefused(f"{path} lacks the column {', '.join(missing)}; its first line names: {found}{hint}")
    if unknown:
        raise ImportRefused(
            f"{path} has a column that is not known: {', '.join(unknown)}. Known: {', '.join(REQUIRED + OPTIONAL)}"
        )
    if twice:
        raise ImportRefused(f"{path} names the column {', '.join(twice)} twice")


def _cells(reader: Any, header: list[str]) -> Iterator[tuple[int, dict[str, str]]]:
    for values in reader:
        if not any(value.strip() for value in values):
            continue
        cells = dict(zip(header, (value.strip() for value in values), strict=False))
        if len(values) != len(header):
            cells[_WIDTH] = f"{len(values)} cells under {len(header)} columns"
        yield reader.line_num, cells


_WIDTH = "(row)"


def _check(cells: dict[str, str]) -> _Row:
    if _WIDTH in cells:
        raise RowRefused(_WIDTH, cells[_WIDTH])
    for name in REQUIRED:
        if not cells[name]:
            raise RowRefused(name, "is empty")
    phase = cells["phase"].lower()
    if phase not in PHASES:
        raise RowRefused("phase", f"{cells['phase']!r} is not one of {', '.join(PHASES)}")
    for name, text in cells.items():
        limit = MAX_URL if name == "image" else MAX_TEXT
        if len(text) > limit:
            raise RowRefused(name, f"has {len(text)} characters; at most {limit} are taken")
    label_source = cells.get("label_source") or DEFAULT_SOURCE
    if not _SLUG.fullmatch(label_source):
        raise RowRefused("label_source", f"{label_source!r} must be 1 to 64 letters, digits or _ . : -")
    return _Row(
        image=cells["image"],
        is_url=_scheme(cells["image"]) in ("http", "https"),
        webcam=cells["webcam"],
        source=cells.get("source") or "windy",
        phase=phase,
        captured_at=_time(cells["captured_at"]),
        rating=_rating(cells.get("rating", ""), label_source),
        rater=cells.get("rater") or DEFAULT_RATER,
        label_source=label_source,
        group=cells.get("group") or None,
        facts={
            "title": cells.get("title") or None,
            "region": cells.get("region") or None,
            "lat": _degrees(cells, "lat", 90.0),
            "lng": _degrees(cells, "lng", 180.0),
        },
    )


def _time(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise RowRefused("captured_at", f"{text!r} is not a time like 2026-02-12T18:03:00Z (ISO 8601)") from error
    if moment.tzinfo is None:
        raise RowRefused("captured_at", f"{text!r} has no time zone: end it with Z for UTC, or with an offset")
    if not EARLIEST_YEAR <= moment.year <= LATEST_YEAR:
        raise RowRefused("captured_at", f"{text!r} is not between the years {EARLIEST_YEAR} and {LATEST_YEAR}")
    return moment.astimezone(UTC)


def _scheme(name: str) -> str:
    try:
        return urlsplit(name).scheme
    except ValueError as error:
        raise RowRefused("image", f"{name!r} is not a URL: {error}") from error


def _rating(text: str, label_source: str) -> float | None:
    if not text:
        return None
    try:
        value = float(text)
    except ValueError as error:
        raise RowRefused("rating", f"{text!r} is not a number") from error
    if not 0 <= value <= 5:
        raise RowRefused("rating", f"{text} is outside 0..5 (1 to 5, or 0 for not a sunset)")
    if label_source != SEED_SOURCE and value != int(value):
        raise RowRefused(
            "rating", f"{text} is not whole: a person gives 1 to 5, or 0 for not a sunset; "
            f"a value between is a label_source of {SEED_SOURCE}"
        )  # fmt: skip
    return value


def _degrees(cells: dict[str, str], name: str, limit: float) -> float | None:
    text = cells.get(name, "")
    if not text:
        return None
    try:
        value = float(text)
    except ValueError as error:
        raise RowRefused(name, f"{text!r} is not a number of degrees") from error
    if not -limit <= value <= limit:
        raise RowRefused(name, f"{text} is outside -{limit:g}..{limit:g} degrees")
    return value


def _read_image(name: str, root: Path | None) -> tuple[bytes, ImageInfo]:
    scheme = _scheme(name)
    if scheme and len(scheme) > 1:
        raise RowRefused("image", f"{name!r} is neither a path nor an http(s) URL")
    if root is None:
        raise RowRefused("image", f"{name!r} is a path: name its directory with --images DIR")
    try:
        path = (root / name).resolve()
        if not path.is_relative_to(root):
            raise RowRefused("image", f"{name!r} lies outside {root}")
        if not path.is_file():
            raise RowRefused("image", f"{name!r} is not a file in {root}")
        if path.stat().st_size > MAX_IMAGE_BYTES:
            raise RowRefused("image", f"{name!r} is larger than {MAX_IMAGE_BYTES >> 20} MiB")
        data = path.read_bytes()
    except OSError as error:
        raise RowRefused("image", f"{name!r} cannot be read: {error.strerror}") from error
    except ValueError as error:
        if isinstance(error, RowRefused):
            raise
        raise RowRefused("image", f"{name!r} is not a path") from error
    try:
        return data, inspect(data)
    except ImageError as error:
        raise RowRefused("image", f"{name!r}: {error}") from error


def _write(session: Session, row: _Row, info: ImageInfo | None, report: ImportReport) -> bool:
    """Write one row; returns whether anything was new."""
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
        **facts,
    )
    _check_same(snapshot, row, seed)
    assert snapshot.id is not None
    rated = row.rating is not None and row.label_source != SEED_SOURCE and _rate(session, snapshot.id, row)
    report.webcams_added += webcam_added
    report.snapshots_added += snapshot_added
    report.ratings_added += rated
    return webcam_added or snapshot_added or rated


def _check_same(snapshot: Any, row: _Row, seed: float | None) -> None:
    """A known snapshot is never changed by an import; a row that says otherwise is refused."""
    if snapshot.phase != row.phase:
        raise RowRefused("phase", f"snapshot {snapshot.id} is known as {snapshot.phase}")
    if row.group is not None and snapshot.group_name != row.group:
        raise RowRefused("group", f"snapshot {snapshot.id} is known in group {snapshot.group_name!r}: groups are kept")
    if seed is not None and snapshot.initial_rating != seed:
        raise RowRefused("rating", f"snapshot {snapshot.id} is known with the seed {snapshot.initial_rating}")


def _rate(session: Session, snapshot_id: int, row: _Row) -> bool:
    """Add the rater's verdict if this rater has not judged the snapshot yet; another verdict is refused."""
    assert row.rating is not None
    rating = int(row.rating) or None
    known = {each.user_session_id: each for each in labels.list_ratings(session, snapshot_id)}
    if row.rater in known:
        if known[row.rater].rating != rating:
            said = known[row.rater].rating or "not a sunset"
            raise RowRefused(
                "rating", f"{row.rater!r} rated snapshot {snapshot_id} already, as {said}: "
                f"change it on the page or over HTTP, an import never overwrites"
            )  # fmt: skip
        return False
    labels.rate_snapshot(
        session,
        snapshot_id=snapshot_id,
        rater=row.rater,
        rating=rating,
        is_sunset=rating is not None,
        label_source=row.label_source,
    )
    return True
