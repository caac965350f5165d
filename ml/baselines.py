"""Baselines: what the predictors that need no model reach on the same rows. A kind says which; here is on what."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ml.judgements.base import Judgement
from ml.manifest import ManifestRow


def baseline_scores(
    judgement: Judgement, learned: Sequence[ManifestRow], rows: Sequence[ManifestRow], head: str
) -> dict[str, np.ndarray]:
    """Name -> scores (len(rows),), fitted on the rows that the model learned from (train and val)."""
    return judgement.baselines(learned, rows, head)


def baseline_scores_out_of_fold(
    judgement: Judgement, rows: Sequence[ManifestRow], folds: np.ndarray, head: str
) -> dict[str, np.ndarray]:
    """Name -> scores (N,) where each fold's come from baselines fitted on the other folds, as the model's do.

    A baseline that one fold lacks (say, no webcam of it is known) falls back there to the kind's first one.
    """
    found: dict[str, np.ndarray] = {}
    order: list[str] = []
    parts = []
    for fold in np.unique(folds):
        inside = np.flatnonzero(folds == fold)
        others = [rows[index] for index in np.flatnonzero(folds != fold)]
        part = judgement.baselines(others, [rows[index] for index in inside], head)
        parts.append((inside, part))
        order += [name for name in part if name not in order]
    for name in order:
        scores = np.empty(len(rows), dtype=np.float64)
        for inside, part in parts:
            scores[inside] = part.get(name, next(iter(part.values())))
        found[name] = scores
    return found
