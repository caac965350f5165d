"""Cells of the logs of choosing and cropping: lists, times, paths and boxes. What is broken is refused, never repaired.

A refusal has a code for programs and a reason for people.
"""

from __future__ import annotations

import ast
import json
import re
from datetime import UTC, datetime

from worker.importers.table import RowRefused

Box = tuple[float, float, float, float]
"""x1, y1, x2, y2 in fractions of the image."""
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)", re.ASCII)
_OLD_TIME = re.compile(r"\d{8}_\d{6}", re.ASCII)
_FOLDED = re.compile(r"_(raw|final)$")


class LogRefused(RowRefused):
    """One row, or the crop of one, cannot be imported."""

    def __init__(self, column: str, code: str, reason: str) -> None:
        super().__init__(column, reason)
        self.code = code


def read_time(column: str, text: str) -> datetime:
    """A time like 2025-07-27T22:48:40Z or 20250727_224840; without a zone it is read as UTC."""
    try:
        moment = datetime.strptime(text, "%Y%m%d_%H%M%S") if _OLD_TIME.fullmatch(text) else datetime.fromisoformat(text)
        moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise LogRefused(
            column, "bad-time", f"{text[:60]!r} is not a time like 2025-07-27T22:48:40Z or 20250727_224840"
        ) from error
    if not 1970 <= moment.year <= 2200:
        raise LogRefused(column, "bad-time", f"{text[:60]!r} is not between the years 1970 and 2200")
    return moment


def read_json_list(column: str, text: str) -> list[str]:
    """A JSON list of paths."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise LogRefused(column, "bad-list", "is not a JSON list of paths") from error
    return _paths(column, found)


def read_python_list(column: str, text: str) -> list[str]:
    """A list of paths as Python prints it; parsed as a literal, never evaluated."""
    try:
        found = ast.literal_eval(text)
    except (ValueError, SyntaxError, RecursionError, MemoryError, TypeError) as error:
        raise LogRefused(column, "bad-list", "is not a list of paths in quotes") from error
    return _paths(column, found)


def _paths(column: str, found: object) -> list[str]:
    if not isinstance(found, list) or not all(isinstance(path, str) and _is_path(path) for path in found):
        raise LogRefused(column, "bad-list", "is not a list of paths")
    return found


def _is_path(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:  # half a surrogate pair, which no database takes
        return False
    return bool(text) and "\0" not in text


def file_name(path: str) -> str:
    """The file name of a path of whatever machine."""
    return path.replace("\\", "/").rpartition("/")[2]


def project_in(column: str, path: str, known: frozenset[str]) -> str:
    """The one known project that a directory of a path is called like, `_raw` and `_final` at its end folded."""
    folders = path.replace("\\", "/").split("/")[:-1]
    found = {name for folder in folders for name in (folder, _FOLDED.sub("", folder)) if name in known}
    if len(found) != 1:
        what = "no directory" if not found else f"several directories ({', '.join(sorted(found))})"
        raise LogRefused(
            column, "several-projects" if found else "unknown-project",
            f"{what} of {path[:200]!r} called like a project; scan it first with `afterglow scan DIR --project NAME`",
        )  # fmt: skip
    return found.pop()


def read_box(cells: dict[str, str], columns: tuple[str, str, str, str], size: tuple[str, str] | None) -> Box:
    """A crop in pixels of an image of that size (two cells), or in fractions where no number is above 1.

    Raises:
        LogRefused: The box is missing, inverted, not inside the image or all of it, or the size is 0 or missing.
    """
    texts = [cells.get(column, "") for column in columns]
    if not any(texts):
        raise LogRefused(columns[0], "no-coordinates", "the row has no coordinates, so it is no crop")
    x1, y1, x2, y2 = (_number(column, text) for column, text in zip(columns, texts, strict=True))
    width, height = (_number("size", text or "0") for text in size or ("", ""))
    if width <= 0 or height <= 0:
        raise LogRefused(columns[0], "zero-size", f"the size of the image is given as {width:g} x {height:g}")
    highest = max(x1, y1, x2, y2)
    if highest > 1:
        if highest < 2:  # no crop is a pixel wide, so nobody knows what was meant
            raise LogRefused(columns[0], "outside-image", f"{texts} are neither fractions nor pixels")
        x1, y1, x2, y2 = x1 / width, y1 / height, x2 / width, y2 / height
    if x1 >= x2 or y1 >= y2:
        raise LogRefused(columns[0], "inverted-box", f"{texts} is an inverted or empty box")
    if min(x1, y1) < 0 or max(x2, y2) > 1:
        raise LogRefused(columns[0], "outside-image", f"{texts} is not inside the image of {width:g} x {height:g}")
    if (x1, y1, x2, y2) == (0, 0, 1, 1):
        raise LogRefused(columns[0], "full-frame", "the box is the whole image: a placeholder, or no crop")
    return x1, y1, x2, y2


def _number(column: str, text: str) -> float:
    if len(text) > 20 or not _NUMBER.fullmatch(text):
        raise LogRefused(column, "bad-number", f"{text[:60]!r} is not a number")
    return float(text)
