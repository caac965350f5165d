"""GENERATED frames as files, and their ratings as the CSV that an import takes."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from pathlib import Path

from ml.demo.sky import Frame, render, to_jpeg

_COLUMNS = (
    "image", "webcam", "phase", "captured_at", "rating", "rater", "title", "lat", "lng", "region", "label_source",
)  # fmt: skip
Rated = tuple[Frame, str, int | None]
"""A frame, who rated it and how (0 is "not a sunset"); None is no rating."""


def frame_name(frame: Frame) -> str:
    """The name of a frame's file."""
    return f"{frame.webcam.id}_{frame.captured_at:%Y%m%dT%H%M%S}.jpg"


def place_and_time(frame: Frame) -> dict[str, str]:
    """What `POST /v1/score` is told of a frame."""
    return {"source": "windy", "webcam": frame.webcam.id, "phase": frame.phase,
            "captured_at": frame.captured_at.isoformat()}  # fmt: skip


def draw_frames(folder: Path, frames: Iterable[Frame]) -> None:
    """Draw frames into a folder that is made here."""
    folder.mkdir()
    for frame in frames:
        (folder / frame_name(frame)).write_bytes(to_jpeg(render(frame)))


def write_labels(table: Path, rated: Iterable[Rated]) -> None:
    """Write the CSV that an import takes: one row a rating."""
    with table.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(_COLUMNS)
        for frame, rater, rating in rated:
            cam = frame.webcam
            writer.writerow((frame_name(frame), cam.id, frame.phase, frame.captured_at.isoformat(),
                             "" if rating is None else rating, rater, cam.title, cam.lat, cam.lng, cam.region,
                             "generated"))  # fmt: skip
