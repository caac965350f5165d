"""The verb `compare_frames`: whether the frames of late look as those before did, by their hand-made features.

    python -m ml.compare_frames --frames FILE --store URL [--cache DIR]

It writes no file: its result is what `ml.drift.input_drift` finds.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ml.drift import Frames, input_drift
from ml.events import Progress, run_verb
from ml.features.handmade import NAMES
from ml.images.store import FileStore
from ml.manifest import ManifestError
from ml.scored_rows import num_threads
from ml.training.recipe import HANDMADE, Recipe

BEFORE, LATE = "before", "late"
COLUMNS = ("window", "snapshot_id", "webcam_id", "day", "image_sha256")


def compare_frames(frames: Path, store: FileStore, cache: Path | None) -> dict[str, Any]:
    """Drift of the features of frames.

    Args:
        frames: CSV of `COLUMNS`; `window` is `before` or `late`.
        store: has the images.
        cache: directory of cached features; None computes them anew.

    Raises:
        ManifestError: The file is damaged, or an image cannot be had.
    """
    rows = _read(frames)
    features: dict[str, np.ndarray] = {}
    if rows:
        from ml.training.frozen import image_features  # loads torch

        owners = {row["image_sha256"]: int(row["snapshot_id"]) for row in rows}
        features = image_features(Recipe(backbone=HANDMADE, threads=num_threads()), store, owners, cache, Progress())
    before, late = (_frames([row for row in rows if row["window"] == window], features) for window in (BEFORE, LATE))
    return input_drift(before, late, NAMES)


def _read(path: Path) -> list[dict[str, str]]:
    try:
        with path.open(newline="", encoding="utf-8") as opened:
            rows = list(csv.DictReader(opened))
        for row in rows:
            int(row["webcam_id"]), int(row["snapshot_id"])
            if row["window"] not in (BEFORE, LATE) or not row["day"] or not row["image_sha256"]:
                raise ValueError(f"a row is {row}")
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise ManifestError(f"cannot read the frames {path}: {error!r}") from error
    return rows


def _frames(rows: Sequence[dict[str, str]], features: dict[str, np.ndarray]) -> Frames:
    values = [features[row["image_sha256"]] for row in rows]
    return Frames(
        np.array(values, dtype=np.float64).reshape(len(rows), len(NAMES)),
        np.array([int(row["webcam_id"]) for row in rows], dtype=np.int64),
        [row["day"] for row in rows],
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Read the command line and compare; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m ml.compare_frames", description="Compare frames of two windows.")
    parser.add_argument("--frames", required=True, type=Path, help=f"CSV {', '.join(COLUMNS)}")
    parser.add_argument("--store", required=True, help="address of the image store")
    parser.add_argument("--cache", type=Path, help="directory of cached features")
    given = parser.parse_args(arguments)
    return run_verb(lambda: compare_frames(given.frames, FileStore(given.store), given.cache))


if __name__ == "__main__":
    sys.exit(main())
