"""Suspected wrong labels: rows whose label is further from what others of their kind say than chance explains.

A row's score comes from a model that did not learn from it. Its residual is measured against what is expected of an
honest label: the spread of that model's residuals, and the noise of a label of so few ratings. Of equal residuals, the
one behind which more people stand is therefore the more doubtful. Source of the idea: Northcutt, Jiang and Chuang 2021,
"Confident learning"; here for ratings, with the raters' own noise.

Legend: N rows.
"""

from __future__ import annotations

import csv
import io
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from ml.manifest import ManifestRow
from ml.noise import Ratings

SUSPECTS_FILE = "suspects.csv"
TOO_HIGH, TOO_LOW = "label too high", "label too low"
MAX_IN_REPORT, LEAST_IN_REPORT, SHARE_IN_REPORT = 100, 10, 0.05
_NORMAL = 1.4826
"""Standard deviation of a normal distribution over its median absolute deviation."""
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "'")


@dataclass(frozen=True)
class Unlearned:
    """Rows, and what a model says of them that did not learn from them."""

    rows: Sequence[ManifestRow]
    scores: np.ndarray
    """float (N,), on the scale of the targets."""
    by: str
    """Which model, e.g. `the model, on test rows`."""


@dataclass(frozen=True)
class Suspect:
    """One row, by how doubtful its label is."""

    rank: int
    """1 is the most doubtful."""
    snapshot_id: int
    image_sha256: str
    split: str
    label: float
    """What people said, as the model's target."""
    score: float
    residual: float
    """Score minus label."""
    doubt: float
    """Residual without its sign over what is expected of an honest label; 3 is rare."""
    direction: str
    """`label too high` or `label too low`."""
    ratings: int
    """Verdicts behind the label; 0 where they are not known."""
    raters: str
    """Who rated, separated by spaces."""
    by: str
    """Which model doubts it."""


def rank_suspects(parts: Sequence[Unlearned], votes: Ratings | None, sigma: float) -> list[Suspect]:
    """All rows, the most doubtful first; of equals the smaller snapshot id.

    Args:
        parts: rows and scores; each part's residuals are measured by their own spread.
        votes: raw verdicts behind the labels; None where they are not known.
        sigma: standard deviation of one rating, in units of the targets; 0 where it is not known.
    """
    who = _raters(votes)
    found: list[tuple[float, ManifestRow, float, str]] = []
    for part in parts:
        targets = np.array([row.target_label for row in part.rows], dtype=np.float64)
        counts = np.array([max(len(who.get(row.snapshot_id, ())), row.rating_count, 1) for row in part.rows])
        doubts = _doubts(part.scores - targets, sigma**2 / counts)
        found += [
            (float(doubt), row, float(score), part.by)
            for doubt, row, score in zip(doubts, part.rows, part.scores, strict=True)
        ]
    found.sort(key=lambda each: (-each[0], each[1].snapshot_id))
    return [
        _suspect(rank, doubt, row, score, by, who.get(row.snapshot_id, ()))
        for rank, (doubt, row, score, by) in enumerate(found, start=1)
    ]


def _doubts(residuals: np.ndarray, label_variance: np.ndarray) -> np.ndarray:
    """Residuals (N,) over their expected size: what the model leaves unexplained, and each label's own noise."""
    if len(residuals) == 0:
        return residuals
    spread = _NORMAL * float(np.median(np.abs(residuals - np.median(residuals))))
    spread = spread or float(residuals.std()) or 1.0
    unexplained = max(spread**2 - float(label_variance.mean()), 0.25 * spread**2)
    return np.asarray(np.abs(residuals) / np.sqrt(unexplained + label_variance))


def _raters(votes: Ratings | None) -> Mapping[int, Sequence[str]]:
    found: dict[int, list[str]] = defaultdict(list)
    if votes is not None:
        for snapshot, rater in zip(votes.snapshot_ids.tolist(), votes.raters.tolist(), strict=True):
            found[snapshot].append(rater)
    return found


def _suspect(rank: int, doubt: float, row: ManifestRow, score: float, by: str, raters: Sequence[str]) -> Suspect:
    label = float(row.target_label or 0.0)
    return Suspect(
        rank, row.snapshot_id, row.image_sha256 or "", row.split or "", label, score, score - label, doubt,
        TOO_HIGH if score < label else TOO_LOW, len(raters) or row.rating_count, " ".join(sorted(raters)), by,
    )  # fmt: skip


def num_in_report(num_rows: int) -> int:
    """How many of the suspects a report shows: one in twenty, at least 10 and at most 100."""
    return min(MAX_IN_REPORT, max(LEAST_IN_REPORT, math.ceil(SHARE_IN_REPORT * num_rows)), num_rows)


def why_suspect(suspect: Suspect) -> str:
    """What is doubtful, for people."""
    who = f", rated by {suspect.raters}" if suspect.raters else ""
    return f"{suspect.direction}, {suspect.doubt:.1f} times what is expected, says {suspect.by}{who}"


def suspects_bytes(suspects: Sequence[Suspect]) -> bytes:
    """All suspects as CSV, one line each; a text that a spreadsheet would run as a formula has an apostrophe before it."""
    opened = io.StringIO()
    writer = csv.writer(opened, lineterminator="\n")
    writer.writerow([field.name for field in fields(Suspect)])
    for each in suspects:
        writer.writerow([_cell(getattr(each, field.name)) for field in fields(Suspect)])
    return opened.getvalue().encode("utf-8")


def parse_suspects(data: bytes) -> list[Suspect]:
    """Read the CSV back.

    Raises:
        ValueError: These bytes are not such a file.
    """
    read: dict[str, Any] = {"int": int, "float": float, "str": _text}
    try:
        return [
            Suspect(**{field.name: read[str(field.type)](cells[field.name]) for field in fields(Suspect)})
            for cells in csv.DictReader(io.StringIO(data.decode("utf-8"), newline=""))
        ]
    except (KeyError, TypeError, UnicodeDecodeError) as error:
        raise ValueError(f"{SUSPECTS_FILE} is damaged: {error!r}") from error


def _cell(value: int | float | str) -> str:
    if isinstance(value, str):
        return "'" + value if value.startswith(_FORMULA_STARTS) else value
    return repr(value)


def _text(cell: str) -> str:
    return cell[1:] if cell.startswith("'") and cell[1:].startswith(_FORMULA_STARTS) else cell
