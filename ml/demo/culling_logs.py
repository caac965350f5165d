"""The logs of a GENERATED culling project, in every dialect that Afterglow imports, with broken rows that are planted.

What each row holds is kept beside it, so that a test can compare what was refused, row by row and reason by reason. The
paths in the logs lie under a directory that nobody has, as in logs that were written on another machine.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Literal

from ml.demo.culling import FIRST_TIME, MadeGroup, MadePhoto, MadeProject
from ml.demo.culling_boxes import BROKEN_BOXES, box_cells
from ml.images.photo_names import STAGES

OLD_ROOT = "/Users/x/Eros Mate"
"""Directory that the logs' paths are under."""
LOGS = ("selection_only_log.csv", "select_crop_log.csv", "crop_training_data.csv", "anomaly_cases.csv",
        "historical_crop_log.csv")  # fmt: skip
Reason = Literal[
    "bad-list", "bad-time", "unmatched", "ambiguous", "several-projects", "unknown-project", "nothing-rejected",
    "chosen-among-rejected", "index-and-path-differ", "no-anomaly", "zero-size", "inverted-box", "outside-image",
    "full-frame", "no-coordinates",
]  # fmt: skip
_BOX = ("crop_x1", "crop_y1", "crop_x2", "crop_y2")


@dataclass(frozen=True)
class MadeRow:
    """One row of a log, and what is to be made of it."""

    number: int
    """Line of the file, the header being line 1."""
    project: str
    chosen: str
    """File name."""
    rejected: tuple[str, ...]
    """File names; none where the log only says how a photo was cropped."""
    crop: tuple[float, float, float, float] | None
    """x1, y1, x2, y2 as fractions; None where there is none, or none that may be used."""
    refused: Reason | None = None
    """Why the whole row must be refused."""
    crop_refused: Reason | None = None
    """Why its crop must be refused, though its selection may be used."""


@dataclass
class MadeLog:
    """A log: its cells, and what each row is."""

    name: str
    header: tuple[str, ...]
    cells: list[Sequence[str]] = field(default_factory=list)
    rows: list[MadeRow] = field(default_factory=list)

    def add(
        self,
        cells: Sequence[str],
        group: MadeGroup,
        crop: tuple[float, float, float, float] | None = None,
        *,
        refused: Reason | None = None,
        crop_refused: Reason | None = None,
    ) -> None:
        """Append a row about a group."""
        self.cells.append(cells)
        chosen, others = _parted(group)
        rejected = () if self.name == "crop_training_data.csv" else tuple(photo.name for photo in others)
        number = len(self.cells) + 1
        self.rows.append(MadeRow(number, chosen.project, chosen.name, rejected, crop, refused, crop_refused))

    def text(self) -> str:
        """The file's content."""
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(self.header)
        writer.writerows(self.cells)
        return out.getvalue()


def make_logs(projects: Sequence[MadeProject]) -> dict[str, MadeLog]:
    """Logs of some projects, by file name; good rows first, then one of every kind that is broken."""
    groups = [group for project in projects for group in project.groups if group.chosen is not None]
    double = projects[0].doubles[0][0]
    made = (
        _selections(LOGS[0], groups, double),
        _select_crops(LOGS[1], groups),
        _crops(LOGS[2], groups, double),
        _anomalies(LOGS[3], groups),
        _historical(LOGS[4], groups),
    )
    return {log.name: log for log in made}


def write_logs(logs: Iterable[MadeLog], directory: Path) -> None:
    """Write logs under `directory/logs`, which may exist."""
    (directory / "logs").mkdir(parents=True, exist_ok=True)
    for log in logs:
        (directory / "logs" / log.name).write_text(log.text(), encoding="utf-8")


def _selections(name: str, groups: Sequence[MadeGroup], double: MadePhoto) -> MadeLog:
    log = MadeLog(name, ("session_id", "set_id", "chosen_path", "neg_paths", "timestamp"))

    def row(at: int, chosen: str, rejected: Sequence[str], when: str) -> list[str]:
        return [f"session-{at // 50}", f"set-{at}", chosen, json.dumps(rejected), when]

    for at, group in enumerate(groups):
        if at % 2 == 0:
            log.add(row(at, *_paths(group, at), _when(at, is_old=at % 4 == 0)), group)
    group = groups[0]
    (chosen, rejected), when = _paths(group, 0), _when(0)
    log.add([*row(9000, chosen, rejected, when)[:3], rejected[0], when], group, refused="bad-list")
    log.add(row(9001, chosen, rejected, "yesterday"), group, refused="bad-time")
    log.add(row(9002, chosen, [], when), group, refused="nothing-rejected")
    log.add(row(9003, chosen, [*rejected, chosen], when), group, refused="chosen-among-rejected")
    log.add(row(9004, chosen.replace("_stage", "_gone_stage"), rejected, when), group, refused="unmatched")
    log.add(row(9005, chosen, [*rejected, _path(double)], when), group, refused="ambiguous")
    other = next((each for each in groups if each.photos[0].project != group.photos[0].project), None)
    if other is not None:
        log.add(row(9006, chosen, _paths(other, 0)[1], when), group, refused="several-projects")
    log.add(row(9007, f"{OLD_ROOT}/nowhere/{Path(chosen).name}", [], when), group, refused="unknown-project")
    return log


def _select_crops(name: str, groups: Sequence[MadeGroup]) -> MadeLog:
    first = groups[1]
    head = ("session_id", "set_id", "directory", "image_count", "chosen_index", "chosen_path", *_BOX, "timestamp")
    # The header is as long as the first row needs, and longer rows stand under it.
    per_image = (f"{each}" for at in range(len(first.photos)) for each in _image_columns(at))
    log = MadeLog(name, (*head, *per_image))

    def row(
        at: int, group: MadeGroup, box: Sequence[str], *, has_sizes: bool = True, index: int | None = None
    ) -> list[str]:
        chosen, _ = _parted(group)
        images = [
            cell
            for photo in group.photos
            for cell in (_path(photo), _stage_word(photo), str(photo.width * has_sizes), str(photo.height * has_sizes))
        ]
        count, directory = str(len(group.photos)), f"{OLD_ROOT}/{chosen.project}"
        place = str(group.chosen if index is None else index)
        return [f"session-{at // 50}", f"set-{at}", directory, count, place, _path(chosen), *box, _when(at), *images]

    for at, group in enumerate(groups):
        if at % 2 == 1:
            chosen, _ = _parted(group)
            cells, crop = box_cells(chosen, as_fractions=at % 14 == 1)
            log.add(row(at, group, cells), group, crop)
    for at, (reason, cells_of) in enumerate(BROKEN_BOXES.items(), start=9000):
        is_sizeless = reason == "zero-size"
        log.add(row(at, first, cells_of(_parted(first)[0]), has_sizes=not is_sizeless), first, crop_refused=reason)
    assert first.chosen is not None
    wrong = (first.chosen + 1) % len(first.photos)
    box = box_cells(_parted(first)[0], as_fractions=False)[0]
    log.add(row(9100, first, box, index=wrong), first, refused="index-and-path-differ")
    return log


def _crops(name: str, groups: Sequence[MadeGroup], double: MadePhoto) -> MadeLog:
    log = MadeLog(name, ("timestamp", "project_id", "filename", *_BOX, "width", "height"))

    def row(at: int, photo: MadePhoto, box: Sequence[str], *, size: Sequence[int] = ()) -> list[str]:
        sizes = [str(side) for side in size or (photo.width, photo.height)]
        return [_when(at), photo.project, photo.name, *box, *sizes]

    for at, group in enumerate(groups):
        if at % 4 == 0:
            chosen, _ = _parted(group)
            cells, crop = box_cells(chosen, as_fractions=at % 28 == 4)
            log.add(row(at, chosen, cells), group, crop)
    group = groups[0]
    chosen, _ = _parted(group)
    for at, (reason, cells_of) in enumerate(BROKEN_BOXES.items(), start=9000):
        size = (0, 0) if reason == "zero-size" else ()
        log.add(row(at, chosen, cells_of(chosen), size=size), group, refused=reason)
    good = row(9100, chosen, box_cells(chosen, as_fractions=False)[0])
    log.add([good[0], "nowhere", *good[2:]], group, refused="unknown-project")
    log.add([*good[:2], "gone.png", *good[3:]], group, refused="unmatched")
    log.add([*good[:2], double.name, *good[3:]], group, refused="ambiguous")
    log.add(["2025-13-01", *good[1:]], group, refused="bad-time")
    return log


def _anomalies(name: str, groups: Sequence[MadeGroup]) -> MadeLog:
    columns = ("session_id", "set_id", "project", "chosen_stage", "max_rejected_stage", "chosen_path", "rejected_paths",
               "timestamp")  # fmt: skip
    log = MadeLog(name, columns)

    def row(at: int, group: MadeGroup) -> list[str]:
        chosen, others = _parted(group)
        highest = max(photo.stage or 0.0 for photo in others)
        path, rejected = _paths(group, at)
        stages = [f"{chosen.stage:g}", f"{highest:g}"]
        return [f"session-{at // 50}", f"set-{at}", chosen.project, *stages, path, str(rejected), _when(at)]

    planted = [(at, group) for at, group in enumerate(groups) if group.is_anomaly]
    for at, group in planted:
        log.add(row(at, group), group)
    normal = next(group for group in groups if not group.is_anomaly)
    log.add(row(9000, normal), normal, refused="no-anomaly")
    good = row(9001, normal if not planted else planted[0][1])
    broken = planted[0][1] if planted else normal
    log.add([*good[:6], "[__import__('os').getcwd()]", good[7]], broken, refused="bad-list")
    log.add([*good[:6], good[6][:-1], good[7]], broken, refused="bad-list")
    return log


def _historical(name: str, groups: Sequence[MadeGroup]) -> MadeLog:
    """Of a time when crops were not written down: its rows are selections and nothing else."""
    columns = ("session_id", "set_id", "directory", "image_count", "chosen_index", "chosen_path", *_BOX, "timestamp")
    log = MadeLog(name, (*columns, *(each for at in range(4) for each in _image_columns(at)[:2])))
    for at, group in enumerate(groups):
        if at % 5 == 0:
            chosen, _ = _parted(group)
            images = [cell for photo in group.photos for cell in (_path(photo), _stage_word(photo))]
            images += [""] * (8 - len(images))
            about = [f"{OLD_ROOT}/{chosen.project}", str(len(group.photos)), str(group.chosen), _path(chosen)]
            when = _when(at, is_old=True)
            log.add(["old", f"set-{at}", *about, "", "", "", "", when, *images], group, crop_refused="no-coordinates")
    return log


def _parted(group: MadeGroup) -> tuple[MadePhoto, list[MadePhoto]]:
    """The chosen photo of a group, and the others."""
    assert group.chosen is not None
    return group.photos[group.chosen], [photo for at, photo in enumerate(group.photos) if at != group.chosen]


def _paths(group: MadeGroup, at: int) -> tuple[str, list[str]]:
    """Paths of the chosen photo and of the others, under a project directory that is spelled in several ways."""
    chosen, others = _parted(group)
    ending = ("", "_raw", "_final")[at % 3]
    return _path(chosen, ending), [_path(photo, ending) for photo in others]


def _path(photo: MadePhoto, ending: str = "") -> str:
    return f"{OLD_ROOT}/{photo.project}{ending}/{photo.name}"


def _image_columns(at: int) -> tuple[str, str, str, str]:
    return f"image_{at}_path", f"image_{at}_stage", f"width_{at}", f"height_{at}"


def _stage_word(photo: MadePhoto) -> str:
    return "unknown" if photo.stage is None else f"stage{photo.stage:g}_{STAGES[photo.stage]}"


def _when(at: int, *, is_old: bool = False) -> str:
    moment: datetime = FIRST_TIME + timedelta(days=40, seconds=7 * at)
    return f"{moment:%Y%m%d_%H%M%S}" if is_old else f"{moment:%Y-%m-%dT%H:%M:%SZ}"
