"""Coverage: of the frames that were to be scored, how many were, and why the others were not.

Legend: W webcams with attempts, O outcomes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ml.metrics import wilson
from ml.report import SEED, draws, interval

REPLICATES = 500
Attempts = Mapping[tuple[int | None, str], int]
"""(webcam, outcome) -> how many; a frame of no webcam has None."""


def coverage(current: Attempts, reference: Attempts) -> dict[str, Any]:
    """Shares of the outcomes of now, each beside its share of before.

    Returns:
        `n` attempts, `n_webcams`, `n_reference`, and `outcomes`, the most frequent first: `outcome`, `n`, `share`, its 95 %
        `interval` by webcam (webcams are drawn whole; null where there is but one), `wilson` of independent attempts, and
        `reference`, the share of before or null.
    """
    outcomes = sorted({outcome for _, outcome in (*current, *reference)})
    webcams = list(dict.fromkeys(webcam for webcam, _ in current))
    counts = np.array([[current.get((webcam, each), 0) for each in outcomes] for webcam in webcams], dtype=np.float64)
    n, before = sum(current.values()), sum(reference.values())
    found: list[dict[str, Any]] = []
    for place, outcome in enumerate(outcomes):
        hits = int(counts[:, place].sum()) if n else 0
        past = sum(number for (_, each), number in reference.items() if each == outcome)
        found.append(
            {"outcome": outcome, "n": hits, "share": hits / n if n else None,
             "interval": _by_webcam(counts, place, webcams),
             "wilson": [float(end) for end in wilson(hits, n)] if n else None,
             "reference": past / before if before else None}
        )  # fmt: skip
    found.sort(key=lambda each: each["outcome"])
    found.sort(key=lambda each: each["n"], reverse=True)
    return {"n": n, "n_webcams": len(webcams), "n_reference": before, "outcomes": found}


def _by_webcam(counts: np.ndarray, place: int, webcams: Sequence[int | None]) -> list[float] | None:
    if len(webcams) < 2:
        return None
    names = [str(webcam) for webcam in webcams]
    shares = [(part @ counts[:, place]) / (part @ counts.sum(axis=1)) for part in draws(names, REPLICATES, SEED)]
    return interval(np.concatenate(shares))
