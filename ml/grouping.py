"""Groups of photos to choose from: 2 to 4 of one project, the best of which somebody picks.

First the stages: photos in the order of (time, stage, name), of which a run with strictly rising stages is a group. Then,
of what is left, near-duplicates by perceptual hash, and then look-alikes by cosine of their embeddings. The same photos
give the same groups in whatever order they come.

Our decisions. A photo whose name says no time or no stage is in no run, but counts in the look-ahead. The look-ahead and
the time gap are from one member to the next. One content under two names is one photo, with the name that comes first.

Legend: N photos, D the length of an embedding.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

import numpy as np

from ml.group_search import MAX_SIZE, groups_by_cosine, groups_by_hash

LOOK_AHEAD = 50
"""Files after a member within which the next one must come."""
MAX_DISTANCE = 8
"""Bits of 64 in which any two members' perceptual hashes may differ."""
MIN_COSINE = 0.95
"""Least cosine of any two members' embeddings."""

Rule = Literal["stages", "near-duplicates", "look-alikes"]
_LAST = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True)
class GroupedPhoto:
    """What grouping needs to know of a photo."""

    sha256: str
    name: str
    """File name without its directory."""
    taken_at: datetime | None
    """With a zone; None where the name does not say."""
    stage: float | None
    phash: int
    """0 .. 2**64 - 1."""

    @property
    def place(self) -> tuple[datetime, float, str, str]:
        """Where it stands among others; what is unknown comes last."""
        stage = float("inf") if self.stage is None else self.stage
        return (self.taken_at or _LAST, stage, self.name, self.sha256)


@dataclass(frozen=True)
class PhotoGroup:
    """Some photos to choose from."""

    members: tuple[str, ...]
    """sha256 of each, 2 to 4, in order of (time, stage, name)."""
    rule: Rule

    @property
    def id(self) -> str:
        """A hash of who the members are, in lower-case hex; their order and the rule do not count."""
        return group_id(self.members)


def group_id(members: Iterable[str]) -> str:
    """The id of a group by its members' sha256, in whatever order: sha256 in lower-case hex."""
    return hashlib.sha256("\n".join(sorted(members)).encode()).hexdigest()


def group_photos(
    photos: Iterable[GroupedPhoto],
    embeddings: Mapping[str, np.ndarray] | None = None,
    *,
    max_gap: timedelta | None = None,
    look_ahead: int = LOOK_AHEAD,
) -> list[PhotoGroup]:
    """Group the photos of one project.

    Args:
        photos: of one project; who calls sees to that.
        embeddings: sha256 -> float (D,), all of one encoder; a photo without one is not compared. None leaves that step out.
        max_gap: longest time from one member of a run to the next; None for any.
        look_ahead: files after a member within which the next member of a run must come, at least 1.

    Returns:
        groups in order of their first members; no photo is in two.

    Raises:
        ValueError: an embedding is zero or not finite, or the embeddings have several lengths.
    """
    ordered = in_order(photos)
    runs = stage_runs(ordered, max_gap=max_gap, look_ahead=look_ahead)
    left = _without(ordered, runs)
    hashes = np.array([photo.phash for photo in left], dtype=np.uint64)
    near = [[left[at] for at in group] for group in groups_by_hash(hashes, MAX_DISTANCE)]
    left = [photo for photo in _without(left, near) if photo.sha256 in (embeddings or {})]
    alike: list[list[GroupedPhoto]] = []
    if left and embeddings:
        vectors = [embeddings[photo.sha256] for photo in left]
        alike = [[left[at] for at in group] for group in groups_by_cosine(vectors, MIN_COSINE)]
    found: list[tuple[list[GroupedPhoto], Rule]] = [
        *((group, "stages") for group in runs),
        *((group, "near-duplicates") for group in near),
        *((group, "look-alikes") for group in alike),
    ]
    found.sort(key=lambda each: each[0][0].place)
    return [PhotoGroup(tuple(photo.sha256 for photo in group), rule) for group, rule in found]


def in_order(photos: Iterable[GroupedPhoto]) -> list[GroupedPhoto]:
    """Photos in order of (time, stage, name), each content once, with the name that comes first."""
    first: dict[str, GroupedPhoto] = {}
    for photo in sorted(photos, key=lambda photo: photo.place):
        first.setdefault(photo.sha256, photo)
    return list(first.values())


def stage_runs(
    ordered: Sequence[GroupedPhoto], *, max_gap: timedelta | None = None, look_ahead: int = LOOK_AHEAD
) -> list[list[GroupedPhoto]]:
    """Runs of two or more photos, in the given order, whose stages rise strictly.

    A stage that is repeated or lower ends a run and begins the next, and so does one that comes too late.
    """
    runs: list[list[GroupedPhoto]] = []
    last_at, last_stage, last_time = 0, float("inf"), _LAST
    for at, photo in enumerate(ordered):
        if photo.stage is None or photo.taken_at is None:
            continue
        rises = photo.stage > last_stage and at - last_at <= look_ahead
        if rises and (max_gap is None or photo.taken_at - last_time <= max_gap):
            runs[-1].append(photo)
        else:
            runs.append([photo])
        last_at, last_stage, last_time = at, photo.stage, photo.taken_at
    assert all(len(run) <= MAX_SIZE for run in runs)  # there are no more stages
    return [run for run in runs if len(run) > 1]


def _without(photos: Sequence[GroupedPhoto], groups: Iterable[Sequence[GroupedPhoto]]) -> list[GroupedPhoto]:
    taken = {photo.sha256 for group in groups for photo in group}
    return [photo for photo in photos if photo.sha256 not in taken]
