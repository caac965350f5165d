from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest

from ml.images.fingerprints import fingerprints_of
from ml.judgements.rating import Rating
from ml.leak_audit import audit, naive_split
from ml.near_duplicates import NEAR_DUPLICATE_OF_TEST
from tests.ml.rows import row
from tests.ml.skies import FRAMES, jpeg

RATING = Rating()
IMAGES = [jpeg(frame) for frame in FRAMES[::4]]
"""Thirty frames, two days apart."""


def generated_rows():
    """One group a frame; every third frame is test."""
    return [
        row(number, split="test" if number % 3 == 0 else "train", webcam_id=number // 5, captured_at=frame.captured_at)
        for number, frame in enumerate(FRAMES[::4])
    ]


def audited(rows, images, full=None, fold_of=None):
    kept = [each for each in rows if each.split is not None]
    prints = fingerprints_of(lambda place: images[int(place)], [str(place) for place in range(len(kept))], None)
    return audit(full or rows, kept, prints, fold_of)


class TestAudit:
    def test_an_honest_split_is_said_to_be_one_and_what_was_dropped_is_counted(self):
        rows = generated_rows()
        found = audited(rows, IMAGES, [*rows, row(99).excluded(NEAR_DUPLICATE_OF_TEST)])
        assert found["leak"] is False
        assert found["excluded"][NEAR_DUPLICATE_OF_TEST] == 1
        assert found["verdict"].startswith("no group, image or near-duplicate stands on two sides of a split; 1 rows")
        between = {(each["learned"], each["judged"]): each for each in found["between"]}
        assert between["train", "test"]["n"] == 20
        assert between["train", "test"]["closest"]["distance"] > 0
        assert between["val", "test"]["closest"] is None

    def test_planted_copies_of_test_frames_are_caught(self):
        rows = generated_rows()
        copies = [row(100 + number, webcam_id=50 + number) for number in range(4)]
        smaller = [jpeg(FRAMES[12 * number], width=200, quality=70) for number in range(4)]
        found = audited([*rows, *copies], [*IMAGES, *smaller])
        assert found["leak"] is True
        assert "4 of 24 train rows are near-duplicates of test rows" in found["verdict"]
        assert found["between"][0]["listed"] == [100, 101, 102, 103]
        assert found["between"][0]["closest"]["difference"] < 1.5

    def test_a_split_that_was_assigned_by_row_is_caught(self):
        rows = [replace(each, group_id=f"day {each.snapshot_id // 2}") for each in generated_rows()]
        found = audited(rows, IMAGES)
        assert found["leak"] is True
        assert found["groups_in_several_splits"]["n"] == 10
        assert "10 groups stand in several splits" in found["verdict"]

    def test_one_image_on_both_sides_is_caught_though_it_is_flat(self):
        rows = [replace(each, image_sha256="a" * 64) if each.snapshot_id < 2 else each for each in generated_rows()]
        found = audited(rows, IMAGES)
        assert found["images_in_several_splits"] == {"n": 1, "listed": ["a" * 64]}
        assert found["leak"] is True

    def test_a_webcam_that_counts_as_never_seen_and_was_learned_is_caught(self):
        rows = [replace(each, seen=False) if each.split == "test" else each for each in generated_rows()]
        found = audited(rows, IMAGES)
        assert "webcams that count as never seen were learned from" in found["verdict"]

    @pytest.mark.parametrize(("folds", "leak"), [([0, 1], True), ([0, 0], False)])
    def test_out_of_fold_a_copy_in_another_fold_leaks(self, folds, leak):
        rows = [row(1), row(2, webcam_id=2)]
        found = audited(rows, [IMAGES[0], jpeg(FRAMES[0], width=200)], fold_of={1: folds[0], 2: folds[1]})
        assert (found["folds"]["near_duplicates"], found["leak"]) == ((2, True) if leak else (0, False))


class TestNaiveSplit:
    def rows(self, num_groups, per_group, seed):
        """Groups of frames that are almost one frame, with labels that no feature explains."""
        random = np.random.default_rng(seed)
        rows, features = [], {}
        for group in range(num_groups):
            centre, stars = random.normal(size=12), float(random.integers(1, 6))
            for number in range(per_group):
                snapshot = group * per_group + number
                rows.append(row(snapshot, group_id=f"day {group}", label_value=stars, target_label=stars))
                features[rows[-1].image_sha256] = centre + 0.01 * random.normal(size=12)
        return rows, features

    def test_the_difference_is_what_leakage_would_have_pretended(self):
        found = naive_split(RATING, "regression", *self.rows(40, 5, 0), 200)
        assert (found["n"], found["n_groups"], found["metric"]) == (200, 40, "mae")
        ridge, neighbours = found["models"]
        assert neighbours["naive"]["value"] < 0.1
        assert neighbours["grouped"]["value"] > 1.0
        assert neighbours["difference"]["interval"][1] < -0.5
        assert ridge["grouped"]["value"] > 1.0
        assert "would show" in found["sentence"]

    def test_days_of_one_webcam_are_told_from_webcams_never_seen(self):
        """Groups of one row each, so that the split by group is nearly the naive one, and webcams with a view of their own."""
        rows, features = self.rows(20, 8, 2)
        rows = [replace(each, group_id=f"row {place}", webcam_id=place // 8) for place, each in enumerate(rows)]
        found = naive_split(RATING, "regression", rows, features, 200)
        assert (found["n"], found["n_groups"], found["n_webcams"]) == (160, 160, 20)
        for each in found["models"]:
            assert abs(each["difference"]["value"]) < 0.1
        neighbours = found["models"][1]
        assert neighbours["webcams"]["value"] > 1.0
        low, high = neighbours["webcams_difference"]["interval"]
        assert low <= neighbours["webcams_difference"]["value"] <= high < -0.5
        assert f"by whole webcam {neighbours['webcams']['value']:.3f}" in found["sentence"]

    def test_of_a_single_webcam_there_are_no_folds_of_webcams(self):
        found = naive_split(RATING, "regression", *self.rows(40, 5, 0), 200)
        assert (found["n_webcams"], found["models"][0]["webcams"]) == (1, None)
        assert "whole webcam" not in found["sentence"]

    def test_without_groups_of_several_rows_there_is_no_difference(self):
        found = naive_split(RATING, "regression", *self.rows(200, 1, 1), 200)
        for each in found["models"]:
            low, high = each["difference"]["interval"]
            assert low <= 0.0 <= high

    def test_few_rows_are_said_to_be_few(self):
        found = naive_split(RATING, "regression", *self.rows(5, 2, 0), 200)
        assert found["known"] is False
        assert "too few" in found["reason"]


def test_a_look_alike_of_another_day_is_no_leak():
    rows = [row(1, split="test"), row(2, captured_at=row(1).captured_at + timedelta(days=9))]
    prints = fingerprints_of(lambda place: IMAGES[0], ["a", "b"], None)
    prints.thumbnails[1] = np.clip(prints.thumbnails[1].astype(int) + 4, 0, 255)
    found = audit(rows, rows, prints, None)
    assert (found["leak"], found["look_alikes"]) == (False, 1)
    assert found["between"][0]["closest"]["same_webcam_other_day"] is True
