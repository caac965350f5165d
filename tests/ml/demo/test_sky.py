"""The GENERATED skies: repeatable, varied, and showing the rating that is planted in them."""

from collections import Counter
from datetime import UTC, timedelta

import numpy as np

from ml.demo.sky import Frame, make_frames, make_webcams, render, to_jpeg
from ml.images.decode import decode, inspect


def _frames(webcams: int = 24, days: int = 20) -> list[Frame]:
    return make_frames(make_webcams(webcams, seed=3), days, seed=3)


def _look(frame: Frame) -> list[float]:
    """Six crude measurements of a picture: warmth, saturation and brightness, mean and highest tenth."""
    pixels = render(frame, 160, 120).astype(np.float32)[:80]
    red, blue = pixels[..., 0], pixels[..., 2]
    spread = pixels.max(axis=2) - pixels.min(axis=2)
    grey = pixels.mean(axis=2)
    high = [float(np.quantile(plane, 0.9)) for plane in (red - blue, spread, grey)]
    return [float((red - blue).mean()), float(spread.mean()), float(grey.mean()), *high]


class TestWebcams:
    def test_they_are_called_generated_and_have_a_place(self) -> None:
        webcams = make_webcams(30, seed=1)
        assert len({webcam.id for webcam in webcams}) == 30
        for webcam in webcams:
            assert webcam.id.startswith("generated-") and webcam.title.startswith("Generated ")
            assert -90 < webcam.lat < 90 and -180 < webcam.lng < 180 and webcam.region
            assert 0.5 < webcam.horizon < 0.9

    def test_more_webcams_leave_the_first_ones_as_they_are(self) -> None:
        assert make_webcams(40, seed=1)[:10] == make_webcams(10, seed=1)
        assert make_webcams(10, seed=2) != make_webcams(10, seed=1)


class TestFrames:
    def test_more_webcams_or_days_leave_the_frames_as_they_are(self) -> None:
        few = make_frames(make_webcams(3, seed=1), 4, seed=9)
        many = make_frames(make_webcams(6, seed=1), 8, seed=9)
        assert set(few) <= set(many)
        assert make_frames(make_webcams(3, seed=1), 4, seed=10) != few

    def test_times_are_utc_and_belong_to_their_phase(self) -> None:
        for frame in _frames(12, 5):
            assert frame.captured_at.tzinfo is UTC
            local = frame.captured_at + timedelta(hours=frame.webcam.lng / 15)
            assert (local.hour < 12) == (frame.phase == "sunrise"), frame

    def test_most_are_plain_some_vivid_and_a_few_show_nothing(self) -> None:
        beauty = np.array([frame.beauty for frame in _frames()])
        assert beauty.min() >= 0 and beauty.max() <= 5
        assert 0.08 < (beauty >= 4).mean() < 0.16
        assert 0.03 < (beauty == 0).mean() < 0.14
        assert ((beauty > 0) & (beauty < 3)).mean() > 0.5

    def test_both_phases_and_every_weather_occur(self) -> None:
        frames = _frames()
        assert set(Counter(frame.weather for frame in frames)) == {"clear", "cloudy", "overcast", "fog", "storm"}
        assert 0.5 < np.mean([frame.phase == "sunset" for frame in frames]) < 0.8

    def test_frames_of_a_day_resemble_each_other_more_than_days_do(self) -> None:
        frames = make_frames(make_webcams(12, seed=3), 20, seed=3, frames_per_day=2)
        pairs = np.array([[a.beauty, b.beauty] for a, b in zip(frames[::2], frames[1::2], strict=True)])
        across = np.corrcoef(pairs[:-1, 0], pairs[1:, 1])[0, 1]
        assert np.corrcoef(pairs[:, 0], pairs[:, 1])[0, 1] > across + 0.2

    def test_a_frame_that_shows_nothing_is_no_sunset(self) -> None:
        for frame in _frames():
            assert frame.is_sunset == (frame.beauty > 0)
            if frame.sun_deg < -12:
                assert not frame.is_sunset


class TestRender:
    def test_the_same_frame_gives_the_same_pixels_and_others_differ(self) -> None:
        frames = _frames(2, 1)
        assert np.array_equal(render(frames[0]), render(frames[0]))
        assert not np.array_equal(render(frames[0]), render(frames[1]))

    def test_size_and_type_are_as_asked(self) -> None:
        for frame in _frames(8, 1):
            for width, height in ((320, 240), (64, 48), (101, 77)):
                pixels = render(frame, width, height)
                assert pixels.shape == (height, width, 3)
                assert pixels.dtype == np.uint8

    def test_pixels_are_neither_all_dark_nor_all_bright_by_day(self) -> None:
        for frame in _frames(24, 1):
            if frame.sun_deg > 0:
                assert 30 < render(frame).mean() < 225

    def test_beauty_can_be_learned_from_pixels_on_webcams_never_seen_but_not_by_one_number(self) -> None:
        frames = [frame for frame in _frames(24, 10) if frame.is_sunset]
        look = np.array([_look(frame) for frame in frames])
        beauty = np.array([frame.beauty for frame in frames])
        held_out = np.array([int(frame.webcam.id[-3:]) > 18 for frame in frames])
        look = (look - look[~held_out].mean(axis=0)) / look[~held_out].std(axis=0)
        design = np.column_stack([np.ones(len(look)), look, look**2])
        weights, *_ = np.linalg.lstsq(design[~held_out], beauty[~held_out], rcond=None)
        learned = np.corrcoef(design[held_out] @ weights, beauty[held_out])[0, 1]
        brightness = np.corrcoef(look[held_out, 2], beauty[held_out])[0, 1]
        assert learned > 0.65
        assert abs(brightness) < 0.6

    def test_a_jpeg_of_it_passes_our_own_decoder(self) -> None:
        pixels = render(_frames(1, 1)[0])
        data = to_jpeg(pixels)
        assert inspect(data).media_type == "image/jpeg"
        assert np.abs(decode(data).astype(int) - pixels).mean() < 8
        assert to_jpeg(pixels) == data and len(data) < 40_000
