"""What the file name of a generated photo says: when it was made, at which stage, and what is left of it.

`20250727_224840_stage1.5_face_swapped.png` was made at 22:48:40 and is of stage 1.5. Stages are numbers, since 1.5 lies
between 1 and 2. A name of another shape says nothing: nothing is guessed from a part of it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import PurePath

STAGES: dict[float, str] = {1.0: "generated", 1.5: "face_swapped", 2.0: "upscaled", 3.0: "enhanced"}
"""Stage -> the word that usually follows it. The number decides; another number is no stage."""

_SHAPE = re.compile(
    r"(?:(?P<time>\d{8}_\d{6})(?:_|$))?(?:stage(?P<stage>\d+(?:\.\d+)?)(?:_|$))?(?P<rest>.*)", re.I | re.S
)
_TIME = "%Y%m%d_%H%M%S"


@dataclass(frozen=True)
class PhotoName:
    """What one name says."""

    taken_at: datetime | None
    """The time in the name, which has no zone and is read as UTC; None where there is none, or no such time."""
    stage: float | None
    """A key of `STAGES`; None where it is unknown."""
    rest: str
    """The stem without what was understood of it."""


def read_photo_name(name: str) -> PhotoName:
    """Read a file name, with or without its directory; the extension does not count, nor whether letters are capital.

    A time that no calendar has (month 13) and a number that is no stage stay in `rest`.
    """
    stem = stem_of(PurePath(name).name)
    found = _SHAPE.fullmatch(stem)
    assert found is not None  # the shape has only optional parts before anything
    time, rest = _time(found["time"]), found["rest"]
    if found["time"] is not None and time is None:
        return PhotoName(None, None, stem)
    stage = None if found["stage"] is None else float(found["stage"])
    if stage is not None and stage not in STAGES:
        stage, rest = None, stem[found.start("stage") - len("stage") :]
    return PhotoName(time, stage, rest)


def stem_of(name: str) -> str:
    """A file name without its last extension, which has at least one letter: `a_stage1.5` has none."""
    stem, dot, extension = name.rpartition(".")
    return stem if dot and stem and is_extension(extension) else name


def is_extension(text: str) -> bool:
    """Whether a text may stand after a dot as the extension of a file: ASCII letters and digits, and not digits alone."""
    return text.isascii() and text.isalnum() and not text.isdigit()


def _time(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        return datetime.strptime(text, _TIME).replace(tzinfo=UTC)
    except ValueError:
        return None
