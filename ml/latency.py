"""How long a model takes for one image: measured side by side with another in one process, since machines differ.

Decoding and resizing count: it is what a served image costs.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ml.inference import Scorer

MAX_IMAGES, ROUNDS, WARM_UPS = 5, 5, 2
MODEL, ACTIVE = "model", "active"


def measure_latency(model: Scorer, active: Scorer | None, images: Sequence[bytes]) -> dict[str, Any]:
    """Time both models, in turn, on a few encoded images, each with a single thread.

    Returns:
        `images` and `measurements` (of each model), `threads` (1), `model_ms` and `active_ms`, medians, with
        `model_quartiles_ms` and `active_quartiles_ms`, and `ratio`, the model's median over the active one's. Those of
        the active are null where there is none.
    """
    scorers = {MODEL: Scorer(model.bundle, threads=1)}
    if active is not None:
        scorers[ACTIVE] = Scorer(active.bundle, threads=1)
    chosen = images[:MAX_IMAGES]
    took: dict[str, list[float]] = {name: [] for name in scorers}
    for turn in range(WARM_UPS + ROUNDS):
        for data in chosen:
            for name, scorer in scorers.items():
                started = time.perf_counter()
                scorer.score_image(data)
                if turn >= WARM_UPS:
                    took[name].append(1000.0 * (time.perf_counter() - started))
    return {"images": len(chosen), "measurements": len(took[MODEL]), "threads": 1, **_medians(took)}


def _medians(took: Mapping[str, Sequence[float]]) -> dict[str, Any]:
    found: dict[str, Any] = {"ratio": None}
    for name in (MODEL, ACTIVE):
        quartiles = [float(each) for each in np.percentile(took[name], (25, 50, 75))] if name in took else None
        found[f"{name}_ms"] = None if quartiles is None else quartiles[1]
        found[f"{name}_quartiles_ms"] = None if quartiles is None else [quartiles[0], quartiles[2]]
    if found["active_ms"]:
        found["ratio"] = found["model_ms"] / found["active_ms"]
    return found
