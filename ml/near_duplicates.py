"""Near-duplicates: pictures so alike that to train on the one is to have seen the other.

A perceptual hash proposes (Hamming distance up to 6 of 64), thumbnails confirm. The hash alone would not do: it is the
same for nearly every flat frame, and one webcam's view makes most of it whatever the sky does. The thresholds were
chosen on photographs, re-encoded copies and two real webcams; docs/experiments.md shows what each would have done.

Our decisions. A flat frame (black, fog, a covered lens) has no structure to compare, so it is never called a
near-duplicate; equal bytes are found by sha256 anyhow. One webcam on another day is no copy however alike the evenings
are: clear skies of one view resemble each other, and if all that resemble a test frame left training, what would be
left are the odd ones. Such look-alikes are counted and kept, unless they are as equal as only re-encoding makes them.

Legend: N rows, U different fingerprints, P pairs of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Protocol

import numpy as np

from ml.hash_search import close_pairs
from ml.images.fingerprints import Fingerprints
from ml.manifest import ManifestRow

MAX_DISTANCE = 6
"""Bits, of 64, in which the hashes of near-duplicates may differ."""
MIN_CORRELATION = 0.985
"""Least correlation of the thumbnails' 768 numbers."""
MAX_DIFFERENCE = 16.0
"""Largest mean absolute difference of the thumbnails, of 255: brighter by 5 % is within, another sky is not."""
COPY_DIFFERENCE = 1.5
"""At most this is the same frame, encoded again; no two days of a real webcam came below 2.1."""
MIN_SPREAD = 6.0
"""Standard deviation of a thumbnail's grey levels, of 255, below which a frame is flat."""
SAME_OCCASION = timedelta(hours=12)
NEAR_DUPLICATE_OF_TEST, NEAR_DUPLICATE_OF_VAL = "near-duplicate-of-test", "near-duplicate-of-val"
_PAIRS_AT_ONCE = 4096


class Taken(Protocol):
    """Anything that a webcam took at some time."""

    @property
    def webcam_id(self) -> int:
        """Which webcam."""

    @property
    def captured_at(self) -> datetime:
        """When."""


@dataclass(frozen=True)
class Twins:
    """Each row of `first` is a near-duplicate of each row of `second`; the two are equal for rows of one picture."""

    first: tuple[int, ...]
    """Places of rows."""
    second: tuple[int, ...]
    distance: int
    """Bits in which the hashes differ."""
    difference: float
    """Mean absolute difference of the thumbnails, 0..255."""
    correlation: float
    """Of the thumbnails, -1..1."""


@dataclass(frozen=True)
class NearDuplicates:
    """What was found among some rows."""

    twins: tuple[Twins, ...]
    num_look_alikes: int
    """Pairs of pictures of one webcam on different days that are alike, and no copies."""
    num_flat: int
    """Rows whose frame is flat, so that it was not compared."""


def find_near_duplicates(rows: Sequence[Taken], prints: Fingerprints) -> NearDuplicates:
    """The near-duplicates among rows, of which N `prints` are the fingerprints, in their order."""
    if not rows:
        return NearDuplicates((), 0, 0)
    hashes, thumbnails, members = _different(prints)
    flat = _spread(thumbnails) < MIN_SPREAD
    kept = np.flatnonzero(~flat)
    pairs, distances = close_pairs(hashes[kept], MAX_DISTANCE)
    pairs = kept[pairs]
    difference, correlation = compare(thumbnails, pairs)
    found = [Twins(members[at], members[at], 0, 0.0, 1.0) for at in kept if len(members[at]) > 1]
    look_alikes = 0
    alike = (correlation >= MIN_CORRELATION) & (difference <= MAX_DIFFERENCE)
    for at in np.flatnonzero(alike):
        first, second = (members[place] for place in pairs[at])
        facts = int(distances[at]), float(difference[at]), float(correlation[at])
        if difference[at] <= COPY_DIFFERENCE:
            found.append(Twins(first, second, *facts))
            continue
        near = [(a, b) for a in first for b in second if not is_other_day(rows[a], rows[b])]
        found += [Twins((a,), (b,), *facts) for a, b in near]
        look_alikes += len(near) < len(first) * len(second)
    return NearDuplicates(tuple(found), look_alikes, sum(len(members[at]) for at in np.flatnonzero(flat)))


def without_near_duplicates(
    rows: Sequence[ManifestRow], prints: Fingerprints
) -> tuple[list[ManifestRow], NearDuplicates]:
    """Exclude train and val rows that are near-duplicates of test rows, then train rows that are of val rows.

    Nothing ever leaves test for this. `rows` may hold excluded rows too; `prints` has N fingerprints, those of the kept
    rows in their order.
    """
    places = [place for place, row in enumerate(rows) if row.split is not None]
    found = find_near_duplicates([rows[place] for place in places], prints)
    changed = list(rows)
    for target, sources, reason in (
        ("test", ("train", "val"), NEAR_DUPLICATE_OF_TEST),
        ("val", ("train",), NEAR_DUPLICATE_OF_VAL),
    ):
        kept = [changed[place] for place in places]
        for at in near_split(kept, found.twins, sources, target):
            changed[places[at]] = changed[places[at]].excluded(reason)
    return changed, found


def near_split(rows: Sequence[ManifestRow], twins: Iterable[Twins], sources: Sequence[str], target: str) -> list[int]:
    """Places of the rows in the splits `sources` that have a near-duplicate in the split `target`."""
    near: set[int] = set()
    for each in twins:
        for these, those in ((each.first, each.second), (each.second, each.first)):
            if any(rows[at].split == target for at in those):
                near.update(at for at in these if rows[at].split in sources)
    return sorted(near)


def near_others(rows: Sequence[Taken], others: Sequence[Taken], prints: Fingerprints) -> list[int]:
    """Places of the rows that have a near-duplicate among `others`; `prints` are those of the rows, then of the others."""
    near: set[int] = set()
    for each in find_near_duplicates([*rows, *others], prints).twins:
        for these, those in ((each.first, each.second), (each.second, each.first)):
            if max(those) >= len(rows):
                near.update(at for at in these if at < len(rows))
    return sorted(near)


def near_elsewhere(parts: Sequence[object], twins: Iterable[Twins]) -> list[int]:
    """Places of rows that have a near-duplicate in another part; `parts` says, N in all, which part each row is in."""
    near: set[int] = set()
    for each in twins:
        if len({parts[at] for at in (*each.first, *each.second)}) > 1:
            for these, those in ((each.first, each.second), (each.second, each.first)):
                others = {parts[at] for at in those}
                near.update(at for at in these if others - {parts[at]})
    return sorted(near)


def joined_groups(group_ids: Sequence[str], twins: Iterable[Twins]) -> list[str]:
    """Groups of N rows, those joined that hold near-duplicates of each other; a joined group has its smallest id."""
    parent = {group: group for group in group_ids}

    def root(group: str) -> str:
        while parent[group] != group:
            parent[group] = parent[parent[group]]
            group = parent[group]
        return group

    for each in twins:
        first, *others = sorted({root(group_ids[at]) for at in (*each.first, *each.second)})
        parent.update(dict.fromkeys(others, first))
    return [root(group) for group in group_ids]


def compare(thumbnails: np.ndarray, pairs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean absolute difference (0..255) and correlation (-1..1; 0 where one is of one colour) of thumbnails, float (P,).

    Args:
        thumbnails: uint8 (U, 16, 16, 3).
        pairs: int64 (P, 2), places of thumbnails.
    """
    numbers = thumbnails.reshape(len(thumbnails), -1)
    difference, correlation = np.empty(len(pairs)), np.empty(len(pairs))
    for start in range(0, len(pairs), _PAIRS_AT_ONCE):
        part = slice(start, start + _PAIRS_AT_ONCE)
        a, b = (numbers[pairs[part, side]].astype(np.float32) for side in (0, 1))
        difference[part] = np.abs(a - b).mean(axis=1)
        a, b = a - a.mean(axis=1, keepdims=True), b - b.mean(axis=1, keepdims=True)
        size = np.sqrt((a * a).sum(axis=1) * (b * b).sum(axis=1))
        correlation[part] = np.divide((a * b).sum(axis=1), size, out=np.zeros_like(size), where=size > 0)
    return difference, correlation


def closest_pair(
    rows: Sequence[ManifestRow], prints: Fingerprints, first: np.ndarray, second: np.ndarray
) -> dict[str, Any] | None:
    """The most alike pair of frames, not flat, of these and those rows; None where there is none.

    Of the pairs whose hashes differ least the one whose thumbnails do. `same_webcam_other_day` tells look-alikes.
    """
    flat = _spread(prints.thumbnails) < MIN_SPREAD
    first, second = first[~flat[first]], second[~flat[second]]
    if len(first) == 0 or len(second) == 0:
        return None
    least, pairs = 65, np.empty((0, 2), dtype=np.int64)
    for at in first:
        distances = np.bitwise_count(prints.hashes[second] ^ prints.hashes[at])
        nearest = int(distances.min())
        if nearest <= least:
            new = np.stack([np.full(int((distances == nearest).sum()), at), second[distances == nearest]], axis=1)
            pairs = new if nearest < least else np.concatenate([pairs, new])[:_PAIRS_AT_ONCE]
            least = nearest
    difference, correlation = compare(prints.thumbnails, pairs)
    best = int(np.argmin(difference))
    one, other = rows[pairs[best, 0]], rows[pairs[best, 1]]
    return {
        "snapshot_ids": [one.snapshot_id, other.snapshot_id],
        "distance": least,
        "difference": float(difference[best]),
        "correlation": float(correlation[best]),
        "same_webcam_other_day": is_other_day(one, other),
    }


def is_other_day(one: Taken, other: Taken) -> bool:
    """Whether both are of one webcam on different occasions."""
    return one.webcam_id == other.webcam_id and abs(one.captured_at - other.captured_at) > SAME_OCCASION


def _different(prints: Fingerprints) -> tuple[np.ndarray, np.ndarray, list[tuple[int, ...]]]:
    """Hashes (U,) and thumbnails (U, ...) of the different fingerprints, and the rows of each."""
    first: dict[bytes, int] = {}
    members: list[list[int]] = []
    for place, (hashed, thumbnail) in enumerate(zip(prints.hashes, prints.thumbnails, strict=True)):
        at = first.setdefault(hashed.tobytes() + thumbnail.tobytes(), len(members))
        if at == len(members):
            members.append([])
        members[at].append(place)
    chosen = [each[0] for each in members]
    return prints.hashes[chosen], prints.thumbnails[chosen], [tuple(each) for each in members]


def _spread(thumbnails: np.ndarray) -> np.ndarray:
    """Standard deviation of the grey levels, float (U,)."""
    return np.asarray(thumbnails.mean(axis=3).reshape(len(thumbnails), -1).std(axis=1))
