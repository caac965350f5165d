"""The threshold that a recipe asks for, chosen on the rows that the calibration was fitted on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ml.manifest import ManifestRow
from ml.threshold_fit import Asked, HeldOut, fit_policy
from ml.training.learner import Learner
from ml.training.outoffold import Calibrated


def choose_threshold(learner: Learner, calibrated: Calibrated, rows: Sequence[ManifestRow]) -> dict[str, Any]:
    """The threshold policy of a run; `rows` is its manifest."""
    recipe = learner.recipe
    asked = Asked(
        recipe.threshold, recipe.threshold_precision, recipe.cost_false_positive, recipe.cost_false_negative,
        recipe.budget_per_day, recipe.frames_per_day or Asked.frames_per_day,
    )  # fmt: skip
    by_snapshot = {row.snapshot_id: row for row in rows}
    used = [by_snapshot[int(snapshot)] for snapshot in learner.items.snapshot_ids[calibrated.rows]]
    named = learner.named(calibrated.outputs, calibrated.calibration)
    held_out = HeldOut(used, named, calibrated.calibration.fitted_on) if used else None
    return fit_policy(asked, learner.kind.threshold_policy(recipe.head, learner.scale), held_out)
