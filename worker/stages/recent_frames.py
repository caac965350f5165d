"""How the frames that were kept of late look beside those kept before: drift of what comes in, whatever a version says."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from db.engine import session_scope
from db.queries.scored_windows import frames_between
from ml.compare_frames import BEFORE, COLUMNS, LATE
from ml.images.store import FileStore
from worker.jobs import JobContext
from worker.places import feature_cache
from worker.training_process import run_verb


def recent_frames(
    context: JobContext, store: FileStore, windows: Sequence[str], directory: Path, span: tuple[float, float]
) -> dict[str, Any]:
    """What `ml.drift.input_drift` finds between two windows that follow each other.

    Args:
        context: of the job.
        store: has the images; a frame whose image it lost is left out.
        windows: three moments, ISO 8601: the start of the one, of the other, and its end.
        directory: of this attempt.
        span: of the job's progress.
    """
    start, middle, end = (datetime.fromisoformat(each) for each in windows)
    frames = directory / "frames.csv"
    with session_scope() as session, frames.open("w", newline="", encoding="utf-8") as opened:
        writer = csv.writer(opened, lineterminator="\n")
        writer.writerow(COLUMNS)
        for window, since, until in ((BEFORE, start, middle), (LATE, middle, end)):
            for row in frames_between(session, since, until):
                if store.has_image(row[-1]):
                    writer.writerow((window, *row))
    arguments = ["--frames", str(frames), "--store", store.url, "--cache", str(feature_cache())]
    return run_verb(context, "ml.compare_frames", arguments, directory / "compare_frames.log", span)
