"""The manifest: the file in which rows of a dataset travel from the database to training, and the only one.

A dataset directory holds `manifest_full.csv` (every candidate), `manifest_train.csv`, `manifest_val.csv`,
`manifest_test.csv` and, written last, `export_meta.json`. Bytes are canonical: UTF-8, LF, rows in order of
`snapshot_id`, floats as Python's shortest `repr`, times in UTC with microseconds.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

SPLITS = ("train", "val", "test")
COLUMNS = (
    "snapshot_id", "webcam_id", "label_source", "label_value", "target_label", "is_good", "split", "seen",
    "image_path_or_url", "phase", "captured_at", "rating_count", "image_sha256", "group_id", "exclusion_reason",
)  # fmt: skip
META_FILE = "export_meta.json"


class ManifestError(ValueError):
    """A manifest file is missing, damaged or inconsistent; the message says where."""


@dataclass(frozen=True)
class ManifestRow:
    """One candidate of a dataset: a labelled snapshot, used in a split or excluded for a reason."""

    snapshot_id: int
    webcam_id: int
    label_source: str
    """Which label query it came from, e.g. `calculated_rating`."""
    label_value: float | None
    """What people said, on the label's own scale (ratings: 0..5)."""
    target_label: float | None
    """What the head is trained on."""
    is_good: bool | None
    split: str | None
    """`train`, `val` or `test`; None where excluded."""
    seen: bool | None
    """False where the whole webcam is held out; None where excluded."""
    image_path_or_url: str
    phase: str
    captured_at: datetime
    rating_count: int
    image_sha256: str | None
    group_id: str
    """The unit that never straddles a split."""
    exclusion_reason: str | None

    def excluded(self, reason: str) -> ManifestRow:
        """This row, out of the dataset for `reason`."""
        return replace(self, split=None, seen=None, exclusion_reason=reason)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, datetime):
        return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    return str(value)


def manifest_bytes(rows: Iterable[ManifestRow]) -> bytes:
    """The canonical CSV of rows, ordered by snapshot."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in sorted(rows, key=lambda each: each.snapshot_id):
        writer.writerow([_cell(getattr(row, column)) for column in COLUMNS])
    return text.getvalue().encode("utf-8")


def manifest_sha256(rows: Iterable[ManifestRow]) -> str:
    """sha256 over the canonical bytes of all rows: change one label anywhere and it differs."""
    return hashlib.sha256(manifest_bytes(rows)).hexdigest()


def _optional(text: str, kind: type) -> Any:
    return kind(text) if text else None


def _bool(text: str) -> bool:
    return {"true": True, "false": False}[text]


def parse_manifest(data: bytes, source: str = "manifest") -> list[ManifestRow]:
    """Read the canonical CSV back.

    Raises:
        ManifestError: A column is missing or a cell cannot be read; names line and column.
    """
    reader = csv.DictReader(io.StringIO(data.decode("utf-8"), newline=""))
    missing = [column for column in COLUMNS if column not in (reader.fieldnames or ())]
    if missing:
        raise ManifestError(f"{source} lacks the columns {', '.join(missing)}")
    readers: dict[str, Any] = {
        "snapshot_id": int, "webcam_id": int, "rating_count": int,
        "label_value": lambda t: _optional(t, float), "target_label": lambda t: _optional(t, float),
        "is_good": lambda t: _optional(t, _bool), "seen": lambda t: _optional(t, _bool),  # type: ignore[arg-type]
        "split": lambda t: _optional(t, str), "image_sha256": lambda t: _optional(t, str),
        "exclusion_reason": lambda t: _optional(t, str),
        "captured_at": lambda t: datetime.strptime(t, "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=UTC),
    }  # fmt: skip
    rows = []
    for line, cells in enumerate(reader, start=2):
        values: dict[str, Any] = {}
        for column in COLUMNS:
            try:
                values[column] = readers.get(column, str)(cells[column])
            except (ValueError, KeyError, TypeError) as error:
                raise ManifestError(f"{source} line {line}: {column} is {cells[column]!r}") from error
        rows.append(ManifestRow(**values))
    return rows


def read_manifest(path: Path) -> list[ManifestRow]:
    """Read a manifest file.

    Raises:
        ManifestError: The file is missing or damaged.
    """
    try:
        return parse_manifest(path.read_bytes(), str(path))
    except OSError as error:
        raise ManifestError(f"cannot read the manifest {path}: {error.strerror}") from error


def write_dataset(directory: Path, rows: Sequence[ManifestRow], meta: dict[str, Any]) -> None:
    """Write the five files of a dataset into an existing, empty directory; `export_meta.json` comes last."""
    (directory / "manifest_full.csv").write_bytes(manifest_bytes(rows))
    for split in SPLITS:
        part = [row for row in rows if row.split == split]
        (directory / f"manifest_{split}.csv").write_bytes(manifest_bytes(part))
    text = json.dumps(meta, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)
    (directory / META_FILE).write_text(text + "\n", encoding="utf-8")
