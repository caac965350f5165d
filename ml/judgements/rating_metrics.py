"""The metrics of ratings, by head: what they mean, and how they are measured for many weightings of the rows at once."""

from __future__ import annotations

import numpy as np

from ml import metrics
from ml.judgements.base import MetricSpec
from ml.judgements.rating_labels import GOOD_FROM

GOOD_PROBABILITY = 0.5
"""Default gate of the binary head, on `p_good`."""
HALF_STAR = 0.5

REGRESSION = (
    MetricSpec("mae", False, 0.0, 5.0, "Mean absolute error, in stars."),
    MetricSpec("rmse", False, 0.0, 5.0, "Root mean squared error, in stars."),
    MetricSpec("pearson", True, -1.0, 1.0, "Linear correlation with people's ratings."),
    MetricSpec("spearman", True, -1.0, 1.0, "Rank correlation with people's ratings."),
    MetricSpec("r2", True, float("-inf"), 1.0, "Share of the variance of people's ratings that is explained."),
    MetricSpec("acc_within_half", True, 0.0, 1.0, "Share of snapshots at most half a star away."),
    MetricSpec("auc_good", True, 0.0, 1.0, "Chance that a good snapshot outscores another; good is 4 stars or more."),
    MetricSpec("average_precision_good", True, 0.0, 1.0, "Area under the precision-recall curve of 'good'."),
    MetricSpec("f1_good", True, 0.0, 1.0, "F1 of 'good' when snapshots from 4.0 stars on are called good."),
    MetricSpec("balanced_accuracy", True, 0.0, 1.0, "Mean of the hit rates of good and other snapshots at 4.0 stars."),
)
BINARY = (
    MetricSpec("auc", True, 0.0, 1.0, "Chance that a good snapshot outscores another one."),
    MetricSpec("average_precision", True, 0.0, 1.0, "Area under the precision-recall curve of 'good'."),
    MetricSpec("f1", True, 0.0, 1.0, "F1 of 'good' at probability 0.5."),
    MetricSpec("precision", True, 0.0, 1.0, "Share of snapshots called good that are."),
    MetricSpec("recall", True, 0.0, 1.0, "Share of good snapshots that are called good."),
    MetricSpec("balanced_accuracy", True, 0.0, 1.0, "Mean of the hit rates of good and other snapshots."),
    MetricSpec("brier", False, 0.0, 1.0, "Mean squared error of the probability."),
    MetricSpec("log_loss", False, 0.0, float("inf"), "Mean negative log likelihood, in nats."),
)


def measure_stars(scores: np.ndarray, targets: np.ndarray, weights: np.ndarray) -> dict[str, np.ndarray]:
    """The metrics of REGRESSION, each (B,), of scores and targets in stars (N,) under weightings (B, N)."""
    positive = targets >= GOOD_FROM
    decided = metrics.decisions(scores >= GOOD_FROM, positive, weights)
    return {
        "mae": metrics.mae(scores, targets, weights), "rmse": metrics.rmse(scores, targets, weights),
        "pearson": metrics.pearson(scores, targets, weights), "spearman": metrics.spearman(scores, targets, weights),
        "r2": metrics.r2(scores, targets, weights),
        "acc_within_half": metrics.accuracy_within(scores, targets, weights, HALF_STAR),
        "auc_good": metrics.auc(scores, positive, weights),
        "average_precision_good": metrics.average_precision(scores, positive, weights), "f1_good": decided["f1"],
        "balanced_accuracy": decided["balanced_accuracy"],
    }  # fmt: skip


def measure_good(scores: np.ndarray, targets: np.ndarray, weights: np.ndarray) -> dict[str, np.ndarray]:
    """The metrics of BINARY, each (B,), of probabilities and classes 0 or 1 (N,) under weightings (B, N)."""
    positive = targets > 0.5
    decided = metrics.decisions(scores >= GOOD_PROBABILITY, positive, weights)
    return {
        "auc": metrics.auc(scores, positive, weights),
        "average_precision": metrics.average_precision(scores, positive, weights),
        **{name: decided[name] for name in ("f1", "precision", "recall", "balanced_accuracy")},
        "brier": metrics.brier(scores, positive, weights), "log_loss": metrics.log_loss(scores, positive, weights),
    }  # fmt: skip
