"""Choose a threshold by what it should reach, on rows that the model did not learn from, and say what it reaches.

Legend: N rows. The rows are held out (validation or out of fold), never test rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ml import metrics
from ml.manifest import ManifestRow
from ml.report import REPLICATES, SEED, draws, interval
from ml.thresholds import GOOD_OUTPUT, PROBABILITY_SCALE, check_policy


@dataclass(frozen=True)
class Asked:
    """How a recipe wants its threshold chosen."""

    kind: str = "fixed"
    """One of `ml.thresholds.KINDS`."""
    target: float = 0.7
    """Precision, of `precision_target`."""
    cost_fp: float = 1.0
    """What passing one that is not good costs, of `cost`, in any unit."""
    cost_fn: float = 1.0
    """What missing a good one costs, in the same unit."""
    per_day: float = 10.0
    """How many may pass a day, of `budget`."""
    frames_per_day: float = 9600.0
    """How many are scored a day, of `budget`: labelled frames are a few of them, so their own days say nothing of it."""

    @property
    def numbers(self) -> dict[str, float]:
        """The numbers that count for its kind, as they stand in the policy."""
        of: dict[str, dict[str, float]] = {
            "precision_target": {"target": self.target},
            "cost": {"cost_fp": self.cost_fp, "cost_fn": self.cost_fn},
            "budget": {"per_day": self.per_day, "frames_per_day": self.frames_per_day},
        }
        return of.get(self.kind, {})


@dataclass(frozen=True)
class HeldOut:
    """Rows that the model did not learn from, and what it says of them."""

    rows: Sequence[ManifestRow]
    outputs: Mapping[str, np.ndarray]
    """Named outputs, each float (N,), calibrated."""
    which: str
    """`val`, or `oof` (out of fold)."""


_ROUNDING = 1e-9
"""What a quotient of two numbers of frames may be off by."""


class _Unreachable(Exception):
    """No threshold does what is asked; the message says why."""


def fit_policy(asked: Asked, default: Mapping[str, Any], held_out: HeldOut | None) -> dict[str, Any]:
    """The policy that does what is asked, with `fitted_on` and `achieved`.

    Args:
        asked: what the recipe wants.
        default: the kind's own policy: the threshold of `fixed`, and the output that others are a threshold on.
        held_out: rows to fit on; None where there are none.

    Returns:
        A policy of the kind asked for. Where that is impossible: `default` with `instead_of`, what was asked for, and
        `reason`, why not, in words.
    """
    try:
        policy = {**default, **_chosen(asked, default, held_out)}
    except _Unreachable as error:
        policy = {**default, "instead_of": {"kind": asked.kind, **asked.numbers}, "reason": str(error)}
    check_policy(policy)
    if held_out is None or policy["on"] not in held_out.outputs:
        return policy
    passed = np.asarray(held_out.outputs[policy["on"]]) >= policy["threshold"]
    found = achieved(held_out.rows, passed)
    fitted_on = {"rows": held_out.which, **{name: found.pop(name) for name in ("n", "n_groups", "n_good")}}
    return {**policy, "fitted_on": fitted_on, "achieved": found}


def policy_note(policy: Mapping[str, Any]) -> str | None:
    """What a run says where its threshold is not the one that was asked for, or decides nothing."""
    if "instead_of" not in policy:
        share = ((policy.get("achieved") or {}).get("share_passed") or {}).get("value")
        if share in (0.0, 1.0):
            return (
                f"the threshold {policy['threshold']:g} on {policy['on']} decides nothing: "
                f"{'all' if share else 'none'} of the {policy['fitted_on']['n']} held-out rows pass it"
            )
        return None
    return (
        f"the threshold policy {policy['instead_of']['kind']} could not be fitted: {policy['reason']}; "
        f"{policy['kind']} {policy['threshold']:g} on {policy['on']} applies instead"
    )


def achieved(rows: Sequence[ManifestRow], passed: np.ndarray, replicates: int = REPLICATES) -> dict[str, Any]:
    """What a threshold reaches on rows, of which `passed`, bool (N,), passed it.

    Returns:
        `n`, `n_groups`, `n_good`, `n_passed`, and `share_passed`, `precision` (of what passed, the share that is good)
        and `recall` (of the good, the share that passed): each `{value, interval, wilson}`, or null where undefined.
        `interval` is the 95 % bootstrap interval by group; `wilson` that of independent rows, which is the honest one
        where every row agrees. Without an idea of good, `n_good`, `precision` and `recall` are null.
    """
    knows_good = all(row.is_good is not None for row in rows)
    good = np.array([bool(row.is_good) for row in rows])
    groups = [row.group_id for row in rows]
    counts: dict[str, tuple[np.ndarray, np.ndarray]] = {"share_passed": (passed, np.ones(len(rows), dtype=bool))}
    if knows_good:
        counts |= {"precision": (passed & good, passed), "recall": (passed & good, good)}
    drawn: dict[str, list[np.ndarray]] = {name: [] for name in counts}
    for weights in draws(groups, replicates, SEED):
        for name, (hits, of) in counts.items():
            total = weights @ of.astype(np.float64)
            drawn[name].append(np.where(total > 0, weights @ hits.astype(np.float64) / np.maximum(total, 1.0), np.nan))
    found: dict[str, Any] = {
        "n": len(rows), "n_groups": len(set(groups)), "n_good": int(good.sum()) if knows_good else None,
        "n_passed": int(passed.sum()), "precision": None, "recall": None,
    }  # fmt: skip
    for name, (hits, of) in counts.items():
        found[name] = _share(int(hits.sum()), int(of.sum()), np.concatenate(drawn[name]))
    return found


def _share(hits: int, n: int, drawn: np.ndarray) -> dict[str, Any] | None:
    if n == 0:
        return None
    low, high = metrics.wilson(hits, n)
    return {"value": hits / n, "interval": interval(drawn), "wilson": [float(low), float(high)]}


def _chosen(asked: Asked, default: Mapping[str, Any], held_out: HeldOut | None) -> dict[str, Any]:
    """The keys of the policy that the choice decides."""
    if asked.kind == "fixed":
        return {}
    if held_out is None or not held_out.rows:
        raise _Unreachable("there are no held-out rows to fit it on")
    chosen = {"kind": asked.kind, **asked.numbers}
    if asked.kind == "cost":
        if GOOD_OUTPUT not in held_out.outputs:
            raise _Unreachable(f"the model has no output {GOOD_OUTPUT}, which costs are weighed by")
        threshold = asked.cost_fp / (asked.cost_fp + asked.cost_fn)
        return {**chosen, "threshold": threshold, "on": GOOD_OUTPUT, "scale": list(PROBABILITY_SCALE)}
    values = np.asarray(held_out.outputs[default["on"]], dtype=np.float64)
    choose = _precise if asked.kind == "precision_target" else _within_budget
    return {**chosen, "threshold": _between(values, choose(asked, held_out, values), default["scale"])}


def _precise(asked: Asked, held_out: HeldOut, values: np.ndarray) -> float:
    """The smallest value from which on the lower end of the Wilson interval of precision reaches the target."""
    if any(row.is_good is None for row in held_out.rows):
        raise _Unreachable("these labels do not say what is good")
    good = np.array([bool(row.is_good) for row in held_out.rows])
    levels, place = np.unique(values, return_inverse=True)
    passed = np.cumsum(np.bincount(place)[::-1])[::-1]
    hits = np.cumsum(np.bincount(place, weights=good)[::-1])[::-1]
    lower, _ = metrics.wilson(hits, passed)
    reached = np.flatnonzero(lower >= asked.target)
    if not len(reached):
        best = int(np.argmax(lower))
        raise _Unreachable(
            f"no threshold has a precision of {asked.target:g} for certain on {len(good)} held-out rows, {int(good.sum())} "
            f"of them good; the best, {levels[best]:.4g}, has {hits[best]:.0f} good of {passed[best]}, at least "
            f"{lower[best]:.2f}"
        )
    return float(levels[reached[0]])


def _within_budget(asked: Asked, held_out: HeldOut, values: np.ndarray) -> float:
    """The smallest value from which on at most the share `per_day / frames_per_day` of the rows passes.

    A smaller share than one row in all of them cannot be read off the rows: no quantile lies beyond the highest score.
    """
    levels, counts = np.unique(values, return_counts=True)
    passed = np.cumsum(counts[::-1])[::-1]
    share = asked.per_day / asked.frames_per_day
    fits = np.flatnonzero(passed <= share * len(held_out.rows) * (1.0 + _ROUNDING))
    if not len(fits):
        raise _Unreachable(
            f"{asked.per_day:g} of {asked.frames_per_day:g} frames a day is a share of {share:.2g}, and the highest score "
            f"alone is {counts[-1]} of {len(held_out.rows)} held-out rows, {counts[-1] / len(held_out.rows):.2g}; label "
            "more frames, or allow more a day"
        )
    return float(levels[fits[0]])


def _between(values: np.ndarray, chosen: float, scale: Sequence[float]) -> float:
    """Half-way to the next lower value, so that a last digit in serving turns no decision; within the scale."""
    lower = values[values < chosen]
    edge = (chosen + float(lower.max())) / 2 if len(lower) else float(scale[0])
    return min(max(edge, float(scale[0])), float(scale[1]))
