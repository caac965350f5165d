"""What one row of a CSV of snapshots says: cells to values, and the file of an image to its bytes. No database here."""

from __future__ import annotations

import os
import re
import stat
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from db.tables.webcams import PHASES
from ml.images.decode import MAX_IMAGE_BYTES, ImageError, ImageInfo, inspect
from worker.importers.table import RowRefused

REQUIRED = ("image", "webcam", "phase", "captured_at")
OPTIONAL = ("rating", "rater", "label_source", "group", "title", "lat", "lng", "region", "source")
SEED_SOURCE = "manual_seed"
DEFAULT_SOURCE = "import"
DEFAULT_RATER = "import"
MAX_TEXT = 200
MAX_URL = 2000
"""Characters of a cell at most: what HTTP takes too, and what an index of the database can hold."""
EARLIEST_YEAR, LATEST_YEAR = 1970, 2200
_SLUG = re.compile(r"[A-Za-z0-9_.:-]{1,64}")
# Python reads more as a number than people write into a cell: 1_0, nan, digits of other scripts.
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?", re.ASCII)


@dataclass(frozen=True)
class SnapshotRow:
    """One row, read and checked."""

    image: str
    is_url: bool
    webcam: str
    source: str
    phase: str
    captured_at: datetime
    rating: float | None
    """1 to 5, 0 for not a sunset; any value of 0..5 where it is a seed."""
    rater: str
    label_source: str
    group: str | None
    facts: dict[str, Any]
    """Of the webcam: title, region, lat, lng; None where the row does not say."""


def check_row(cells: dict[str, str]) -> SnapshotRow:
    """Read the cells of one row.

    Raises:
        RowRefused: A cell is not what its column needs.
    """
    for name in REQUIRED:
        if not cells[name]:
            raise RowRefused(name, "is empty")
    phase = cells["phase"].lower()
    if phase not in PHASES:
        raise RowRefused("phase", f"{_short(cells['phase'])} is not one of {', '.join(PHASES)}")
    for name, text in cells.items():
        limit = MAX_URL if name == "image" else MAX_TEXT
        if len(text) > limit:
            raise RowRefused(name, f"has {len(text)} characters; at most {limit} are taken")
    label_source = cells.get("label_source") or DEFAULT_SOURCE
    if not _SLUG.fullmatch(label_source):
        raise RowRefused("label_source", f"{label_source!r} must be 1 to 64 letters, digits or _ . : -")
    return SnapshotRow(
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


def read_image(name: str, root: Path | None) -> tuple[bytes, ImageInfo]:
    """The bytes of an image under `root`, decoded once.

    Raises:
        RowRefused: It leads out of the directory, is no plain file or no image that we take.
    """
    scheme = _scheme(name)
    if scheme and len(scheme) > 1:
        raise RowRefused("image", f"{name!r} is neither a path nor an http(s) URL")
    if root is None:
        raise RowRefused("image", f"{name!r} is a path: name its directory with --images DIR")
    try:
        path = Path(os.path.realpath(root / name))  # Path.resolve raises RuntimeError for a link to itself
        if not path.is_relative_to(root):
            raise RowRefused("image", f"{name!r} lies outside {root}")
        data = _read_plain_file(name, path, root)
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


def _read_plain_file(name: str, path: Path, root: Path) -> bytes:
    """Judge what was opened, not what had the name before, and never wait for a pipe."""
    try:
        opened = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise RowRefused("image", f"{name!r} is not a file in {root}") from error
    try:
        if not stat.S_ISREG(os.fstat(opened).st_mode):
            raise RowRefused("image", f"{name!r} is not a plain file")
        with os.fdopen(opened, "rb", closefd=False) as file:
            data = file.read(MAX_IMAGE_BYTES + 1)
    finally:
        os.close(opened)
    if len(data) > MAX_IMAGE_BYTES:
        raise RowRefused("image", f"{name!r} is larger than {MAX_IMAGE_BYTES >> 20} MiB")
    return data


def _short(text: str) -> str:
    return repr(text if len(text) <= MAX_TEXT else text[:MAX_TEXT] + "...")


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


def _number(name: str, text: str, what: str) -> float:
    if not _NUMBER.fullmatch(text):
        hint = f": write {text.replace(',', '.')}, with a point" if re.fullmatch(r"-?\d+,\d+", text, re.ASCII) else ""
        raise RowRefused(name, f"{text!r} is not a number{what}{hint}")
    return float(text)


def _rating(text: str, label_source: str) -> float | None:
    if not text:
        return None
    value = _number("rating", text, "")
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
    value = _number(name, text, " of degrees")
    if not -limit <= value <= limit:
        raise RowRefused(name, f"{text} is outside -{limit:g}..{limit:g} degrees")
    return value
