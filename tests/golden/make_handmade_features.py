"""Makes `handmade_features.json` beside this file: what the definitions say of a few frames.

Run it only when a definition changes on purpose, and raise FEATURE_VERSION with it:
`python -m tests.golden.make_handmade_features`.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch

from ml.features.backbones import build_encoder
from ml.features.handmade import FEATURE_VERSION, NAMES, SIZE_PX
from ml.training.recipe import HANDMADE

FILE = Path(__file__).with_name("handmade_features.json")


def pictures() -> dict[str, np.ndarray]:
    """A few frames in whole numbers, uint8 (SIZE_PX, SIZE_PX, 3), the same everywhere."""
    down, across = np.mgrid[0:SIZE_PX, 0:SIZE_PX]
    sunset = np.stack([90 + down, 60 + down // 2, 180 - down], axis=2)
    sunset[60:72, 40:52] = (255, 250, 235)
    sunset[90:] = sunset[90:] // 3
    clouds = sunset + ((across * 7 + down * 13) % 41 - 20)[..., None]
    colours = np.stack([across * 2, down * 2, (across * down) % 256], axis=2)
    noise = np.random.Generator(np.random.PCG64(5)).integers(0, 256, (SIZE_PX, SIZE_PX, 3))
    night = np.full((SIZE_PX, SIZE_PX, 3), 9) + (noise > 252)
    found = {"sunset": sunset, "clouds": clouds, "colours": colours, "noise": noise, "night": night}
    return {name: np.clip(pixels, 0, 255).astype(np.uint8) for name, pixels in found.items()}


def sky_features(pixels: np.ndarray) -> np.ndarray:
    """Features, float32 (N, F), of pixels uint8 (N, SIZE_PX, SIZE_PX, 3)."""
    with torch.inference_mode():
        found: np.ndarray = build_encoder(HANDMADE).eval()(torch.from_numpy(pixels)).numpy()
    return found


def main() -> None:
    """Write the file."""
    named = {
        name: dict(zip(NAMES, map(float, sky_features(pixels[None])[0]), strict=True))
        for name, pixels in pictures().items()
    }
    FILE.write_text(json.dumps({"version": FEATURE_VERSION, "pictures": named}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
