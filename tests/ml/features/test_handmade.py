import io
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from ml.features.handmade import (
    FEATURES,
    NAMES,
    cached_sky_features,
    features_of_image,
    sky_features,
)
from ml.images.decode import ImageError

LOW = np.array([feature.low for feature in FEATURES]) - 1e-5
HIGH = np.array([feature.high for feature in FEATURES]) + 1e-5


def sky(top, bottom=None, size=64):
    """A frame of one colour over another; the upper 60 % is sky."""
    pixels = np.zeros((size, size, 3), dtype=np.uint8)
    pixels[:] = top
    if bottom is not None:
        pixels[round(0.6 * size) :] = bottom
    return pixels


def named(pixels):
    return dict(zip(NAMES, sky_features(pixels).tolist(), strict=True))


def png(pixels):
    data = io.BytesIO()
    Image.fromarray(pixels).save(data, "PNG")
    return data.getvalue()


class TestDefinitions:
    def test_names_are_unique_and_each_has_a_sentence_and_a_range(self):
        assert len(set(NAMES)) == len(FEATURES)
        assert 15 <= len(FEATURES) <= 60
        for feature in FEATURES:
            assert feature.meaning.endswith(".")
            assert feature.low < feature.high

    @settings(max_examples=30, deadline=None)
    @given(st.integers(0, 2**32 - 1), st.sampled_from([(16, 16), (17, 40), (64, 48)]), st.sampled_from([2, 60, 255]))
    def test_every_number_is_finite_and_in_its_range(self, seed, shape, levels):
        pixels = np.random.default_rng(seed).integers(0, levels + 1, (*shape, 3)).astype(np.uint8)
        found = sky_features(pixels)
        assert found.dtype == np.float32
        assert np.isfinite(found).all()
        assert [NAMES[at] for at in np.flatnonzero((found < LOW) | (found > HIGH))] == []

    @pytest.mark.parametrize("level", [0, 255])
    def test_black_and_white_have_numbers_too(self, level):
        found = sky_features(np.full((32, 32, 3), level, dtype=np.uint8))
        assert np.isfinite(found).all()
        assert ((found >= LOW) & (found <= HIGH)).all()


class TestMeaning:
    @pytest.mark.parametrize(
        ("colour", "name"),
        [((230, 30, 20), "sky_red"), ((240, 130, 20), "sky_orange"), ((240, 220, 40), "sky_yellow"),
         ((240, 90, 200), "sky_pink"), ((150, 60, 220), "sky_purple"), ((40, 90, 230), "sky_blue")],
    )  # fmt: skip
    def test_a_sky_of_one_hue_is_counted_as_that_hue_only(self, colour, name):
        found = named(sky(colour, (90, 90, 90)))
        assert found[name] == 1.0
        assert sum(found[f"sky_{hue}"] for hue in ("red", "orange", "yellow", "pink", "purple", "blue")) == 1.0

    def test_a_grey_sky_has_no_colour(self):
        found = named(sky((120, 120, 120)))
        assert found["sky_colourfulness"] == found["sky_vivid"] == found["sky_warm"] == found["sky_warmth"] == 0.0
        assert found["flat"] == 1.0

    def test_colours_below_the_sky_are_not_the_sky_s(self):
        found = named(sky((120, 120, 120), (230, 60, 20)))
        assert found["sky_warm"] == 0.0
        assert found["ground_warmth"] > 0.5

    def test_night_is_dark_and_glare_is_sun(self):
        assert named(sky((8, 8, 12)))["dark"] == 1.0
        bright = sky((90, 100, 140))
        bright[4:14, 20:30] = 255
        found = named(bright)
        assert found["sun_area"] == pytest.approx(100 / (0.75 * 64 * 64), abs=1e-3)
        assert found["clipped"] > 0
        assert found["brightest_block"] > 0.3

    def test_a_glow_at_the_horizon_rises_downwards(self):
        pixels = np.zeros((100, 100, 3), dtype=np.uint8)
        pixels[..., 0] = np.linspace(40, 250, 100)[:, None]
        pixels[..., 2] = np.linspace(160, 40, 100)[:, None]
        found = named(pixels)
        for name in ("luma_gradient", "warmth_gradient", "horizon_glow", "horizon_warmth"):
            assert found[name] > 0.05
        upside_down = named(pixels[::-1].copy())
        assert upside_down["warmth_gradient"] < -0.1

    def test_blur_lowers_sharpness_and_texture(self):
        random = np.random.default_rng(0)
        noisy = np.repeat(random.integers(60, 200, (64, 64, 1)), 3, axis=2).astype(np.uint8)
        soft = np.array(Image.fromarray(noisy).resize((16, 16), Image.Resampling.BILINEAR).resize((64, 64)))
        assert named(soft)["sharpness"] < named(noisy)["sharpness"] - 0.5
        assert named(soft)["cloud_texture"] < named(noisy)["cloud_texture"]
        assert named(soft)["edges"] < named(noisy)["edges"]

    def test_a_mirrored_frame_is_the_same_sunset(self):
        pixels = np.random.default_rng(1).integers(0, 256, (64, 64, 3)).astype(np.uint8)
        np.testing.assert_allclose(sky_features(pixels), sky_features(pixels[:, ::-1].copy()), atol=2e-2)

    @pytest.mark.parametrize(
        "pixels", [np.zeros((8, 8, 3), np.uint8), np.zeros((32, 32), np.uint8), np.zeros((32, 32, 3))]
    )
    def test_other_shapes_and_types_are_refused(self, pixels):
        with pytest.raises(ValueError, match="must be uint8"):
            sky_features(pixels)


class TestCache:
    def images(self):
        return {f"{number:064x}": png(sky((40 * number, 100, 50))) for number in range(4)}

    def test_each_image_is_read_once_and_then_from_the_cache(self, tmp_path):
        images, read = self.images(), []

        def read_image(sha256):
            read.append(sha256)
            return images[sha256]

        first = list(cached_sky_features(read_image, list(images), tmp_path))
        again = list(cached_sky_features(read_image, list(images), tmp_path))
        assert sorted(read) == sorted(images)
        np.testing.assert_array_equal(first, again)
        np.testing.assert_array_equal(first[2], features_of_image(images[f"{2:064x}"]))
        assert not list(tmp_path.rglob(".part-*"))

    def test_a_damaged_file_is_computed_again(self, tmp_path):
        images = self.images()
        first = list(cached_sky_features(images.__getitem__, list(images), tmp_path))
        path = next(iter(sorted(tmp_path.rglob("*.npy"))))
        path.write_bytes(b"\x93NUMPY rubbish")
        np.testing.assert_array_equal(first, list(cached_sky_features(images.__getitem__, list(images), tmp_path)))

    def test_without_a_cache_nothing_is_written(self):
        images = self.images()
        assert len(list(cached_sky_features(images.__getitem__, list(images), None))) == 4

    def test_what_is_no_image_is_refused(self):
        with pytest.raises(ImageError):
            list(cached_sky_features(lambda sha256: b"nothing", ["0" * 64], None))


def test_no_torch_and_no_training_library_is_loaded():
    code = "import sys, ml.features.handmade, ml.baselines, ml.evaluate; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"torch", "torchvision", "sklearn", "scipy"} & set(loaded)
