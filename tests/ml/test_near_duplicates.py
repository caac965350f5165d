from datetime import timedelta

import numpy as np

from ml.export_dataset import summary
from ml.images.fingerprints import Fingerprints, fingerprints_of
from ml.near_duplicates import (
    NEAR_DUPLICATE_OF_TEST,
    NEAR_DUPLICATE_OF_VAL,
    find_near_duplicates,
    joined_groups,
    near_elsewhere,
    near_split,
    without_near_duplicates,
)
from tests.ml.rows import START, row
from tests.ml.skies import FRAMES, jpeg

ONE = jpeg(FRAMES[0])
COPY = jpeg(FRAMES[0], width=240, quality=60)
OTHER = jpeg(FRAMES[25])


def prints_of(images):
    return fingerprints_of(lambda place: images[int(place)], [str(place) for place in range(len(images))], None)


def decided(rows, images):
    changed, found = without_near_duplicates(rows, prints_of(images))
    return [each.exclusion_reason or each.split for each in changed], found


class TestWhoLeaves:
    def test_a_copy_of_a_test_image_leaves_train_and_val_and_test_stays(self):
        rows = [row(1, split="test"), row(2, webcam_id=2), row(3, webcam_id=3, split="val"), row(4, webcam_id=4)]
        kept, _ = decided(rows, [ONE, COPY, COPY, OTHER])
        assert kept == ["test", NEAR_DUPLICATE_OF_TEST, NEAR_DUPLICATE_OF_TEST, "train"]

    def test_a_copy_of_a_val_image_leaves_train(self):
        kept, _ = decided([row(1, split="val"), row(2, webcam_id=2), row(3)], [ONE, COPY, OTHER])
        assert kept == ["val", NEAR_DUPLICATE_OF_VAL, "train"]

    def test_a_val_row_that_has_left_drives_nobody_out(self):
        # The second is near both others, which are too far apart for one another.
        grey = np.linspace(0, 200, 256).reshape(16, 16, 1).repeat(3, axis=2)
        thumbnails = np.stack([grey + shift for shift in (0, 12, 24)]).astype(np.uint8)
        rows = [row(1, split="test"), row(2, split="val", webcam_id=2), row(3, webcam_id=3)]
        changed, _ = without_near_duplicates(rows, Fingerprints(np.zeros(3, np.uint64), thumbnails))
        assert [each.split for each in changed] == ["test", None, "train"]

    def test_every_row_is_still_counted(self):
        rows = [row(1, split="test"), row(2, webcam_id=2), row(3).excluded("no-label"), row(4)]
        changed, _ = without_near_duplicates(rows, prints_of([ONE, COPY, OTHER]))
        counts = summary(changed)
        assert counts["kept"] + counts["num_excluded"] == counts["total"] == 4
        assert counts["excluded"] == {"near-duplicate-of-test": 1, "no-label": 1}


class TestWhatIsNoCopy:
    def test_dark_and_plain_frames_keep_their_place_though_their_hashes_are_equal(self):
        random = np.random.default_rng(0)
        thumbnails = random.integers(0, 4, (40, 16, 16, 3), dtype=np.uint8)
        prints = Fingerprints(np.zeros(40, dtype=np.uint64), thumbnails)
        rows = [row(number, split="test" if number < 8 else "train", webcam_id=number) for number in range(40)]
        changed, found = without_near_duplicates(rows, prints)
        assert changed == rows
        assert (found.twins, found.num_flat) == ((), 40)

    def test_a_webcam_on_another_day_may_look_the_same(self):
        prints = prints_of([ONE, ONE])
        prints.thumbnails[1] = np.clip(prints.thumbnails[1].astype(int) + 4, 0, 255)
        rows = [row(1, split="test"), row(2, captured_at=START + timedelta(days=3))]
        changed, found = without_near_duplicates(rows, prints)
        assert changed == rows
        assert found.num_look_alikes == 1

    def test_the_same_frame_sent_again_days_later_is_a_copy(self):
        rows = [row(1, split="test"), row(2, captured_at=START + timedelta(days=3))]
        assert decided(rows, [ONE, COPY])[0] == ["test", NEAR_DUPLICATE_OF_TEST]

    def test_a_minute_later_is_a_copy_and_another_webcam_is_too(self):
        brighter = prints_of([ONE, ONE, ONE])
        brighter.thumbnails[1:] = np.clip(brighter.thumbnails[1:].astype(int) + 4, 0, 255)
        soon = START + timedelta(hours=1, minutes=1)
        rows = [row(1, split="test"), row(2, captured_at=soon), row(3, webcam_id=2)]
        changed, _ = without_near_duplicates(rows, brighter)
        assert [each.split for each in changed] == ["test", None, None]

    def test_generated_skies_of_many_days_lose_nothing(self):
        rows = [
            row(
                number,
                split=("train", "val", "test")[number // 2 % 3],  # a day has two frames
                webcam_id=number // 20,
                captured_at=frame.captured_at,
            )
            for number, frame in enumerate(FRAMES)
        ]
        changed, _ = without_near_duplicates(rows, prints_of([jpeg(frame) for frame in FRAMES]))
        assert changed == rows


class TestFound:
    def test_many_rows_of_one_picture_are_one_entry(self):
        images = [ONE] * 300
        rows = [row(number, split="test" if number == 7 else "train", webcam_id=number) for number in range(300)]
        found = find_near_duplicates(rows, prints_of(images))
        assert len(found.twins) == 1
        assert near_split(rows, found.twins, ("train", "val"), "test") == [*range(7), *range(8, 300)]

    def test_rows_with_a_twin_in_another_part(self):
        rows = [row(1), row(2, webcam_id=2), row(3, webcam_id=3), row(4)]
        found = find_near_duplicates(rows, prints_of([ONE, COPY, ONE, OTHER]))
        assert near_elsewhere([0, 0, 1, 1], found.twins) == [0, 1, 2]
        assert near_elsewhere([0, 0, 0, 1], found.twins) == []

    def test_groups_with_near_duplicates_are_joined_over_others_too(self):
        rows = [row(number, webcam_id=number) for number in range(6)]
        found = find_near_duplicates(rows, prints_of([ONE, OTHER, COPY, OTHER, jpeg(FRAMES[40]), jpeg(FRAMES[60])]))
        # The first and third frame join b and d, the second and fourth d and a; the fifth is alone in c, the last in b.
        assert joined_groups(["b", "d", "d", "a", "c", "b"], found.twins) == ["a", "a", "a", "a", "c", "a"]
        assert joined_groups(["b", "d", "d", "a", "c", "b"], []) == ["b", "d", "d", "a", "c", "b"]

    def test_no_rows(self):
        assert find_near_duplicates([], prints_of([])).twins == ()
