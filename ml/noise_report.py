"""What a report says of its labels' noise: raters, floor and ceiling, and whether a result is too good to be true.

Legend: I items, N rows of a table.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ml import metrics
from ml.judgements.base import Judgement
from ml.manifest import ManifestRow
from ml.noise import Noise, NoiseUnknown, Ratings, estimate_noise, probability_good
from ml.noise_floor import expected_error, expected_error_of_votes, pearson_ceiling
from ml.report import SEED, draws, interval

NO_RATINGS = "the raw ratings behind the labels were not given, so the noise of the raters is unknown"
NOT_IN_STARS = "this head's errors are not in stars, so no floor is given for them"
MAX_RATERS_LISTED = 200
"""Those with the most ratings; a report must stay readable."""
_ROUNDED = 0.0051
"""Labels have two decimals."""
FOR_FLOOR = 5
"""Fewest rows for a floor."""


@dataclass(frozen=True)
class Judged:
    """Rows of one table and the model's scores of them."""

    rows: Sequence[ManifestRow]
    scores: np.ndarray
    """float (N,), on the scale of the targets."""


def noise_content(
    ratings: Ratings | None,
    kept: Sequence[ManifestRow],
    judgement: Judgement,
    head: str,
    parts: Mapping[str, Judged],
    replicates: int,
) -> dict[str, Any]:
    """The report's `noise`: raters and sigma from all kept rows, floor and ceiling for the rows of each table.

    `known` is false where nothing could be estimated, and `reason` says why.
    """
    if ratings is None:
        return {"known": False, "reason": NO_RATINGS}
    found = estimate_noise(ratings.of([row.snapshot_id for row in kept]))
    if isinstance(found, NoiseUnknown):
        return {"known": False, "reason": found.reason}
    content = _facts(found, judgement)
    unit = judgement.stars_per_target(head)
    if unit is None or "mae" not in {spec.name for spec in judgement.metrics(head)}:
        return {**content, "reason": NOT_IN_STARS, "subsets": {}}
    tables = {name: _table(found, part, unit, replicates) for name, part in parts.items()}
    return {**content, "reason": None, "subsets": {name: each for name, each in tables.items() if each is not None}}


def _facts(noise: Noise, judgement: Judgement) -> dict[str, Any]:
    order = np.argsort(-noise.rater_counts, kind="stable")[:MAX_RATERS_LISTED]
    content: dict[str, Any] = {
        "known": True,
        "sigma_w": noise.sigma_w,
        "sigma_w_interval": list(noise.sigma_w_interval),
        "tau_mu": noise.tau_mu,
        "n_raters": len(noise.raters),
        "n_ratings": noise.num_ratings,
        "n_items": int(noise.labels.is_rated.sum()),
        "n_items_with_two": noise.num_repeated,
        "verdict_disagreement": noise.verdict_disagreement,
        "raters": [
            {"rater": noise.raters[at], "n": int(noise.rater_counts[at]), "bias": float(noise.biases[at])}
            for at in order
        ],
    }
    if judgement.good_from is not None:
        good = probability_good(noise, noise.labels, judgement.good_from)
        called = noise.labels.is_rated & (noise.labels.means >= judgement.good_from)
        content["is_good_expected_wrong"] = float(np.where(called, 1.0 - good, good).mean())
    return content


def _table(noise: Noise, judged: Judged, unit: float, replicates: int) -> dict[str, Any] | None:
    """Floor and ceiling of one table's rows; None where too few of them have known noise."""
    labels = noise.labels
    if len(labels.snapshot_ids) == 0:
        return None
    asked = np.array([row.snapshot_id for row in judged.rows], dtype=np.int64)
    values = np.array([math.nan if row.label_value is None else row.label_value for row in judged.rows])
    at = np.minimum(np.searchsorted(labels.snapshot_ids, asked), len(labels.snapshot_ids) - 1)
    # A label from elsewhere (a seed, votes that were changed since) has another value, and its noise is not known.
    used = (labels.snapshot_ids[at] == asked) & (np.abs(labels.means[at] - values) < _ROUNDED)
    if used.sum() < FOR_FLOOR:
        return None
    at = at[used]
    counts, mean_bias = labels.counts[at], labels.mean_bias[at]
    rows = [row for row, is_used in zip(judged.rows, used, strict=True) if is_used]
    targets = np.array([row.target_label for row in rows], dtype=np.float64)
    low, high = noise.sigma_w_interval
    floors = [float(expected_error(counts, mean_bias, sigma).mean()) / unit for sigma in (noise.sigma_w, low, high)]
    of_votes = [
        float(expected_error_of_votes(noise, counts, sigma).mean()) / unit for sigma in (noise.sigma_w, low, high)
    ]
    error = metrics.mae(judged.scores[used], targets, metrics.once(len(targets)))
    drawn = [
        metrics.mae(judged.scores[used], targets, weights)
        for weights in draws([row.group_id for row in rows], replicates, SEED)
    ]
    bounds = interval(np.concatenate(drawn))
    lowest = [min(pair) for pair in zip(floors, of_votes, strict=True)]
    ceiling = pearson_ceiling(counts, mean_bias, targets * unit, noise.sigma_w)
    return {
        "n": len(rows),
        "n_left_out": len(judged.rows) - len(rows),
        "mean_ratings": float(counts[counts > 0].mean()) if (counts > 0).any() else 0.0,
        "mae_floor": floors[0],
        "mae_floor_interval": floors[1:],
        "mae_floor_bias_corrected": float(expected_error(counts, np.zeros(len(counts)), noise.sigma_w).mean()) / unit,
        "mae_floor_of_votes": of_votes[0],
        "mae_lowest": lowest[0],
        "mae_lowest_interval": lowest[1:],
        "pearson_ceiling": ceiling if math.isfinite(ceiling) else None,
        "mae_model": float(error[0]),
        "mae_model_interval": bounds,
        "better_than_floor": bool(bounds is not None and bounds[1] < lowest[1]),
    }


def noise_sentence(model: str, content: Mapping[str, Any], subset: str) -> str:
    """What the noise means for a table's figures, for people."""
    if not content["known"]:
        return f"the floor of the error is unknown: {content['reason']}"
    who = (
        f"one rating is off by {content['sigma_w']:.2f} stars (SD, {content['n_raters']} raters, "
        f"{content['n_items_with_two']} items with two or more)"
    )
    table = content["subsets"].get(subset)
    if table is None:
        return f"{who}; {content['reason'] or 'too few of these rows have ratings for a floor of the error'}"
    low, high = table["mae_floor_interval"]
    floor = f"{table['mae_floor']:.3f}, 95 % interval {low:.3f} to {high:.3f}"
    least_possible = "{:.3f}, {:.3f} to {:.3f}".format(table["mae_lowest"], *table["mae_lowest_interval"])
    mine, (least, most) = table["mae_model"], table["mae_model_interval"]
    if table["better_than_floor"]:
        return (
            f"{model} is too good: its MAE of {mine:.3f} (95 % interval {least:.3f} to {most:.3f}) lies below what the "
            f"noise of the raters allows ({least_possible}) on {table['n']} rows. That is a leak, not a success: look for "
            "near-duplicates across splits, or for labels that the model was given"
        )
    ceiling = "" if table["pearson_ceiling"] is None else f", nor a correlation above {table['pearson_ceiling']:.3f}"
    return (
        f"{who}: an oracle that says every true rating has a MAE of {floor}, on these labels; no honest model, even one "
        f"that knows how people round, can have a MAE below {least_possible}{ceiling}; {model} has {mine:.3f} on "
        f"{table['n']} rows"
    )
