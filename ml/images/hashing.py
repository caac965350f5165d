"""Perceptual hashes: near-duplicates differ in few bits. Identity is not decided here but by sha256."""

import imagehash
from PIL import Image

from ml.images.decode import Pixels, decode, image_from_pixels


def phash(pixels_or_bytes: bytes | Pixels) -> int:
    """Compute the 64-bit perceptual hash (DCT of a 32 x 32 grey image, 8 x 8 low frequencies against their median).

    Args:
        pixels_or_bytes: an encoded image, or pixels uint8 `(H, W, 3)`, sRGB, EXIF-oriented.

    Returns:
        0 .. 2**64 - 1. A database's signed 64-bit column cannot hold the upper half as it is.

    Raises:
        ImageError: the bytes are not an image that we take.

    Source: the imagehash library's `phash`, after Krawetz, "Looks Like It" (2011).
    """
    pixels = pixels_or_bytes if not isinstance(pixels_or_bytes, bytes) else decode(pixels_or_bytes)
    image: Image.Image = image_from_pixels(pixels)
    return int(str(imagehash.phash(image)), 16)
