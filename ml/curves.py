"""What a report shows beside its tables: slices, confusion and threshold sweep.

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
from ml.thresholds import GOOD_OUTPUT

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


def threshold_score(judgement: Judgement, bundle: Bundle) -> float:
    """The bundle's threshold as a score on the targets' scale, whichever output it is a threshold on."""
    policy, good = bundle.threshold_policy, bundle.fitted_calibration.good
    low, high = (float(bound) for bound in policy["scale"])
    share = (float(policy["threshold"]) - low) / (high - low)
    if policy["on"] == GOOD_OUTPUT and good is not None:
        share = min(max(good.inverse(share), 0.0), 1.0)
    return score_of_raw(judgement, bundle, share)


def passed(judgement: Judgement, bundle: Bundle, scores: np.ndarray, outputs: Mapping[str, np.ndarray]) -> np.ndarray:
    """Which rows pass the bundle's threshold, bool (N,): by the named output if it is there, else by the score."""
    on = bundle.threshold_policy["on"]
    if on in outputs:
        return np.asarray(outputs[on]) >= float(bundle.threshold_policy["threshold"])
    return np.asarray(scores) >= threshold_score(judgement, bundle)


def classification(
    judgement: Judgement, bundle: Bundle, rows: Sequence[ManifestRow], scores: np.ndarray, passes: np.ndarray
) -> dict[str, Any]:
    """`confusion` of what `passes` the bundle's threshold, bool (N,), and `threshold_sweep` over scores.

    `threshold` is on the scale of the scores in both. Null where the kind does not know what is good.
    """
    if any(row.is_good is None for row in rows):
        return {"confusion": None, "threshold_sweep": None}
    positive = np.array([bool(row.is_good) for row in rows])
    sweep = [score_of_raw(judgement, bundle, step / SWEEP_STEPS) for step in range(1, SWEEP_STEPS)]
    return {
        "confusion": _decisions(passes, positive, threshold_score(judgement, bundle)),
        "threshold_sweep": [_decisions(scores >= each, positive, each) for each in sweep],
    }


def _decisions(passes: np.ndarray, positive: np.ndarray, threshold: float) -> dict[str, Any]:
    found = metrics.decisions(passes, positive, metrics.once(len(passes)))
    counts = ("true_positive", "false_positive", "false_negative", "true_negative")
    numbers = {name: int(values[0]) if name in counts else float(values[0]) for name, values in found.items()}
    return {"threshold": threshold, "n": len(passes), **numbers}
