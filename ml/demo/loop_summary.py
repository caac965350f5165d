"""What loops on several GENERATED worlds show together: curves by labels, differences with intervals, a verdict.

What is judged by is fixed here, before anything is run: the mean absolute error, averaged over all versions after the
first, choosing less random, with a 95 % interval over worlds (Student's t). Beside it stands an interval by group: days
and webcams drawn with replacement within each world, on which both ways are measured alike.

Legend: `S` worlds (seeds), `N` test rows of all worlds, `B` replicates.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ml import metrics
from ml.report import REPLICATES, draws, interval

CHOOSING, RANDOM = "choosing", "random"
LOOP_FILE = "loop.json"
"""What `ml.demo.loop` writes of one world."""
MEASURES = ("mae", "precision", "recall")
"""Mean absolute error in stars (lower is better); precision and recall of "passes the version's threshold" against
"people say 4 or more" (higher is better)."""
Measured = dict[str, np.ndarray]


@dataclass(frozen=True)
class _Rows:
    """The test rows of some worlds, one after the other."""

    targets: np.ndarray
    """float (N,), stars."""
    good: np.ndarray
    """bool (N,)."""
    weights: np.ndarray
    """float (B, N), of the bootstrap."""
    world_of: np.ndarray
    """int (N,): which of the S worlds."""
    num_groups: int

    def measure(self, scores: np.ndarray, passes: np.ndarray, weights: np.ndarray) -> Measured:
        """Each measure, (B,)."""
        found = metrics.decisions(passes, self.good, weights)
        return {"mae": metrics.mae(scores, self.targets, weights), **{name: found[name] for name in MEASURES[1:]}}

    def mae(self, scores: Sequence[Sequence[float]]) -> dict[str, Any]:
        """Value and interval of the mean absolute error of each world's scores."""
        found = [metrics.mae(np.concatenate(scores), self.targets, each) for each in (_once(self), self.weights)]
        return {"value": float(found[0][0]), "interval": interval(found[1])}


def _once(rows: _Rows) -> np.ndarray:
    return metrics.once(len(rows.targets))


def summarise(worlds: Sequence[Mapping[str, Any]], replicates: int = REPLICATES) -> dict[str, Any]:
    """Put together what `ml.demo.loop` found on each world; all with the same size.

    Returns:
        `generated` (true), `size`, `seeds`, `n` and `n_groups` (test rows of all worlds), `curves` (way -> one entry a
        version), `differences` (one entry a version after the first), `overall` (of their average), `first`, and
        `verdict` (`answer`: better, not better, worse; `sentence`, `others`).
    """
    rows = _rows(worlds, replicates)
    num_versions = len(worlds[0]["ways"][CHOOSING])
    points: dict[tuple[str, int], Measured] = {}
    samples: dict[tuple[str, int], Measured] = {}
    by_seed: dict[tuple[str, int], Measured] = {}
    for way in (CHOOSING, RANDOM):
        for version in range(num_versions):
            scores, passes = (
                np.concatenate([np.asarray(world["ways"][way][version][name]) for world in worlds])
                for name in ("scores", "passes")
            )
            key = (way, version)
            points[key] = rows.measure(scores, passes, _once(rows))
            samples[key] = rows.measure(scores, passes, rows.weights)
            by_seed[key] = _by_world(rows, scores, passes, len(worlds))
    curves = {
        way: [
            {
                **_version(worlds, way, version, points[way, version], samples[way, version], by_seed[way, version]),
                "predict_the_mean": rows.mae([world["ways"][way][version]["predict_the_mean"] for world in worlds]),
            }
            for version in range(num_versions)
        ]
        for way in (CHOOSING, RANDOM)
    }

    def difference(versions: Sequence[int]) -> dict[str, Any]:
        return _difference(points, samples, by_seed, versions)

    later = range(1, num_versions)
    overall = difference(later)
    differences = [{"version": version, **difference([version])} for version in later]
    return {
        "generated": True,
        "size": worlds[0]["size"],
        "seeds": [world["seed"] for world in worlds],
        "n": len(rows.targets),
        "n_good": int(rows.good.sum()),
        "n_groups": rows.num_groups,
        "curves": curves,
        "differences": differences,
        "overall": overall,
        "verdict": _verdict(overall, differences, len(rows.targets), rows.num_groups, len(worlds)),
    }


def _rows(worlds: Sequence[Mapping[str, Any]], replicates: int) -> _Rows:
    tests = [world["test"] for world in worlds]
    drawn = [
        np.concatenate(list(draws(test["groups"], replicates, seed=int(world["seed"]))))
        for world, test in zip(worlds, tests, strict=True)
    ]
    return _Rows(
        np.concatenate([np.asarray(test["targets"], dtype=np.float64) for test in tests]),
        np.concatenate([np.asarray(test["good"], dtype=bool) for test in tests]),
        np.concatenate(drawn, axis=1),
        np.repeat(np.arange(len(worlds)), [len(test["targets"]) for test in tests]),
        sum(len(set(test["groups"])) for test in tests),
    )


def _by_world(rows: _Rows, scores: np.ndarray, passes: np.ndarray, num_worlds: int) -> Measured:
    """Each measure on each world alone, (S,)."""
    weights = (rows.world_of[None, :] == np.arange(num_worlds)[:, None]).astype(np.float64)
    return rows.measure(scores, passes, weights)


def _version(
    worlds: Sequence[Mapping[str, Any]], way: str, version: int, point: Measured, sample: Measured, by_seed: Measured
) -> dict[str, Any]:
    """What one version of one way reached, and what it cost."""
    found = [world["ways"][way][version] for world in worlds]
    reasons: dict[str, int] = {}
    for each in found:
        for reason, count in each["reasons"].items():
            reasons[reason] = reasons.get(reason, 0) + count
    return {
        "version": version,
        "labels": float(np.mean([each["labels"] for each in found])),
        "added": sum(each["added"] for each in found),
        "rated_again": sum(each["rated_again"] for each in found),
        "reasons": reasons,
        "passed": sum(int(np.sum(each["passes"])) for each in found),
        **{
            name: {
                "value": _number(point[name][0]),
                "interval": interval(sample[name]),
                "by_seed": [_number(value) for value in by_seed[name]],
                "spread": _number(_spread(by_seed[name])),
            }
            for name in MEASURES
        },
    }


def _difference(
    points: Mapping[tuple[str, int], Measured],
    samples: Mapping[tuple[str, int], Measured],
    by_seed: Mapping[tuple[str, int], Measured],
    versions: Sequence[int],
) -> dict[str, Any]:
    """Choosing less random, averaged over versions."""

    def mean(of: Mapping[tuple[str, int], Measured], name: str) -> np.ndarray:
        each = [of[CHOOSING, version][name] - of[RANDOM, version][name] for version in versions]
        return np.asarray(np.mean(each, axis=0))

    found = {}
    for name in MEASURES:
        seeds = mean(by_seed, name)
        defined = seeds[np.isfinite(seeds)]
        found[name] = {
            "value": _number(mean(points, name)[0]),
            "by_group": interval(mean(samples, name)),
            "mean_of_seeds": _number(defined.mean()) if len(defined) else None,
            "over_seeds": student_interval(defined),
            "num_seeds": len(defined),
            "by_seed": [_number(value) for value in seeds],
        }
    return found


def student_interval(values: np.ndarray) -> list[float] | None:
    """The 95 % interval of the mean of independent values (S,) by Student's t; None of fewer than two."""
    if len(values) < 2:
        return None
    from scipy.stats import t

    half = float(t.ppf(0.975, len(values) - 1)) * float(np.std(values, ddof=1)) / math.sqrt(len(values))
    middle = float(values.mean())
    return [middle - half, middle + half]


def _verdict(
    overall: Mapping[str, Any], differences: Sequence[Mapping[str, Any]], n: int, num_groups: int, num_worlds: int
) -> dict[str, Any]:
    """Whether choosing was better than random, in words."""
    mae = overall["mae"]
    bounds = mae["over_seeds"]
    if bounds is None:
        answer, how = "not better", "cannot be told from random: one seed has no interval over seeds"
    elif bounds[1] < 0.0:
        answer, how = "better", "was better than random"
    elif bounds[0] > 0.0:
        answer, how = "worse", "was worse than random"
    else:
        answer, how = "not better", "was not better than random beyond its interval"
    some, worlds = "s" if len(differences) > 1 else "", "s" if num_worlds > 1 else ""
    sentence = (
        f"GENERATED data: choosing {how}. Its mean absolute error, averaged over {len(differences)} version{some}, "
        f"differs from that of as many random labels by {_signed(mae['mean_of_seeds'])} stars"
        f"{_over(bounds, mae['num_seeds'])}; by group {_span(mae['by_group'])}, n = {n} test rows in {num_groups} groups "
        f"of {num_worlds} world{worlds}."
    )
    last = differences[-1]
    return {"answer": answer, "sentence": sentence, "others": [
        _said("MAE of the last version", last["mae"], " stars"),
        _said("Precision at the threshold, averaged over versions", overall["precision"]),
        _said("Precision of the last version", last["precision"]),
        _said("Recall at the threshold, averaged over versions", overall["recall"]),
        _said("Recall of the last version", last["recall"]),
    ]}  # fmt: skip


def _said(what: str, found: Mapping[str, Any], unit: str = "") -> str:
    return (
        f"{what}: choosing less random {_signed(found['value'])}{unit}, by group {_span(found['by_group'])}; mean of "
        f"seeds {_signed(found['mean_of_seeds'])}{_over(found['over_seeds'], found['num_seeds'])}."
    )


def _over(bounds: Sequence[float] | None, num_seeds: int) -> str:
    return f" (95 % interval over {num_seeds} seeds {_span(bounds)})" if bounds else " (no interval over seeds)"


def _span(bounds: Sequence[float] | None) -> str:
    return f"{bounds[0]:+.3f} to {bounds[1]:+.3f}" if bounds else "undefined"


def _signed(value: float | None) -> str:
    return "undefined" if value is None else f"{value:+.3f}"


def _spread(values: np.ndarray) -> float:
    defined = values[np.isfinite(values)]
    return float(np.std(defined, ddof=1)) if len(defined) > 1 else math.nan


def _number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
