"""The manifest: the file in which rows of a dataset travel from the database to training, and the only one.

A dataset directory holds `manifest_full.csv` (every candidate), `manifest_train.csv`, `manifest_val.csv`,
`manifest_test.csv` and, written last, `export_meta.json`. Bytes are canonical: UTF-8, LF, rows in order of
`snapshot_id`, floats as Python's shortest `repr`, times in UTC with microseconds.

People open these files in spreadsheets, which run a cell that begins with = + - @ as a formula. So a text cell that
begins with one of these, with a tab, a line end or an apostrophe, gets an apostrophe before it, as the OWASP page on CSV
injection says; reading takes it away again, and every text comes back as it was. Numbers, times and hashes have no
such beginning, but for negative numbers, which are numbers to a spreadsheet too.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import math
import re
from collections.abc import Callable, Iterable, Sequence
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
TEXT_COLUMNS = ("label_source", "image_path_or_url", "phase", "group_id", "exclusion_reason")
_NEEDS_QUOTES = re.compile('[,"\r\n]')
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "'")


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


def _quoted(text: str) -> str:
    return "'" + text if text.startswith(_FORMULA_STARTS) else text


def _enclosed(text: str) -> str:
    # Not csv.writer: told to end lines with LF, it leaves a CR in a cell bare, and every reader takes it for a line end.
    return '"' + text.replace('"', '""') + '"' if _NEEDS_QUOTES.search(text) else text


def _unquoted(text: str) -> str:
    return text[1:] if text.startswith("'") and text[1:].startswith(_FORMULA_STARTS) else text


def manifest_bytes(rows: Iterable[ManifestRow]) -> bytes:
    """The canonical CSV of rows, ordered by snapshot."""
    lines = [",".join(COLUMNS)]
    for row in sorted(rows, key=lambda each: each.snapshot_id):
        cells = {column: _cell(getattr(row, column)) for column in COLUMNS}
        lines.append(
            ",".join(_enclosed(_quoted(text) if column in TEXT_COLUMNS else text) for column, text in cells.items())
        )
    return ("\n".join(lines) + "\n").encode("utf-8")


def manifest_sha256(rows: Iterable[ManifestRow]) -> str:
    """sha256 over the canonical bytes of all rows: change one label anywhere and it differs."""
    return hashlib.sha256(manifest_bytes(rows)).hexdigest()


def check_manifest(data: bytes, sha256: str, source: str) -> None:
    """Compare the bytes of a manifest with the sha256 that was recorded when it was frozen.

    Raises:
        ManifestError: They differ; names the file and both.
    """
    actual = hashlib.sha256(data).hexdigest()
    if actual != sha256:
        raise ManifestError(
            f"{source} has changed since it was frozen: its sha256 is {actual[:12]}..., recorded is {sha256[:12]}...; "
            "put it back from a backup"
        )


def _bool(text: str) -> bool:
    return {"true": True, "false": False}[text]


def _number(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text} is not finite")
    return value


def _split(text: str) -> str:
    if text not in SPLITS:
        raise ValueError(f"{text!r} is not a split")
    return text


def _optional(read: Callable[[str], Any]) -> Callable[[str], Any]:
    return lambda text: read(text) if text else None


_READERS: dict[str, Callable[[str], Any]] = {
    "snapshot_id": int, "webcam_id": int, "rating_count": int,
    "label_value": _optional(_number), "target_label": _optional(_number),
    "is_good": _optional(_bool), "seen": _optional(_bool),
    "split": _optional(_split), "image_sha256": _optional(str), "exclusion_reason": _optional(str),
    "captured_at": lambda text: datetime.strptime(text, "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=UTC),
}  # fmt: skip


def parse_manifest(data: bytes, source: str = "manifest") -> list[ManifestRow]:
    """Read the canonical CSV back.

    Raises:
        ManifestError: A column is missing, a cell cannot be read, or a snapshot has two rows; names line and column.
    """
    try:
        reader = csv.reader(io.StringIO(data.decode("utf-8"), newline=""), strict=True)
        header = next(reader, [])
        _check_header(header, source)
        rows, line_of = [], dict[int, int]()
        for values in reader:
            if len(values) != len(header):
                raise ManifestError(
                    f"{source} line {reader.line_num} has {len(values)} cells under {len(header)} columns"
                )
            row = _row(dict(zip(header, values, strict=True)), f"{source} line {reader.line_num}")
            first = line_of.setdefault(row.snapshot_id, reader.line_num)
            if first != reader.line_num:
                raise ManifestError(
                    f"{source} line {reader.line_num}: snapshot_id {row.snapshot_id} stands in line {first} already; a "
                    "snapshot has one row, so export the dataset again"
                )
            rows.append(row)
    except UnicodeDecodeError as error:
        raise ManifestError(f"{source} is not UTF-8, at byte {error.start}") from error
    except csv.Error as error:
        raise ManifestError(f"{source} is not CSV: {error}") from error
    return rows


def _check_header(header: Sequence[str], source: str) -> None:
    missing = [column for column in COLUMNS if column not in header]
    if missing:
        raise ManifestError(f"{source} lacks the columns {', '.join(missing)}")
    if len(set(header)) != len(header):
        raise ManifestError(f"{source} names a column twice")


def _row(cells: dict[str, str], where: str) -> ManifestRow:
    values: dict[str, Any] = {}
    for column in COLUMNS:
        text = _unquoted(cells[column]) if column in TEXT_COLUMNS else cells[column]
        try:
            values[column] = _READERS.get(column, str)(text)
        except (ValueError, KeyError) as error:
            raise ManifestError(f"{where}: {column} is {text[:100]!r}") from error
    return ManifestRow(**values)


def first_differences(before: Iterable[ManifestRow], now: Iterable[ManifestRow], limit: int = 5) -> list[str]:
    """Where two manifests differ, a sentence a row, in order of snapshot: at most `limit`, then how many more."""
    old, new = ({row.snapshot_id: row for row in rows} for rows in (before, now))
    found = []
    for snapshot_id in sorted({*old, *new}):
        if snapshot_id not in new or snapshot_id not in old:
            found.append(f"snapshot {snapshot_id} is missing {'now' if snapshot_id in old else 'in the recorded one'}")
            continue
        cells = [(column, getattr(old[snapshot_id], column), getattr(new[snapshot_id], column)) for column in COLUMNS]
        changed = [f"{column} {_cell(was) or 'none'} -> {_cell(is_now) or 'none'}" for column, was, is_now in cells
                   if was != is_now]  # fmt: skip
        if changed:
            found.append(f"snapshot {snapshot_id}: {', '.join(changed)}")
    rest = len(found) - limit
    return found[:limit] + ([f"and {rest} more rows"] if rest > 0 else [])


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
