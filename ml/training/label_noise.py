"""What a model learns from labels whose noise is known: means freed of the raters' biases, each with its precision.

Targets are never shrunk: a model's conditional mean shrinks already, and twice loses the top end. Validation metrics,
calibration, thresholds and evaluation stay against the plain labels, which are what people said.

Legend: N items, one a row of the manifest that is in a split.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ml.judgements.base import Judgement
from ml.manifest import ManifestRow
from ml.noise import Labels, NoiseUnknown, Ratings, estimate_noise, labels_of, precision_weights
from ml.training.dataset import Items

LABELS_FILE = "labels.csv"
AUTO, OFF = "auto", "off"
ROUNDING = 0.006
"""Labels have two decimals; what is farther from the mean of its votes was not made of these votes."""


def with_label_noise(
    items: Items, rows: Sequence[ManifestRow], kind: Judgement, head: str, ratings: Ratings | None, mode: str = AUTO
) -> tuple[Items, dict[str, Any]]:
    """The items with what the loss compares with and its weights; and what was done and why, for training.json.

    Biases and noise are estimated on the votes of train and val rows alone; the votes of test rows, which only the
    folds of a K-fold learn from, are freed of these biases. An item whose label is not the mean of its votes (a seed)
    keeps its label and weight 1, the mean weight. `tau_res` is taken to be `tau_mu`, as no model is known yet, which
    keeps weights nearer to equal than they might be.

    Args:
        items: as `load_items` made them.
        rows: the manifest.
        kind: says what its head learns from votes.
        head: the head that is trained.
        ratings: raw verdicts behind the labels; None where none were given.
        mode: `auto`, or `off` for plain labels.
    """
    if mode == OFF:
        return items, _plain("the recipe says label_noise: off, so all labels count alike")
    if ratings is None:
        return items, _plain("no raw ratings were given, so the noise of the labels is unknown and all count alike")
    pool = items.snapshot_ids[items.rows("train", "val")]
    noise = estimate_noise(ratings.of(pool))
    if isinstance(noise, NoiseUnknown):
        return items, _plain(f"{noise.reason}; so all labels count alike")
    votes = labels_of(noise, ratings.of(items.snapshot_ids))
    voted = kind.targets_from_votes(noise, votes, head)
    if voted is None:
        return items, _plain(f"the {head} head of {kind.name} does not learn from stars, so all labels count alike")
    place, known = _places(items, rows, votes)
    learned, weights = items.learned.copy(), items.weights.copy()
    learned[place] = voted.targets[known]
    if voted.is_weighted:
        num_verdicts = np.unique(ratings.of(items.snapshot_ids).snapshot_ids, return_counts=True)[1]
        # A mean is as precise as its stars are many: who said "not a sunset" and was outvoted gave none.
        behind = np.where(votes.is_rated, votes.counts, num_verdicts)
        weights[place] = precision_weights(behind[known], noise.sigma_w, noise.tau_mu)
    told = {
        "used": True,
        "sigma_w": noise.sigma_w,
        "tau_mu": noise.tau_mu,
        "num_raters": len(noise.raters),
        "num_ratings": noise.num_ratings,
        "num_corrected": len(place),
        "num_plain": len(items) - len(place),
        "weights": [float(weights.min()), float(weights.max())],
        "sentence": f"{len(place)} of {len(items)} labels are learned {voted.how}; {len(items) - len(place)} have no "
        f"votes behind them and count as before. One rating is off by {noise.sigma_w:.2f} stars ({len(noise.raters)} "
        f"raters, {noise.num_ratings} ratings of train and val rows)",
    }
    taught = np.asarray(kind.encode(learned, head), dtype=np.float32)
    return replace(items, learned=learned, taught=taught, weights=weights), told


def _plain(reason: str) -> dict[str, Any]:
    return {"used": False, "sentence": reason}


def _places(items: Items, rows: Sequence[ManifestRow], votes: Labels) -> tuple[np.ndarray, np.ndarray]:
    """Indices of the items whose label is made of their votes, and of these among the votes."""
    values = {row.snapshot_id: row.label_value for row in rows}
    place_of = {int(snapshot): place for place, snapshot in enumerate(votes.snapshot_ids)}
    found = [
        (place, place_of[int(snapshot)])
        for place, snapshot in enumerate(items.snapshot_ids)
        if int(snapshot) in place_of
        and abs(float(votes.means[place_of[int(snapshot)]]) - float(values[int(snapshot)] or 0.0)) < ROUNDING
    ]
    pairs = np.array(found, dtype=np.int64).reshape(-1, 2)
    return pairs[:, 0], pairs[:, 1]


def write_labels(path: Path, items: Items) -> None:
    """One line an item, `labels.csv`: what it was learned as, on the target's scale, and its weight in the loss."""
    with path.open("w", encoding="utf-8", newline="") as opened:
        writer = csv.writer(opened, lineterminator="\n")
        writer.writerow(("snapshot_id", "target", "weight"))
        for snapshot, target, weight in zip(items.snapshot_ids, items.learned, items.weights, strict=True):
            writer.writerow((int(snapshot), float(target), float(weight)))
