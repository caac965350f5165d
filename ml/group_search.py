"""Small groups of what lies near together, by perceptual hash or by cosine.

Both go by one rule. In their order, each that is in no group yet opens one and takes the nearest of those that are left
until the group is full; of equally near ones the first. Whoever is taken is near to every member, not to the first alone:
a chain of small steps leads from any picture to any other.

Equal hashes are taken together beforehand, in fours: a dark or a plain frame has the hash of a hundred thousand others,
and their pairs could not be counted. What is over of them, one to three, stays together and goes where all find room.

Legend: N photos, U bundles of equal hashes, P pairs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from ml.hash_search import HashIndex

MAX_SIZE = 4
"""Photos of a group at most."""
_FIRST_BLOCK, _LAST_BLOCK = 256, 1 << 18
_MANY_PAIRS = 2_000_000
_CELLS_AT_ONCE = 16_000_000

Near = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]
"""From places, int64 (M,), to the later ones that are near each: int64 (P, 2), place and other, and distances (P,)."""


def groups_by_hash(hashes: np.ndarray, max_distance: int) -> list[list[int]]:
    """Groups of 2 to 4 places, any two of whose hashes, uint64 (N,), differ in at most `max_distance` bits (0 to 15)."""
    full, bundles = _bundled(hashes)
    different = hashes[[bundle[0] for bundle in bundles]] if bundles else hashes[:0]
    index = HashIndex(different, max_distance)

    def fits(one: int, other: int) -> bool:
        return (int(different[one]) ^ int(different[other])).bit_count() <= max_distance

    joined = _joined([len(bundle) for bundle in bundles], lambda places: index.near(places, only_later=True), fits)
    groups = full + [sorted(place for at in group for place in bundles[at]) for group in joined]
    return sorted(group for group in groups if len(group) > 1)


def groups_by_cosine(vectors: Sequence[np.ndarray], min_cosine: float) -> list[list[int]]:
    """Groups of 2 to 4 places, any two of whose vectors, N of float (D,), have a cosine of at least `min_cosine`.

    Raises:
        ValueError: a vector is zero or not finite, or they have several lengths.
    """
    if len({vector.shape for vector in vectors}) > 1:
        raise ValueError("the embeddings have several lengths, so they are not of one encoder")
    stacked = np.asarray(vectors, dtype=np.float64)
    length = np.linalg.norm(stacked, axis=1)
    if not (np.isfinite(length) & (length > 0)).all():
        raise ValueError("an embedding is zero or not finite: compute it again")
    unit = (stacked / length[:, None]).astype(np.float32)

    def near(places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        found, values = [np.empty((0, 2), dtype=np.int64)], [np.empty(0, dtype=np.float32)]
        rows_at_once = max(1, _CELLS_AT_ONCE // len(unit))
        for start in range(0, len(places), rows_at_once):
            rows = places[start : start + rows_at_once]
            cosines = unit[rows] @ unit.T
            row, other = np.nonzero((cosines >= min_cosine) & (np.arange(len(unit)) > rows[:, None]))
            found.append(np.stack([rows[row], other], axis=1))
            values.append(-cosines[row, other])
        return np.concatenate(found), np.concatenate(values)

    groups = _joined([1] * len(unit), near, lambda one, other: float(unit[one] @ unit[other]) >= min_cosine)
    return [sorted(group) for group in groups if len(group) > 1]


def _bundled(hashes: np.ndarray) -> tuple[list[list[int]], list[list[int]]]:
    """Fours of places with equal hashes, and what is over of each hash (one to three), in order of their first places."""
    members: dict[int, list[int]] = {}
    for place, hashed in enumerate(hashes.tolist()):
        members.setdefault(hashed, []).append(place)
    full, over = [], []
    for places in members.values():
        whole = len(places) - len(places) % MAX_SIZE
        full += [places[start : start + MAX_SIZE] for start in range(0, whole, MAX_SIZE)]
        if whole < len(places):
            over.append(places[whole:])
    return full, sorted(over)


def _joined(sizes: Sequence[int], near: Near, fits: Callable[[int, int], bool]) -> list[list[int]]:
    """Groups of places by the rule above, those of a single place too; `sizes` says how many photos each stands for."""
    is_left = np.ones(len(sizes), dtype=bool)
    groups: list[list[int]] = []
    start, block = 0, _FIRST_BLOCK
    while start < len(sizes):
        places = start + np.flatnonzero(is_left[start : start + block])
        pairs, distances = near(places)
        kept = is_left[pairs[:, 1]]
        pairs, distances = pairs[kept], distances[kept]
        order = np.lexsort((pairs[:, 1], distances, pairs[:, 0]))
        others = pairs[order, 1]
        begins, ends = (np.searchsorted(pairs[order, 0], places, side) for side in ("left", "right"))
        for place, begin, end in zip(places.tolist(), begins.tolist(), ends.tolist(), strict=True):
            if is_left[place]:
                candidates = others[begin:end]
                groups.append(_opened(place, candidates[is_left[candidates]], sizes, fits) if begin < end else [place])
                is_left[groups[-1]] = False
        start += block
        # Where many lie near together a block has many pairs, which must fit into memory.
        block = min(2 * block, _LAST_BLOCK) if len(pairs) < _MANY_PAIRS else max(block // 2, 1)
    return groups


def _opened(place: int, candidates: np.ndarray, sizes: Sequence[int], fits: Callable[[int, int], bool]) -> list[int]:
    """The group that a place opens; candidates, nearest first, are near the place itself."""
    group, size = [place], sizes[place]
    for other in candidates.tolist():
        if size == MAX_SIZE:
            break
        if size + sizes[other] <= MAX_SIZE and all(fits(member, other) for member in group[1:]):
            group.append(other)
            size += sizes[other]
    return group
