"""What no model can do better than on labels as noisy as these: the floor of the error, the ceiling of correlation.

Legend: I items. All is on the stars' scale.
"""

from __future__ import annotations

import math

import numpy as np

from ml.noise import Noise

_STARS = np.arange(1.0, 6.0)
_MEAN_OF_ABSOLUTE = math.sqrt(2.0 / math.pi)
_ROUNDING_VARIANCE = 1.0 / 12.0
_GRID_STEP = 0.05
_erf = np.vectorize(math.erf, otypes=[np.float64])


def expected_error(counts: np.ndarray, mean_bias: np.ndarray, sigma_w: float) -> np.ndarray:
    """Mean absolute error of an oracle that knows every item's true rating, by item, float (I,), in stars.

    For labels freed of bias (`mean_bias` 0) it is `sqrt(2/pi) * sigma_w / sqrt(n)`; a raw mean is off by its raters'
    biases too, whatever the image shows, and then it is the mean of a folded normal. 0 where there are no stars
    (a label by verdict).

    This is exact for normal noise of one width. Votes are whole and cut off at 1 and 5, so on real labels it is some
    per cent too high: noise is narrower near both ends, and with one or two votes a predictor may aim at the whole
    stars that people answer. `expected_error_of_votes` is the bound that knows both.
    """
    rated = counts > 0
    spread = sigma_w / np.sqrt(np.maximum(counts, 1))
    if sigma_w == 0.0:
        return np.where(rated, np.abs(mean_bias), 0.0)
    ratio = mean_bias / spread
    folded = _MEAN_OF_ABSOLUTE * spread * np.exp(-(ratio**2) / 2.0) + mean_bias * _erf(ratio / math.sqrt(2.0))
    return np.where(rated, folded, 0.0)


def expected_error_of_votes(noise: Noise, counts: np.ndarray, sigma_w: float | None = None) -> np.ndarray:
    """Smallest mean absolute error that any predictor from images can have on raw means of whole votes, (I,), in stars.

    The predictor knows each item's true rating, how people round, and how raters differ, but not who rated: it says
    the median of what the mean of `n` votes will be. True ratings are spread as estimated (normal, `mean_mu` and
    `tau_mu`), a vote is `round(true + bias + normal)` cut to 1..5. 0 where there are no stars.
    """
    latent = math.sqrt(max((noise.sigma_w if sigma_w is None else sigma_w) ** 2 - _ROUNDING_VARIANCE, 1e-4))
    grid = np.arange(_STARS[0] - 0.5, _STARS[-1] + 0.5 + _GRID_STEP / 2, _GRID_STEP)
    density = np.exp(-(((grid - noise.mean_mu) / max(noise.tau_mu, _GRID_STEP)) ** 2) / 2.0)
    density /= density.sum()
    few, weights = _grouped_biases(noise)
    edges = (_STARS[:-1] + 0.5)[:, None, None]
    below = 0.5 * (1.0 + _erf((edges - grid[None, :, None] - few[None, None, :]) / (latent * math.sqrt(2.0))))
    below = np.concatenate([np.zeros_like(below[:1]), below, np.ones_like(below[:1])])
    votes = (np.diff(below, axis=0) * weights).sum(axis=2).T  # (grid, 5)
    found = np.zeros(len(counts))
    for n in np.unique(counts[counts > 0]):
        found[counts == n] = float((density * _error_of_median(votes, int(n))).sum())
    return found


def _grouped_biases(noise: Noise) -> tuple[np.ndarray, np.ndarray]:
    """Biases in at most 21 bins with their shares of ratings: thousands of raters need no more."""
    low, high = float(noise.biases.min()), float(noise.biases.max())
    if len(noise.biases) <= 21 or high - low < 1e-9:
        return noise.biases, noise.rater_counts / noise.rater_counts.sum()
    bins = np.minimum(((noise.biases - low) / (high - low) * 21).astype(int), 20)
    weights = np.bincount(bins, weights=noise.rater_counts, minlength=21) / noise.rater_counts.sum()
    return low + (np.arange(21) + 0.5) * (high - low) / 21, weights


def _error_of_median(votes: np.ndarray, n: int) -> np.ndarray:
    """Mean distance of the mean of `n` votes from its median, (grid,), for the chances of one vote (grid, 5)."""
    if n > 30:  # near enough to normal
        variance = (votes * _STARS**2).sum(axis=1) - (votes @ _STARS) ** 2
        return np.asarray(_MEAN_OF_ABSOLUTE * np.sqrt(np.maximum(variance, 0.0) / n))
    total = votes
    for _ in range(n - 1):
        wider = np.zeros((len(votes), total.shape[1] + 4))
        for star in range(5):
            wider[:, star : star + total.shape[1]] += votes[:, star : star + 1] * total
        total = wider
    values = np.arange(total.shape[1]) / n
    median = values[(np.cumsum(total, axis=1) < 0.5 - 1e-12).sum(axis=1)]
    return np.asarray((total * np.abs(values - median[:, None])).sum(axis=1))


def pearson_ceiling(counts: np.ndarray, mean_bias: np.ndarray, targets: np.ndarray, sigma_w: float) -> float:
    """Largest correlation with these labels that knowing every item's true rating gives; NaN where all are equal.

    `sqrt(1 - E[noise] / var(labels))`: with labels of stars only this is `sqrt(tau^2 / (tau^2 + sigma_w^2 E[1/n]))`.
    """
    spread = float(np.var(targets)) if len(targets) else 0.0
    if spread <= 0.0:
        return math.nan
    chance = np.where(counts > 0, sigma_w**2 / np.maximum(counts, 1) + mean_bias**2, 0.0)
    return math.sqrt(max(0.0, 1.0 - float(chance.mean()) / spread))
