"""Version 2 of the one preprocessing, beside version 1."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image, ImageOps

from ml.images.decode import PREPROCESSING_VERSION, ImageError, read_model_input, to_model_input


def encoded(image: Image.Image, name: str, **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, name, **options)
    return out.getvalue()


def gradients(width: int, height: int) -> np.ndarray:
    """Smooth colours that differ in every corner, so that a turn or a mirror shows; 0..255."""
    y, x = np.mgrid[0:height, 0:width]
    return np.stack([255 * x / width, 255 * y / height, 255 * (x + y) / (width + height)], axis=2)


def _photo(width: int, height: int) -> Image.Image:
    """Smooth colours with clouds of noise: what a JPEG of a sky is like."""
    rng = np.random.default_rng(3)
    coarse = Image.fromarray(rng.integers(0, 256, (height // 16, width // 16, 3), dtype=np.uint8))
    clouds = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC), dtype=float)
    noise = rng.normal(0, 6, (height, width, 3))
    return Image.fromarray(np.clip(0.5 * gradients(width, height) + 0.5 * clouds + noise, 0, 255).astype(np.uint8))


class TestVersion2:
    """Version 2 decodes a JPEG smaller where that leaves at least the model's size."""

    def test_it_is_what_new_models_are_trained_with(self) -> None:
        assert PREPROCESSING_VERSION == 2

    @pytest.mark.parametrize("size", [(640, 480), (1280, 720), (1920, 1080)])
    def test_it_stays_near_version_1(self, size: tuple[int, int]) -> None:
        data = encoded(_photo(*size), "JPEG", quality=85)
        one, two = (to_model_input(data, 224, 224, version).astype(int) for version in (1, 2))
        difference = abs(one - two)
        assert 0 < difference.mean() < 1  # 0.4 to 0.7 were seen
        assert np.percentile(difference, 99) <= 3

    @pytest.mark.parametrize("size", [(224, 224), (300, 400), (447, 900), (100, 80), (641, 480), (640, 481)])
    def test_a_jpeg_that_would_get_too_small_or_leave_a_rest_is_decoded_as_in_version_1(
        self, size: tuple[int, int]
    ) -> None:
        data = encoded(_photo(*size), "JPEG")
        assert np.array_equal(to_model_input(data, 224, 224, 1), to_model_input(data, 224, 224, 2))

    @pytest.mark.parametrize("name", ["PNG", "WEBP", "GIF"])
    def test_other_formats_are_as_in_version_1(self, name: str) -> None:
        data = encoded(_photo(480, 480), name)
        assert np.array_equal(to_model_input(data, 64, 64, 1), to_model_input(data, 64, 64, 2))

    @pytest.mark.parametrize("orientation", range(1, 9))
    def test_a_turned_jpeg_keeps_enough_on_both_sides(self, orientation: int) -> None:
        exif = Image.Exif()
        exif[0x0112] = orientation
        photo = _photo(480, 640)
        turned = ImageOps.exif_transpose(_with_orientation(photo, orientation))
        info, pixels = read_model_input(encoded(photo, "JPEG", quality=95, exif=exif), 200, 300, 2)
        assert (info.width, info.height) == turned.size
        expected = np.asarray(turned.resize((300, 200), Image.Resampling.BILINEAR), dtype=int)
        assert abs(pixels - expected).mean() < 3

    def test_grey_and_cmyk_jpegs_keep_their_colours(self) -> None:
        grey = encoded(_photo(480, 480).convert("L"), "JPEG")
        cmyk = encoded(Image.new("CMYK", (480, 480), (0, 255, 255, 0)), "JPEG", quality=95)
        assert abs(to_model_input(grey, 64, 64, 1).astype(int) - to_model_input(grey, 64, 64, 2)).mean() < 2
        mean = to_model_input(cmyk, 64, 64, 2).reshape(-1, 3).mean(axis=0)
        assert mean[0] > 245 and mean[1] < 10 and mean[2] < 10

    @pytest.mark.parametrize("share", [0.3, 0.9, 0.999])
    def test_a_cut_jpeg_is_truncated_at_any_scale(self, share: float) -> None:
        data = encoded(_photo(640, 480), "JPEG")
        with pytest.raises(ImageError) as caught:
            to_model_input(data[: int(len(data) * share)], 64, 64, 2)
        assert caught.value.reason == "truncated"


def _with_orientation(image: Image.Image, orientation: int) -> Image.Image:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return Image.open(io.BytesIO(encoded(image, "PNG", exif=exif)))
