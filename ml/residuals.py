"""Residuals, score minus label: how far off, in which direction, beside the best baseline on the same rows.

Legend: N rows, B replicates. All is on the scale of the targets.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ml.report import SEED, draws, interval

NUM_BINS = 20
"""Bars from no error to the scale's whole width, to each side."""
QUANTILES = (5, 25, 50, 75, 95)


def residuals(
    targets: np.ndarray,
    model: np.ndarray,
    baseline: tuple[str, np.ndarray] | None,
    group_ids: Sequence[str],
    score_range: tuple[float, float],
    replicates: int,
) -> dict[str, Any]:
    """Bias with interval, quantiles and a histogram of the model's residuals, and the same of the best baseline.

    Args:
        targets: float (N,).
        model: its scores, float (N,).
        baseline: name and scores of the best baseline; None where there is none to compare with.
        group_ids: of the rows, for intervals.
        score_range: smallest and largest possible score: it gives the bars their width.
        replicates: of the bootstrap.
    """
    width = (score_range[1] - score_range[0]) / NUM_BINS
    mine = model - targets
    theirs = baseline[1] - targets if baseline is not None else None
    place = np.floor(mine / width + 1e-9).astype(int)
    others = np.floor(theirs / width + 1e-9).astype(int) if theirs is not None else place
    bins = range(int(min(place.min(), others.min())), int(max(place.max(), others.max())) + 1)
    both = np.stack([mine] if theirs is None else [mine, theirs], axis=1)
    drawn = np.concatenate(
        [each @ both / each.sum(axis=1, keepdims=True) for each in draws(group_ids, replicates, SEED)]
    )
    found: dict[str, Any] = {
        "n": len(targets),
        "n_groups": len(set(group_ids)),
        "model": _facts(mine, drawn[:, 0]),
        "baseline": None,
        "histogram": [
            {"low": step * width, "high": (step + 1) * width, "n": int((place == step).sum()),
             "n_baseline": None if theirs is None else int((others == step).sum())}
            for step in bins
        ],
    }  # fmt: skip
    if baseline is not None and theirs is not None:
        found["baseline"] = {"name": baseline[0], **_facts(theirs, drawn[:, 1])}
    return found


def _facts(values: np.ndarray, drawn: np.ndarray) -> dict[str, Any]:
    """Of residuals (N,) and their mean under replicates (B,)."""
    quantiles = np.percentile(values, QUANTILES)
    return {
        "bias": float(values.mean()),
        "bias_interval": interval(drawn),
        "sd": float(values.std()),
        "quantiles": {str(q): float(value) for q, value in zip(QUANTILES, quantiles, strict=True)},
    }
