"""The dialects of logs of choosing and cropping: what each calls things, and what a row of it says. No database here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from worker.importers.log_cells import (
    Box,
    LogRefused,
    file_name,
    project_in,
    read_box,
    read_json_list,
    read_python_list,
    read_time,
)
from worker.importers.table import Line

MAX_IMAGES = 16
"""Images of a row that a header may name."""
_BOX = ("crop_x1", "crop_y1", "crop_x2", "crop_y2")


@dataclass(frozen=True)
class LogRow:
    """What a row says, by file names within one project."""

    project: str
    chosen: str
    rejected: tuple[str, ...]
    """Empty where it only says how a photo was cropped."""
    said_at: datetime
    box: Box | None
    crop_refused: LogRefused | None = None
    """Why its crop is not taken, though the rest of the row is."""


@dataclass(frozen=True)
class Dialect:
    """One kind of log."""

    name: str
    """Also the source of its labels."""
    required: tuple[str, ...]
    optional: tuple[str, ...]
    read: Callable[[Line, frozenset[str]], LogRow]
    """From a row and the known projects; raises LogRefused."""
    told_by: str
    """A column that no dialect after this one has."""


def _selection(line: Line, known: frozenset[str]) -> LogRow:
    cells = line.cells
    return _chosen(cells, read_json_list("neg_paths", cells["neg_paths"]), "neg_paths", known)


def _anomaly(line: Line, known: frozenset[str]) -> LogRow:
    cells = line.cells
    row = _chosen(cells, read_python_list("rejected_paths", cells["rejected_paths"]), "rejected_paths", known)
    try:
        is_lower = float(cells["chosen_stage"]) < float(cells["max_rejected_stage"])
    except ValueError as error:
        raise LogRefused("chosen_stage", "bad-number", "a stage is not a number") from error
    if not is_lower:
        raise LogRefused("chosen_stage", "no-anomaly", "the chosen stage is not lower than the highest rejected one")
    return row


def _select_crop(line: Line, known: frozenset[str]) -> LogRow:
    """Also of the time when no coordinates were written. The columns after `timestamp` come again for each image."""
    cells, values = line.cells, [*line.cells.values(), *line.rest]
    head = list(cells).index("timestamp") + 1
    per_image = sum("_0" in name for name in list(cells)[head:])
    if per_image < 2:
        raise LogRefused("image_count", "index-and-path-differ", "the header names no columns for an image")
    images = [values[at : at + per_image] for at in range(head, len(values), per_image)]
    images = [image for image in images if image[0]]
    try:
        count, index = int(cells["image_count"]), int(cells["chosen_index"])
    except ValueError as error:
        raise LogRefused("chosen_index", "bad-number", "image_count or chosen_index is not a whole number") from error
    if count != len(images) or not 0 <= index < count or images[index][0] != cells["chosen_path"]:
        raise LogRefused(
            "chosen_index", "index-and-path-differ",
            f"chosen_index {index} of {count} is not chosen_path; the row has {len(images)} images",
        )  # fmt: skip
    row = _chosen(cells, [image[0] for at, image in enumerate(images) if at != index], "image_paths", known)
    size = (images[index][2], images[index][3]) if per_image >= 4 and len(images[index]) >= 4 else None
    try:
        return LogRow(row.project, row.chosen, row.rejected, row.said_at, read_box(cells, _BOX, size))
    except LogRefused as refused:
        return LogRow(row.project, row.chosen, row.rejected, row.said_at, None, refused)


def _crop(line: Line, known: frozenset[str]) -> LogRow:
    cells = line.cells
    if cells["project_id"] not in known:
        raise LogRefused(
            "project_id", "unknown-project", f"there is no project {cells['project_id'][:80]!r}; scan it first"
        )
    if not cells["filename"]:
        raise LogRefused("filename", "unmatched", "is empty")
    said_at = read_time("timestamp", cells["timestamp"])
    box = read_box(cells, _BOX, (cells["width"], cells["height"]))
    return LogRow(cells["project_id"], file_name(cells["filename"]), (), said_at, box)


def _chosen(cells: dict[str, str], rejected: list[str], column: str, known: frozenset[str]) -> LogRow:
    chosen = cells["chosen_path"]
    project = project_in("chosen_path", chosen, known)
    said_at = read_time("timestamp", cells["timestamp"])
    if not rejected:
        raise LogRefused(column, "nothing-rejected", "nothing was rejected, so nothing was chosen")
    names = [file_name(path) for path in rejected]
    if len({file_name(chosen), *names}) != 1 + len(names):
        raise LogRefused(column, "chosen-among-rejected", "a photo is named twice, or was chosen and rejected")
    others = {project_in(column, path, known) for path in rejected} - {project}
    if others:
        raise LogRefused(
            column, "several-projects", f"the row crosses projects: {project}, {', '.join(sorted(others))}"
        )
    return LogRow(project, file_name(chosen), tuple(names), said_at, None)


_SESSION = ("session_id", "set_id")
_PER_IMAGE = tuple(
    column
    for at in range(MAX_IMAGES)
    for column in (f"image_{at}_path", f"image_{at}_stage", f"width_{at}", f"height_{at}")
)
_SELECT_CROP = (*_SESSION, "directory", "image_count", "chosen_index", "chosen_path", "timestamp")
DIALECTS = (
    Dialect("selection_only_log", (*_SESSION, "chosen_path", "neg_paths", "timestamp"), (), _selection, "neg_paths"),
    Dialect(
        "anomaly_cases",
        (*_SESSION, "project", "chosen_stage", "max_rejected_stage", "chosen_path", "rejected_paths", "timestamp"),
        (), _anomaly, "rejected_paths",
    ),
    Dialect(
        "crop_training_data", ("timestamp", "project_id", "filename", *_BOX, "width", "height"), (), _crop, "filename"
    ),
    Dialect("select_crop_log", _SELECT_CROP, (*_BOX, *_PER_IMAGE), _select_crop, "width_0"),
    Dialect("historical_crop_log", _SELECT_CROP, (*_BOX, *_PER_IMAGE), _select_crop, "chosen_index"),
)  # fmt: skip
