"""All pairs of 64-bit hashes that differ in few bits: multi-index hashing, exact and without comparing all with all.

If two hashes differ in at most T bits, then of several parts of them at least one differs in no more bits than its radius,
when the radii plus one each sum up to T + 1. So hashes are sorted by each part, all neighbours within its radius are
looked up, and what is found is checked whole.
Sources: Norouzi, Punjani and Fleet 2012, "Fast search in Hamming space with multi-index hashing"; Qin et al. 2018, "GPH:
similarity search in Hamming space", for radii that are not all the same.

Legend: N hashes, M places that are asked for, P pairs.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations

import numpy as np

_BITS = 64
_MAX_DISTANCE = 15
_CANDIDATES_AT_ONCE = 4_000_000
_MANY = 100_000
"""Hashes from which on it pays to look at more places with less in each."""


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
    return HashIndex(hashes, max_distance).near(np.arange(len(hashes)), only_later=True)


class HashIndex:
    """N hashes, sorted so that those near any of them are found without comparing all with all."""

    def __init__(self, hashes: np.ndarray, max_distance: int) -> None:
        """Sort them.

        Args:
            hashes: uint64 (N,).
            max_distance: in bits, 0 to 15.

        Raises:
            ValueError: The distance is out of range, or the hashes are not uint64.
        """
        if hashes.dtype != np.uint64:
            raise ValueError(f"hashes must be uint64, not {hashes.dtype}")
        if not 0 <= max_distance <= _MAX_DISTANCE:
            raise ValueError(f"the distance must be 0 to {_MAX_DISTANCE} bits, not {max_distance}")
        self._hashes, self._max_distance = hashes, max_distance
        self._parts = _parts(hashes, max_distance)

    def near(self, places: np.ndarray, *, only_later: bool = False) -> tuple[np.ndarray, np.ndarray]:
        """The other places whose hashes are near those of some places.

        Args:
            places: int64 (M,), each once.
            only_later: only others that are greater.

        Returns:
            (int64 (P, 2), a place and another, in order of both; uint8 (P,), the number of differing bits).
        """
        found = [np.empty((0, 2), dtype=np.int64)]
        for number, part in enumerate(self._parts):
            for candidates in part.candidates(places):
                pairs = candidates[candidates[:, 0] < candidates[:, 1]] if only_later else candidates
                differing = self._differing(pairs)
                is_near = np.bitwise_count(differing) <= self._max_distance
                pairs, differing = pairs[is_near], differing[is_near]
                is_new = pairs[:, 0] != pairs[:, 1]
                for earlier in self._parts[:number]:  # a pair that an earlier part has found is not found again
                    is_new &= np.bitwise_count(differing & earlier.mask) > earlier.radius
                found.append(pairs[is_new])
        pairs = np.concatenate(found)
        pairs = pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]
        return pairs, np.bitwise_count(self._differing(pairs))

    def _differing(self, pairs: np.ndarray) -> np.ndarray:
        return np.asarray(self._hashes[pairs[:, 0]] ^ self._hashes[pairs[:, 1]])


class _Part:
    """Some bits of all hashes, sorted."""

    def __init__(self, hashes: np.ndarray, shift: int, num_bits: int, radius: int) -> None:
        self.mask, self.radius = np.uint64(((1 << num_bits) - 1) << shift), radius
        self._keys = ((hashes & self.mask) >> np.uint64(shift)).astype(np.int32)
        self._order = np.argsort(self._keys, kind="stable").astype(np.int32)
        counts = np.bincount(self._keys, minlength=1 << num_bits)
        self._starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
        self._flips = tuple(_flips(num_bits, radius))

    def candidates(self, places: np.ndarray) -> Iterator[np.ndarray]:
        """Pairs of a given place and any, the same too, whose bits here differ within the radius: int64 (P, 2) each."""
        places = places[np.argsort(self._keys[places], kind="stable")]  # so that what is looked up lies near together
        keys = self._keys[places]
        for flipped in self._flips:
            wanted = keys ^ np.int32(flipped)
            low = self._starts[wanted]
            counts = self._starts[wanted + 1] - low
            kept = np.flatnonzero(counts)
            yield from self._pieces(places[kept], low[kept], counts[kept])

    def _pieces(self, places: np.ndarray, low: np.ndarray, counts: np.ndarray) -> Iterator[np.ndarray]:
        totals = np.cumsum(counts, dtype=np.int64)
        done = 0
        while done < len(places):
            before = totals[done - 1] if done else 0
            upto = max(done + 1, int(np.searchsorted(totals, before + _CANDIDATES_AT_ONCE, side="right")))
            part = slice(done, upto)
            first = np.repeat(places[part], counts[part])
            shift = low[part] - (totals[part] - counts[part] - before)
            second = self._order[np.repeat(shift, counts[part]) + np.arange(len(first))]
            yield np.stack([first, second], axis=1)
            done = upto


def _parts(hashes: np.ndarray, max_distance: int) -> list[_Part]:
    """Four parts of 16 bits. Where buckets of these would be full, three of 21 or 22, if their radii stay at two."""
    num_parts = 3 if max_distance == 8 and len(hashes) > _MANY else 4
    radii = [(max_distance + 1 + number) // num_parts - 1 for number in range(num_parts)]
    parts, shift = [], 0
    for number, radius in enumerate(radii):
        num_bits = (_BITS - shift) // (num_parts - number)
        if radius >= 0:
            parts.append(_Part(hashes, shift, num_bits, radius))
        shift += num_bits
    return parts


def _flips(num_bits: int, radius: int) -> Iterator[int]:
    """Every pattern of at most `radius` of `num_bits` bits."""
    for size in range(radius + 1):
        for bits in combinations(range(num_bits), size):
            yield sum(1 << bit for bit in bits)
