"""Whether a model tells the better frames of one webcam from the worse ones, which webcams' averages cannot.

Ranks over all rows are high already for one who knows which webcams see good skies. Here ranks are compared only with
ranks of the same webcam.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ml import report as reports
from ml.evaluated import Evaluated
from ml.metrics import once, spearman

MIN_ROWS = 5
"""Rows of a webcam from which on it counts: ranks of fewer are mostly chance."""
MIN_WEBCAMS = 2
"""Webcams that an interval can be drawn from."""


def within_webcam(part: Evaluated, replicates: int) -> dict[str, Any]:
    """Spearman's rank correlation of scores and labels within a webcam, averaged over webcams.

    Webcams count that have MIN_ROWS rows or more, and labels that differ; each weighs as much as it has rows. One that says the
    same of all frames of a webcam ranks nothing there, which counts as 0. Out of fold so does one whose scores differ only
    between folds (the mean of a webcam's other days is low on its best day, so left alone it would rank backwards).
    Intervals are 95 % percentiles of a bootstrap that draws whole webcams, the same for everyone; they do not tell how
    uncertain the ranks within one webcam are.

    Returns:
        `known`; where it is false the `reason` in words, else `n` rows, `n_webcams`, `n_left_out` (other webcams),
        `metric`, and `rows`: for everyone `name`, `role`, `value`, `interval`, and for all but the model `difference`, the
        model less the other, paired, with `difference_interval`.
    """
    webcams = np.array([row.webcam_id for row in part.rows])
    targets = part.targets
    counted = [
        places
        for webcam in np.unique(webcams)
        if len(places := np.flatnonzero(webcams == webcam)) >= MIN_ROWS and np.ptp(targets[places]) > 0.0
    ]
    if len(counted) < MIN_WEBCAMS:
        few = "no webcam has" if not counted else "only one webcam has"
        return {"known": False, "reason": f"{few} {MIN_ROWS} rows or more with labels that differ"}
    sizes = np.array([len(places) for places in counted], dtype=np.float64)
    names = [str(number) for number in range(len(counted))]
    drawn = np.concatenate(list(reports.draws(names, replicates, reports.SEED))) * sizes
    point, sample = {}, {}
    for entry in part.entries:
        ranks = np.array([_rank(entry.scores[places], targets[places]) for places in counted])
        if not _tells_frames_apart(part, entry.scores, webcams):
            ranks[:] = 0.0
        point[entry.name], sample[entry.name] = float(ranks @ sizes / sizes.sum()), drawn @ ranks / drawn.sum(axis=1)
    model = next(entry.name for entry in part.entries if entry.role == reports.MODEL)
    rows = []
    for entry in part.entries:
        row: dict[str, Any] = {
            "name": entry.name, "role": entry.role, "value": point[entry.name],
            "interval": reports.interval(sample[entry.name]),
        }  # fmt: skip
        if entry.remark:
            row["remark"] = entry.remark
        elif entry.name != model:
            row["difference"] = point[model] - point[entry.name]
            row["difference_interval"] = reports.interval(sample[model] - sample[entry.name])
        rows.append(row)
    return {
        "known": True, "metric": "spearman", "n": int(sizes.sum()), "n_webcams": len(counted),
        "n_left_out": len(np.unique(webcams)) - len(counted), "rows": rows,
    }  # fmt: skip


def _rank(scores: np.ndarray, targets: np.ndarray) -> float:
    """Rank correlation of one webcam's scores and labels, each (N,); 0 where all scores are equal."""
    found = float(spearman(scores, targets, once(len(scores)))[0])
    return found if np.isfinite(found) else 0.0


def _tells_frames_apart(part: Evaluated, scores: np.ndarray, webcams: np.ndarray) -> bool:
    """Whether scores (N,) differ between frames of one webcam that were scored by one fit."""
    folds = (
        np.zeros(len(scores)) if part.folds is None else np.array([part.folds[row.snapshot_id] for row in part.rows])
    )
    cell = np.unique(np.stack([webcams, folds]), axis=1, return_inverse=True)[1].ravel()
    lowest, highest = np.full(cell.max() + 1, np.inf), np.full(cell.max() + 1, -np.inf)
    np.minimum.at(lowest, cell, scores)
    np.maximum.at(highest, cell, scores)
    return bool((highest > lowest).any())
