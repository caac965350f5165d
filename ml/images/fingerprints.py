"""Fingerprints of images: enough to find the near-duplicates among many without looking at the pixels again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from ml.images.cached_arrays import cached_arrays
from ml.images.decode import PREPROCESSING_VERSION, Pixels, to_model_input
from ml.images.hashing import phash

VERSION = 1
"""Raised whenever a fingerprint may come out differently: cached ones of another version are not read."""
SIZE_PX = 128
"""Side of the squashed image that both parts are made from, so that sizes and aspect ratios do not matter."""
THUMBNAIL_PX = 16
_HASH_BYTES = 8
_LENGTH = _HASH_BYTES + 3 * THUMBNAIL_PX**2


@dataclass(frozen=True)
class Fingerprints:
    """Of N images."""

    hashes: np.ndarray
    """uint64 (N,): 64-bit perceptual hashes, which find candidates."""
    thumbnails: np.ndarray
    """uint8 (N, 16, 16, 3), RGB in sRGB: block means of the squashed image, which confirm or refuse them."""


def fingerprint(data: bytes) -> np.ndarray:
    """The fingerprint of an encoded image as it is cached: uint8 (776,), the hash's bytes and then the thumbnail's.

    Raises:
        ImageError: The bytes are not an image that we take.
    """
    pixels: Pixels = to_model_input(data, SIZE_PX, SIZE_PX, PREPROCESSING_VERSION)
    small = Image.fromarray(pixels).resize((THUMBNAIL_PX, THUMBNAIL_PX), Image.Resampling.BOX)
    head = np.frombuffer(phash(pixels).to_bytes(_HASH_BYTES, "little"), dtype=np.uint8)
    return np.concatenate([head, np.asarray(small, dtype=np.uint8).ravel()])


def _unpack(packed: np.ndarray) -> Fingerprints:
    """Fingerprints from their cached form, uint8 (N, 776)."""
    hashes = np.ascontiguousarray(packed[:, :_HASH_BYTES]).view("<u8").ravel().astype(np.uint64)
    return Fingerprints(hashes, packed[:, _HASH_BYTES:].reshape(-1, THUMBNAIL_PX, THUMBNAIL_PX, 3))


def fingerprints_of(
    read_image: Callable[[str], bytes],
    hashes: Sequence[str],
    cache: Path | None,
    progress: Callable[[int, int], None] | None = None,
    threads: int = 2,
) -> Fingerprints:
    """Fingerprints of images, one for each of N sha256 in their order; each image is decoded once and then in the cache.

    Args:
        read_image: from an image's sha256 to its encoded bytes; called in threads.
        hashes: the images, by sha256; one may occur several times.
        cache: directory of all cached features; None computes every time.
        progress: called with the number of images done and that of all.
        threads: that decode; 0 for the caller's.

    Raises:
        ImageError: One of them is not an image that we take; and whatever `read_image` raises.
    """
    different = list(dict.fromkeys(hashes))
    folder = None if cache is None else cache / f"fingerprints-{PREPROCESSING_VERSION}-{VERSION}"
    packed = np.empty((len(different), _LENGTH), dtype=np.uint8)
    found = cached_arrays(
        lambda sha256: fingerprint(read_image(sha256)), different, folder, (_LENGTH,), np.uint8, threads
    )
    for done, values in enumerate(found):
        packed[done] = values
        if progress is not None:
            progress(done + 1, len(different))
    place = {sha256: number for number, sha256 in enumerate(different)}
    return _unpack(packed[[place[sha256] for sha256 in hashes]])
