"""What changed between two runs: their rows, what their models say of the rows that both have, and their verdicts.

Pure: the caller brings the rows from provenance and the predictions from evaluations. A model's score of a row that it
learned from is never used: predictions are those that evaluations kept, of test rows or out of fold.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ml import report as reports
from ml.judgements.base import Judgement
from ml.thresholds import passes

SERVED, OUT_OF_FOLD = "served", "out of fold"
ASPECTS = ("label_value", "label_source", "split", "image_sha256", "ratings")
"""What of a row may differ between two runs that both have it."""
_KNOWN_COLUMNS = frozenset(
    ("snapshot_id", "image_sha256", "split", "seen", "group_id", "target", "out_of_fold_score", "score")
)


@dataclass(frozen=True)
class UsedRow:
    """One row of a run, as its provenance has it."""

    snapshot_id: int
    image_sha256: str
    label_value: float
    label_source: str
    split: str
    ratings: Mapping[str, int | None]
    """Rater -> stars; None is "not a sunset"."""


@dataclass(frozen=True)
class Prediction:
    """What a model said of one row in an evaluation."""

    image_sha256: str
    group_id: str
    score: float | None
    """Of the served bundle, on the scale of the targets; None where the row was not in its test."""
    out_of_fold: float | None
    outputs: Mapping[str, float]
    """The bundle's named outputs; empty where it was not run."""


@dataclass(frozen=True)
class Side:
    """One of the two runs."""

    model_version: str
    rows: Mapping[int, UsedRow]
    predictions: Mapping[int, Prediction] = field(default_factory=dict)
    head: str | None = None
    """None, with what follows, where the run has no registered model."""
    policy: Mapping[str, Any] | None = None
    scale: tuple[float, float] | None = None


def read_predictions(data: bytes) -> dict[int, Prediction]:
    """The rows of an evaluation's predictions.csv by snapshot."""
    found = {}
    for cells in csv.DictReader(io.StringIO(data.decode("utf-8"), newline="")):
        outputs = {name: float(cell) for name, cell in cells.items() if name not in _KNOWN_COLUMNS and cell}
        found[int(cells["snapshot_id"])] = Prediction(
            cells["image_sha256"],
            cells["group_id"],
            _number(cells["score"]),
            _number(cells["out_of_fold_score"]),
            outputs,
        )
    return found


def _number(cell: str) -> float | None:
    return float(cell) if cell else None


def diff_runs(judgement: Judgement, base: Side, other: Side, limit: int | None = None) -> dict[str, Any]:
    """Everything that differs from `base` to `other`, as JSON.

    Args:
        judgement: the kind of both.
        base: what to compare with, as a rule the older run.
        other: what is compared.
        limit: entries of each list at most; the counts are of all.
    """
    notes: list[str] = []
    common = sorted(base.rows.keys() & other.rows.keys())
    changed = [each for each in (_changes(base.rows[row], other.rows[row]) for row in common) if each["changes"]]
    added = [_row_facts(other.rows[row]) for row in sorted(other.rows.keys() - base.rows.keys())]
    removed = [_row_facts(base.rows[row]) for row in sorted(base.rows.keys() - other.rows.keys())]
    predictions, moved = _moves(judgement, base, other, common, notes)
    verdicts, flipped = _flips(judgement, base, other, common, notes)
    return {
        "base": base.model_version,
        "other": other.model_version,
        "rows": {
            "base": len(base.rows),
            "other": len(other.rows),
            "common": len(common),
            "added": len(added),
            "removed": len(removed),
            "changed": len(changed),
            "changes": {aspect: sum(aspect in each["changes"] for each in changed) for aspect in ASPECTS},
        },
        "predictions": predictions,
        "verdicts": verdicts,
        "notes": notes,
        "moved": moved[:limit],
        "flipped": flipped[:limit],
        "changed": changed[:limit],
        "added": added[:limit],
        "removed": removed[:limit],
    }


def _row_facts(row: UsedRow) -> dict[str, Any]:
    return {
        "snapshot_id": row.snapshot_id,
        "image_sha256": row.image_sha256,
        "label_value": row.label_value,
        "label_source": row.label_source,
        "split": row.split,
    }


def _changes(before: UsedRow, after: UsedRow) -> dict[str, Any]:
    """What of one row differs, each as `[before, after]`; of ratings only the raters whose word differs."""
    changes: dict[str, list[Any]] = {}
    for aspect in ASPECTS:
        old, new = getattr(before, aspect), getattr(after, aspect)
        if old == new:
            continue
        if aspect == "ratings":
            raters = [
                name for name in sorted({*old, *new}) if (name in old, old.get(name)) != (name in new, new.get(name))
            ]
            old, new = ({name: each[name] for name in raters if name in each} for each in (old, new))
        changes[aspect] = [old, new]
    return {**_row_facts(after), "changes": changes}


def _same_image(base: Side, other: Side, row: int) -> tuple[Prediction, Prediction] | None:
    """What both said of a row, when both looked at the same picture."""
    before, after = base.predictions.get(row), other.predictions.get(row)
    if before is None or after is None or before.image_sha256 != after.image_sha256:
        return None
    return before, after


def _moves(
    judgement: Judgement, base: Side, other: Side, common: Sequence[int], notes: list[str]
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """How scores moved: totals with n and intervals by group, and the rows, those that moved most first."""
    nothing: dict[str, Any] = {"n": 0, "n_groups": 0, "rows": {}}
    for side in (base, other):
        if side.head is None:
            notes.append(f"{side.model_version} has no registered model, so no predictions are compared")
            return nothing, []
    if base.head != other.head:
        notes.append(f"the heads are {base.head} and {other.head}, whose scores are not on one scale: none is compared")
        return nothing, []
    assert other.head is not None
    rows: list[dict[str, Any]] = []
    for row in common:
        said = _same_image(base, other, row)
        if said is None:
            continue
        pairs = ((SERVED, said[0].score, said[1].score), (OUT_OF_FOLD, said[0].out_of_fold, said[1].out_of_fold))
        chosen = next(((how, a, b) for how, a, b in pairs if a is not None and b is not None), None)
        if chosen is not None:
            how, before, after = chosen
            target = judgement.target(other.rows[row].label_value, other.head)
            rows.append({**_row_facts(other.rows[row]), "group_id": said[1].group_id, "how": how, "before": before,
                         "after": after, "difference": after - before, "target": target})  # fmt: skip
    if len(rows) < len(common):
        missing = {each.model_version: sum(row not in each.predictions for row in common) for each in (base, other)}
        told = ", ".join(f"{name} of {n}" for name, n in missing.items())
        notes.append(
            f"{len(common) - len(rows)} of {len(common)} common rows are not compared, since the evaluations keep scores "
            f"of rows that a model did not learn from only; no prediction is kept by {told}"
        )
    if not rows:
        return nothing, []
    return _totals(rows), sorted(rows, key=lambda each: (-abs(each["difference"]), each["snapshot_id"]))


def _totals(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Means over the rows, each with its 95 % interval from a bootstrap by group, paired.

    Source: Efron and Tibshirani 1993, chapter 13; whole groups are drawn, see `ml.report`.
    """
    before, after, target = (
        np.array([row[name] for row in rows], dtype=np.float64) for name in ("before", "after", "target")
    )
    groups = [str(row["group_id"]) for row in rows]
    values = {
        "mean_difference": after - before,
        "mean_move": np.abs(after - before),
        "base_error": np.abs(before - target),
        "other_error": np.abs(after - target),
        "error_difference": np.abs(after - target) - np.abs(before - target),
    }
    drawn: dict[str, list[np.ndarray]] = {name: [] for name in values}
    for weights in reports.draws(groups, reports.REPLICATES, reports.SEED):
        for name, each in values.items():
            drawn[name].append(weights @ each / weights.sum(axis=1))
    counted = [row["how"] for row in rows]
    words = reports.insufficient(len(rows), len(set(groups)))
    return {
        "n": len(rows),
        "n_groups": len(set(groups)),
        "rows": {how: counted.count(how) for how in (SERVED, OUT_OF_FOLD) if how in counted},
        **{
            name: {"value": float(each.mean()), "interval": reports.interval(np.concatenate(drawn[name]))}
            for name, each in values.items()
        },
        "largest_move": float(np.abs(after - before).max()),
        **({"insufficient": words} if words else {}),
    }


def _flips(
    judgement: Judgement, base: Side, other: Side, common: Sequence[int], notes: list[str]
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Rows on which the two models, each with its own threshold, say the opposite."""
    n, flipped = 0, []
    if base.policy is not None and other.policy is not None:
        for row in common:
            said = _same_image(base, other, row)
            if said is None:
                continue
            before, after = (
                passes(base.policy, said[0].outputs, base.scale),
                passes(other.policy, said[1].outputs, other.scale),
            )
            if before is None or after is None:
                continue
            n += 1
            if before != after:
                good = judgement.is_good(other.rows[row].label_value)
                flipped.append({**_row_facts(other.rows[row]), "before": before, "after": after, "is_good": good,
                                "right_now": None if good is None else after == good})  # fmt: skip
        if _line(base.policy) != _line(other.policy):
            notes.append(f"the thresholds differ: {_said(base.policy)} and {_said(other.policy)}")
    totals = {
        "n": n,
        "flipped": len(flipped),
        "to_good": sum(each["after"] for each in flipped),
        "right_now": sum(each["right_now"] is True for each in flipped),
        "wrong_now": sum(each["right_now"] is False for each in flipped),
    }
    return totals, flipped


def _line(policy: Mapping[str, Any]) -> tuple[Any, ...]:
    """Where a policy draws the line; how it was found and what it achieves may differ for the same one."""
    return policy["on"], float(policy["threshold"]), tuple(policy["scale"])


def _said(policy: Mapping[str, Any]) -> str:
    return f"{policy['on']} from {float(policy['threshold']):.4g} on"
