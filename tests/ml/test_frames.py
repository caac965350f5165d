import io

import numpy as np
import pytest
from PIL import Image

from ml.curves import WebcamFacts
from ml.frames import (
    MAX_THUMBNAIL_BYTES,
    NUM_FRAMES,
    THUMBNAIL_PX,
    doubtful_frames,
    thumbnail,
    thumbnails,
    worst_frames,
)
from ml.images.decode import ImageError
from ml.noise import Ratings
from tests.ml.rows import row

ROWS = [row(number, target_label=2.0, webcam_id=number % 2) for number in range(1, 41)]
SCORES = np.linspace(0.0, 4.0, 40)


def ratings(*given):
    snapshots, raters, stars = zip(*given, strict=True)
    return Ratings(np.array(snapshots), np.array(raters), np.array(stars, dtype=float))


class TestWorst:
    def test_the_largest_errors_come_first_and_no_more_than_a_page_of_them(self):
        found = worst_frames(ROWS, SCORES, {}, None)
        assert len(found) == NUM_FRAMES
        sizes = [abs(each["residual"]) for each in found]
        assert sizes == sorted(sizes, reverse=True)
        assert [each["snapshot_id"] for each in found[:4]] == [1, 40, 2, 39]  # of equals the smaller id
        assert found[0]["score"] == 0.0

    def test_a_row_names_its_webcam_its_time_and_its_verdicts(self):
        votes = ratings((1, "ann", 4.0), (1, "bob", np.nan), (2, "ann", 1.0))
        found = worst_frames(ROWS[:1], SCORES[:1], {1: WebcamFacts(None, "", "", title="Pier")}, votes)[0]
        assert (found["webcam_id"], found["webcam"]) == (1, "Pier")
        assert found["captured_at"] == "2026-02-01T18:30:00+00:00"
        assert found["verdicts"] == [0.0, 4.0]  # "not a sunset" is below every star
        assert found["image_sha256"] == ROWS[0].image_sha256


class TestDoubtful:
    def test_half_are_nearest_to_the_threshold_and_half_have_raters_furthest_apart(self):
        apart = [(each.snapshot_id, rater, stars) for each in ROWS for rater, stars in (("ann", 1.0), ("bob", 2.0))]
        apart += [(7, "eve", 5.0), (9, "eve", np.nan)]
        found = doubtful_frames(ROWS, SCORES, {}, ratings(*apart), 2.0)
        near, disputed = found[: NUM_FRAMES // 2], found[NUM_FRAMES // 2 :]
        assert [each["snapshot_id"] for each in disputed[:3]] == [7, 9, 1]
        assert [each["why"] for each in disputed[:3]] == ["raters 4 apart", "raters 2 apart", "raters 1 apart"]
        distances = [abs(each["score"] - 2.0) for each in near]
        assert distances == sorted(distances)
        assert near[0]["why"] == "0.05 from the threshold"
        assert len({each["snapshot_id"] for each in found}) == NUM_FRAMES

    def test_without_votes_all_are_near_the_threshold_and_without_a_threshold_all_are_disputed(self):
        assert len(doubtful_frames(ROWS, SCORES, {}, None, 2.0)) == NUM_FRAMES
        agreed = ratings((1, "ann", 3.0), (1, "bob", 3.0), (2, "ann", 1.0), (3, "ann", 1.0), (3, "bob", 2.0))
        assert [each["snapshot_id"] for each in doubtful_frames(ROWS, SCORES, {}, agreed, None)] == [3]
        assert doubtful_frames(ROWS, SCORES, {}, None, None) == []


class TestThumbnails:
    def photo(self, width, height):
        noise = np.random.default_rng(0).integers(0, 256, (height, width, 3)).astype(np.uint8)
        buffer = io.BytesIO()
        Image.fromarray(noise).save(buffer, "PNG")
        return buffer.getvalue()

    @pytest.mark.parametrize(("width", "height"), [(640, 480), (300, 900), (20, 10)])
    def test_even_noise_becomes_a_small_jpeg_of_the_same_shape(self, width, height):
        data = thumbnail(self.photo(width, height))
        assert len(data) <= MAX_THUMBNAIL_BYTES
        with Image.open(io.BytesIO(data)) as image:
            assert image.format == "JPEG"
            assert max(image.size) == min(THUMBNAIL_PX, max(width, height))
            assert image.width / image.height == pytest.approx(width / height, rel=0.05)

    def test_an_image_that_is_shown_twice_is_read_once(self):
        asked = []

        def read(sha256):
            asked.append(sha256)
            return self.photo(8, 8)

        assert list(thumbnails(["b", "a", "b"], read)) == ["b", "a"]
        assert asked == ["b", "a"]

    def test_what_is_no_image_is_refused(self):
        with pytest.raises(ImageError):
            thumbnail(b"no image")
