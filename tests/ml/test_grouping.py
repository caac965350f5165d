"""Which photos are chosen from together: the stage rule by exact expectation, and the same groups in any order."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from ml.grouping import GroupedPhoto, group_id, group_photos
from ml.images.decode import sha256_of
from ml.images.photo_names import STAGES

START = datetime(2025, 7, 27, 22, 0, tzinfo=UTC)
FAR_APART = np.random.default_rng(0)


def photo(minute: float | None, stage: float | None, name: str = "", sha256: str = "", phash: int | None = None):
    """A photo whose hash is far from all others, unless one is given."""
    taken_at = None if minute is None else START + timedelta(minutes=minute)
    name = name or f"{minute}_{stage}"
    phash = int(FAR_APART.integers(0, 2**64, dtype=np.uint64)) if phash is None else phash
    return GroupedPhoto(sha256 or sha256_of(name.encode()), name, taken_at, stage, phash)


def grouped(photos: list[GroupedPhoto], *args: object, **options: object) -> list[list[str]]:
    """The names of every group's members."""
    names = {each.sha256: each.name for each in sorted(photos, key=lambda one: one.place, reverse=True)}
    groups = group_photos(photos, *args, **options)  # type: ignore[arg-type]
    return [[names[sha256] for sha256 in group.members] for group in groups]


class TestStages:
    def test_rising_stages_are_a_group_though_their_times_differ(self) -> None:
        photos = [photo(0, 1, "a"), photo(1, 1.5, "b"), photo(2, 2, "c"), photo(3, 3, "d")]
        assert grouped(photos) == [["a", "b", "c", "d"]]

    def test_from_the_first_straight_to_the_third(self) -> None:
        assert grouped([photo(0, 1, "a"), photo(0, 3, "b")]) == [["a", "b"]]

    def test_the_same_stage_ends_it_and_begins_the_next(self) -> None:
        photos = [photo(0, 1, "a"), photo(1, 2, "b"), photo(2, 2, "c"), photo(3, 3, "d")]
        assert grouped(photos) == [["a", "b"], ["c", "d"]]

    def test_a_lower_stage_ends_it(self) -> None:
        assert grouped([photo(0, 2, "a"), photo(1, 3, "b"), photo(2, 1, "c"), photo(3, 1.5, "d")]) == [
            ["a", "b"],
            ["c", "d"],
        ]

    def test_stages_that_only_fall_are_no_group(self) -> None:
        assert grouped([photo(0, 3), photo(1, 2), photo(2, 1.5), photo(3, 1)]) == []

    def test_one_alone_is_no_group(self) -> None:
        assert grouped([photo(0, 1, "a"), photo(1, 1, "b"), photo(2, 2, "c")]) == [["b", "c"]]
        assert grouped([photo(0, 1)]) == grouped([]) == []

    def test_at_one_time_the_lower_stage_comes_first_and_then_the_name(self) -> None:
        photos = [photo(0, 2, "a"), photo(0, 1, "z"), photo(0, 1, "b")]
        assert grouped(photos) == [["z", "a"]]

    def test_a_gap_ends_it_only_where_one_is_set(self) -> None:
        photos = [photo(0, 1, "a"), photo(5, 1.5, "b"), photo(11, 2, "c"), photo(12, 3, "d")]
        assert grouped(photos) == [["a", "b", "c", "d"]]
        assert grouped(photos, max_gap=timedelta(minutes=5)) == [["a", "b"], ["c", "d"]]
        assert grouped(photos, max_gap=timedelta(minutes=6)) == [["a", "b", "c", "d"]]

    def test_the_look_ahead_counts_files_between_members(self) -> None:
        def between(count: int) -> list[GroupedPhoto]:
            return [photo(1 + at / 100, None, f"unknown-{at}") for at in range(count)]

        ends = [photo(0, 1, "a"), photo(2, 2, "b")]
        assert grouped(ends + between(49)) == [["a", "b"]]
        assert grouped(ends + between(50)) == []

    def test_without_a_time_or_a_stage_a_photo_is_in_no_run_and_ends_none(self) -> None:
        photos = [photo(0, 1, "a"), photo(1, None, "x"), photo(2, 2, "b"), photo(None, 3, "y"), photo(None, 1, "z")]
        assert grouped(photos) == [["a", "b"]]

    def test_one_content_under_two_names_is_one_photo_with_the_name_that_comes_first(self) -> None:
        same = "0" * 64
        photos = [photo(0, 1, "a", same), photo(1, 2, "b"), photo(2, 3, "copy of a", same)]
        assert grouped(photos) == [["a", "b"]]


class TestOrderOfRules:
    def test_only_what_the_stages_leave_is_compared_by_hash(self) -> None:
        photos = [
            photo(0, 1, "a", phash=5),
            photo(1, 2, "b", phash=9),
            photo(2, 2, "c", phash=5),
            photo(3, 2, "d", phash=4),
        ]
        groups = group_photos(photos)
        assert grouped(photos) == [["a", "b"], ["c", "d"]]
        assert [group.rule for group in groups] == ["stages", "near-duplicates"]

    def test_only_what_hashes_leave_is_compared_by_cosine_and_what_has_no_embedding_is_not(self) -> None:
        photos = [photo(0, None, "a", phash=0), photo(1, None, "b", phash=1)]
        photos += [photo(2 + at, None, name) for at, name in enumerate("cdef")]
        embeddings = {each.sha256: np.array([1.0, 0.01 * at]) for at, each in enumerate(photos) if each.name != "d"}
        assert grouped(photos, embeddings) == [["a", "b"], ["c", "e", "f"]]
        assert [group.rule for group in group_photos(photos, embeddings)] == ["near-duplicates", "look-alikes"]
        assert grouped(photos) == grouped(photos, {}) == [["a", "b"]]


PHOTOS = st.lists(
    st.builds(
        photo,
        st.one_of(st.none(), st.integers(0, 6)),
        st.one_of(st.none(), st.sampled_from(sorted(STAGES))),
        st.text("ab", min_size=1, max_size=2),
        st.integers(0, 30).map(lambda number: sha256_of(str(number).encode())),
        st.integers(0, 600),
    ),
    max_size=30,
)


@given(PHOTOS, st.randoms(use_true_random=False))
@settings(max_examples=60, deadline=None)
def test_groups_are_the_same_in_whatever_order_photos_come_and_nobody_is_in_two(
    photos: list[GroupedPhoto], chance: random.Random
) -> None:
    embeddings = {each.sha256: np.array([1.0, int(each.sha256[:2], 16) / 90]) for each in photos}
    groups = group_photos(photos, embeddings)
    shuffled = photos.copy()
    chance.shuffle(shuffled)
    assert group_photos(shuffled, embeddings) == groups
    members = [member for group in groups for member in group.members]
    assert len(members) == len(set(members))
    assert all(2 <= len(group.members) <= 4 for group in groups)


def test_the_id_is_a_hash_of_who_the_members_are_and_not_of_when() -> None:
    one = group_photos([photo(0, 1, "a"), photo(1, 2, "b")])
    later = group_photos([photo(50, 1, "a"), photo(60, 2, "b")])
    assert one[0].id == later[0].id == group_id(reversed(one[0].members))
    assert group_photos([photo(0, 1, "a"), photo(1, 2, "c")])[0].id != one[0].id
