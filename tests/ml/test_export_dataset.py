from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml.export_dataset import Candidate, Gates, build_rows, drop_images, meta, summary, with_hashes
from ml.judgements.rating import Rating
from ml.manifest import manifest_bytes, parse_manifest
from ml.splits import Assignment, uniform
from tests.ml.rows import START, candidate

RATING = Rating()
SALT = "s"
FREE = next(i for i in range(1000) if uniform(f"webcam:{i}", SALT) >= 0.15)
HELD_OUT = next(i for i in range(1000) if uniform(f"webcam:{i}", SALT) < 0.15)


def build(candidates, head="regression", gates=Gates(), recorded=None):  # noqa: B008
    return build_rows(candidates, RATING, head, gates, SALT, recorded or {})


def reason(**changes):
    (row,), _ = build([candidate(1, **changes)])
    assert (row.split is None) == (row.exclusion_reason is not None)
    return row.exclusion_reason


class TestGates:
    @pytest.mark.parametrize(
        ("changes", "expected"),
        [
            ({}, None),
            ({"label_value": None}, "no-label"),
            ({"image_sha256": None, "image_path_or_url": ""}, "missing-image"),
            ({"image_sha256": None, "image_path_or_url": "  "}, "missing-image"),
            ({"image_sha256": None, "image_path_or_url": "ftp://example.org/a.jpg"}, "invalid-image-url"),
            ({"image_sha256": None, "image_path_or_url": "http://"}, "invalid-image-url"),
            ({"image_sha256": None, "image_path_or_url": "http://[::1/a.jpg"}, "invalid-image-url"),
            ({"image_sha256": None, "image_path_or_url": "../../etc/passwd"}, "invalid-image-url"),
            ({"image_sha256": None, "image_path_or_url": "/etc/passwd"}, "invalid-image-url"),
            ({"image_sha256": None, "image_path_or_url": "javascript:alert(1)"}, "invalid-image-url"),
            ({"image_sha256": None, "image_path_or_url": "https://example.org/a.jpg"}, None),
            ({"image_sha256": None, "image_path_or_url": "frames/a b.jpg"}, None),
            ({"image_path_or_url": ""}, None),  # its bytes are in the store
        ],
    )
    def test_each_has_its_reason(self, changes, expected):
        assert reason(**changes) == expected

    def test_too_few_raters(self):
        rows, _ = build([candidate(1, num_verdicts=1), candidate(2, num_verdicts=2)], gates=Gates(min_rating_count=2))
        assert [row.exclusion_reason for row in rows] == ["rating-count-below-minimum", None]

    def test_verdicts_count_where_most_say_not_a_sunset(self):
        (row,), _ = build(
            [candidate(1, label_value=0.0, rating_count=0, num_verdicts=2)], gates=Gates(min_rating_count=2)
        )
        assert row.exclusion_reason is None

    def test_a_label_without_raters_passes(self):
        seed = candidate(1, label_source="manual_seed", rating_count=0, num_verdicts=0)
        (row,), _ = build([seed], gates=Gates(min_rating_count=5))
        assert row.exclusion_reason is None


class TestTwoSources:
    PEOPLE = candidate(1, label_value=2.0)
    SEED = candidate(1, label_source="manual_seed", label_value=5.0, rating_count=0, num_verdicts=0)

    @pytest.mark.parametrize("candidates", [[PEOPLE, SEED], [SEED, PEOPLE]])
    def test_peoples_ratings_win_and_the_other_is_counted(self, candidates):
        rows, _ = build(candidates)
        assert [(row.label_source, row.label_value) for row in rows] == [("calculated_rating", 2.0)]
        counts = meta(rows, candidates, RATING, "regression", Gates(), SALT, START)["counts"]
        assert counts["candidates"] == counts["total"] + counts["duplicate-snapshot"] == 2


class TestTargets:
    def test_regression_and_binary(self):
        candidates = [candidate(1, label_value=3.99), candidate(2, label_value=4.0)]
        for head, targets in (("regression", [3.99, 4.0]), ("binary", [0.0, 1.0])):
            rows, _ = build(candidates, head)
            assert [row.target_label for row in rows] == targets
            assert [row.is_good for row in rows] == [False, True]


class TestSplits:
    def test_a_train_row_with_a_test_rows_image_is_excluded_and_test_stays(self):
        unseen = candidate(1, webcam_id=HELD_OUT, image_sha256="a" * 64)
        copies = [candidate(i, webcam_id=FREE, image_sha256="a" * 64) for i in range(2, 40)]
        rows, _ = build([unseen, *copies])
        assert rows[0].split == "test"
        assert {row.exclusion_reason for row in rows[1:] if row.split != "test"} == {"duplicate-of-test-image"}

    def test_a_duplicate_that_shows_only_after_download_is_excluded_too(self):
        def unknown(snapshot_id: int, webcam_id: int) -> Candidate:
            return candidate(snapshot_id, webcam_id=webcam_id, image_sha256=None, captured_at=TRAIN_DAY)

        rows, _ = build([unknown(1, HELD_OUT), unknown(2, FREE)])
        assert [row.split for row in rows] == ["test", "train"]
        again = with_hashes(rows, {1: "b" * 64, 2: "b" * 64})
        assert [row.exclusion_reason for row in again] == [None, "duplicate-of-test-image"]
        assert again[0].image_sha256 == "b" * 64

    def test_named_rows_of_a_webcam_recorded_as_held_out_leave_train(self):
        recorded = {f"webcam:{FREE}": Assignment("test", seen=False)}
        named = [candidate(i, webcam_id=FREE, named_group=f"day {i}") for i in range(60)]
        rows, new = build(named, recorded=recorded)
        kept = [row for row in rows if row.split is not None]
        assert {row.split for row in kept} == {"test"}
        assert {row.seen for row in kept} == {False}
        assert {row.exclusion_reason for row in rows if row.split is None} == {"webcam-held-out"}
        assert set(new) == {row.group_id for row in kept}

    def test_a_webcam_with_named_groups_is_not_held_out_whole(self):
        named = [candidate(i, webcam_id=HELD_OUT, named_group=f"day {i}") for i in range(60)]
        rows, _ = build([*named, candidate(99, webcam_id=HELD_OUT)])
        assert summary(rows)["splits"]["train"] > 30
        assert all(row.seen for row in rows)

    def test_excluded_rows_record_no_assignment(self):
        _, new = build([candidate(1, label_value=None)])
        assert new == {}


TRAIN_DAY = next(
    day
    for day in (datetime(2026, 1, 1, 12, tzinfo=UTC) + timedelta(days=n) for n in range(100))
    if uniform(f"webcam:{FREE}:{day:%Y-%m-%d}", SALT) < 0.8
)


@st.composite
def tables(draw):
    """Some labels of a few webcams, some of them in named groups, some with the same image."""
    count = draw(st.integers(1, 25))
    return [
        candidate(
            snapshot_id,
            webcam_id=draw(st.integers(0, 12)),
            captured_at=START + timedelta(hours=draw(st.integers(0, 400))),
            named_group=draw(st.sampled_from([None, None, "a", "b", "c"])),
            num_verdicts=draw(st.integers(1, 3)),
            image_sha256=f"{draw(st.integers(0, 60)):064x}",
        )
        for snapshot_id in range(count)
    ]


def grown(table):
    """Ten times as many labels: the old ones and others of the same and of new webcams and days."""
    more = [
        replace(
            each,
            snapshot_id=each.snapshot_id + 1000 * copy,
            webcam_id=each.webcam_id + (20 if copy % 2 else 0),
            captured_at=each.captured_at + timedelta(days=copy),
            named_group=None if copy % 3 else each.named_group,
            image_sha256=f"{each.snapshot_id + 1000 * copy:064x}",
        )
        for copy in range(1, 10)
        for each in table
    ]
    return table + more


class TestProperties:
    @settings(max_examples=60, deadline=None)
    @given(tables(), st.randoms())
    def test_growing_tenfold_moves_no_row(self, table, random):
        before, new = build(table)
        larger = grown(table)
        random.shuffle(larger)
        after = {row.snapshot_id: row for row in build(larger, recorded=new)[0]}
        for row in before:
            if row.split is not None:
                assert (after[row.snapshot_id].split, after[row.snapshot_id].seen) == (row.split, row.seen)
                assert after[row.snapshot_id].group_id == row.group_id

    @settings(max_examples=60, deadline=None)
    @given(tables(), st.randoms())
    def test_any_order_gives_the_same_bytes(self, table, random):
        rows, new = build(table)
        random.shuffle(table)
        again, new_again = build(table)
        assert manifest_bytes(rows) == manifest_bytes(again)
        assert new == new_again

    @settings(max_examples=60, deadline=None)
    @given(tables())
    def test_exporting_twice_gives_the_same_bytes(self, table):
        rows, new = build(table)
        again, newer = build(table, recorded=new)
        assert manifest_bytes(rows) == manifest_bytes(again)
        assert newer == {}

    @settings(max_examples=60, deadline=None)
    @given(tables())
    def test_no_group_straddles_and_every_row_is_accounted_for(self, table):
        rows, _ = build(table, gates=Gates(min_rating_count=2))
        of_group: dict[str, set[str]] = {}
        for row in rows:
            if row.split is not None:
                of_group.setdefault(row.group_id, set()).add(row.split)
        assert all(len(splits) == 1 for splits in of_group.values())
        counts = summary(rows)
        assert counts["kept"] + sum(counts["excluded"].values()) == counts["total"] == len(table)
        assert sum(counts["splits"].values()) == counts["kept"]
        assert counts["test_seen"] + counts["test_unseen"] == counts["splits"]["test"]

    @settings(max_examples=30, deadline=None)
    @given(tables())
    def test_the_file_reads_back_as_it_was(self, table):
        rows, _ = build(table)
        assert parse_manifest(manifest_bytes(rows)) == rows


class TestAfterwards:
    def test_failed_images_leave_with_their_reason(self):
        rows, _ = build([candidate(1), candidate(2), candidate(3, label_value=None)])
        dropped = drop_images(rows, {1: "image-dead-url", 3: "image-dead-url"})
        assert [row.exclusion_reason for row in dropped] == ["image-dead-url", None, "no-label"]
        assert dropped[0].split is None

    def test_summary_counts_labels_and_positives(self):
        rows, _ = build([candidate(i, label_value=value) for i, value in enumerate([0.0, 2.5, 4.0, 4.4, None])])
        counts = summary(rows)
        assert counts["label_histogram"] == {"0": 1, "3": 1, "4": 2}
        assert counts["positive_rate"] == 0.5
        assert counts["excluded"] == {"no-label": 1}

    def test_one_label_changed_changes_the_sha256(self):
        facts = []
        for value in (2.0, 2.01):
            candidates = [candidate(1, label_value=value), candidate(2)]
            facts.append(meta(build(candidates)[0], candidates, RATING, "regression", Gates(), SALT, START))
        assert facts[0]["manifest_sha256"] != facts[1]["manifest_sha256"]
        assert facts[0]["params"] == facts[1]["params"]
