"""Groups of two to four by nearness: exactly what the rule says, however the search goes about it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml.group_search import groups_by_cosine, groups_by_hash


def flipped(value: int, *bits: int) -> int:
    for bit in bits:
        value ^= 1 << bit
    return value


def by_hash(values: list[int], max_distance: int = 8) -> list[list[int]]:
    return groups_by_hash(np.array(values, dtype=np.uint64), max_distance)


def slowly(values: list[int], max_distance: int) -> list[list[int]]:
    """The rule written down without any search."""
    places: dict[int, list[int]] = {}
    for at, value in enumerate(values):
        places.setdefault(value, []).append(at)
    groups, bundles = [], []
    for same in places.values():
        fours = [same[start : start + 4] for start in range(0, len(same), 4)]
        groups += [four for four in fours if len(four) == 4]
        bundles += [four for four in fours if len(four) < 4]
    bundles.sort()
    while bundles:
        group, *others = bundles
        hashes = [values[group[0]]]
        others.sort(key=lambda each: ((values[each[0]] ^ hashes[0]).bit_count(), each))
        for other in others:
            near = all((values[other[0]] ^ each).bit_count() <= max_distance for each in hashes)
            if near and len(group) + len(other) <= 4:
                group, hashes = group + other, [*hashes, values[other[0]]]
        bundles = [each for each in bundles if not set(each) & set(group)]
        groups.append(sorted(group))
    return sorted(group for group in groups if len(group) > 1)


class TestByHash:
    def test_up_to_eight_bits_are_near_and_nine_are_not(self) -> None:
        assert by_hash([0, flipped(0, *range(8)), flipped(0, *range(20, 29))]) == [[0, 1]]

    def test_whoever_is_taken_is_near_to_all(self) -> None:
        chain = [0, flipped(0, *range(6)), flipped(0, *range(12)), flipped(0, *range(18))]
        assert by_hash(chain) == [[0, 1], [2, 3]]

    def test_the_nearest_go_first_and_five_are_four_and_one(self) -> None:
        assert by_hash([0, flipped(0, 1, 2, 3), flipped(0, 1), flipped(0, 1, 2), flipped(0, 2)]) == [[0, 2, 3, 4]]

    def test_equal_ones_are_taken_together(self) -> None:
        assert by_hash([7] * 10) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
        assert by_hash([7, 6, 7, 6, 7]) == [[0, 2, 4], [1, 3]]

    def test_nobody_and_nothing_near(self) -> None:
        assert by_hash([]) == by_hash([0, 2**64 - 1]) == []

    @given(st.integers(0, 2**31), st.integers(1, 12), st.integers(0, 12), st.integers(0, 15))
    @settings(max_examples=80, deadline=None)
    def test_the_search_finds_what_the_rule_says(self, seed: int, centres: int, flips: int, max_distance: int) -> None:
        random = np.random.default_rng(seed)
        values = random.integers(0, 2**63, centres).tolist()
        values = [flipped(values[random.integers(centres)], *random.integers(0, 64, flips).tolist()) for _ in range(70)]
        assert by_hash(values, max_distance) == slowly(values, max_distance)

    def test_small_blocks_find_the_same(self, monkeypatch: pytest.MonkeyPatch) -> None:
        random = np.random.default_rng(3)
        values = [flipped(5, *random.integers(0, 64, 4).tolist()) for _ in range(300)]
        whole = by_hash(values)
        for name, value in (("_FIRST_BLOCK", 3), ("_LAST_BLOCK", 17), ("_MANY_PAIRS", 100)):
            monkeypatch.setattr(f"ml.group_search.{name}", value)
        assert len(whole) > 40
        assert by_hash(values) == whole

    def test_as_many_equal_ones_as_there_are_dark_frames_take_no_time(self) -> None:
        groups = groups_by_hash(np.zeros(200_001, dtype=np.uint64), 8)
        assert (len(groups), groups[-1]) == (50_000, [199_996, 199_997, 199_998, 199_999])


class TestByCosine:
    def test_near_vectors_are_grouped_whatever_their_lengths(self) -> None:
        vectors = [np.array(each, dtype=np.float32) for each in ([1, 0], [0, 1], [5, 0.1], [0.1, 7], [1, 1])]
        assert groups_by_cosine(vectors, 0.95) == [[0, 2], [1, 3]]

    def test_a_chain_is_cut_where_its_ends_are_apart(self) -> None:
        turns = [np.array([np.cos(angle), np.sin(angle)]) for angle in np.radians([0, 15, 30, 45])]
        assert groups_by_cosine(turns, 0.95) == [[0, 1], [2, 3]]

    @pytest.mark.parametrize("bad", [[0.0, 0.0], [np.nan, 1.0], [np.inf, 1.0], [1.0, 0.0, 0.0]])
    def test_what_is_no_embedding_is_refused(self, bad: list[float]) -> None:
        with pytest.raises(ValueError, match="embedding"):
            groups_by_cosine([np.array([1.0, 0.0]), np.array(bad)], 0.95)
