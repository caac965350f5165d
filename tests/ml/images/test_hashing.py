"""Perceptual hashes: alike images differ in few bits, others in many."""

import io

import numpy as np
import pytest
from PIL import Image

from ml.demo.sky import make_frames, make_webcams, render, to_jpeg
from ml.images.decode import ImageError
from ml.images.hashing import hamming, phash


def test_the_same_picture_in_other_bytes_is_near_and_another_is_far() -> None:
    frames = make_frames(make_webcams(2, seed=5), days=1, seed=5)
    first, other = render(frames[0]), render(frames[-1])
    small = io.BytesIO()
    Image.fromarray(first).resize((200, 150)).save(small, "WEBP", quality=60)
    assert hamming(phash(first), phash(to_jpeg(first, 70))) <= 4
    assert hamming(phash(first), phash(small.getvalue())) <= 6
    assert hamming(phash(first), phash(other)) >= 12


def test_a_hash_has_64_bits() -> None:
    value = phash(np.random.default_rng(1).integers(0, 255, (40, 40, 3), dtype=np.uint8))
    assert 0 <= value < 2**64
    # Half of the frequencies lie over their median by definition.
    assert value.bit_count() == 32


@pytest.mark.parametrize(("a", "b", "bits"), [(0, 0, 0), (0, 2**64 - 1, 64), (0b1010, 0b0110, 2), (2**63, 0, 1)])
def test_hamming_counts_differing_bits(a: int, b: int, bits: int) -> None:
    assert hamming(a, b) == hamming(b, a) == bits


def test_bytes_that_are_no_image_are_refused() -> None:
    with pytest.raises(ImageError):
        phash(b"no image")
