import hashlib
from collections import defaultdict
from datetime import UTC, datetime, timedelta, timezone

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml.splits import Assignment, SplitError, assign, folds, local_day, uniform

SALT = "s"
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def webcam_where(held_out: bool) -> int:
    return next(i for i in range(1000) if (uniform(f"webcam:{i}", SALT) < 0.15) is held_out)


class TestUniform:
    def test_is_the_documented_hash(self):
        expected = int(hashlib.sha256(b"s|webcam:7").hexdigest()[:8], 16) / 2**32
        assert uniform("webcam:7", "s") == expected

    def test_known_answer(self):
        # Written down once: another value would move rows of every existing database.
        assert uniform("webcam:7", "afterglow-1") == 0.8371749608777463


class TestLocalDay:
    @pytest.mark.parametrize(
        ("hour", "lng", "day"),
        [(23, None, "2026-03-01"), (23, 10.0, "2026-03-01"), (23, 30.0, "2026-03-02"), (1, -120.0, "2026-02-28")],
    )
    def test_is_the_day_by_the_sun(self, hour, lng, day):
        assert local_day(NOON.replace(hour=hour), lng) == day

    def test_the_zone_in_which_a_time_is_written_does_not_matter(self):
        assert local_day(NOON.astimezone(timezone(timedelta(hours=14))), 10.0) == local_day(NOON, 10.0)


class TestAssign:
    def test_a_held_out_webcam_is_one_unseen_group(self):
        webcam = webcam_where(True)
        answers = {assign(webcam, NOON + timedelta(days=day), 0.0, None, SALT, {}) for day in range(30)}
        assert answers == {(f"webcam:{webcam}", Assignment("test", seen=False))}

    def test_the_days_of_other_webcams_are_spread(self):
        webcam = webcam_where(False)
        answers = [assign(webcam, NOON + timedelta(days=day), 0.0, None, SALT, {}) for day in range(300)]
        shares = {split: np.mean([a.split == split for _, a in answers]) for split in ("train", "val", "test")}
        assert shares["train"] == pytest.approx(0.8, abs=0.06)
        assert shares["val"] == pytest.approx(0.1, abs=0.05)
        assert all(a.seen for _, a in answers)
        assert answers[0][0] == f"webcam:{webcam}:2026-03-01"

    def test_frames_of_one_local_day_stay_together(self):
        webcam = webcam_where(False)
        assert len({assign(webcam, NOON + timedelta(hours=h), 0.0, None, SALT, {}) for h in range(-11, 11)}) == 1

    def test_fifteen_percent_of_webcams_are_held_out(self):
        held_out = [not assign(i, NOON, 0.0, None, SALT, {})[1].seen for i in range(2000)]
        assert np.mean(held_out) == pytest.approx(0.15, abs=0.03)

    def test_a_named_group_is_the_unit_on_any_webcam(self):
        answers = {assign(i, NOON + timedelta(days=i), None, "storm", SALT, {}) for i in range(20)}
        assert len(answers) == 1
        assert answers.pop()[0] == "group:storm"

    def test_a_record_wins_over_the_hash(self):
        held, free = webcam_where(True), webcam_where(False)
        kept = Assignment("val", seen=True)
        day = f"webcam:{free}:2026-03-01"
        assert assign(free, NOON, 0.0, None, SALT, {day: kept}) == (day, kept)
        assert assign(1, NOON, 0.0, "storm", SALT, {"group:storm": kept}) == ("group:storm", kept)
        whole = {f"webcam:{free}": Assignment("test", seen=False)}
        assert assign(free, NOON, 0.0, None, SALT, whole) == (f"webcam:{free}", Assignment("test", seen=False))
        recorded_day = {f"webcam:{held}:2026-03-01": kept}
        assert assign(held, NOON, 0.0, None, SALT, recorded_day)[1] == kept

    def test_another_salt_moves_nothing_that_is_recorded(self):
        rows = [(i % 40, NOON + timedelta(days=i)) for i in range(200)]
        recorded = dict(assign(webcam, at, 0.0, None, "old", {}) for webcam, at in rows)
        free = [row for row in rows if f"webcam:{row[0]}" not in recorded]
        again = dict(assign(webcam, at, 0.0, None, "new", recorded) for webcam, at in free)
        assert again == {group: recorded[group] for group in again}


GROUPS = st.lists(st.sampled_from([f"g{i}" for i in range(12)]), min_size=2, max_size=60).filter(
    lambda groups: len(set(groups)) >= 2
)


class TestFolds:
    @given(GROUPS, st.integers(2, 8))
    def test_no_group_straddles_and_no_fold_is_empty(self, groups, k):
        dealt = folds(groups, k, SALT)
        of_group = defaultdict(set)
        for group, fold in zip(groups, dealt, strict=True):
            of_group[group].add(int(fold))
        assert all(len(found) == 1 for found in of_group.values())
        assert set(dealt.tolist()) == set(range(min(k, len(of_group))))

    @given(GROUPS, st.integers(2, 8), st.randoms())
    def test_the_order_of_rows_does_not_matter(self, groups, k, random):
        before = dict(zip(groups, folds(groups, k, SALT).tolist(), strict=True))
        random.shuffle(groups)
        assert dict(zip(groups, folds(groups, k, SALT).tolist(), strict=True)) == before

    def test_folds_are_of_similar_size(self):
        sizes = np.bincount(folds([f"g{i}" for i in range(100)], 5, SALT))
        assert sizes.tolist() == [20] * 5

    @pytest.mark.parametrize("groups", [[], ["a", "a"]])
    def test_fewer_than_two_groups_are_refused(self, groups):
        with pytest.raises(SplitError, match="at least 2 groups"):
            folds(groups, 5, SALT)
