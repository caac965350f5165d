"""Reports as the gate reads them, with figures that a test sets."""

from __future__ import annotations

from typing import Any

from ml.simplicity import ORDER

MODEL, ACTIVE, MEAN, RIDGE, BOOSTING = "new_1", "old_1", "predict the mean", "a ridge", "boosting"


def compared(against: str, gain: float, spread: float, probability_better: float | None = None) -> dict[str, Any]:
    """A comparison in MAE, which is better where it is smaller: a gain is a negative difference."""
    if probability_better is None:
        probability_better = 1.0 if gain > spread else 0.0 if gain < -spread else 0.5 + 0.4 * (gain / spread)
    return {
        "against": against, "metric": "mae", "difference": -gain, "interval": [-gain - spread, -gain + spread],
        "better": gain >= 0, "certain": gain > spread, "probability_better": probability_better,
    }  # fmt: skip


def sliced(value: str, gain: float, n: int = 50, probability_better: float = 0.5) -> dict[str, Any]:
    """A slice; the active model's error there is 0.5 stars."""
    return {
        "value": value, "n": n, "n_groups": n // 2, "model": 0.5 - gain, "active": 0.5, "difference": -gain,
        "interval": [-gain - 0.1, -gain + 0.1], "probability_better": probability_better,
    }  # fmt: skip


def audit_of(near_duplicates: int = 0) -> dict[str, Any]:
    """An audit of 200 train rows of which so many are near-duplicates of test rows."""
    nothing: dict[str, Any] = {"n": 0, "listed": []}
    sentence = f"the splits leak: {near_duplicates} of 200 train rows are near-duplicates of test rows"
    return {
        "leak": near_duplicates > 0, "verdict": sentence if near_duplicates else "nothing stands on two sides of a split",
        "between": [{"learned": "train", "judged": "test", "n": 200, "near_duplicates": near_duplicates, "listed": []}],
        "groups_in_several_splits": nothing, "images_in_several_splits": nothing, "held_out_webcams_learned": nothing,
        "folds": None,
    }  # fmt: skip


def gate_report(
    *comparisons: dict[str, Any],
    model_place: int = 5,
    active_place: int = 5,
    with_active: bool = True,
    slices: tuple[dict[str, Any], ...] = (),
    **changes: Any,
) -> dict[str, Any]:
    """A report that the gate lets pass, but for what is given. Errors: model 0.5, active 0.6, mean 1.0."""
    against = {
        "version": ACTIVE, "subset": "test", "n": 200, "n_groups": 40,
        "slices": {"phase": [sliced("sunset", 0.1), sliced("sunrise", 0.1), *slices]},
        "decisions": {"n": 200, "both_right": 150, "only_model_right": 20, "only_active_right": 5, "both_wrong": 25,
                      "p_value": 0.004},
    }  # fmt: skip
    errors = {MODEL: 0.5, ACTIVE: 0.6, MEAN: 1.0, RIDGE: 0.7, BOOSTING: 0.65}
    roles = {MODEL: "model", ACTIVE: "active"}
    usual = {each["against"]: each for each in (compared(MEAN, 0.5, 0.1), compared(RIDGE, 0.2, 0.1))}
    if with_active:
        usual[ACTIVE] = compared(ACTIVE, 0.1, 0.05)
    usual |= {each["against"]: each for each in comparisons}
    rows = [
        {
            "name": name,
            "role": roles.get(name, "baseline"),
            "metrics": {"mae": errors[name]},
            "intervals": {"mae": [0, 2]},
        }
        for name in (MODEL, *usual)
    ]
    gate = {
        "simplicity": {"order": list(ORDER), "model": model_place, "active": active_place if with_active else None,
                       "baselines": {MEAN: 0, RIDGE: 3, BOOSTING: 4}},
        "parity": {"n": 43, "max_abs_difference": 1e-6, "self_test": {"n": 11, "tolerance": 1e-4}},
        "latency": {"model_ms": 20.0, "active_ms": 20.0 if with_active else None, "ratio": 1.0 if with_active else None},
        "against_active": against if with_active else None,
    }  # fmt: skip
    return {
        "model_version": MODEL, "headline": "test", "kind": "rating", "head": "regression",
        "primary": {"name": "mae", "higher_is_better": False, "best": 0.0},
        "subsets": {"test": {"n": 200, "n_groups": 40, "rows": rows, "comparisons": list(usual.values())}},
        "noise": {"subsets": {}}, "audit": audit_of(), "gate": gate | changes,
    }  # fmt: skip
