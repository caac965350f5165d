"""Evaluation reports: tables in which no number stands without its baseline, its n and its interval.

Intervals are 95 % percentiles of a cluster bootstrap: whole groups are drawn, since frames of one webcam's day are
almost one frame. All rows of a table are measured on the same draws, so that differences are paired.
Source: Efron and Tibshirani 1993, chapters 8 and 13; drawing clusters: Field and Welsh 2007.

Legend: `N` rows of the dataset, `B` replicates.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ml import metrics
from ml.judgements.base import Judgement, MetricSpec
from ml.splits import ENOUGH_GROUPS, ENOUGH_ROWS

FORMAT = 1
REPLICATES = 2000
SEED = 0
LEVEL = (2.5, 97.5)
"""Percentiles of the interval."""
MODEL, BASELINE, ACTIVE = "model", "baseline", "active"
_CHUNK_NUMBERS = 2_000_000
"""Numbers in one weighting array, 16 MB: larger ones are no faster."""


class ReportError(ValueError):
    """A report shows a number without baseline, n or interval; the message says which."""


@dataclass(frozen=True)
class Scores:
    """One line of a table: who answered, and what, on the table's rows."""

    name: str
    role: str
    """`model`, `baseline` or `active`."""
    scores: np.ndarray
    """float (N,), on the scale of the targets."""
    remark: str = ""
    """Why its numbers must not be compared; then no comparison is made."""
    detail: str = ""
    """What was chosen in fitting it, for people."""
    knows: np.ndarray | None = None
    """bool (N,): rows of which it knows more than the average; a part of the table without any leaves it out."""


def draws(group_ids: Sequence[str], replicates: int, seed: int) -> Iterator[np.ndarray]:
    """Weightings of the rows, float (some of B, N), B in all: as many groups as there are, drawn with replacement.

    With a single group rows are drawn instead: too narrow, but the table says so.
    """
    _, group_of = np.unique(np.asarray(group_ids, dtype=str), return_inverse=True)
    num_groups = int(group_of.max()) + 1
    if num_groups == 1:
        group_of, num_groups = np.arange(len(group_of)), len(group_of)
    random = np.random.default_rng(seed)
    chunk = max(1, _CHUNK_NUMBERS // max(len(group_of), num_groups))
    for start in range(0, replicates, chunk):
        size = min(chunk, replicates - start)
        counts = random.multinomial(num_groups, np.full(num_groups, 1.0 / num_groups), size=size)
        yield counts[:, group_of].astype(np.float64)


def interval(values: np.ndarray) -> list[float] | None:
    """The 95 % percentile interval of replicates (B,), those that are NaN left out; None when all are."""
    defined = values[np.isfinite(values)]
    if len(defined) == 0:
        return None
    low, high = np.percentile(defined, LEVEL)
    return [float(low), float(high)]


def mean_interval(values: np.ndarray, group_ids: Sequence[str], replicates: int = REPLICATES) -> list[float] | None:
    """The 95 % bootstrap interval by group of the mean of values, float (N,); None of a single one."""
    if len(values) == 1:
        return None
    means = [weights @ values / weights.sum(axis=1) for weights in draws(group_ids, replicates, SEED)]
    return interval(np.concatenate(means))


def share_interval(passed: np.ndarray, group_ids: Sequence[str], replicates: int = REPLICATES) -> list[float] | None:
    """The same of a share, from bool (N,); Wilson's where none or all pass, since a bootstrap of them ends in a point."""
    number = int(passed.sum())
    if number in (0, len(passed)):
        return [float(end) for end in metrics.wilson(number, len(passed))]
    return mean_interval(passed.astype(np.float64), group_ids, replicates)


def headline_table(report: Mapping[str, Any]) -> Mapping[str, Any]:
    """The table of a report that is its headline."""
    found: Mapping[str, Any] = report["subsets"][report["headline"]]
    return found


def model_row(content: Mapping[str, Any]) -> Mapping[str, Any]:
    """The row of a table that is the evaluated model's."""
    found: Mapping[str, Any] = next(row for row in content["rows"] if row["role"] == MODEL)
    return found


def figures(row: Mapping[str, Any], metric: str) -> dict[str, Any]:
    """`value` and 95 % `interval` of one metric in a row; null where undefined."""
    return {"value": row["metrics"][metric], "interval": (row.get("intervals") or {}).get(metric)}


def table(
    judgement: Judgement,
    head: str,
    entries: Sequence[Scores],
    targets: np.ndarray,
    group_ids: Sequence[str],
    replicates: int = REPLICATES,
    seed: int = SEED,
) -> dict[str, Any]:
    """Metrics of every entry on the same rows, with intervals, and the model compared with each other entry.

    A metric that is undefined on these rows is null, and so is its interval; of one row all are. `replicates` under a row
    names the metrics that were undefined in some draws, with the number used.
    """
    specs = judgement.metrics(head)
    names = [spec.name for spec in specs]
    drawn: dict[str, dict[str, list[np.ndarray]]] = {entry.name: {name: [] for name in names} for entry in entries}
    for weights in draws(group_ids, replicates, seed):
        for entry in entries:
            measured = judgement.measure_many(entry.scores, targets, weights, head)
            for name in names:
                drawn[entry.name][name].append(measured[name])
    samples = {entry: {name: np.concatenate(parts) for name, parts in each.items()} for entry, each in drawn.items()}
    if len(targets) == 1:  # drawn again it is the same row: an interval without width would read as certainty
        samples = {entry: {name: np.full_like(sample, np.nan) for name, sample in each.items()}
                   for entry, each in samples.items()}  # fmt: skip
    points = {entry.name: judgement.measure(entry.scores, targets, head) for entry in entries}
    num_groups = len(set(group_ids))
    content: dict[str, Any] = {
        "n": len(targets),
        "n_groups": num_groups,
        "rows": [_row(entry, names, points[entry.name], samples[entry.name]) for entry in entries],
        "comparisons": _comparisons(specs[0], entries, points, samples),
        "skill": _skill(specs[0], entries, points, samples),
    }
    words = insufficient(len(targets), num_groups)
    return {**content, "insufficient": words} if words else content


def insufficient(num_rows: int, num_groups: int) -> str | None:
    """Why the numbers of so few rows or groups prove little, in words; None when there are enough."""
    if num_rows >= ENOUGH_ROWS and num_groups >= ENOUGH_GROUPS:
        return None
    words = (
        f"only {num_rows} rows in {num_groups} group{'s' if num_groups != 1 else ''}, under {ENOUGH_ROWS} rows or "
        f"{ENOUGH_GROUPS} groups: read these numbers as a hint"
    )
    return words + ("; the intervals draw single rows and are too narrow" if num_groups == 1 else "")


def _row(
    entry: Scores, names: Sequence[str], point: dict[str, float], samples: dict[str, np.ndarray]
) -> dict[str, Any]:
    intervals = {name: interval(samples[name]) for name in names}
    used = {name: int(np.isfinite(samples[name]).sum()) for name in names}
    row: dict[str, Any] = {
        "name": entry.name,
        "role": entry.role,
        "metrics": {name: point[name] if math.isfinite(point[name]) and intervals[name] else None for name in names},
        "intervals": {name: intervals[name] if math.isfinite(point[name]) else None for name in names},
        "replicates": {name: used[name] for name in names if used[name] < len(samples[name])},
    }
    if entry.detail:
        row["detail"] = entry.detail
    return {**row, "comparable": False, "remark": entry.remark} if entry.remark else row


def _comparisons(
    primary: MetricSpec,
    entries: Sequence[Scores],
    points: Mapping[str, dict[str, float]],
    samples: Mapping[str, dict[str, np.ndarray]],
) -> list[dict[str, Any]]:
    """The model minus each other entry in the primary metric.

    `better` means: strictly better than a baseline, no worse than the active model. `certain` means: the interval
    lies wholly on the better side. `probability_better` is the share of draws in which the model is better, a tie
    counting half. An undefined difference is null and not better.
    """
    model = next(entry for entry in entries if entry.role == MODEL)
    found = []
    for entry in entries:
        if entry.role == MODEL or entry.remark:
            continue
        difference = points[model.name][primary.name] - points[entry.name][primary.name]
        sample, others = samples[model.name][primary.name], samples[entry.name][primary.name]
        bounds = interval(sample - others)
        sign = 1.0 if primary.higher_is_better else -1.0
        defined = math.isfinite(difference) and bounds is not None
        gain = sign * difference
        found.append(
            {
                "against": entry.name,
                "metric": primary.name,
                "difference": difference if defined else None,
                "interval": bounds if defined else None,
                "better": bool(defined and (gain >= 0 if entry.role == ACTIVE else gain > 0)),
                "certain": bool(bounds is not None and defined and min(sign * bounds[0], sign * bounds[1]) > 0),
                "probability_better": _share_above(sign * (sample - others)) if defined else None,
            }
        )
    return found


def _share_above(gains: np.ndarray) -> float:
    """Share of the defined draws (B,) above 0, ties half."""
    defined = gains[np.isfinite(gains)]
    return float(((defined > 0) + 0.5 * (defined == 0)).mean())


def _skill(
    primary: MetricSpec,
    entries: Sequence[Scores],
    points: Mapping[str, dict[str, float]],
    samples: Mapping[str, dict[str, np.ndarray]],
) -> dict[str, Any]:
    """The share of the best baseline's error that the model does away with: 1 is perfect, 0 no better, negative worse.

    `1 - error / error_of_best` where lower is better, else `(value - best) / (largest - best)`. The best baseline is the
    best on these very rows, which favours it; the interval is paired, and keeps that choice.
    `certain` means: the interval lies above 0. Null where undefined, as when the best baseline makes no error at all.
    """
    model = next(entry.name for entry in entries if entry.role == MODEL)
    sign = 1.0 if primary.higher_is_better else -1.0
    names = [entry.name for entry in entries if entry.role == BASELINE and not entry.remark]
    known = [(sign * points[name][primary.name], name) for name in names if math.isfinite(points[name][primary.name])]
    found: dict[str, Any] = {"metric": primary.name, "against": None, "value": None, "interval": None, "certain": False}
    if not known:
        return found
    best = max(known, key=lambda each: each[0])[1]  # of equals the first, which is the simplest
    value = _skill_of(primary, np.array([points[model][primary.name]]), np.array([points[best][primary.name]]))[0]
    bounds = interval(_skill_of(primary, samples[model][primary.name], samples[best][primary.name]))
    found["against"] = best
    if math.isfinite(value) and bounds is not None:
        found |= {"value": float(value), "interval": bounds, "certain": bounds[0] > 0.0}
    return found


def _skill_of(primary: MetricSpec, model: np.ndarray, best: np.ndarray) -> np.ndarray:
    """Skill of values (B,) over values (B,); NaN where the best has no error left."""
    room = primary.high - best if primary.higher_is_better else best - primary.low
    gain = model - best if primary.higher_is_better else best - model
    skill = np.full(len(model), np.nan)
    np.divide(gain, room, out=skill, where=np.isfinite(room) & (room > 0))
    return skill


def skill_sentence(model: str, content: Mapping[str, Any]) -> str:
    """What a table's skill says, for people: the headline of a report."""
    skill = content["skill"]
    where = f"on {content['n']} rows in {content['n_groups']} groups"
    if skill["value"] is None:
        return f"{model} cannot be compared with a baseline in {skill['metric']} {where}: it is undefined on these rows"
    low, high = skill["interval"]
    figures = f"skill {skill['value']:+.3f}, 95 % interval {low:+.3f} to {high:+.3f}, in {skill['metric']} {where}"
    best = f"the best baseline, {skill['against']}"
    if skill["certain"]:
        return f"{model} is better than {best}: {figures}"
    how = "is worse than" if high < 0.0 else "is not better beyond its interval than"
    return f"{model} {how} {best}: {figures}"


def _check_table(where: str, content: Mapping[str, Any]) -> None:
    for key in ("n", "n_groups"):
        if not isinstance(content.get(key), int) or content[key] < 1:
            raise ReportError(f"{where} does not say its {key}")
    rows = content.get("rows") or []
    if not any(row["role"] == MODEL for row in rows):
        raise ReportError(f"{where} has no row of the model")
    if not any(row["role"] == BASELINE for row in rows):
        raise ReportError(f"{where} has no baseline row: a number without its baseline says nothing")
    for row in rows:
        for metric, value in row["metrics"].items():
            bounds = row["intervals"].get(metric)
            whole = isinstance(bounds, list) and len(bounds) == 2 and all(isinstance(b, float) for b in bounds)
            if value is not None and not (whole and bounds[0] <= bounds[1]):
                raise ReportError(f"{where}: {metric} of {row['name']!r} has no interval")


def validate(report: Mapping[str, Any]) -> None:
    """Check a report before it is written.

    Raises:
        ReportError: A table lacks a baseline row, its n, or an interval; or the headline is missing.
    """
    subsets = report.get("subsets") or {}
    if report.get("headline") not in subsets:
        raise ReportError(f"the report has no table for its headline {report.get('headline')!r}")
    for name, content in subsets.items():
        _check_table(f"subset {name}", content)
    for name, entries in (report.get("slices") or {}).items():
        for content in entries:
            _check_table(f"slice {name}={content.get('value')}", content)
