"""Thresholds as policy objects: a number is never compared without the scale that it is on.

A policy is JSON: `{"kind": "fixed", "threshold": 4.0, "on": "ai_rating", "scale": [0, 5]}`. `on` names a graph output;
`scale` is the range of that output. A threshold of 4.0 once met labels in [0, 1] and trained a model that always said
no: hence `check_policy`. `kind` says how the threshold was chosen, and the policy keeps what it was chosen by:

    fixed               a number that somebody set
    precision_target    `target`: the smallest threshold at which people would agree with that share of what passes
    cost                `cost_fp`, `cost_fn`: pass from the probability of good at which passing costs less than not
    budget              `per_day`, `frames_per_day`: the smallest threshold that lets so many of those scored a day through

`ml.threshold_fit` chooses, and adds `fitted_on` (which rows) and `achieved` (what it reached on them, with intervals);
where it had to give up, the policy is the default and has `instead_of` and `reason`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

KINDS: dict[str, tuple[str, ...]] = {
    "fixed": (), "precision_target": ("target",), "cost": ("cost_fp", "cost_fn"), "budget": ("per_day", "frames_per_day"),
}  # fmt: skip
"""Kind of policy -> the numbers above 0 that it was chosen by."""
PROBABILITY_SCALE = (0.0, 1.0)
SCALED_OUTPUT = "ai_rating"
"""The one graph output that is on the model's scale; all others are in [0, 1]."""
GOOD_OUTPUT = "p_good"
"""The graph output that is a probability of being good."""


class ThresholdError(ValueError):
    """A policy is incomplete, or on another scale than the model; the message says both."""


def fixed_policy(threshold: float, on: str, scale: tuple[float, float]) -> dict[str, Any]:
    """The policy "yes from `threshold` on".

    Raises:
        ThresholdError: The threshold lies outside the scale.
    """
    policy = {"kind": "fixed", "threshold": float(threshold), "on": on, "scale": [float(scale[0]), float(scale[1])]}
    check_policy(policy)
    return policy


def applied(policy: Mapping[str, Any], threshold: float | None = None) -> dict[str, Any]:
    """The part of a policy that decides, without what it achieved; `fixed` where `threshold` replaces its own.

    Raises:
        ThresholdError: The policy is incomplete.
    """
    check_policy(policy)
    kept = {key: policy[key] for key in ("kind", "threshold", "on", "scale", *KINDS[policy["kind"]])}
    return kept if threshold is None else fixed_policy(threshold, kept["on"], kept["scale"])


def output_scale(on: str, model_scale: tuple[float, float]) -> tuple[float, float]:
    """The range of the graph output `on` of a model whose scores are on `model_scale`."""
    return model_scale if on == SCALED_OUTPUT else PROBABILITY_SCALE


def check_policy(policy: Mapping[str, Any], model_scale: tuple[float, float] | None = None) -> None:
    """Check that a policy is whole and, when `model_scale` is given, that it is on that model's scale.

    Raises:
        ThresholdError: It is not; the message names both scales.
    """
    missing = [key for key in ("kind", "threshold", "on", "scale") if key not in policy]
    if missing:
        raise ThresholdError(f"the threshold policy lacks {', '.join(missing)}; a threshold is given with its scale")
    if policy["kind"] not in KINDS:
        raise ThresholdError(f"unknown threshold policy {policy['kind']!r}; known: {', '.join(KINDS)}")
    for name in KINDS[policy["kind"]]:
        if not (math.isfinite(float(policy.get(name, math.nan))) and float(policy[name]) > 0):
            raise ThresholdError(f"a threshold policy {policy['kind']!r} states {name}, a number above 0")
    low, high = (float(bound) for bound in policy["scale"])
    threshold = float(policy["threshold"])
    if not (math.isfinite(threshold) and low <= threshold <= high):
        raise ThresholdError(f"the threshold {threshold:g} lies outside its scale {low:g}..{high:g}")
    if model_scale is None:
        return
    expected = output_scale(str(policy["on"]), model_scale)
    if not all(math.isclose(a, b, abs_tol=1e-9) for a, b in zip((low, high), expected, strict=True)):
        raise ThresholdError(
            f"the threshold {threshold:g} is on the scale {low:g}..{high:g}, but {policy['on']} of this model is on "
            f"{expected[0]:g}..{expected[1]:g}; give the threshold on the model's scale"
        )


def passes(
    policy: Mapping[str, Any], outputs: Mapping[str, Any], model_scale: tuple[float, float] | None = None
) -> bool | None:
    """Whether one item's outputs reach the threshold; None when there is no score, so that none is made up.

    Args:
        policy: The policy object.
        outputs: Named outputs of one item, each a float or None.
        model_scale: Scale of the model that made them; given, it must be the policy's.

    Raises:
        ThresholdError: The policy is incomplete or on another scale than the model.
    """
    check_policy(policy, model_scale)
    value = outputs.get(str(policy["on"]))
    if value is None or not math.isfinite(float(value)):
        return None
    return float(value) >= float(policy["threshold"])
