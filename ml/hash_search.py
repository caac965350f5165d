"""All pairs of 64-bit hashes that differ in few bits: multi-index hashing, exact and without comparing all with all.

If two hashes differ in at most T bits, then of four parts of them at least one differs in at most T // 4 bits. So hashes
are sorted by each part, all its neighbours within that radius are looked up, and what is found is checked whole.
Source: Norouzi, Punjani and Fleet 2012, "Fast search in Hamming space with multi-index hashing".

Legend: N hashes, P pairs.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations

import numpy as np

_BITS = 64
_PARTS = 4
"""Parts of 16 bits: for distances up to 7 a radius of one bit is enough, which is 17 places to look at a part."""
_CANDIDATES_AT_ONCE = 4_000_000


def close_pairs(hashes: np.ndarray, max_distance: int) -> tuple[np.ndarray, np.ndarray]:
    """Every pair of different places whose hashes differ in at most `max_distance` bits.

    Many equal hashes make as many pairs as there are: take equal ones together before.

    Args:
        hashes: uint64 (N,).
        max_distance: in bits, 0 to 15.

    Returns:
        (int64 (P, 2), the smaller place first, in order of both; uint8 (P,), the number of differing bits).

    Raises:
        ValueError: The distance is out of range, or the hashes are not uint64.
    """
    if hashes.dtype != np.uint64:
        raise ValueError(f"hashes must be uint64, not {hashes.dtype}")
    if not 0 <= max_distance <= 15:
        raise ValueError(f"the distance must be 0 to 15 bits, not {max_distance}")
    radius, num_bits = max_distance // _PARTS, _BITS // _PARTS
    masks = [np.uint64(((1 << num_bits) - 1) << (num_bits * number)) for number in range(_PARTS)]
    found = [np.empty((0, 2), dtype=np.int64)]
    for number, mask in enumerate(masks):
        keys = ((hashes & mask) >> np.uint64(num_bits * number)).astype(np.int64)
        for first, second in _neighbours(keys, num_bits, radius):
            differing = hashes[first] ^ hashes[second]
            new = np.bitwise_count(differing) <= max_distance
            for earlier in masks[:number]:  # a pair that an earlier part has found is not found again
                new &= np.bitwise_count(differing & earlier) > radius
            found.append(np.stack([first[new], second[new]], axis=1))
    pairs = np.concatenate(found)
    pairs = pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]
    return pairs, np.bitwise_count(hashes[pairs[:, 0]] ^ hashes[pairs[:, 1]])


def _neighbours(keys: np.ndarray, num_bits: int, radius: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Places (first, second), first < second, whose keys, int64 (N,), differ in at most `radius` of `num_bits` bits."""
    order = np.argsort(keys, kind="stable")
    starts = np.searchsorted(keys[order], np.arange((1 << num_bits) + 1))
    places = np.arange(len(keys))
    for flipped in _flips(num_bits, radius):
        wanted = keys ^ flipped
        low, counts = starts[wanted], starts[wanted + 1] - starts[wanted]
        totals = np.cumsum(counts)
        done = 0
        while done < len(keys):
            before = totals[done - 1] if done else 0
            upto = max(done + 1, int(np.searchsorted(totals, before + _CANDIDATES_AT_ONCE, side="right")))
            part = slice(done, upto)
            first = np.repeat(places[part], counts[part])
            within = np.arange(len(first)) - np.repeat(totals[part] - counts[part] - before, counts[part])
            second = order[np.repeat(low[part], counts[part]) + within]
            forward = first < second
            yield first[forward], second[forward]
            done = upto


def _flips(num_bits: int, radius: int) -> Iterator[int]:
    """Every pattern of at most `radius` of `num_bits` bits."""
    for size in range(radius + 1):
        for bits in combinations(range(num_bits), size):
            yield sum(1 << bit for bit in bits)
