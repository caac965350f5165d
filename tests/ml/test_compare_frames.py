"""Frames of two windows are compared by what is seen on them, and by nothing that their webcams always had."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from ml.compare_frames import BEFORE, COLUMNS, LATE, compare_frames
from ml.features.handmade import NAMES
from ml.images.store import FileStore
from ml.manifest import ManifestError
from tests.ml.brightness import image

WEBCAMS, DAYS = 3, 6


def _compare(folder: Path, brighter: float) -> dict[str, object]:
    """A frame a day of webcams that differ; those of the late window are brighter by so much."""
    store = FileStore(str(folder / "store"))
    rows: list[tuple[object, ...]] = []
    for window, more in ((BEFORE, 0.0), (LATE, brighter)):
        for webcam in range(WEBCAMS):
            for day in range(DAYS):
                brightness = 0.2 + 0.02 * webcam + 0.02 * (day % 3) + more
                sha256 = store.put_image(image(brightness, len(rows)))
                rows.append((window, len(rows), webcam, f"{window} {day}", sha256))
    rows.append((LATE, len(rows), 99, "late 0", rows[0][-1]))
    frames = folder / "frames.csv"
    with frames.open("w", newline="") as opened:
        csv.writer(opened).writerows([COLUMNS, *rows])
    return compare_frames(frames, store, folder / "cache")


def test_brighter_frames_are_drift_and_other_webcams_are_none(tmp_path: Path) -> None:
    found = _compare(tmp_path, 0.3)
    assert (found["known"], found["drift"]) == (True, True)
    assert (found["n_reference"], found["n_current"], found["n_webcams"]) == (18, 18, 3)
    names = [each["name"] for each in found["features"]]  # type: ignore[attr-defined]
    assert len(names) == 5
    assert set(names) <= set(NAMES)
    assert any("luma" in name for name in names)
    assert found["mix"]["new_share"] == pytest.approx(1 / 19)  # type: ignore[index]


def test_frames_that_look_the_same_are_no_drift(tmp_path: Path) -> None:
    found = _compare(tmp_path, 0.0)
    assert (found["known"], found["drift"]) == (True, False)
    assert found["p_value"] > 0.05  # type: ignore[operator]


def test_without_frames_nothing_is_known_and_a_damaged_file_is_refused(tmp_path: Path) -> None:
    frames, store = tmp_path / "frames.csv", FileStore(str(tmp_path / "store"))
    frames.write_text(",".join(COLUMNS) + "\n")
    assert compare_frames(frames, store, None)["known"] is False
    frames.write_text(frames.read_text() + "now,1,2,2026-01-01,ab\n")
    with pytest.raises(ManifestError, match="cannot read the frames"):
        compare_frames(frames, store, None)
