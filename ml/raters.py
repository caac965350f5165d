"""What the ratings of the others tell of each rater: bias, noise, agreement, and whether to doubt them.

A rater is compared with the mean of the others on the snapshots that both rated, never with a mean that holds their own
rating. Bias and noise are of stars, by the model of `ml.noise`, with each rater's own noise:
`y = mu(item) + bias(rater) + e`, `e ~ N(0, s_r^2)` (ITU-T P.913, annex; Li et al. 2020). Agreement is the Pearson
correlation with the others' mean, what psychometrics calls the corrected item-total correlation and ITU-R BT.500 (annex
2.3) screens observers by: its value by chance is 0, and unlike a kappa it does not count a steady bias as disagreement,
since that is reported by itself. In it "not a sunset" is 0, as in labels. Over all raters agreement is Krippendorff's
alpha of stars, interval metric (Hayes and Krippendorff 2007).

Intervals are 95 %. A rater rates a snapshot once, so snapshots are the clusters: standard errors are over snapshots
(Fisher's z for correlations), and alpha is resampled by snapshot. They treat the others' noise as chance and the biases
of the others as known.

Doubt follows from one of three rules, and from `MIN_SHARED` snapshots on. As many raters are judged at once, the
intervals of the rules are widened so that all of them hold together with 95 % (Bonferroni).

1. No relation: the interval of the agreement holds 0 or lies below it, and the widened one lies below what a rater of
   median noise would show on the very same snapshots. Where those snapshots hardly differ that is little, and nobody is
   doubted for it.
2. Always the same: every rating is the same, which one who rates like the others would do by chance with a probability
   of under 5 % (widened), and the second half of rule 1 holds for an agreement of 0.
3. Far-out noise: the widened interval of the noise lies above Tukey's outer fence (third quartile plus three times the
   interquartile range) of the others' noises, of at least `MIN_FOR_FENCE`, and above the spread of the true ratings: such
   a rating says less of a snapshot than no rating.

With two raters nobody can say which of them is wrong, and nobody is doubted.

Legend: N ratings, R raters, n shared snapshots of one rater.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import NormalDist

import krippendorff
import numpy as np

from ml.noise import Noise, Ratings, estimate_noise
from ml.report import SEED, draws, interval

MIN_SHARED = 20
"""Fewest snapshots shared with others before anything is said of a rater."""
MIN_FOR_FENCE = 5
"""Fewest other raters with a known noise before one can be far out."""
MIN_RATERS = 3
"""Fewest raters with enough shared snapshots before one is doubted."""
INSUFFICIENT, SOUND, DOUBTFUL = "insufficient", "sound", "doubtful"
_MISSED = 0.05
_Z = NormalDist().inv_cdf(1.0 - _MISSED / 2)
_REPLICATES = 200
_ROUNDS = 60
_STARS = np.arange(1, 6)


@dataclass(frozen=True)
class Figure:
    """A value with its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class RaterFigures:
    """What the others' ratings tell of one rater; figures are None where they cannot be told."""

    rater: str
    num_shared: int
    """Snapshots that somebody else, whose ratings count, has rated too."""
    bias: Figure | None
    """Stars more than the others give, their own biases taken off. Not shrunk, unlike what training takes off."""
    noise: Figure | None
    """SD of the rater's own noise, in stars: what is left when bias and the others' noise are taken off."""
    agreement: Figure | None
    """Correlation with the others' mean, -1 to 1; 0 is chance. None where every rating is the same."""
    state: str
    """`insufficient`, `sound` or `doubtful`."""
    reason: str
    """Why, as a sentence for people."""


@dataclass(frozen=True)
class Overall:
    """Agreement of all raters whose ratings count."""

    alpha: Figure | None
    """Krippendorff's alpha of stars, interval metric: 1 perfect, 0 chance. None where no snapshot has two."""
    num_snapshots: int
    """Snapshots with stars of two raters or more."""
    num_raters: int
    """Raters of those."""


@dataclass(frozen=True)
class _Shared:
    """One rater's ratings of snapshots that others rated too, and what the others said there."""

    votes: np.ndarray
    """float (n,), 0..5; 0 is "not a sunset"."""
    others: np.ndarray
    """float (n,): mean of the others' votes, their biases taken off."""
    others_variance: np.ndarray
    """float (n,): how much of that mean's variance is their noise."""
    differences: np.ndarray
    """float (n or fewer,): stars less the mean of the others' stars, where both gave stars."""
    share_alike: Mapping[float, float]
    """Vote -> share of the others' votes on these snapshots."""


def judge_raters(ratings: Ratings, counts: np.ndarray) -> list[RaterFigures]:
    """Compare every rater with the others whose ratings count; in order of name.

    Args:
        ratings: all verdicts, one a snapshot and rater.
        counts: bool (N,), whether a rating counts; those of an excluded rater do not, and are compared all the same.
    """
    if len(ratings.stars) == 0:
        return []
    noise = estimate_noise(Ratings(ratings.snapshot_ids[counts], ratings.raters[counts], ratings.stars[counts]))
    known = noise if isinstance(noise, Noise) else None
    names, rater_of = np.unique(ratings.raters, return_inverse=True)
    variances, shared = _compare(ratings, counts, names, rater_of, known)
    enough = [len(each.votes) >= MIN_SHARED for each in shared]
    spreads = {at: math.sqrt(variances[at]) for at in range(len(names)) if len(shared[at].differences) >= MIN_SHARED}
    wide = NormalDist().inv_cdf(1.0 - _MISSED / 2 / max(sum(enough), 1))
    found = []
    for at, name in enumerate(names):
        if not enough[at]:
            why = f"{len(shared[at].votes)} snapshots shared with others; {MIN_SHARED} are needed to say anything"
            found.append(RaterFigures(str(name), len(shared[at].votes), None, None, None, INSUFFICIENT, why))
            continue
        reason = _no_relation(shared[at], list(spreads.values()), wide, sum(enough))
        if reason is None and known is not None and at in spreads:
            others = [spread for other, spread in spreads.items() if other != at]
            reason = _far_out(_noise(shared[at], variances[at], wide), others, known.tau_mu)
        if sum(enough) < MIN_RATERS:
            reason = None
        found.append(
            RaterFigures(
                str(name),
                len(shared[at].votes),
                _bias(shared[at]) if at in spreads else None,
                _noise(shared[at], variances[at], _Z) if at in spreads else None,
                _agreement(shared[at], _Z),
                SOUND if reason is None else DOUBTFUL,
                reason or "nothing speaks against these ratings",
            )
        )
    return found


def overall_agreement(ratings: Ratings, counts: np.ndarray) -> Overall:
    """Krippendorff's alpha over the ratings that count, with an interval by drawing snapshots.

    Args:
        ratings: all verdicts.
        counts: bool (N,), whether a rating counts.
    """
    used = counts & ~np.isnan(ratings.stars)
    snapshots, item_of = np.unique(ratings.snapshot_ids[used], return_inverse=True)
    table = np.zeros((len(snapshots), len(_STARS)), dtype=np.int64)
    np.add.at(table, (item_of, ratings.stars[used].astype(np.int64) - 1), 1)
    several = table.sum(axis=1) >= 2
    num_raters = len(np.unique(ratings.raters[used][several[item_of]])) if len(snapshots) else 0
    table = table[several]
    if len(table) == 0 or (table.sum(axis=0) > 0).sum() < 2:  # one and the same star everywhere: chance is undefined
        return Overall(None, len(table), num_raters)
    drawn = []
    for weights in draws([str(row) for row in range(len(table))], _REPLICATES, SEED):
        drawn += [_alpha(np.repeat(table, row.astype(np.int64), axis=0)) for row in weights]
    low, high = interval(np.array(drawn)) or (math.nan, math.nan)
    return Overall(Figure(_alpha(table), low, high), len(table), num_raters)


def _alpha(table: np.ndarray) -> float:
    if (table.sum(axis=0) > 0).sum() < 2:
        return math.nan
    return float(krippendorff.alpha(value_counts=table, value_domain=_STARS, level_of_measurement="interval"))


# -- one rater beside the others -------------------------------------------------------------------------------------


def _compare(
    ratings: Ratings, counts: np.ndarray, names: np.ndarray, rater_of: np.ndarray, noise: Noise | None
) -> tuple[np.ndarray, list[_Shared]]:
    """Variances of the raters' own noise, float (R,), and what each shares with the others."""
    biases = dict(zip(noise.raters, noise.biases, strict=True)) if noise is not None else {}
    bias = np.array([biases.get(str(name), 0.0) for name in names])[rater_of]
    item_of = np.unique(ratings.snapshot_ids, return_inverse=True)[1]
    gave = ~np.isnan(ratings.stars)
    votes = np.where(gave, ratings.stars, 0.0)
    left = np.where(gave, votes - bias, 0.0)

    def of_others(values: np.ndarray, among: np.ndarray) -> np.ndarray:
        own = np.where(among, values, 0.0)
        return np.asarray(np.bincount(item_of, weights=own)[item_of] - own)

    ones = np.ones(len(votes))
    num, num_stars = of_others(ones, counts), of_others(ones, counts & gave)
    mean = of_others(left, counts) / np.maximum(num, 1.0)
    star_mean = of_others(left, counts & gave) / np.maximum(num_stars, 1.0)
    is_shared = num > 0
    both_stars = gave & (2 * num_stars > num)  # where the others say "not a sunset", stars are no matter of bias
    differences = votes - star_mean
    variances = np.full(len(names), noise.sigma_w**2 if noise is not None else 0.0)
    places = [np.flatnonzero((rater_of == at) & both_stars) for at in range(len(names))]
    observed = [differences[at].var(ddof=1) if len(at) > 1 else math.nan for at in places]
    for _ in range(_ROUNDS):  # each rater's own noise is what the others' does not explain; halfway, so that it settles
        chance = of_others(variances[rater_of], counts & gave) / np.maximum(num_stars, 1.0) ** 2
        own = [seen - chance[at].mean() if len(at) > 1 else math.nan for seen, at in zip(observed, places, strict=True)]
        fitted = np.where(np.isnan(own), variances, np.maximum(own, 0.0))
        variances = (variances + fitted) / 2
    chance = of_others(variances[rater_of], counts & gave) / np.maximum(num, 1.0) ** 2
    alike = [of_others((votes == value).astype(float), counts) for value in range(6)]
    shared = []
    for at in range(len(names)):
        mine = (rater_of == at) & is_shared
        total = max(float(num[mine].sum()), 1.0)
        shares = {float(value): float(alike[value][mine].sum()) / total for value in range(6)}
        shared.append(_Shared(votes[mine], mean[mine], chance[mine], differences[places[at]], shares))
    return variances, shared


def _bias(shared: _Shared) -> Figure:
    mean = float(shared.differences.mean())
    error = float(shared.differences.std(ddof=1)) / math.sqrt(len(shared.differences))
    return Figure(mean, mean - _Z * error, mean + _Z * error)


def _noise(shared: _Shared, variance: float, z: float) -> Figure:
    """SD of the rater's noise. The error of a variance by its fourth moment: normal noise is not assumed."""
    centred = shared.differences - shared.differences.mean()
    seen = float(centred.var(ddof=1))
    if seen == 0.0:
        return Figure(0.0, 0.0, 0.0)
    others = seen - variance
    error = math.sqrt(max(float((centred**4).mean()) / seen**2 - 1.0, 0.0) / len(centred))
    low, high = (math.sqrt(max(seen * math.exp(sign * z * error) - others, 0.0)) for sign in (-1, 1))
    return Figure(math.sqrt(variance), low, high)


def _agreement(shared: _Shared, z: float) -> Figure | None:
    """Pearson correlation with the others' mean, Fisher's interval; None where the rater's votes do not differ."""
    if np.ptp(shared.votes) == 0.0:
        return None
    value = float(np.corrcoef(shared.votes, shared.others)[0, 1]) if np.ptp(shared.others) > 0.0 else 0.0
    return _fisher(value, len(shared.votes), z)


def _fisher(value: float, n: int, z: float) -> Figure:
    middle = math.atanh(min(max(value, -0.999999), 0.999999))
    return Figure(value, math.tanh(middle - z / math.sqrt(n - 3)), math.tanh(middle + z / math.sqrt(n - 3)))


# -- the rules -------------------------------------------------------------------------------------------------------


def _expected(shared: _Shared, spreads: list[float]) -> float:
    """The agreement that a rater of median noise would show on these snapshots, at least 0."""
    seen = float(shared.others.var())
    signal = seen - float(shared.others_variance.mean())
    if signal <= 0.0 or not spreads:
        return 0.0
    return signal / math.sqrt(seen * (signal + float(np.median(spreads)) ** 2))


def _no_relation(shared: _Shared, spreads: list[float], wide: float, num_judged: int) -> str | None:
    """Rules 1 and 2: why these ratings have nothing to do with the others', or None."""
    n, expected = len(shared.votes), _expected(shared, spreads)
    plain = _agreement(shared, _Z)
    if plain is None:
        chance = shared.share_alike[float(shared.votes[0])] ** n
        if chance * num_judged >= _MISSED or _fisher(0.0, n, wide).high >= expected:
            return None
        said = "not a sunset" if shared.votes[0] == 0.0 else f"{shared.votes[0]:.0f}"
        return f'every one of {n} shared snapshots was rated "{said}", where the others differ'
    widened = _fisher(plain.value, n, wide)
    if plain.low > 0.0 or widened.high >= expected:
        return None
    how = "run against" if plain.high < 0.0 else "have no relation to"
    return (
        f"the ratings {how} those of the others: correlation {plain.value:.2f}, 95 % interval {plain.low:.2f} to "
        f"{plain.high:.2f}, on {n} shared snapshots, where a rater of median noise would have {expected:.2f}"
    )


def _far_out(noise: Figure, others: list[float], tau_mu: float) -> str | None:
    """Rule 3: why this noise is far out, or None."""
    if len(others) < MIN_FOR_FENCE:
        return None
    first, third = np.percentile(others, (25, 75))
    fence = float(third + 3.0 * (third - first))
    if noise.low <= max(fence, tau_mu):
        return None
    return (
        f"the noise is far out: {noise.value:.2f} stars, at least {noise.low:.2f}, where the others' lies within "
        f"{fence:.2f} and true ratings differ by {tau_mu:.2f} (SD)"
    )
