"""Golden images: what a bundle tests itself on. They try decoder, resize and network; PNG, so every decoder agrees.

Some are smaller than a model's input and some larger, so that the filter is tried both ways. Legend: H, W in pixels.
"""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

_ORIENTATION = 0x0112
_QUARTER_TURN_CLOCKWISE = 6


def golden_images() -> dict[str, bytes]:
    """File in the bundle (`golden/NAME.png`) -> PNG bytes, always the same pixels."""
    rows, columns = np.mgrid[0:96, 0:128]
    ramp = np.stack([columns * 2, rows * 2, 255 - columns], axis=2)
    large_rows, large_columns = np.mgrid[0:720, 0:1280]
    noise = np.random.Generator(np.random.PCG64(20)).integers(0, 256, (240, 320, 3))
    tall_rows, tall_columns = np.mgrid[0:640, 0:480]
    images: dict[str, np.ndarray] = {
        "gradient": ramp,
        "checkerboard": np.where((large_rows // 8 + large_columns // 8) % 2 == 0, 255, 0),
        "noise": noise,
        "lines": np.where((large_columns % 7 == 0) | (large_rows % 11 == 0), 255, 0),
        "odd_size": ramp[:53, :37],
        "portrait": np.stack([tall_rows // 4 + 40, tall_columns // 4 + 20, 200 - tall_rows // 4], axis=2),
        "black": np.zeros((96, 128)),
        "white": np.full((96, 128), 255),
        "grey": np.full((96, 128), 118),
        "sunset": np.stack([255 - rows, 140 - rows, 60 + rows], axis=2),
    }
    encoded = {f"golden/{name}.png": _png(pixels) for name, pixels in images.items()}
    exif = Image.Exif()
    exif[_ORIENTATION] = _QUARTER_TURN_CLOCKWISE
    encoded["golden/exif_rotated.png"] = _png(ramp, exif.tobytes())
    return encoded


def _png(pixels: np.ndarray, exif: bytes = b"") -> bytes:
    """PNG bytes of pixels `(H, W)` or `(H, W, 3)` in 0..255."""
    rgb = np.clip(pixels if pixels.ndim == 3 else np.repeat(pixels[..., None], 3, axis=2), 0, 255).astype(np.uint8)
    written = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(rgb)).save(written, format="PNG", **({"exif": exif} if exif else {}))
    return written.getvalue()
