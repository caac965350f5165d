"""What a shadow says of the frames that the active version has scored, beside it. A pure function.

Groups are webcams: frames of one webcam are alike, so the bootstrap draws webcams (see `ml.report.draws`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ml import report as reports
from ml.readings import Reading
from ml.thresholds import passes

MEAN = "the mean of these labels"
"""A baseline in hindsight: no constant has a smaller squared error here."""


@dataclass(frozen=True)
class ShadowedFrame:
    """One frame that both have scored."""

    webcam_id: int
    active: float
    """Raw score in [0, 1]."""
    shadow: float
    label: float | None
    """What people said; None where nobody did, or where one of both has learned from the frame or from one like it."""


def compare(
    active: Reading, shadow: Reading, frames: Sequence[ShadowedFrame], replicates: int = reports.REPLICATES
) -> dict[str, Any]:
    """How far both are apart, how often they decide otherwise, and whom people agree with.

    Returns:
        `active`, `shadow`, `n` frames of `n_groups` webcams, and, each null where there is no such frame: `difference`,
        shadow less active on the scale of the labels, with `mean`, `interval` and `mean_absolute` (null too where their
        heads differ); `flips` at the threshold of each, with `n`, `share`, `interval`, `up` (only the shadow says good),
        `down`, and what share each calls good; `people`, a table of `ml.report` over the frames that people judged and
        neither learned from. Intervals are 95 %, by webcam.
    """
    groups = [str(frame.webcam_id) for frame in frames]
    comparable = active.head == shadow.head
    found: dict[str, Any] = {
        "active": active.model_version, "shadow": shadow.model_version, "n": len(frames), "n_groups": len(set(groups)),
        "difference": None, "flips": None, "people": None,
        "notes": [] if comparable else [
            f"{shadow.model_version} has a {shadow.head} head and {active.model_version} a {active.head} head: their "
            "scores answer different questions, so only decisions are compared"
        ],
    }  # fmt: skip
    if not frames:
        return found
    theirs, mine = ([reading.outputs(raw) for raw in raws] for reading, raws in (
        (active, [frame.active for frame in frames]), (shadow, [frame.shadow for frame in frames]),
    ))  # fmt: skip
    found["flips"] = _flips(
        np.array([bool(passes(active.policy, each)) for each in theirs]),
        np.array([bool(passes(shadow.policy, each)) for each in mine]),
        groups,
        replicates,
    )
    if comparable:
        old, new = _scores(active, theirs), _scores(shadow, mine)
        found["difference"] = {
            "mean": float((new - old).mean()),
            "interval": reports.mean_interval(new - old, groups, replicates),
            "mean_absolute": float(np.abs(new - old).mean()),
        }
        found["people"] = _people(shadow, active, new, old, frames, replicates)
    return found


def _flips(old: np.ndarray, new: np.ndarray, groups: Sequence[str], replicates: int) -> dict[str, Any]:
    flipped = old != new
    return {
        "n": int(flipped.sum()), "share": float(flipped.mean()),
        "interval": reports.share_interval(flipped, groups, replicates), "up": int((new & ~old).sum()),
        "down": int((old & ~new).sum()), "active_good": float(old.mean()), "shadow_good": float(new.mean()),
    }  # fmt: skip


def _people(
    shadow: Reading,
    active: Reading,
    new: np.ndarray,
    old: np.ndarray,
    frames: Sequence[ShadowedFrame],
    replicates: int,
) -> dict[str, Any] | None:
    judged = np.array([frame.label is not None for frame in frames])
    if not judged.any():
        return None
    targets = np.array([shadow.judgement.target(f.label, shadow.head) for f in frames if f.label is not None])
    entries = [
        reports.Scores(shadow.model_version, reports.MODEL, new[judged]),
        reports.Scores(active.model_version, reports.ACTIVE, old[judged]),
        reports.Scores(MEAN, reports.BASELINE, np.full(len(targets), targets.mean())),
    ]
    groups = [str(frame.webcam_id) for frame in frames if frame.label is not None]
    return reports.table(shadow.judgement, shadow.head, entries, targets, groups, replicates)


def _scores(reading: Reading, outputs: Sequence[dict[str, float]]) -> np.ndarray:
    """On the scale of the labels, float (N,)."""
    return reading.judgement.scores(
        {name: np.array([each[name] for each in outputs]) for name in outputs[0]}, reading.head
    )
