import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml.hash_search import HashIndex, close_pairs


def brute_force(hashes, max_distance):
    distance = np.bitwise_count(hashes[:, None] ^ hashes[None])
    first, second = np.nonzero(np.triu(distance <= max_distance, 1))
    return list(zip(first.tolist(), second.tolist(), strict=True)), distance[first, second].tolist()


def clustered(seed, centres, size):
    """Hashes around a few centres, each with up to nine flipped bits: skewed, as those of real webcams are."""
    random = np.random.default_rng(seed)
    found = []
    for centre in random.integers(0, 2**64, centres, dtype=np.uint64):
        for _ in range(size):
            flipped = random.choice(64, int(random.integers(0, 10)), replace=False).astype(np.uint64)
            found.append(centre ^ np.bitwise_or.reduce(np.uint64(1) << flipped, initial=np.uint64(0)))
    return np.array(found, dtype=np.uint64)


class TestClosePairs:
    @given(st.integers(0, 2**31), st.integers(0, 15), st.integers(1, 12))
    @settings(max_examples=60, deadline=None)
    def test_finds_exactly_what_comparing_all_with_all_finds(self, seed, max_distance, centres):
        hashes = clustered(seed, centres, 120 // centres)
        pairs, distances = close_pairs(hashes, max_distance)
        assert (list(map(tuple, pairs.tolist())), distances.tolist()) == brute_force(hashes, max_distance)

    @given(st.lists(st.integers(0, 2**64 - 1), max_size=40))
    @settings(max_examples=60, deadline=None)
    def test_whatever_the_hashes(self, values):
        hashes = np.array(values, dtype=np.uint64)
        pairs, distances = close_pairs(hashes, 6)
        assert (list(map(tuple, pairs.tolist())), distances.tolist()) == brute_force(hashes, 6)

    @given(st.integers(0, 2**31), st.integers(1, 12))
    @settings(max_examples=10, deadline=None)
    def test_three_parts_find_the_same(self, seed, centres):
        hashes = clustered(seed, centres, 120 // centres)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("ml.hash_search._MANY", 0)
            pairs, distances = close_pairs(hashes, 8)
        assert (list(map(tuple, pairs.tolist())), distances.tolist()) == brute_force(hashes, 8)

    @given(st.integers(0, 2**31), st.integers(0, 15))
    @settings(max_examples=20, deadline=None)
    def test_what_is_near_some_places_is_near_in_both_directions(self, seed, max_distance):
        hashes = clustered(seed, 4, 20)
        pairs, distances = brute_force(hashes, max_distance)
        asked = np.random.default_rng(seed).permutation(len(hashes))[:30]
        both = [(*pair, d) for pair, d in zip(pairs, distances, strict=True)]
        wanted = sorted((one, other, d) for a, b, d in both for one, other in ((a, b), (b, a)) if one in asked)
        found, distances = HashIndex(hashes, max_distance).near(asked)
        assert [(*pair, d) for pair, d in zip(found.tolist(), distances.tolist(), strict=True)] == wanted

    def test_few_candidates_at_once_find_the_same(self, monkeypatch):
        hashes = clustered(1, 3, 60)
        whole = close_pairs(hashes, 6)[0].tolist()
        monkeypatch.setattr("ml.hash_search._CANDIDATES_AT_ONCE", 7)
        assert len(whole) > 100
        assert close_pairs(hashes, 6)[0].tolist() == whole

    @pytest.mark.parametrize(("hashes", "distance"), [(np.zeros(3, np.int64), 6), (np.zeros(3, np.uint64), 16)])
    def test_other_numbers_are_refused(self, hashes, distance):
        with pytest.raises(ValueError, match="must be"):
            close_pairs(hashes, distance)
