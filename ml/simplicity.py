"""How simple a predictor is: when two are equally good, the simpler one stays.

The order is that of what has to be trusted and kept running: a number, a table of means, one curve, a line on named
features, trees on them, a line on what a network saw, a network that was trained.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ml import baselines
from ml.training.recipe import HANDMADE

ORDER = (
    "a constant", "means by webcam or time", "one hand-made feature", "a line on hand-made features",
    "boosted trees on hand-made features", "a head on frozen features", "a fine-tuned network",
)  # fmt: skip
"""From simple to complex; a predictor's place in it is its index."""
_OF_BASELINE = {baselines.TIME: 1, baselines.SINGLE: 2, baselines.RIDGE: 3, baselines.BOOSTING: 4, baselines.FROZEN: 5}


def place_of_baseline(name: str, scores: np.ndarray) -> int:
    """Place of a baseline; one that a kind brought along is a constant or a table of means."""
    return _OF_BASELINE.get(name, 0 if np.ptp(scores) == 0.0 else 1)


def place_of_model(recipe: Mapping[str, Any] | None) -> int:
    """Place of a model, by the keys of its recipe; the last where nobody knows it."""
    if recipe is None or recipe.get("trainable") != "head":
        return len(ORDER) - 1
    return 3 if recipe.get("backbone") == HANDMADE else 5
