"""Rater noise: how much of a label is chance, and so what no model can do better than.

`y = mu(item) + bias(rater) + e`, `e ~ N(0, sigma_w^2)`. Biases are ridge-shrunk with five pseudo-ratings, by alternating
projection; `sigma_w` is pooled over items. Source: Li et al. 2020 (as ITU-T P.913 and Netflix's sureal), with shrinkage.

Our decisions. Only stars (1..5) are modelled. "Not a sunset" is no small star: where such verdicts are the majority or
as many as the stars the label is 0 by vote, and elsewhere they do not enter the mean. So they enter neither bias nor
`sigma_w`, a label of 0 counts as free of noise, which makes the floor a little lower, and the share of raters who went
against an item's majority is reported beside it (`verdict_disagreement`). A label without raters (a seed) has unknown
noise and is left out. Biases are centred so that their mean over ratings is 0: corrected labels keep the raw ones' level.

Legend: N ratings, I items, R raters. All is on the stars' scale.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ml.manifest import ManifestError

RATING_COLUMNS = ("snapshot_id", "rater", "rating", "verdict", "label_source")
SUNSET, NOT_A_SUNSET = "sunset", "not_a_sunset"
PSEUDO_RATINGS = 5.0
"""Ratings at bias 0 that are added to every rater's own: one harsh rating says little of a rater."""
MAX_WEIGHT = 4.0
"""No label counts more than this many times the mean: precision is estimated, and images have errors of their own."""
MAX_ROUNDS, CONVERGED = 500, 1e-10
_EXACT_RATERS = 1500
"""Up to this many raters the degrees of freedom are exact; beyond, raters are taken to share no items."""
_STARS = np.arange(1.0, 6.0)
_erf = np.vectorize(math.erf, otypes=[np.float64])


@dataclass(frozen=True)
class Ratings:
    """Raw verdicts, one an item and rater."""

    snapshot_ids: np.ndarray
    """int64 (N,)."""
    raters: np.ndarray
    """str (N,)."""
    stars: np.ndarray
    """float (N,), 1..5; NaN where the verdict is "not a sunset"."""

    def of(self, snapshot_ids: Sequence[int] | np.ndarray) -> Ratings:
        """The verdicts on these snapshots."""
        kept = np.isin(self.snapshot_ids, np.asarray(snapshot_ids, dtype=np.int64))
        return Ratings(self.snapshot_ids[kept], self.raters[kept], self.stars[kept])


@dataclass(frozen=True)
class Labels:
    """What the verdicts make of each item, in order of snapshot."""

    snapshot_ids: np.ndarray
    """int64 (I,)."""
    counts: np.ndarray
    """int64 (I,): stars behind the label."""
    means: np.ndarray
    """float (I,): mean of the stars; 0 where the verdicts say "not a sunset"."""
    corrected: np.ndarray
    """float (I,): the same less the biases of those who rated. What a model should learn; never the shrunk ones."""
    mean_bias: np.ndarray
    """float (I,): mean bias of those who rated: what a raw mean is off by, whatever the image shows."""
    is_rated: np.ndarray
    """bool (I,): false where the label is 0 by verdict."""


@dataclass(frozen=True)
class Noise:
    """What was found about raters and labels."""

    sigma_w: float
    """SD of one rating around its item, bias taken off, in stars."""
    sigma_w_interval: tuple[float, float]
    """95 %, from the spread of items' sums of squares."""
    tau_mu: float
    """SD of the items' true ratings, labels of 0 by verdict left out."""
    mean_mu: float
    """Mean of the items' true ratings, likewise."""
    raters: tuple[str, ...]
    biases: np.ndarray
    """float (R,): added to what the average rating would be; positive is generous."""
    rater_counts: np.ndarray
    """int64 (R,): stars given."""
    num_ratings: int
    num_repeated: int
    """Items with two or more stars: all that `sigma_w` is known from."""
    verdict_disagreement: float | None
    """Share of verdicts (sunset or not) against their item's majority, items of two or more; None without such."""
    labels: Labels


@dataclass(frozen=True)
class NoiseUnknown:
    """Why the noise of the labels cannot be told; `reason` is a sentence for people."""

    reason: str


def read_ratings(path: Path) -> Ratings:
    """Read a CSV `snapshot_id, rater, rating, verdict, label_source`, one row a verdict.

    Raises:
        ManifestError: The file is missing or damaged; names the line.
    """
    items, raters, stars = [], [], []
    try:
        with path.open(newline="", encoding="utf-8") as file:
            for line, row in enumerate(csv.DictReader(file), start=2):
                rating = float(row["rating"]) if row["rating"] else math.nan
                if row["verdict"] not in (SUNSET, NOT_A_SUNSET) or (row["verdict"] == SUNSET) != (rating in _STARS):
                    raise ValueError(f"line {line} is a verdict {row['verdict']!r} with rating {row['rating']!r}")
                items.append(int(row["snapshot_id"]))
                raters.append(row["rater"])
                stars.append(rating)
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise ManifestError(f"cannot read the ratings {path}: {error}") from error
    return Ratings(np.array(items, dtype=np.int64), np.array(raters, dtype=np.str_), np.array(stars, dtype=np.float64))


def estimate_noise(ratings: Ratings) -> Noise | NoiseUnknown:
    """Biases, noise and labels; or why they cannot be told, which is when no item has two raters."""
    if len(ratings.stars) == 0:
        return NoiseUnknown("there are no ratings behind these labels, so the noise of the raters is unknown")
    snapshots, item_of = np.unique(ratings.snapshot_ids, return_inverse=True)
    given = ~np.isnan(ratings.stars)
    num_stars = np.bincount(item_of[given], minlength=len(snapshots))
    num_verdicts = np.bincount(item_of, minlength=len(snapshots))
    is_rated = 2 * num_stars > num_verdicts  # a tie is "not a sunset", as in the label query
    used = given & is_rated[item_of]
    if not used.any():
        return NoiseUnknown("every label is 0 by verdict, so there are no stars to estimate the noise of")
    counts = np.where(is_rated, num_stars, 0)
    num_repeated = int((counts >= 2).sum())
    if num_repeated == 0:
        return NoiseUnknown(
            "no item has stars from two raters, so noise cannot be told from signal: let raters overlap on some items"
        )
    names, rater_of = np.unique(ratings.raters[used], return_inverse=True)
    stars, rated_item = ratings.stars[used], item_of[used]
    biases = _fit_biases(stars, rated_item, rater_of, counts, len(names))
    left = stars - biases[rater_of]
    divisor = np.maximum(counts, 1)
    corrected = np.bincount(rated_item, weights=left, minlength=len(counts)) / divisor
    squares = np.bincount(rated_item, weights=(left - corrected[rated_item]) ** 2, minlength=len(counts))
    own = np.maximum(counts - 1, 0)
    freedom = own.sum() - _bias_freedom(rated_item, rater_of, counts, len(names))
    if freedom <= 0.5:
        return NoiseUnknown(
            f"{num_repeated} items have two raters, which is too few to tell {len(names)} raters' biases from noise"
        )
    variance = float(squares.sum() / freedom)
    means = np.bincount(rated_item, weights=stars, minlength=len(counts)) / divisor
    true_variance = float(np.var(corrected[is_rated], ddof=1)) if is_rated.sum() > 1 else 0.0
    true_variance -= variance * float((1.0 / counts[is_rated]).mean())
    return Noise(
        sigma_w=math.sqrt(variance),
        sigma_w_interval=_sigma_interval(squares, own * float(freedom / own.sum()), variance),
        tau_mu=math.sqrt(max(true_variance, 0.0)),
        mean_mu=float(corrected[is_rated].mean()),
        raters=tuple(str(name) for name in names),
        biases=biases,
        rater_counts=np.bincount(rater_of, minlength=len(names)),
        num_ratings=len(stars),
        num_repeated=num_repeated,
        verdict_disagreement=_verdict_disagreement(num_stars, num_verdicts),
        labels=Labels(snapshots, counts, means, corrected, np.where(is_rated, means - corrected, 0.0), is_rated),
    )


def _fit_biases(
    stars: np.ndarray, item_of: np.ndarray, rater_of: np.ndarray, counts: np.ndarray, num_raters: int
) -> np.ndarray:
    """Alternate between items' means and raters' shrunk means of what is left; centred over ratings."""
    per_rater = np.bincount(rater_of, minlength=num_raters)
    divisor = np.maximum(counts, 1)
    biases = np.zeros(num_raters)
    for _ in range(MAX_ROUNDS):
        items = np.bincount(item_of, weights=stars - biases[rater_of], minlength=len(counts)) / divisor
        left = np.bincount(rater_of, weights=stars - items[item_of], minlength=num_raters)
        fitted = left / (per_rater + PSEUDO_RATINGS)
        moved = float(np.abs(fitted - biases).max())
        biases = fitted
        if moved < CONVERGED:
            break
    return np.asarray(biases - (per_rater * biases).sum() / per_rater.sum())


def _bias_freedom(item_of: np.ndarray, rater_of: np.ndarray, counts: np.ndarray, num_raters: int) -> float:
    """Degrees of freedom that the shrunk biases use up: trace of `2H - HH'` of the linear smoother, items taken out.

    Source: Hastie and Tibshirani 1990, section 3.5.
    """
    share = 1.0 / counts[item_of]
    if num_raters > _EXACT_RATERS:
        shrunk = np.bincount(rater_of, weights=1.0 - share, minlength=num_raters)
        hat = shrunk / (shrunk + PSEUDO_RATINGS)
        return float((2.0 * hat - hat**2).sum())
    reduced = np.diag(np.bincount(rater_of, minlength=num_raters).astype(np.float64))
    order = np.argsort(item_of, kind="stable")
    sizes = np.bincount(item_of, minlength=len(counts))
    for size in np.unique(sizes[sizes > 0]):  # items with as many ratings at once: pairs of raters within an item
        rows = rater_of[order][np.repeat(sizes == size, sizes)].reshape(-1, size)
        pairs = (rows[:, :, None] * num_raters + rows[:, None, :]).ravel()
        reduced -= np.bincount(pairs, minlength=num_raters**2).reshape(num_raters, num_raters) / size
    values = np.maximum(np.linalg.eigvalsh(reduced), 0.0)
    hat = values / (values + PSEUDO_RATINGS)
    return float((2.0 * hat - hat**2).sum())


def _sigma_interval(squares: np.ndarray, freedom: np.ndarray, variance: float) -> tuple[float, float]:
    """95 % of sigma_w: a ratio of sums over items, on the logarithm's scale. Normal noise is not assumed."""
    if variance <= 0.0:
        return 0.0, 0.0
    error = math.sqrt(float(((squares - variance * freedom) ** 2).sum())) / float(freedom.sum()) / variance
    return math.sqrt(variance * math.exp(-1.96 * error)), math.sqrt(variance * math.exp(1.96 * error))


def _verdict_disagreement(num_stars: np.ndarray, num_verdicts: np.ndarray) -> float | None:
    several = num_verdicts >= 2
    if not several.any():
        return None
    against = np.minimum(num_stars, num_verdicts - num_stars)[several]
    return float(against.sum() / num_verdicts[several].sum())


def labels_of(noise: Noise, ratings: Ratings) -> Labels:
    """What verdicts make of their items by biases that were fitted on others; an unknown rater has none."""
    snapshots, item_of = np.unique(ratings.snapshot_ids, return_inverse=True)
    given = ~np.isnan(ratings.stars)
    num_stars = np.bincount(item_of[given], minlength=len(snapshots))
    is_rated = 2 * num_stars > np.bincount(item_of, minlength=len(snapshots))
    used = given & is_rated[item_of]
    bias_of = dict(zip(noise.raters, noise.biases, strict=True))
    biases = np.array([bias_of.get(str(rater), 0.0) for rater in ratings.raters[used]], dtype=np.float64)
    counts = np.where(is_rated, num_stars, 0)
    sums, shifts = (
        np.bincount(item_of[used], weights=values, minlength=len(snapshots)) for values in (ratings.stars[used], biases)
    )
    divisor = np.maximum(counts, 1)
    return Labels(snapshots, counts, sums / divisor, (sums - shifts) / divisor, shifts / divisor, is_rated)


# -- what training takes ---------------------------------------------------------------------------------------------


def precision_weights(counts: np.ndarray, sigma_w: float, tau_res: float) -> np.ndarray:
    """Weights of labels in a loss, float (I,), mean 1, at most `MAX_WEIGHT` times the mean.

    `1 / (tau_res^2 + sigma_w^2 / n)`: a label of many votes is nearer the truth. Source: inverse-variance weighting
    with what a model cannot explain, `tau_res`, as in random-effects meta-analysis (DerSimonian and Laird 1986).

    Args:
        counts: verdicts behind each label, (I,); 0 (a label without raters) counts as one.
        sigma_w: SD of one rating, in stars.
        tau_res: SD of what a model leaves unexplained of the true ratings, in stars; `tau_mu` before one is known.
    """
    n = np.maximum(np.asarray(counts, dtype=np.float64), 1.0)
    if len(n) == 0:
        return n
    variance = tau_res**2 + sigma_w**2 / n
    weights = np.ones(len(n)) if variance.max() <= 0.0 else 1.0 / np.maximum(variance, 1e-9 * variance.max())
    weights = np.minimum(weights / weights.mean(), len(n))
    for _ in range(100):  # cutting lowers the mean, and with it the limit
        cut = np.minimum(weights, MAX_WEIGHT * weights.mean())
        if np.array_equal(cut, weights):
            break
        weights = cut
    return np.asarray(weights / weights.mean())


def posterior_mean(noise: Noise, labels: Labels) -> tuple[np.ndarray, np.ndarray]:
    """Shrunk true ratings and their SD, each float (I,): for display and for `probability_good`, never to train on.

    `mean + tau^2 / (tau^2 + sigma_w^2 / n) * (label - mean)`. Labels of 0 by verdict stay 0, with SD 0.
    """
    chance = noise.sigma_w**2 / np.maximum(labels.counts, 1)
    trust = noise.tau_mu**2 / np.maximum(noise.tau_mu**2 + chance, 1e-12)
    if noise.sigma_w == 0.0:
        trust = np.ones_like(chance)
    shrunk = noise.mean_mu + trust * (labels.corrected - noise.mean_mu)
    return np.where(labels.is_rated, shrunk, 0.0), np.where(labels.is_rated, np.sqrt(trust * chance), 0.0)


def probability_good(noise: Noise, labels: Labels, good_from: float) -> np.ndarray:
    """P(true rating >= `good_from` | votes), float (I,): what `is_good` is worth where ratings are few."""
    mean, spread = posterior_mean(noise, labels)
    sure = (mean >= good_from).astype(np.float64)
    certain = spread <= 1e-9
    z = (mean - good_from) / np.where(certain, 1.0, spread)
    return np.where(certain, sure, 0.5 * (1.0 + _erf(z / math.sqrt(2.0))))
