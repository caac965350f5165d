"""Drift: whether what is seen now comes from where it came from before, told from chance and from another mix of webcams.

Scores are compared by the population stability index over deciles of the reference. Rules of thumb for it (0.1, 0.25) mean
nothing on few frames, so its expectation without any drift, (B - 1)(1/N + 1/M), stands beside it (Yurdakul 2018,
"Statistical properties of the population stability index"). Features are compared by the largest Kolmogorov-Smirnov
distance of any of them.

Whether either is more than chance is said by a permutation test (Phipson and Smyth 2010 on its p-value). What is
permuted are blocks, a webcam's frames of one day, since frames of one evening are almost one frame; and only within a
webcam, so that a webcam that came or went is no drift. Webcams that are on one side alone cannot be compared and are told.

Legend: N reference and M current frames, K blocks of both, B bins, F features, P permutations.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

NUM_BINS = 10
PERMUTATIONS = 999
SEED = 0
ALARM = 0.01
"""p-values up to this are called drift: a nightly look at the usual 0.05 would cry wolf every third week."""
MIX_WARNING = 0.1
"""Share of current frames, of webcams without a reference, from which on the mix is warned of."""
_PERMUTED_AT_ONCE = 50


@dataclass(frozen=True)
class Frames:
    """Frames of one side."""

    values: np.ndarray
    """float (N,) scores, or (N, F) features."""
    webcams: np.ndarray
    """int (N,)."""
    days: Sequence[str]
    """N days by the webcam's sun, see `ml.splits.local_day`."""

    def of(self, webcams: np.ndarray) -> Frames:
        """Those of these webcams."""
        chosen = np.isin(self.webcams, webcams)
        return Frames(
            self.values[chosen],
            self.webcams[chosen],
            [day for day, keep in zip(self.days, chosen, strict=True) if keep],
        )


def psi(reference: np.ndarray, current: np.ndarray) -> np.ndarray:
    """The population stability index of counts (..., B) against counts (..., B); half a frame is added to each bin, so
    that an empty one is not infinite.
    """
    p, q = (
        (counts + 0.5) / (counts.sum(axis=-1, keepdims=True) + 0.5 * counts.shape[-1])
        for counts in (np.asarray(reference, dtype=np.float64), np.asarray(current, dtype=np.float64))
    )
    return np.asarray(((q - p) * np.log(q / p)).sum(axis=-1))


def score_drift(
    reference: Frames, current: Frames, permutations: int = PERMUTATIONS, seed: int = SEED
) -> dict[str, Any]:
    """Drift of scores (N,) and (M,), on webcams that have both.

    Returns:
        `known`; if false `reason` and `mix`, else also `n_reference`, `n_current`, `n_blocks`, `n_webcams`, `bins`, `value`
        (the index), `expected` (of independent frames without drift), `chance` (its 95 % quantile under permutation),
        `p_value`, `permutations`, `drift` and `mix` (see `webcam_mix`).
    """
    both, found = _both(reference, current)
    if not found["known"]:
        return found
    before, now = reference.of(both), current.of(both)
    edges = np.unique(np.quantile(before.values, np.linspace(0, 1, NUM_BINS + 1)[1:-1]))
    num_bins = len(edges) + 1
    is_now, strata, block_of = _blocks(before, now)
    place = np.searchsorted(edges, np.concatenate([before.values, now.values]), side="right")
    counts = np.zeros((len(is_now), num_bins))
    np.add.at(counts, (block_of, place), 1.0)
    value = float(psi(counts[~is_now].sum(axis=0), counts[is_now].sum(axis=0)))
    drawn = []
    for mask in _permuted(is_now, strata, permutations, seed):
        chosen = mask.astype(np.float64) @ counts
        drawn.append(psi(counts.sum(axis=0) - chosen, chosen))
    n, m = len(before.values), len(now.values)
    expected = (num_bins - 1) * (1 / n + 1 / m)
    return (
        found
        | {"bins": num_bins, "expected": expected, "n_reference": n, "n_current": m, "n_blocks": len(is_now)}
        | (_judged(value, np.concatenate(drawn)))
    )


def input_drift(
    reference: Frames, current: Frames, names: Sequence[str], permutations: int = PERMUTATIONS, seed: int = SEED
) -> dict[str, Any]:
    """Drift of features (N, F) and (M, F) with F `names`: as `score_drift`, `value` being the largest distance of any.

    `features` are those furthest apart, each with its `value` and a `p_value` that allows for all the others having been
    looked at (Westfall and Young 1993).
    """
    both, found = _both(reference, current)
    if not found["known"]:
        return found
    before, now = reference.of(both), current.of(both)
    is_now, strata, block_of = _blocks(before, now)
    values = np.concatenate([before.values, now.values])
    order = np.argsort(values, axis=0, kind="stable")
    ordered = np.take_along_axis(values, order, axis=0)
    ends = np.vstack([ordered[1:] != ordered[:-1], np.ones((1, values.shape[1]), dtype=bool)])

    def distances(mask: np.ndarray) -> np.ndarray:
        current_rows = mask[block_of]
        weights = np.where(current_rows, 1 / current_rows.sum(), -1 / (~current_rows).sum())
        return np.asarray(np.abs(np.where(ends, np.cumsum(weights[order], axis=0), 0.0)).max(axis=0))

    each = distances(is_now)
    drawn = np.array([distances(row).max() for part in _permuted(is_now, strata, permutations, seed) for row in part])
    first = sorted(range(len(names)), key=lambda at: (-each[at], names[at]))[:5]
    features = [
        {"name": names[at], "value": float(each[at]), "p_value": _p_value(float(each[at]), drawn)} for at in first
    ]
    sizes = {"n_reference": len(before.values), "n_current": len(now.values), "n_blocks": len(is_now)}
    return found | sizes | {"features": features} | _judged(float(each.max()), drawn)


def webcam_mix(reference: np.ndarray, current: np.ndarray) -> dict[str, Any]:
    """How the mix of webcams, int (N,) and (M,), differs.

    Returns:
        `new_share` of the current frames, of webcams without a reference; `distance`: half the sum of differences of the
        webcams' shares, 0 to 1; `warning`: whether the first is worth a word.
    """
    everyone = np.unique(np.concatenate([reference, current]))
    shares = [
        np.array([(side == webcam).mean() if len(side) else 0.0 for webcam in everyone])
        for side in (reference, current)
    ]
    new = float((~np.isin(current, reference)).mean()) if len(current) else 0.0
    return {"new_share": new, "distance": float(np.abs(shares[0] - shares[1]).sum() / 2), "warning": new > MIX_WARNING}


def _both(reference: Frames, current: Frames) -> tuple[np.ndarray, dict[str, Any]]:
    both = np.intersect1d(reference.webcams, current.webcams)
    mix = webcam_mix(reference.webcams, current.webcams)
    if len(both) == 0:
        words = (
            "no webcam has frames in both windows"
            if len(current.webcams)
            else "there is no frame in the current window"
        )
        return both, {"known": False, "reason": words, "mix": mix}
    return both, {"known": True, "n_webcams": len(both), "mix": mix}


def _blocks(before: Frames, now: Frames) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of K blocks whether each is current, bool (K,), and its webcam (K,); and the block of each frame, (N + M,)."""
    keys = [
        (int(webcam), side, day)
        for side, frames in enumerate((before, now))
        for webcam, day in zip(frames.webcams, frames.days, strict=True)
    ]
    blocks = sorted(set(keys))
    number = {key: at for at, key in enumerate(blocks)}
    return (
        np.array([side == 1 for _, side, _ in blocks]),
        np.array([webcam for webcam, _, _ in blocks]),
        np.array([number[key] for key in keys]),
    )


def _permuted(is_now: np.ndarray, strata: np.ndarray, permutations: int, seed: int) -> Iterator[np.ndarray]:
    """Which blocks are current, bool (some of P, K), after as many of each webcam were drawn as are."""
    random = np.random.default_rng(seed)
    _, stratum = np.unique(strata, return_inverse=True)
    in_order = is_now[np.lexsort((~is_now, stratum))]  # within each webcam the current ones first
    for start in range(0, permutations, _PERMUTED_AT_ONCE):
        size = min(_PERMUTED_AT_ONCE, permutations - start)
        order = np.argsort(stratum + random.random((size, len(is_now))), axis=1)
        mask = np.empty((size, len(is_now)), dtype=bool)
        np.put_along_axis(mask, order, np.broadcast_to(in_order, mask.shape), axis=1)
        yield mask


def _p_value(value: float, drawn: np.ndarray) -> float:
    return float((1 + (drawn >= value - 1e-12).sum()) / (1 + len(drawn)))


def _judged(value: float, drawn: np.ndarray) -> dict[str, Any]:
    p_value = _p_value(value, drawn)
    return {
        "value": value, "chance": float(np.quantile(drawn, 0.95)), "p_value": p_value, "permutations": len(drawn),
        "drift": p_value <= ALARM,
    }  # fmt: skip
