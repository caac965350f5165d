"""The labels of a loop on GENERATED data: who was asked what so far, and what an export makes of it."""

from __future__ import annotations

import csv
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ml.demo.world import NUM_RATERS, World
from ml.disagreements import Settlement
from ml.export_dataset import Candidate, Gates, build_rows
from ml.judgements import judgement
from ml.judgements.rating_labels import label_from_votes
from ml.manifest import ManifestRow
from ml.noise import NOT_A_SUNSET, RATING_COLUMNS, SUNSET

KIND, HEAD = "rating", "regression"
AS_THEY_COME, DRAWN = "as they come", "drawn at random"
"""Reasons to ask, beside those of a review set."""


@dataclass
class Way:
    """One way of asking, and what came of it so far."""

    given: Counter[int]
    """Snapshot of the pool -> ratings."""
    settled: dict[int, list[Settlement]] = field(default_factory=lambda: defaultdict(list))
    """Snapshot -> what review sets that held it were answered."""
    asked: list[int] = field(default_factory=list)
    """Snapshots that were asked about since the last version, one for each rating."""
    reasons: Counter[str] = field(default_factory=Counter)
    """Why, of the same."""
    again: int = 0
    """How many of the same had a rating before."""

    def ask(self, snapshot_id: int, reason: str) -> None:
        """Take one more rating of a snapshot."""
        self.again += self.given[snapshot_id] > 0
        self.given[snapshot_id] += 1
        self.asked.append(snapshot_id)
        self.reasons[reason] += 1

    def next_of(self, order: Sequence[int], count: int) -> list[int]:
        """The next `count` snapshots that nobody has rated."""
        return [each for each in order if not self.given[each]][:count]

    def take(self, order: Sequence[int], count: int, reason: str) -> None:
        """Take one rating each of the next `count` snapshots that nobody has rated."""
        for snapshot_id in self.next_of(order, count):
            self.ask(snapshot_id, reason)

    def told(self) -> dict[str, Any]:
        """What was asked since the last version; begins anew."""
        said = {"added": len(self.asked), "rated_again": self.again, "reasons": dict(self.reasons),
                "asked": list(self.asked)}  # fmt: skip
        self.asked, self.again, self.reasons = [], 0, Counter()
        return said


def manifest_rows(world: World, given: Mapping[int, int]) -> list[ManifestRow]:
    """The rows of an export: the first `given` ratings of snapshots of the pool, and all of the test rows."""
    candidates = []
    for each in world.snapshots:
        count = NUM_RATERS if each.is_test else given.get(each.snapshot_id, 0)
        if not count:
            continue
        value, rating_count, _ = label_from_votes([stars or None for _, stars in world.votes(each.snapshot_id, count)])
        candidates.append(
            Candidate(
                each.snapshot_id, each.webcam_id, each.frame.webcam.lng, "calculated_rating", value, rating_count, count,
                f"generated/{each.snapshot_id}.jpg", each.image_sha256 or None, each.frame.phase, each.captured_at, None,
            )
        )  # fmt: skip
    return build_rows(candidates, judgement(KIND), HEAD, Gates(), world.salt, {})[0]


def write_ratings(path: Path, world: World, given: Mapping[int, int]) -> None:
    """The raw ratings behind a manifest, those of test rows left out: nothing is learned from them."""
    with path.open("w", newline="", encoding="utf-8") as opened:
        writer = csv.writer(opened, lineterminator="\n")
        writer.writerow(RATING_COLUMNS)
        for snapshot_id in sorted(given):
            for rater, stars in world.votes(snapshot_id, given[snapshot_id]):
                verdict = SUNSET if stars else NOT_A_SUNSET
                writer.writerow((snapshot_id, rater, stars or "", verdict, "generated"))
