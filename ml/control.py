"""How a version does on all frames, as the controls of its review sets tell: what chance drew and people have judged.

Each control is a simple random sample of the frames of its time, near-duplicates counted once, so that in it every frame
weighs the same. Over several sets a frame that was drawn twice counts twice: the figures are means over the sets.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from ml import report as reports
from ml.disagreements import Frame, neighbours, untaught
from ml.readings import Reading


def control_estimate(
    frames: Sequence[Frame], drawn: Iterable[int], reading: Reading, alike: Iterable[tuple[int, int]]
) -> dict[str, Any]:
    """What the controls say of a version by the labels of now.

    Args:
        frames: all there are.
        drawn: snapshots that controls drew, each as often as it was; those that are no longer among the frames are left out.
        reading: how to read the version's scores.
        alike: pairs of near-duplicates.

    Returns:
        `drawn`, how many; of these `learned`, by the version or a near-duplicate of such a frame, which say nothing of it,
        and `unanswered`, which wait for a label; of the `n` others, of `n_groups` webcams, null without any:
        `mean_absolute_error` on the scale of the targets, with `value`, `interval` and `baseline`, that of the mean of
        these labels; `flips` with `n`, `share` and `interval`. Intervals are 95 %, by webcam; null for a single frame.
    """
    by_id = {frame.snapshot_id: frame for frame in frames}
    fresh = untaught(frames, neighbours(alike))
    members = [by_id[snapshot_id] for snapshot_id in drawn if snapshot_id in by_id]
    asked = [frame for frame in members if frame.snapshot_id in fresh]
    judged = [
        (str(frame.webcam_id), frame.label, frame.raw_score)
        for frame in asked
        if frame.label is not None and frame.raw_score is not None
    ]
    groups = [group for group, *_ in judged]
    found: dict[str, Any] = {
        "drawn": len(members), "learned": len(members) - len(asked), "unanswered": len(asked) - len(judged),
        "n": len(judged), "n_groups": len(set(groups)), "mean_absolute_error": None, "flips": None,
    }  # fmt: skip
    if not judged:
        return found
    errors = np.abs([reading.difference(label, raw) for _, label, raw in judged])
    targets = np.array([reading.judgement.target(label, reading.head) for _, label, _ in judged])
    flipped = np.array([reading.flips(label, raw) for _, label, raw in judged])
    return found | {
        "mean_absolute_error": {
            "value": float(errors.mean()), "interval": reports.mean_interval(errors, groups),
            "baseline": float(np.abs(targets - targets.mean()).mean()),
        },
        "flips": {"n": int(flipped.sum()), "share": float(flipped.mean()),
                  "interval": reports.share_interval(flipped, groups)},
    }  # fmt: skip
