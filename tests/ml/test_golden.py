"""What bundles test themselves on, and the law that a preprocessing version never changes."""

from __future__ import annotations

import hashlib

import pytest

from ml.golden import golden_images
from ml.images.decode import decode, to_model_input

SIDE = 224


def test_they_are_always_the_same_bytes() -> None:
    assert golden_images() == golden_images()


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("gradient", (96, 128)), ("checkerboard", (720, 1280)), ("noise", (240, 320)), ("lines", (720, 1280)),
        ("odd_size", (53, 37)), ("portrait", (640, 480)), ("black", (96, 128)), ("white", (96, 128)),
        ("grey", (96, 128)), ("exif_rotated", (128, 96)),
    ],
)  # fmt: skip
def test_each_kind_is_there_at_its_upright_size(name: str, shape: tuple[int, int]) -> None:
    assert decode(golden_images()[f"golden/{name}.png"]).shape == (*shape, 3)


def test_some_are_larger_and_some_smaller_than_a_models_input() -> None:
    shapes = [decode(data).shape for data in golden_images().values()]
    assert any(min(shape[:2]) > SIDE for shape in shapes)
    assert any(max(shape[:2]) < SIDE for shape in shapes)


# Of all golden images in turn, squashed to 32 and to 224 pixels. No release may change them: a model that was trained
# with a version must see the same pixels for ever. A better resize is a new version.
PIXELS_FOR_EVER = "e1de128a122147a7cf29ddfaf6f387cd55ec7d120f06bd9272838d6184ea3f2f"


@pytest.mark.parametrize("version", [1, 2])
def test_a_preprocessing_version_makes_the_same_pixels_for_ever(version: int) -> None:
    digest = hashlib.sha256()
    for side in (32, SIDE):
        for name, data in sorted(golden_images().items()):
            digest.update(name.encode() + to_model_input(data, side, side, version).tobytes())
    assert digest.hexdigest() == PIXELS_FOR_EVER
