"""Painting the photos of a GENERATED culling project: a subject before a background, with odd bits lying about.

Everything that a person could like or dislike is to be seen: how warm the subject's colour is and how many bits lie about.
The same look gives the same pixels; a background of its own keeps the perceptual hashes of different shots far apart.
"""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from PIL import Image

from ml.images.decode import Pixels

MAX_CLUTTER = 6
_COLD, _WARM = np.array([40.0, 90.0, 220.0], np.float32), np.array([245.0, 150.0, 40.0], np.float32)
_BIT = np.array([235.0, 235.0, 235.0])
_NUM_WAVES = 9


@dataclass(frozen=True)
class Look:
    """What a photo shows."""

    background: int
    """Seed; photos of one shot share it."""
    warmth: float
    """Of the subject's colour: 0 is blue, 1 is orange."""
    clutter: int
    """Bits that lie about, 0 to `MAX_CLUTTER`."""
    centre: tuple[float, float]
    """Of the subject, x and y as fractions of the width and height."""
    radius: float
    """Of the subject, as a fraction of width and height alike."""
    gain: float
    """Brightness, around 1."""
    noise: int
    """Seed of the grain, which every photo has of its own, so that no two are equal."""


def paint(look: Look, width: int, height: int) -> Pixels:
    """Paint a photo: uint8 `(height, width, 3)`, RGB in sRGB."""
    rng = np.random.default_rng([look.background, 1])
    x = ((np.arange(width, dtype=np.float32) + 0.5) / width)[None, :]
    y = ((np.arange(height, dtype=np.float32) + 0.5) / height)[:, None]
    picture = _background(rng, x, y)
    inside = ((x - look.centre[0]) / look.radius) ** 2 + ((y - look.centre[1]) / look.radius) ** 2
    colour = _COLD + (_WARM - _COLD) * look.warmth
    picture += np.clip(4.0 * (1.0 - inside), 0.0, 1.0)[..., None] * (colour - picture)
    places, sizes = rng.uniform(0.05, 0.95, (MAX_CLUTTER, 2)), rng.uniform(0.02, 0.035, MAX_CLUTTER)
    for (bit_x, bit_y), size in zip(places[: look.clutter], sizes, strict=False):
        picture[(np.abs(x - bit_x) < size) & (np.abs(y - bit_y) < size)] = _BIT
    grain = np.random.default_rng([look.noise, 2]).standard_normal((height, width, 1), dtype=np.float32)
    return np.clip(look.gain * picture + 2.0 * grain, 0, 255).astype(np.uint8)


def _background(rng: np.random.Generator, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Waves of low frequency, which a perceptual hash sees, in a tint of their own."""
    across, down = rng.uniform(-3.5, 3.5, (2, _NUM_WAVES, 1))
    heights, shifts = rng.uniform(0.5, 1.0, (_NUM_WAVES, 1)), rng.uniform(size=(_NUM_WAVES, 1))
    along_x, along_y = 2 * np.pi * (across * x + shifts), 2 * np.pi * down * y.T
    # cos(a + b) for all pixels by two matrix products, several times faster than a cosine for each
    grey = (heights * np.cos(along_y)).T @ np.cos(along_x) - (heights * np.sin(along_y)).T @ np.sin(along_x)
    return np.asarray((105.0 + 14.0 * grey)[..., None] * rng.uniform(0.75, 1.05, 3), dtype=np.float32)


def to_png(pixels: Pixels) -> bytes:
    """Encode pixels (uint8 `(H, W, 3)`) as PNG."""
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG", compress_level=1)
    return out.getvalue()
