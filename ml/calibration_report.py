"""What a report says of calibration: whether labels follow the numbers that the model gives.

Legend: N rows, B replicates. Values and labels, float (N,), are on one scale: the targets', or 0..1 for a probability.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ml.bundle import Bundle
from ml.curves import score_of_raw
from ml.evaluated import Evaluated
from ml.judgements.base import Judgement
from ml.metrics import once, wilson
from ml.report import SEED, draws, interval
from ml.thresholds import GOOD_OUTPUT

NUM_BUCKETS = 10
"""Of equal width, in the table: what a score of so much means."""
CHANCE_DRAWS = 400
"""Of random signs, for the calibration error by chance."""
NUM_BINS = 15
"""Of equally many rows, in the expected calibration error."""
REPLICATES = 500
"""A quarter of a table's: these intervals are read to one digit, and each replicate of a logistic slope is a fit."""
NEWTON_STEPS = 40
FLOOR = 1e-6
"""Probabilities are clipped to [floor, 1 - floor] before their logit is taken."""


def calibration_content(judgement: Judgement, bundle: Bundle, part: Evaluated, replicates: int) -> dict[str, Any]:
    """How well labels follow scores, and good labels the probability of good, on one table's rows.

    Returns:
        `calibration_table`: the buckets of `calibration.score`, where pages look for them; and
        `calibration`: `score`, what `calibration_of` says of the scores, `p_good`, what it says of the probability of
        good, or null with `p_good_reason`, and `replicates`.
    """
    groups = [row.group_id for row in part.rows]
    drawn = min(replicates, REPLICATES)
    edges = [score_of_raw(judgement, bundle, step / NUM_BUCKETS) for step in range(NUM_BUCKETS + 1)]
    is_probability = bool(np.isin(part.targets, (0.0, 1.0)).all()) and edges[-1] == 1.0
    score = calibration_of(part.model, part.targets, groups, edges, is_probability, drawn)
    p_good, reason = None, None
    if GOOD_OUTPUT not in bundle.outputs:
        reason = bundle.calibration.get("good_missing") or f"the model has no output {GOOD_OUTPUT}"
    elif GOOD_OUTPUT not in part.outputs:
        reason = f"{GOOD_OUTPUT} of these rows was not kept, or not every fold had it"
    elif any(row.is_good is None for row in part.rows):
        reason = "these labels do not say what is good"
    else:
        good = np.array([float(bool(row.is_good)) for row in part.rows])
        tenths = [step / NUM_BUCKETS for step in range(NUM_BUCKETS + 1)]
        p_good = calibration_of(np.asarray(part.outputs[GOOD_OUTPUT]), good, groups, tenths, True, drawn)
    return {
        "calibration_table": score["buckets"],
        "calibration": {"score": score, "p_good": p_good, "p_good_reason": reason, "replicates": drawn},
    }


def calibration_of(
    values: np.ndarray,
    labels: np.ndarray,
    groups: Sequence[str],
    edges: Sequence[float],
    is_probability: bool,
    replicates: int,
) -> dict[str, Any]:
    """Buckets and numbers of one output. Every interval is the 95 % bootstrap interval by group; null where undefined.

    Returns:
        `n`, `n_groups`, `is_probability`;
        `buckets`: of those that hold rows `low`, `high`, `n`, `n_groups`, `mean_score`, `mean_label` and its `interval`, which
        is Wilson's or null where draws of groups cannot tell, see `_of_bucket`;
        `ece`: mean distance of mean value and mean label over `bins` bins of equally many rows, in units of the label
        (Naeini, Cooper and Hauskrecht 2015). Few rows a bin make it larger, however good the model: `ece_by_chance` is what
        scores without any such error would show on these rows, its mean and the end that 95 % of draws stay under. Drawing
        rows again adds as much once more, so its interval is moved down by that (Efron and Tibshirani 1993, 10.2);
        `slope`, `intercept`: of the line, or of the logistic curve on the logit of a probability, by which labels follow
        values; 1 and 0 are right, a slope below 1 says that values are too extreme (Cox 1958);
        `brier` and, beside it, `brier_of_base_rate`: of a probability, else null.
        `ece_interval`, `slope_interval`, `intercept_interval`, `brier_interval` stand beside them.
    """
    values, labels = np.asarray(values, dtype=np.float64), np.asarray(labels, dtype=np.float64)
    bucket = np.clip(np.searchsorted(edges, values, side="right") - 1, 0, len(edges) - 2)
    in_bucket = np.eye(len(edges) - 1)[bucket]
    num_bins = min(NUM_BINS, len(values))
    in_bin = np.zeros((len(values), num_bins))
    for number, rows in enumerate(np.array_split(np.argsort(values, kind="stable"), num_bins)):
        in_bin[rows, number] = 1.0

    def measure(weights: np.ndarray) -> dict[str, np.ndarray]:
        total, counts = weights.sum(axis=1), weights @ in_bucket
        gaps = np.abs(weights @ (in_bin * (values - labels)[:, None])).sum(axis=1)
        means = np.full(counts.shape, np.nan)
        np.divide(weights @ (in_bucket * labels[:, None]), counts, out=means, where=counts > 0)
        slope, intercept = (_logistic if is_probability else _line)(values, labels, weights)
        squares = weights @ (values - labels) ** 2 / total if is_probability else np.full(len(weights), np.nan)
        return {"ece": gaps / total, "slope": slope, "intercept": intercept, "brier": squares, "means": means}

    point = measure(once(len(values)))
    parts = [measure(weights) for weights in draws(groups, replicates, SEED)]
    sample = {name: np.concatenate([each[name] for each in parts]) for name in point}
    found: dict[str, Any] = {"n": len(values), "n_groups": len(set(groups)), "is_probability": is_probability}
    for name in ("ece", "slope", "intercept", "brier"):
        value = float(point[name][0])
        found[name] = value if np.isfinite(value) else None
        found[f"{name}_interval"] = interval(sample[name]) if np.isfinite(value) else None
    if found["ece_interval"] is not None:
        added = float(sample["ece"].mean()) - found["ece"]
        found["ece_interval"] = [max(0.0, bound - added) for bound in found["ece_interval"]]
    rate = float(labels.mean())
    found |= {
        "ece_by_chance": _ece_by_chance(values, labels, in_bin, groups),
        "bins": num_bins,
        "brier_of_base_rate": rate * (1.0 - rate) if is_probability else None,
        "buckets": [
            {
                "low": float(edges[number]), "high": float(edges[number + 1]), "n": int((bucket == number).sum()),
                "n_groups": len(set(np.asarray(groups, dtype=str)[bucket == number])),
                "mean_score": float(values[bucket == number].mean()), "mean_label": float(point["means"][0, number]),
            }
            for number in np.unique(bucket)
        ],
    }  # fmt: skip
    for number, each in zip(np.unique(bucket), found["buckets"], strict=True):
        each["interval"] = _of_bucket(each, sample["means"][:, number], is_probability)
    return found


def _of_bucket(found: Mapping[str, Any], drawn: np.ndarray, is_probability: bool) -> list[float] | None:
    """The interval of a bucket's mean label; draws of a single group, or of labels that are all alike, have no width.

    Of a share it is Wilson's then, with as many trials as there are groups, since the rows of one say the same; of stars it is
    unknown: null.
    """
    bounds = interval(drawn)
    if bounds is not None and bounds[0] < bounds[1] and found["n_groups"] > 1:
        return bounds
    if not is_probability:
        return None
    low, high = wilson(found["mean_label"] * found["n_groups"], found["n_groups"])
    return [float(low), float(high)]


def _ece_by_chance(values: np.ndarray, labels: np.ndarray, in_bin: np.ndarray, groups: Sequence[str]) -> list[float]:
    """Mean and 95th percentile of the ECE where labels follow the values: residuals about their line, with random signs.

    The rows of a group get the same sign, since they err together. With one or two groups in a bin it is some per cent too
    low: their line takes a part of the noise away.
    """
    slope, intercept = _line(values, labels, once(len(values)))
    line = labels.mean() if np.isnan(slope[0]) else intercept[0] + slope[0] * values
    _, group_of = np.unique(np.asarray(groups, dtype=str), return_inverse=True)
    signs = np.random.default_rng(SEED).choice((-1.0, 1.0), size=(CHANCE_DRAWS, int(group_of.max()) + 1))
    errors = np.abs((signs[:, group_of] * (labels - line)) @ in_bin).sum(axis=1) / len(values)
    return [float(errors.mean()), float(np.percentile(errors, 95.0))]


def _line(values: np.ndarray, labels: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Slope and intercept, each (B,), of the least-squares line of labels on values; NaN where values are constant."""
    total = weights.sum(axis=1)
    x, y = weights @ values / total, weights @ labels / total
    spread = weights @ values**2 / total - x**2
    slope = np.full(len(weights), np.nan)
    np.divide(weights @ (values * labels) / total - x * y, spread, out=slope, where=spread > 1e-12)
    return slope, y - slope * x


def _logistic(values: np.ndarray, labels: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Slope and intercept, each (B,), of the logistic curve of labels on logits; NaN where it has no finite fit.

    Newton's method for all weightings at once; a replicate of one class, or of two that do not overlap, has none.
    """
    p = np.clip(values, FLOOR, 1.0 - FLOOR)
    x = np.log(p) - np.log1p(-p)
    slope, intercept = np.zeros(len(weights)), np.zeros(len(weights))  # from where Newton does not overshoot
    step = np.full(len(weights), np.inf)
    for _ in range(NEWTON_STEPS):
        fitted = 0.5 * (1.0 + np.tanh(0.5 * (slope[:, None] * x + intercept[:, None])))
        error, curve = weights * (fitted - labels), weights * fitted * (1.0 - fitted)
        g1, g0 = error @ x, error.sum(axis=1)
        h11, h10, h00 = curve @ x**2, curve @ x, curve.sum(axis=1)
        determinant = h11 * h00 - h10**2
        solvable = determinant > 1e-12
        safe = np.where(solvable, determinant, 1.0)
        d1 = np.clip(np.where(solvable, (h00 * g1 - h10 * g0) / safe, 0.0), -3.0, 3.0)
        d0 = np.clip(np.where(solvable, (h11 * g0 - h10 * g1) / safe, 0.0), -3.0, 3.0)
        slope, intercept = slope - d1, intercept - d0
        step = np.where(solvable, np.abs(d1) + np.abs(d0), np.inf)
        if (step < 1e-8).all():
            break
    fits = step < 1e-6
    return np.where(fits, slope, np.nan), np.where(fits, intercept, np.nan)
