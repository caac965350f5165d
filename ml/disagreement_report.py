"""How far people and a version are apart, and where they decide differently: overall and by slice, beside simpler ones.

Disagreement is the kind's own measure, in [0, 1]. A flip is a row on which people and who answers stand on opposite sides
of the threshold: `over` where only the latter calls it good, `under` where only people do.

Legend: N rows, L lines (who answers), B replicates.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ml import metrics
from ml import report as reports
from ml.bundle import Bundle
from ml.curves import WebcamFacts, passed, score_of_raw, slices, threshold_score
from ml.evaluated import Evaluated
from ml.inference import Scorer
from ml.judgements.base import Judgement
from ml.manifest import ManifestRow

REPLICATES = 500


@dataclass(frozen=True)
class _Line:
    """What one who answers says of N rows."""

    name: str
    role: str
    apart: np.ndarray
    """Disagreement, float (N,)."""
    over: np.ndarray | None
    """Good to this one alone, bool (N,); None where the kind has no idea of good."""
    under: np.ndarray | None


def disagreement_content(
    scorer: Scorer, active: Scorer | None, main: Evaluated, webcams: Mapping[int, WebcamFacts], replicates: int
) -> dict[str, Any]:
    """Disagreement and flips of the model, of the active one and of the first, simplest baseline.

    Returns:
        `overall` and `slices` (by phase, local hour, region and source, each a list with its `value`), all of `n`,
        `n_groups` and `rows`. A row has `name`, `role`, `disagreement` (`value` and its 95 % `interval` by group) and
        `flips`: `n`, `over`, `under`, `share`, its `interval` by group and `wilson` of independent rows; null where the
        kind has no idea of good.
    """
    judgement, bundle = scorer.judgement, scorer.bundle
    lines = []
    baselines = [entry for entry in main.entries if entry.role == reports.BASELINE][:1]
    for entry in [each for each in main.entries if each.role != reports.BASELINE] + baselines:
        if entry.role == reports.MODEL:
            passes = passed(judgement, bundle, entry.scores, main.outputs)
        else:
            theirs = active.bundle if entry.role == reports.ACTIVE and active is not None else bundle
            passes = entry.scores >= threshold_score(judgement, theirs)
        lines.append(_line(judgement, bundle, entry, main.rows, passes))

    def figures(chosen: np.ndarray) -> dict[str, Any]:
        return _figures(lines, main.rows, chosen, min(replicates, REPLICATES))

    return {"overall": figures(np.ones(len(main.rows), dtype=bool)), "slices": slices(main.rows, webcams, figures)}


def _line(
    judgement: Judgement, bundle: Bundle, entry: reports.Scores, rows: Sequence[ManifestRow], passes: np.ndarray
) -> _Line:
    low, high = score_of_raw(judgement, bundle, 0.0), score_of_raw(judgement, bundle, 1.0)
    raws = np.clip((entry.scores - low) / (high - low), 0.0, 1.0)  # scores are a straight line of raw scores
    apart = []
    for row, raw in zip(rows, raws, strict=True):
        prediction, _ = judgement.from_raw_score(float(raw), bundle.score_scale, bundle.head, bundle.fitted_calibration)
        apart.append(judgement.disagreement(judgement.label_of(float(row.label_value or 0.0)), prediction))
    over = under = None
    if all(row.is_good is not None for row in rows):
        good = np.array([bool(row.is_good) for row in rows])
        over, under = passes & ~good, good & ~passes
    return _Line(entry.name, entry.role, np.array(apart, dtype=np.float64), over, under)


def _figures(
    lines: Sequence[_Line], rows: Sequence[ManifestRow], chosen: np.ndarray, replicates: int
) -> dict[str, Any]:
    """Of the rows `chosen`, bool (N,); everyone is measured on the same draws of whole groups."""
    groups = [row.group_id for row, keep in zip(rows, chosen, strict=True) if keep]
    flips = [None if line.over is None or line.under is None else line.over | line.under for line in lines]
    columns = [line.apart[chosen] for line in lines]
    columns += [np.zeros(len(groups)) if each is None else each[chosen].astype(np.float64) for each in flips]
    values = np.stack(columns, axis=1)
    drawn = np.concatenate(
        [
            weights @ values / weights.sum(axis=1, keepdims=True)
            for weights in reports.draws(groups, replicates, reports.SEED)
        ]
    )
    found = []
    for place, (line, flipped) in enumerate(zip(lines, flips, strict=True)):
        told = None
        if flipped is not None and line.over is not None and line.under is not None:
            number = int(flipped[chosen].sum())
            told = {
                "n": number, "over": int(line.over[chosen].sum()), "under": int(line.under[chosen].sum()),
                "share": number / len(groups), "interval": reports.interval(drawn[:, len(lines) + place]),
                "wilson": [float(end) for end in metrics.wilson(number, len(groups))],
            }  # fmt: skip
        apart = {"value": float(values[:, place].mean()), "interval": reports.interval(drawn[:, place])}
        found.append({"name": line.name, "role": line.role, "disagreement": apart, "flips": told})
    return {"n": len(groups), "n_groups": len(set(groups)), "rows": found}
