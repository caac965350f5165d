"""Rows with what everyone says of them: the material of a report's tables."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from ml import report as reports
from ml.judgements.base import Judgement
from ml.manifest import ManifestRow


@dataclass
class Evaluated:
    """Rows and what everyone says of them."""

    rows: list[ManifestRow]
    entries: list[reports.Scores]
    outputs: dict[str, np.ndarray] = field(default_factory=dict)
    """The model's named outputs behind its scores, each (N,); empty where they are not known."""
    active_outputs: dict[str, np.ndarray] = field(default_factory=dict)
    """The active model's, on all rows; left out of parts."""
    folds: dict[int, int] | None = None
    """Snapshot -> fold, where the model's scores are out of fold."""

    @property
    def targets(self) -> np.ndarray:
        """Targets, float (N,)."""
        return np.array([row.target_label for row in self.rows], dtype=np.float64)

    @property
    def model(self) -> np.ndarray:
        """The model's scores, float (N,)."""
        return next(entry.scores for entry in self.entries if entry.role == reports.MODEL)

    def part(self, chosen: np.ndarray) -> Evaluated:
        """The rows where `chosen`, bool (N,), is true, without the baselines that know nothing of any of them."""
        rows = [row for row, keep in zip(self.rows, chosen, strict=True) if keep]
        entries = []
        for each in self.entries:
            knows = None if each.knows is None else each.knows[chosen]
            if knows is None or knows.any():  # the mean of a webcam is none where no row's webcam was seen
                scores = each.scores[chosen]
                entries.append(replace(each, scores=scores, knows=knows))
        return Evaluated(rows, entries, {name: values[chosen] for name, values in self.outputs.items()})

    def table(self, judgement: Judgement, head: str, replicates: int) -> dict[str, Any]:
        """The table of these rows."""
        groups = [row.group_id for row in self.rows]
        return reports.table(judgement, head, self.entries, self.targets, groups, replicates)


def write_predictions(path: Path, outputs: Sequence[str], tested: Evaluated | None, folded: Evaluated | None) -> None:
    """One line a row: `score` and the named outputs are what the bundle serves, `out_of_fold_score` is the folds'."""
    served: dict[int, list[float]] = {}
    if tested is not None:
        for place, row in enumerate(tested.rows):
            served[row.snapshot_id] = [float(tested.model[place]), *(float(tested.outputs[o][place]) for o in outputs)]
    main = folded or tested
    assert main is not None
    with path.open("w", encoding="utf-8", newline="") as opened:
        writer = csv.writer(opened, lineterminator="\n")
        names = ("snapshot_id", "image_sha256", "split", "seen", "group_id", "target", "out_of_fold_score", "score")
        writer.writerow((*names, *outputs))
        for place, row in enumerate(main.rows):
            apart = repr(float(main.model[place])) if folded is not None else ""
            seen = "" if row.seen is None else str(row.seen).lower()
            cells = served.get(row.snapshot_id, [""] * (1 + len(outputs)))
            writer.writerow(
                (row.snapshot_id, row.image_sha256, row.split, seen, row.group_id, row.target_label, apart, *cells)
            )
