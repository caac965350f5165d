"""Metrics of scores against targets, computed for many weightings of the rows at once.

A bootstrap interval needs every metric thousands of times. So each function takes `weights`, float (B, N): row b says
how often each of the N rows occurs in replicate b, and answers float (B,). Ones give the plain metric. scikit-learn
and scipy compute one weighting a call, a hundred times slower; the tests compare every metric here with theirs.
Undefined metrics (no positive row, constant scores, ...) are NaN, never 0.

Legend: `N` rows, `B` weightings.
"""

from __future__ import annotations

import numpy as np

PROBABILITY_FLOOR = 1e-7
"""Probabilities are clipped to [floor, 1 - floor] in the log loss: float32 cannot tell smaller ones from 0."""
_Z95 = 1.959963984540054
"""Of the normal distribution: 95 % lie within this many standard deviations."""
_RELATIVE_ZERO = 1e-12
"""A variance below this share of the mean square is rounding noise of a constant."""


def once(num_rows: int) -> np.ndarray:
    """The weighting that counts every row once, float (1, N)."""
    return np.ones((1, num_rows), dtype=np.float64)


def _divide(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """`above / below`, NaN where `below` is 0."""
    quotient = np.full(np.broadcast(above, below).shape, np.nan)
    np.divide(above, below, out=quotient, where=below > 0)
    return quotient


def _mean(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    return _divide(weights @ values, weights.sum(axis=1))


def _correlation(xx: np.ndarray, yy: np.ndarray, xy: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Pearson's correlation from the means of squares, product and values, each (B,); NaN where one is constant."""
    var_x, var_y = xx - x**2, yy - y**2
    defined = (var_x > _RELATIVE_ZERO * xx) & (var_y > _RELATIVE_ZERO * yy)
    spread = np.sqrt(np.where(defined, var_x * var_y, 1.0))
    return np.where(defined, np.clip((xy - x * y) / spread, -1.0, 1.0), np.nan)


def pearson(scores: np.ndarray, targets: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Linear correlation in [-1, 1]; NaN where scores or targets are constant."""
    if len(scores) == 0:
        return np.full(len(weights), np.nan)
    x, y = scores - scores.mean(), targets - targets.mean()  # centred first, or the squares swallow the digits
    return _correlation(*(_mean(column, weights) for column in (x * x, y * y, x * y, x, y)))


def _tie_starts(ordered: np.ndarray) -> np.ndarray:
    return np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))


def _ranks(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Mid-ranks (B, N) of values (N,) where row i occurs `weights[b, i]` times."""
    order = np.argsort(values, kind="stable")
    starts = _tie_starts(values[order])
    sizes = np.diff(np.append(starts, len(values)))
    in_tie = np.add.reduceat(weights[:, order], starts, axis=1)
    middle = np.cumsum(in_tie, axis=1) - in_tie + (in_tie + 1.0) / 2.0
    ranks = np.empty_like(weights)
    ranks[:, order] = np.repeat(middle, sizes, axis=1)
    return ranks


def spearman(scores: np.ndarray, targets: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Rank correlation in [-1, 1], ties at their mean rank; NaN where scores or targets are constant."""
    if len(scores) == 0:
        return np.full(len(weights), np.nan)
    x, y = _ranks(scores, weights), _ranks(targets, weights)
    total = weights.sum(axis=1)
    x, y = x - (total[:, None] + 1) / 2, y - (total[:, None] + 1) / 2  # weighted mean rank, so means below are 0
    zero = np.zeros(len(weights))
    sums = [_divide((weights * product).sum(axis=1), total) for product in (x * x, y * y, x * y)]
    return _correlation(sums[0], sums[1], sums[2], zero, zero)


def mae(scores: np.ndarray, targets: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Mean absolute error, in units of the target; lower is better."""
    return _mean(np.abs(scores - targets), weights)


def rmse(scores: np.ndarray, targets: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Root mean squared error, in units of the target; lower is better."""
    return np.asarray(np.sqrt(_mean((scores - targets) ** 2, weights)))


def r2(scores: np.ndarray, targets: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Share of the variance explained, at most 1; NaN where the targets are constant."""
    if len(targets) == 0:
        return np.full(len(weights), np.nan)
    y = targets - targets.mean()
    square, mean = _mean(y * y, weights), _mean(y, weights)
    variance = square - mean**2
    defined = variance > _RELATIVE_ZERO * square
    error = _mean((scores - targets) ** 2, weights)
    return np.where(defined, 1.0 - error / np.where(defined, variance, 1.0), np.nan)


def accuracy_within(scores: np.ndarray, targets: np.ndarray, weights: np.ndarray, tolerance: float) -> np.ndarray:
    """Share of rows whose score is at most `tolerance` (in units of the target) away."""
    return _mean((np.abs(scores - targets) <= tolerance).astype(np.float64), weights)


def auc(scores: np.ndarray, positive: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Area under the ROC curve: chance that a positive row outscores a negative one, a tie counts half.

    `positive` is bool (N,). NaN where one class is absent.
    """
    if len(scores) == 0:
        return np.full(len(weights), np.nan)
    order = np.argsort(scores, kind="stable")
    starts = _tie_starts(scores[order])
    ordered, is_positive = weights[:, order], positive[order].astype(np.float64)
    above = np.add.reduceat(ordered * is_positive, starts, axis=1)
    below = np.add.reduceat(ordered * (1.0 - is_positive), starts, axis=1)
    wins = (above * (np.cumsum(below, axis=1) - below / 2.0)).sum(axis=1)
    return _divide(wins, above.sum(axis=1) * below.sum(axis=1))


def average_precision(scores: np.ndarray, positive: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Area under the precision-recall curve as a sum of steps (no interpolation); NaN without a positive row."""
    if len(scores) == 0:
        return np.full(len(weights), np.nan)
    order = np.argsort(-scores, kind="stable")
    starts = _tie_starts(scores[order])
    ordered, is_positive = weights[:, order], positive[order].astype(np.float64)
    hits = np.add.reduceat(ordered * is_positive, starts, axis=1)
    taken = np.cumsum(np.add.reduceat(ordered, starts, axis=1), axis=1)
    precision = np.nan_to_num(_divide(np.cumsum(hits, axis=1), taken))
    return _divide((hits * precision).sum(axis=1), hits.sum(axis=1))


def decisions(predicted: np.ndarray, positive: np.ndarray, weights: np.ndarray) -> dict[str, np.ndarray]:
    """Counts and rates of yes/no decisions, each (B,).

    Args:
        predicted: bool (N,), what was decided.
        positive: bool (N,), what is true.
        weights: float (B, N).

    Returns:
        `true_positive`, `false_positive`, `false_negative`, `true_negative`, `precision` (NaN when nothing was
        decided yes), `recall` (NaN without a positive row), `f1` (NaN when there is no yes at all) and
        `balanced_accuracy` (NaN where one class is absent).
    """
    tp, fp, fn, tn = (
        weights @ (decided & true).astype(np.float64)
        for decided, true in (
            (predicted, positive), (predicted, ~positive), (~predicted, positive), (~predicted, ~positive),
        )
    )  # fmt: skip
    recall = _divide(tp, tp + fn)
    return {
        "true_positive": tp, "false_positive": fp, "false_negative": fn, "true_negative": tn,
        "precision": _divide(tp, tp + fp), "recall": recall, "f1": _divide(2 * tp, 2 * tp + fp + fn),
        "balanced_accuracy": (recall + _divide(tn, tn + fp)) / 2.0,
    }  # fmt: skip


def brier(probabilities: np.ndarray, positive: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Mean squared error of probabilities, 0..1; lower is better."""
    return _mean((probabilities - positive) ** 2, weights)


def log_loss(probabilities: np.ndarray, positive: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Mean negative log likelihood in nats; lower is better. Probabilities are clipped, see PROBABILITY_FLOOR."""
    p = np.clip(probabilities.astype(np.float64), PROBABILITY_FLOOR, 1.0 - PROBABILITY_FLOOR)
    return _mean(-np.where(positive, np.log(p), np.log1p(-p)), weights)


def wilson(successes: np.ndarray | float, n: np.ndarray | float) -> tuple[np.ndarray, np.ndarray]:
    """The 95 % interval, low and high, of a share `successes / n` of independent rows; 0 to 1 where n is 0.

    Source: Wilson 1927. Unlike a bootstrap it does not end in a point where all rows are successes.
    """
    z2 = _Z95**2
    hits, total = np.asarray(successes, dtype=np.float64), np.asarray(n, dtype=np.float64)
    some = np.maximum(total, 1.0)
    share = hits / some
    middle = (share + z2 / (2 * some)) / (1 + z2 / some)
    half = _Z95 / (1 + z2 / some) * np.sqrt(share * (1 - share) / some + z2 / (4 * some**2))
    low, high = np.clip(middle - half, 0.0, 1.0), np.clip(middle + half, 0.0, 1.0)
    return np.where(total > 0, low, 0.0), np.where(total > 0, high, 1.0)
