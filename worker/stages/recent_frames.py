"""How the frames that were kept of late look beside those kept before: drift of what comes in.

The gate of the version that serves chooses what is kept, so a promotion or another threshold moves these frames too.
"""

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
from worker.stages.readable import is_readable
from worker.training_process import run_verb


def recent_frames(
    context: JobContext, store: FileStore, windows: Sequence[str], directory: Path, span: tuple[float, float]
) -> dict[str, Any]:
    """What `ml.drift.input_drift` finds between two windows that follow each other, and how many frames were `unreadable`.

    Args:
        context: of the job.
        store: has the images; a frame whose image is missing or damaged is left out, since it judges nothing.
        windows: three moments, ISO 8601: the start of the one, of the other, and its end.
        directory: of this attempt.
        span: of the job's progress.
    """
    start, middle, end = (datetime.fromisoformat(each) for each in windows)
    frames, unreadable = directory / "frames.csv", 0
    with session_scope() as session, frames.open("w", newline="", encoding="utf-8") as opened:
        writer = csv.writer(opened, lineterminator="\n")
        writer.writerow(COLUMNS)
        for window, since, until in ((BEFORE, start, middle), (LATE, middle, end)):
            for row in frames_between(session, since, until):
                if is_readable(store, row[-1]):
                    writer.writerow((window, *row))
                else:
                    unreadable += 1
    arguments = ["--frames", str(frames), "--store", store.url, "--cache", str(feature_cache())]
    found = run_verb(context, "ml.compare_frames", arguments, directory / "compare_frames.log", span)
    return found | {"unreadable": unreadable}
