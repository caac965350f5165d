"""Perceptual hashes: alike images differ in few bits, others in many."""

import io

import numpy as np
import pytest
from PIL import Image

from ml.demo.sky import make_frames, make_webcams, render, to_jpeg
from ml.images.decode import ImageError
from ml.images.hashing import phash


def test_the_same_picture_in_other_bytes_is_near_and_another_is_far() -> None:
    frames = make_frames(make_webcams(2, seed=5), days=1, seed=5)
    first, other = render(frames[0]), render(frames[-1])
    small = io.BytesIO()
    Image.fromarray(first).resize((200, 150)).save(small, "WEBP", quality=60)
    assert (phash(first) ^ phash(to_jpeg(first, 70))).bit_count() <= 4
    assert (phash(first) ^ phash(small.getvalue())).bit_count() <= 6
    assert (phash(first) ^ phash(other)).bit_count() >= 12


def test_a_hash_has_64_bits() -> None:
    value = phash(np.random.default_rng(1).integers(0, 255, (40, 40, 3), dtype=np.uint8))
    assert 0 <= value < 2**64
    # Half of the frequencies lie over their median by definition.
    assert value.bit_count() == 32


def test_bytes_that_are_no_image_are_refused() -> None:
    with pytest.raises(ImageError):
        phash(b"no image")
