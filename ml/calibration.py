"""Calibration: the monotone map from a head's output to a score in [0, 1], fitted on held-out rows, never on test.

Every method is a list of knots or a logistic curve, so that it can be written into the ONNX graph without lookups.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

METHODS = ("none", "linear", "platt", "isotonic")
ISOTONIC_MIN_ROWS = 300
"""`auto` fits isotonic from this many rows on: below, ten blocks of 30 points cannot be had."""
ISOTONIC_MIN_BLOCK = 30
"""Fewest rows behind one isotonic knot: the mean of fewer ratings is mostly noise."""
ISOTONIC_MAX_KNOTS = 50
"""More knots buy nothing on labels as noisy as people's, and cost float32 digits in the graph."""
MIN_OF_EACH_CLASS = 10
"""Good rows, and others, that a probability of good is fitted on at least: with fewer it follows single labels."""
_MIN_KNOT_GAP = 0.01
"""Smallest distance of two knots as a share of the outputs' range: steeper pieces lose float32 digits in the graph."""


@dataclass(frozen=True)
class Calibration:
    """A fitted map. `none`: clip to [0, 1]. `linear` and `isotonic`: straight lines between knots, constant outside.

    `platt`: `1 / (1 + exp(-(slope * x + intercept)))`.
    """

    method: str
    knots_x: tuple[float, ...] = ()
    knots_y: tuple[float, ...] = ()
    slope: float = 1.0
    intercept: float = 0.0
    n: int = 0
    """Rows it was fitted on."""
    fitted_on: str = ""
    """Which rows: `val`, or `oof` (out of fold)."""
    good: Calibration | None = None
    """Curve from this one's score to the probability of a good label, where the kind knows what is good."""
    good_missing: str = ""
    """Why there is no such curve, where there could be one."""

    def to_json(self) -> dict[str, Any]:
        """A JSON object that `from_json` reads back."""
        return asdict(self)

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Calibration:
        """Read what `to_json` wrote."""
        good = content.get("good")
        knots = {name: tuple(content[name]) for name in ("knots_x", "knots_y")}
        return cls(**{**content, **knots, "good": None if good is None else cls.from_json(good)})

    def apply(self, outputs: np.ndarray) -> np.ndarray:
        """Scores in [0, 1], float64 (N,), of head outputs (N,)."""
        x = np.asarray(outputs, dtype=np.float64)
        if self.method == "platt":
            # tanh is the logistic curve without overflow: no warning for a logit of -1000
            return 0.5 * (1.0 + np.tanh(0.5 * (self.slope * x + self.intercept)))
        if self.method in ("linear", "isotonic"):
            return np.clip(np.interp(x, self.knots_x, self.knots_y), 0.0, 1.0)
        return np.clip(x, 0.0, 1.0)

    def inverse(self, score: float) -> float:
        """The value that `platt` maps to this score, which lies between 0 and 1."""
        assert self.method == "platt"
        inside = min(max(score, 1e-12), 1.0 - 1e-12)
        return float((np.log(inside) - np.log1p(-inside) - self.intercept) / self.slope)


def knot_form(calibration: Calibration) -> tuple[float, float, float, list[tuple[float, float]]]:
    """A piecewise-linear calibration as `(k0, y0, s0, [(k_j, ds_j)])`, for graphs without lookups.

    The score is `y0 + s0 * (x - k0) + sum_j ds_j * relu(x - k_j)`, clipped to [0, 1]. Left of the first knot the map
    is constant, so `s0` is 0 unless the method is `none`. In float32 clamp `x` to the outermost knots first: far
    right of them the terms are large and cancel.

    Raises:
        ValueError: `platt` is a curve and has no knots.
    """
    if calibration.method == "platt":
        raise ValueError("platt calibration is a logistic curve; it has slope and intercept, no knots")
    if calibration.method == "none":
        return 0.0, 0.0, 1.0, []
    x, y = np.asarray(calibration.knots_x), np.asarray(calibration.knots_y)
    slopes = np.concatenate([[0.0], np.diff(y) / np.diff(x), [0.0]])
    bends = [(float(knot), float(change)) for knot, change in zip(x, np.diff(slopes), strict=True) if change != 0.0]
    return float(x[0]), float(y[0]), 0.0, bends


def _finite(outputs: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    x, y = np.asarray(outputs, dtype=np.float64).ravel(), np.asarray(targets, dtype=np.float64).ravel()
    if len(x) != len(y):
        raise ValueError(f"calibration needs one target per output, got {len(x)} outputs and {len(y)} targets")
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise ValueError("calibration met an output or a target that is not a finite number")
    return x, y


def fit_linear(outputs: np.ndarray, targets: np.ndarray) -> Calibration:
    """Least-squares line from outputs (N,) to targets in [0, 1] (N,), cut off at 0 and 1.

    Where no rising line can be fitted (fewer than three rows, constant outputs, or a falling line), only the mean is
    corrected: slope 1. A falling line would turn the order of the model round.
    """
    x, y = _finite(outputs, targets)
    if len(x) == 0:
        return Calibration("none")
    slope = 1.0
    spread = float(np.var(x))
    if len(x) >= 3 and spread > 1e-12:
        fitted = float(np.mean((x - x.mean()) * (y - y.mean()))) / spread
        slope = fitted if fitted > 1e-3 else 1.0
    intercept = float(y.mean() - slope * x.mean())
    return Calibration("linear", (-intercept / slope, (1.0 - intercept) / slope), (0.0, 1.0), n=len(x))


def fit_platt(outputs: np.ndarray, targets: np.ndarray) -> Calibration:
    """Logistic curve from logits (N,) to targets in [0, 1] (N,), fitted by Newton's method with Platt's prior.

    Platt's smoothed targets (one imaginary row a class) keep the curve finite on separable rows. Where no rising
    curve can be fitted the slope stays 1 and only the intercept is fitted. Source: Platt 1999; Lin, Lin, Weng 2007.
    """
    x, y = _finite(outputs, targets)
    if len(x) == 0:
        return Calibration("platt")
    positive = float(y.sum())
    high, low = (positive + 1.0) / (positive + 2.0), 1.0 / (len(y) - positive + 2.0)
    smooth = low + (high - low) * y
    for with_slope in (True, False):
        if with_slope and (len(x) < 3 or float(np.var(x)) <= 1e-12):
            continue
        slope, intercept = _newton_logistic(x, smooth, with_slope)
        if slope > 1e-3:
            break
    return Calibration("platt", slope=slope, intercept=intercept, n=len(x))


def _newton_logistic(x: np.ndarray, y: np.ndarray, with_slope: bool) -> tuple[float, float]:
    """Minimise the cross entropy of `sigmoid(slope * x + intercept)`; convex, so damped Newton steps arrive."""
    design = np.column_stack([x, np.ones_like(x)])
    free = np.array([True, True]) if with_slope else np.array([False, True])
    theta = np.array([1.0, 0.0])

    def loss(parameters: np.ndarray) -> float:
        logits = design @ parameters
        return float(np.sum(np.logaddexp(0.0, logits) - y * logits))

    current = loss(theta)
    for _ in range(100):
        p = 0.5 * (1.0 + np.tanh(0.5 * (design @ theta)))
        gradient = (design.T @ (p - y))[free]
        hessian = ((design * (p * (1.0 - p))[:, None]).T @ design)[np.ix_(free, free)] + 1e-9 * np.eye(free.sum())
        step = np.zeros(2)
        step[free] = np.linalg.solve(hessian, gradient)
        rate = 1.0
        while rate > 1e-6 and loss(theta - rate * step) > current:
            rate /= 2.0
        if rate <= 1e-6:
            break
        theta = theta - rate * step
        previous, current = current, loss(theta)
        if previous - current < 1e-10 * max(1.0, abs(previous)):
            break
    return float(theta[0]), float(theta[1])


def fit_isotonic(outputs: np.ndarray, targets: np.ndarray, min_block: int = ISOTONIC_MIN_BLOCK) -> Calibration:
    """Rising piecewise-linear map from outputs (N,) to targets in [0, 1] (N,).

    Rows are cut into blocks of at least `min_block` equal outputs in order, pooled by adjacent violators until their
    means rise; each pooled block is one knot, so that no plateau makes ties inside the map, and the outermost lines
    go on to the outermost rows. With fewer than two blocks the map is linear.
    """
    from sklearn.isotonic import IsotonicRegression

    x, y = _finite(outputs, targets)
    num_blocks = min(ISOTONIC_MAX_KNOTS, len(x) // min_block)
    if num_blocks < 2:
        return fit_linear(x, y)
    order = np.argsort(x, kind="stable")
    blocks = np.array_split(order, num_blocks)
    size = np.array([len(block) for block in blocks], dtype=np.float64)
    mean_x = np.array([x[block].mean() for block in blocks])
    mean_y = np.array([y[block].mean() for block in blocks])
    rising = IsotonicRegression(y_min=0.0, y_max=1.0).fit_transform(np.arange(num_blocks), mean_y, sample_weight=size)
    gap = _MIN_KNOT_GAP * float(x.max() - x.min())
    knots: list[list[float]] = []  # [rows, x, y]
    for rows, knot_x, knot_y in zip(size, mean_x, rising, strict=True):
        if knots and (knot_y <= knots[-1][2] + 1e-9 or knot_x - knots[-1][1] <= gap):
            last = knots[-1]
            total = last[0] + rows
            last[1], last[2] = (last[1] * last[0] + knot_x * rows) / total, (last[2] * last[0] + knot_y * rows) / total
            last[0] = total
        else:
            knots.append([float(rows), float(knot_x), float(knot_y)])
    if len(knots) < 2:
        return fit_linear(x, y)
    knots_x, knots_y = _with_ends([k[1] for k in knots], [k[2] for k in knots], float(x.min()), float(x.max()), gap)
    return Calibration("isotonic", tuple(knots_x), tuple(knots_y), n=len(x))


def _with_ends(
    xs: list[float], ys: list[float], lowest: float, highest: float, gap: float
) -> tuple[list[float], list[float]]:
    """Continue the outermost lines to the outermost rows: otherwise the best and the worst block would be ties."""
    first = (ys[1] - ys[0]) / (xs[1] - xs[0])
    last = (ys[-1] - ys[-2]) / (xs[-1] - xs[-2])
    if xs[0] - lowest > gap:
        xs, ys = [lowest, *xs], [max(0.0, ys[0] - first * (xs[0] - lowest)), *ys]
    if highest - xs[-1] > gap:
        xs, ys = [*xs, highest], [*ys, min(1.0, ys[-1] + last * (highest - xs[-1]))]
    return xs, ys


def fit_good(scores: np.ndarray, is_good: np.ndarray) -> tuple[Calibration | None, str]:
    """Logistic curve from scores in [0, 1] (N,) to the probability of a good label, bool (N,); or None and why not.

    It starts from the score and not from the head's output, so that it can be told of a score that was kept.
    """
    num_good = int(np.count_nonzero(is_good))
    if min(num_good, len(is_good) - num_good) < MIN_OF_EACH_CLASS:
        return None, (
            f"{num_good} of {len(is_good)} held-out rows are good: a probability of good needs at least "
            f"{MIN_OF_EACH_CLASS} good ones and as many others"
        )
    return fit_platt(scores, is_good.astype(np.float64)), ""


FITS = {"linear": fit_linear, "platt": fit_platt, "isotonic": fit_isotonic}
"""Method -> fit function; `none` has nothing to fit."""
