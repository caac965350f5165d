"""What a report shows beside its tables: slices, calibration by bucket, confusion and threshold sweep.

Scores and targets, float (N,), are on the scale of the kind's targets.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np

from ml import metrics
from ml.bundle import Bundle
from ml.judgements.base import Judgement
from ml.manifest import ManifestError, ManifestRow

NUM_BUCKETS = 10
SWEEP_STEPS = 20
HOURS_A_BUCKET = 3


@dataclass(frozen=True)
class WebcamFacts:
    """What slices need to know of a webcam."""

    lng: float | None
    """Degrees east; None where unknown."""
    region: str
    source: str
    lat: float | None = None
    """Degrees north; None where unknown."""
    title: str = ""
    """What people call it; empty where nobody said."""


def read_webcams(path: Path) -> dict[int, WebcamFacts]:
    """Read a CSV `webcam_id, lat, lng, region, source`, one row a webcam; `lat` and `title` may be missing.

    Raises:
        ManifestError: The file is missing or damaged.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return {
                int(row["webcam_id"]): WebcamFacts(
                    float(row["lng"]) if row["lng"] else None,
                    row["region"],
                    row["source"],
                    float(row["lat"]) if row.get("lat") else None,
                    row.get("title") or "",
                )
                for row in csv.DictReader(file)
            }
    except (OSError, KeyError, ValueError) as error:
        raise ManifestError(f"cannot read the webcams {path}: {error}") from error


def slices(
    rows: Sequence[ManifestRow],
    webcams: Mapping[int, WebcamFacts],
    table: Callable[[np.ndarray], dict[str, Any]],
) -> dict[str, list[dict[str, Any]]]:
    """Tables by phase, time of day, region and source; `table` makes one of a bool (N,).

    The time is local solar time, from the longitude; `unknown` where the webcam is not in `webcams` or has none.
    """
    nothing = WebcamFacts(None, "", "")
    facts = [webcams.get(row.webcam_id, nothing) for row in rows]
    keys = {
        "phase": [row.phase for row in rows],
        "local_hour": [
            "unknown" if fact.lng is None else _hours((row.captured_at + timedelta(hours=fact.lng / 15)).hour)
            for row, fact in zip(rows, facts, strict=True)
        ],
        "region": [fact.region or "unknown" for fact in facts],
        "source": [fact.source or "unknown" for fact in facts],
    }
    found = {}
    for name, values in keys.items():
        column = np.array(values)
        found[name] = [{"value": str(value), **table(column == value)} for value in np.unique(column)]
    return found


def _hours(hour: int) -> str:
    low = hour // HOURS_A_BUCKET * HOURS_A_BUCKET
    return f"{low:02d}-{low + HOURS_A_BUCKET:02d}"


def score_of_raw(judgement: Judgement, bundle: Bundle, raw: float) -> float:
    """The score, on the targets' scale, that belongs to a `raw_score`."""
    _, outputs = judgement.from_raw_score(raw, bundle.score_scale, bundle.head, bundle.fitted_calibration)
    return float(judgement.scores({name: np.array([value]) for name, value in outputs.items()}, bundle.head)[0])


def calibration_table(
    judgement: Judgement, bundle: Bundle, scores: np.ndarray, targets: np.ndarray
) -> list[dict[str, Any]]:
    """Ten buckets of the score with `n`, mean score and mean label; empty buckets are left out."""
    edges = [score_of_raw(judgement, bundle, step / NUM_BUCKETS) for step in range(NUM_BUCKETS + 1)]
    bucket = np.clip(np.searchsorted(edges, scores, side="right") - 1, 0, NUM_BUCKETS - 1)
    return [
        {
            "low": edges[number],
            "high": edges[number + 1],
            "n": int((bucket == number).sum()),
            "mean_score": float(scores[bucket == number].mean()),
            "mean_label": float(targets[bucket == number].mean()),
        }
        for number in range(NUM_BUCKETS)
        if (bucket == number).any()
    ]


def classification(
    judgement: Judgement, bundle: Bundle, rows: Sequence[ManifestRow], scores: np.ndarray, targets: np.ndarray
) -> dict[str, Any]:
    """`confusion` at the bundle's threshold, `threshold_sweep`, and `ece` where scores are probabilities.

    All null where the kind does not know what is good.
    """
    if any(row.is_good is None for row in rows):
        return {"confusion": None, "threshold_sweep": None, "ece": None}
    positive = np.array([bool(row.is_good) for row in rows])
    policy = bundle.threshold_policy
    low, high = (float(bound) for bound in policy["scale"])
    threshold = score_of_raw(judgement, bundle, (float(policy["threshold"]) - low) / (high - low))
    sweep = [score_of_raw(judgement, bundle, step / SWEEP_STEPS) for step in range(1, SWEEP_STEPS)]
    binary = bool(np.isin(targets, (0.0, 1.0)).all()) and score_of_raw(judgement, bundle, 1.0) == 1.0
    return {
        "confusion": _decisions(scores, positive, threshold),
        "threshold_sweep": [_decisions(scores, positive, each) for each in sweep],
        "ece": metrics.expected_calibration_error(scores, positive) if binary else None,
    }


def _decisions(scores: np.ndarray, positive: np.ndarray, threshold: float) -> dict[str, Any]:
    found = metrics.decisions(scores >= threshold, positive, metrics.once(len(scores)))
    counts = ("true_positive", "false_positive", "false_negative", "true_negative")
    numbers = {name: int(values[0]) if name in counts else float(values[0]) for name, values in found.items()}
    return {"threshold": threshold, "n": len(scores), **numbers}
