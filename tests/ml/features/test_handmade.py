import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ml.features.backbones import WeightsError, build_encoder, load_backbone
from ml.features.handmade import FEATURE_VERSION, FEATURES, NAMES, SIZE_PX
from ml.training.recipe import HANDMADE, HANDMADE_SIZE_PX
from tests.golden.make_handmade_features import FILE, pictures, sky_features

LOW = np.array([feature.low for feature in FEATURES]) - 1e-5
HIGH = np.array([feature.high for feature in FEATURES]) + 1e-5
SKY_ROWS = 77
"""The upper 60 % of 128 rows."""


def sky(top, bottom=None):
    """A frame of one colour over another; the upper 60 % is sky."""
    pixels = np.zeros((SIZE_PX, SIZE_PX, 3), dtype=np.uint8)
    pixels[:] = top
    if bottom is not None:
        pixels[SKY_ROWS:] = bottom
    return pixels


def named(pixels):
    return dict(zip(NAMES, sky_features(pixels[None])[0].tolist(), strict=True))


def luma(red, green, blue):
    return (54 * red + 183 * green + 19 * blue) / 256 / 255


class TestDefinitions:
    def test_names_are_unique_and_each_has_a_sentence_and_a_range(self):
        assert len(set(NAMES)) == len(FEATURES)
        assert 15 <= len(FEATURES) <= 60
        for feature in FEATURES:
            assert feature.meaning.endswith(".")
            assert feature.low < feature.high

    def test_the_recipe_knows_their_size(self):
        assert HANDMADE_SIZE_PX == SIZE_PX

    def test_no_number_changes_without_a_new_version(self):
        """Made by tests/golden/make_handmade_features.py; a change on purpose raises FEATURE_VERSION with it."""
        golden = json.loads(FILE.read_text())
        assert golden["version"] == FEATURE_VERSION
        assert golden["pictures"].keys() == pictures().keys()
        for name, pixels in pictures().items():
            assert list(golden["pictures"][name]) == list(NAMES)
            expected = np.array(list(golden["pictures"][name].values()))
            np.testing.assert_allclose(sky_features(pixels[None])[0], expected, atol=1e-5, rtol=1e-5, err_msg=name)

    @settings(max_examples=20, deadline=None)
    @given(st.integers(0, 2**32 - 1), st.sampled_from([1, 2, 60, 255]), st.sampled_from([1, 8, 64]))
    def test_every_number_is_finite_and_in_its_range(self, seed, levels, side):
        small = np.random.default_rng(seed).integers(0, levels + 1, (1, SIZE_PX // side, SIZE_PX // side, 3))
        found = sky_features(small.repeat(side, axis=1).repeat(side, axis=2).astype(np.uint8))[0]
        assert found.dtype == np.float32
        assert np.isfinite(found).all()
        assert [NAMES[at] for at in np.flatnonzero((found < LOW) | (found > HIGH))] == []

    def test_a_frame_s_numbers_depend_neither_on_its_neighbours_nor_on_threads(self):
        together = np.stack(list(pictures().values()))
        before = torch.get_num_threads()
        try:
            torch.set_num_threads(1)
            alone = np.concatenate([sky_features(pixels[None]) for pixels in together])
            torch.set_num_threads(2)
            np.testing.assert_array_equal(sky_features(together), alone)
        finally:
            torch.set_num_threads(before)


class TestMeaning:
    @pytest.mark.parametrize("level", [0, 255])
    def test_black_and_white_have_numbers_too(self, level):
        found = named(sky((level,) * 3))
        assert found["luma"] == found["sky_luma_p50"] == pytest.approx(level / 255)
        assert found["entropy"] == found["hue_entropy"] == found["edges"] == found["cloud_texture"] == 0.0
        assert found["sharpness"] == pytest.approx(-8.0)
        assert (found["black"], found["clipped"]) == ((1.0, 0.0) if level == 0 else (0.0, 1.0))

    @pytest.mark.parametrize(
        ("colour", "name"),
        [((230, 30, 20), "sky_red"), ((240, 130, 20), "sky_orange"), ((240, 220, 40), "sky_yellow"),
         ((240, 90, 200), "sky_pink"), ((150, 60, 220), "sky_purple"), ((40, 90, 230), "sky_blue")],
    )  # fmt: skip
    def test_a_sky_of_one_hue_is_counted_as_that_hue_only(self, colour, name):
        found = named(sky(colour, (90, 90, 90)))
        assert found[name] == 1.0
        assert sum(found[f"sky_{hue}"] for hue in ("red", "orange", "yellow", "pink", "purple", "blue")) == 1.0
        assert found["hue_spread"] < 0.001
        assert found["hue_entropy"] == 0.0

    @pytest.mark.parametrize(("green", "is_orange"), [(52, False), (53, True)])
    def test_the_border_of_a_hue_is_where_it_is_said_to_be(self, green, is_orange):
        # Red 212, blue 0: the hue is 60 * green / 212 degrees, 15 exactly at green 53.
        assert named(sky((212, green, 0)))["sky_orange"] == float(is_orange)
        assert named(sky((212, green, 0)))["sky_red"] == float(not is_orange)

    def test_means_percentiles_and_shares_are_those_of_the_pixels(self):
        pixels = sky((40, 90, 200), (30, 60, 20))
        pixels[:SKY_ROWS, :32] = (250, 140, 20)  # a quarter of the sky
        found = named(pixels)
        cold, warm = luma(40, 90, 200), luma(250, 140, 20)
        expected = {
            "sky_orange": 0.25, "sky_blue": 0.75, "sky_warm": 0.25, "sky_vivid": 1.0,
            "sky_luma_p5": min(cold, warm), "sky_luma_p95": max(cold, warm), "sky_luma_p50": cold,
            "sky_contrast": abs(cold - warm) * np.sqrt(0.25 * 0.75),
            "sky_warmth": (0.25 * 230 - 0.75 * 160) / 255, "sky_warmth_p5": -160 / 255, "sky_warmth_p95": 230 / 255,
            "sky_chroma": (0.25 * 230 + 0.75 * 160) / 255, "sky_saturation_p10": 0.8, "sky_saturation_p99": 0.92,
            "ground_luma": luma(30, 60, 20), "ground_warmth": 10 / 255, "sides": 0.5 * abs(warm - cold),
            "sky_red_blue": np.log((0.25 * 250 + 0.75 * 40 + 0.255) / (0.25 * 20 + 0.75 * 200 + 0.255)),
            "entropy": -(0.25 * np.log2(0.25) + 0.75 * np.log2(0.75)), "clipped": 0.0, "flat": 15 / 16,
        }  # fmt: skip
        assert {name: found[name] for name in expected} == pytest.approx(expected, abs=2e-5)

    def test_a_grey_sky_has_no_colour(self):
        found = named(sky((120, 120, 120)))
        for name in ("sky_colourfulness", "sky_vivid", "sky_warm", "sky_warmth", "hue_red_axis", "sky_chroma"):
            assert found[name] == 0.0
        assert found["flat"] == found["hue_spread"] == 1.0

    def test_colours_below_the_sky_are_not_the_sky_s(self):
        found = named(sky((120, 120, 120), (230, 60, 20)))
        assert found["sky_warm"] == 0.0
        assert found["ground_warmth"] == pytest.approx(210 / 255)

    def test_night_is_dark_and_glare_is_sun(self):
        assert named(sky((8, 8, 12)))["dark"] == 1.0
        bright = sky((90, 100, 140))
        bright[8:24, 40:56] = (255, 255, 225)
        found = named(bright)
        assert found["sun_area"] == pytest.approx(16 * 16 / (96 * 128), abs=1e-6)
        assert found["clipped"] == pytest.approx(16 * 16 / (128 * 128), abs=1e-6)
        assert found["brightest_block"] > 0.5
        assert found["brightest_warmth"] == pytest.approx(30 / 255, abs=1e-3)

    def test_a_glow_at_the_horizon_rises_downwards(self):
        pixels = sky((0, 0, 0))
        pixels[..., 0] = np.linspace(40, 250, SIZE_PX)[:, None]
        pixels[..., 2] = np.linspace(160, 40, SIZE_PX)[:, None]
        found = named(pixels)
        for name in ("luma_gradient", "warmth_gradient", "horizon_glow", "horizon_warmth"):
            assert found[name] > 0.05
        assert found["warmest_band"] == pytest.approx((250 - 40) / 255, abs=0.06)
        assert named(pixels[::-1].copy())["warmth_gradient"] < -0.1

    def test_blur_lowers_sharpness_and_texture(self):
        noisy = np.random.default_rng(0).integers(60, 200, (SIZE_PX, SIZE_PX, 1)).repeat(3, axis=2)
        soft = noisy.reshape(32, 4, 32, 4, 3).mean(axis=(1, 3)).repeat(4, axis=0).repeat(4, axis=1)
        sharp, blurred = named(noisy.astype(np.uint8)), named(soft.astype(np.uint8))
        assert blurred["sharpness"] < sharp["sharpness"] - 0.5
        assert blurred["cloud_texture"] < sharp["cloud_texture"]
        assert blurred["edges"] < sharp["edges"]

    def test_a_mirrored_frame_is_the_same_sunset(self):
        pixels = np.random.default_rng(1).integers(0, 256, (1, SIZE_PX, SIZE_PX, 3)).astype(np.uint8)
        np.testing.assert_allclose(sky_features(pixels), sky_features(pixels[:, :, ::-1].copy()), atol=1e-2)


class TestAsABackbone:
    def test_other_sizes_are_refused(self):
        with pytest.raises(ValueError, match="defined on"):
            build_encoder(HANDMADE)(torch.zeros(1, 64, 64, 3, dtype=torch.uint8))

    def test_they_have_definitions_in_place_of_weights_and_no_parameters(self):
        first, second = (load_backbone(HANDMADE, "none", seed) for seed in (0, 1))
        assert first.source.kind == "definitions"
        assert first.content_sha256 == second.content_sha256 == first.source.sha256
        assert not list(first.encoder.parameters())
        assert not first.encoder.state_dict()
        assert first.num_features == len(FEATURES)
        with pytest.raises(WeightsError, match="no weights"):
            load_backbone(HANDMADE, "imagenet", seed=0)


def test_names_and_evaluation_load_no_torch_and_no_training_library():
    code = "import sys, ml.features.handmade, ml.baselines, ml.evaluate; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"torch", "torchvision", "sklearn", "scipy"} & set(loaded)
