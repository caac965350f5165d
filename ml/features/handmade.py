"""Hand-made features of a sky: numbers with a name and a meaning, from pixels alone. No torch here, and none may come.

They are what a report compares a network with: on some thousand labels, boosting on such features has beaten networks
(cloud detection at Lowell Observatory, arXiv 2003.11109). Colours are counted as they are shown, gamma-encoded sRGB.

Legend: H x W pixels, F features. "Sky" is the upper 60 % of a frame, where a webcam's horizon usually is; "warmth" is
red minus blue; "luma" is 0.2126 R + 0.7152 G + 0.0722 B; all three are of values in [0, 1]. Frames are squashed to
128 x 128 pixels by the decoder and resize of serving, so that features of frames of all sizes compare.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ml.images.cached_arrays import cached_arrays
from ml.images.decode import PREPROCESSING_VERSION, Pixels, to_model_input

FEATURE_VERSION = 1
"""Raised whenever a number here may come out differently: cached features of another version are not read."""
SIZE_PX = 128
"""Side of what features are computed from; a fixed one, or blur and texture of two frames could not be compared."""
SKY_SHARE = 0.6
BLOCK_PX = 8
_COLOURFUL = 0.2
"""Least saturation of a pixel that has a hue worth counting; below it the hue is noise of grey."""
_LIT = 0.15
"""Least value (largest channel) of a pixel that has a hue worth counting."""
_LUMA = np.array([0.2126, 0.7152, 0.0722], dtype=np.float32)
_TINY = 1e-3


@dataclass(frozen=True)
class Feature:
    """One number of a frame."""

    name: str
    meaning: str
    unit: str
    low: float
    """Smallest possible value."""
    high: float
    """Largest possible value."""


def _share(name: str, meaning: str) -> Feature:
    return Feature(name, meaning, "share", 0.0, 1.0)


def _level(name: str, meaning: str) -> Feature:
    return Feature(name, meaning, "fraction of full scale", 0.0, 1.0)


def _signed(name: str, meaning: str, bound: float = 1.0) -> Feature:
    return Feature(name, meaning, "fraction of full scale", -bound, bound)


_HUES: dict[str, tuple[float, float]] = {
    "red": (345.0, 15.0), "orange": (15.0, 40.0), "yellow": (40.0, 65.0), "blue": (180.0, 255.0),
    "purple": (255.0, 300.0), "pink": (300.0, 345.0),
}  # fmt: skip
"""Name of a hue -> its sector in degrees, from and to."""

FEATURES: tuple[Feature, ...] = (
    Feature("sky_colourfulness", "Colourfulness of the sky (Hasler and Suesstrunk 2003).", "fraction of 255", 0.0, 2.0),
    Feature("ground_colourfulness", "The same of what lies below the sky.", "fraction of 255", 0.0, 2.0),
    *(
        _share(f"sky_{name}", f"Lit, coloured sky pixels with a hue of {low:g} to {high:g} degrees.")
        for name, (low, high) in _HUES.items()
    ),
    _share("sky_warm", "Sky pixels of a red, orange, yellow or pink hue with a saturation of at least 0.35."),
    _share("sky_vivid", "Sky pixels with a saturation of at least 0.5 that are lit."),
    *(_level(f"sky_saturation_p{q}", f"{q}th percentile of the sky's saturation.") for q in (10, 50, 90, 99)),
    *(_level(f"sky_luma_p{q}", f"{q}th percentile of the sky's luma.") for q in (5, 25, 50, 75, 95)),
    _level("sky_contrast", "Standard deviation of the sky's luma."),
    _level("sky_chroma", "Mean distance of the largest and the smallest channel in the sky."),
    Feature("sky_red_blue", "Logarithm of mean red over mean blue of the sky.", "natural log", -7.0, 7.0),
    _signed("sky_warmth", "Mean warmth of the sky."),
    _signed("sky_warmth_p95", "95th percentile of the sky's warmth."),
    _signed("sky_warmth_p5", "5th percentile of the sky's warmth: how blue its bluest part is."),
    _level("sky_warmth_range", "Standard deviation of the sky's warmth: warm beside blue."),
    _signed("warmest_band", "Warmth of the warmest of sixteen horizontal bands of the frame."),
    _signed("luma_gradient", "Rise of luma from the top of the sky to its bottom, by a straight line through rows.", 2.0),
    _signed("warmth_gradient", "Rise of warmth from the top of the sky to its bottom, likewise.", 4.0),
    _signed("hue_red_axis", "Mean cosine of the sky's hue, weighted by chroma; 1 is red, -1 is cyan."),
    _signed("hue_yellow_axis", "Mean sine of the sky's hue, weighted by chroma; positive is yellow and green."),
    _share("hue_spread", "1 less the length of the mean hue vector: 0 is one hue, 1 is all of them."),
    Feature("hue_entropy", "Entropy of the sky's hues in 12 sectors, weighted by chroma.", "bits", 0.0, 3.6),
    _signed("horizon_glow", "Luma of the band at 40 to 65 % of the height less that of the top quarter."),
    _signed("horizon_warmth", "Warmth of that band less that of the top quarter.", 2.0),
    _share("sun_area", "Pixels of the upper three quarters with a luma of at least 0.97: sun disc and its glare."),
    _level("brightest_block", "Luma of the brightest block of the sky less the sky's mean: how the sun stands out."),
    _signed("brightest_warmth", "Mean warmth of the brightest tenth of the sky's blocks."),
    _share("clipped", "Pixels of which a channel is at least 254 of 255."),
    _share("black", "Pixels with a luma of at most 0.02."),
    _share("dark", "Pixels with a luma under 0.15: night."),
    _level("luma", "Mean luma of the frame."),
    _level("cloud_texture", "Mean standard deviation of luma within blocks of the sky."),
    _level("cloud_texture_p90", "90th percentile of the same: the most broken part of the sky."),
    _level("colour_texture", "Mean standard deviation of warmth within blocks of the sky."),
    _share("flat", "Blocks of the frame whose luma varies by less than 0.01: fog, an overcast sky, a dead picture."),
    _share("edges", "Sky pixels whose luma differs from a neighbour's by more than 0.06."),
    Feature("entropy", "Entropy of the sky's luma in 32 bins.", "bits", 0.0, 5.0),
    Feature("sharpness", "Logarithm of the variance of the frame's Laplacian; low is blurred.", "log10", -8.0, 2.0),
    _level("ground_luma", "Mean luma below the sky."),
    _signed("ground_warmth", "Mean warmth below the sky: reflections on water and snow."),
    Feature("sky_to_ground", "Logarithm of the sky's mean luma over the ground's.", "natural log", -7.0, 7.0),
    _level("sides", "Distance of the mean luma of the sky's left and right half: the sun stands at one side."),
)  # fmt: skip
NAMES = tuple(feature.name for feature in FEATURES)


def sky_features(pixels: Pixels) -> np.ndarray:
    """Compute all features of one frame.

    Args:
        pixels: uint8 `(H, W, 3)`, RGB in sRGB, EXIF-oriented; at least 16 x 16 pixels.

    Returns:
        float32 `(F,)`, in the order of `FEATURES`, all finite.

    Raises:
        ValueError: Another shape or dtype.
    """
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or min(pixels.shape[:2]) < 2 * BLOCK_PX:
        raise ValueError(f"pixels must be uint8 (H, W, 3) of at least 16 x 16, not {pixels.dtype} {pixels.shape}")
    found = _measure(pixels)
    return np.array([found[name] for name in NAMES], dtype=np.float32)


def _measure(pixels: Pixels) -> dict[str, float]:
    planes = np.ascontiguousarray(pixels.transpose(2, 0, 1)).astype(np.float32) * np.float32(1.0 / 255.0)
    red, green, blue = planes
    height = red.shape[0]
    bottom = max(BLOCK_PX, round(SKY_SHARE * height))
    luma = _LUMA[0] * red + _LUMA[1] * green + _LUMA[2] * blue
    warmth = red - blue
    largest, smallest = planes.max(axis=0), planes.min(axis=0)
    sky = slice(0, bottom)
    found: dict[str, float] = {
        "sky_colourfulness": _colourfulness(planes[:, :bottom]),
        "ground_colourfulness": _colourfulness(planes[:, bottom:]),
        "clipped": _part(largest >= 254.0 / 255.0),
        "black": _part(luma <= 0.02),
        "dark": _part(luma < 0.15),
        "luma": float(luma.mean()),
        "sun_area": _part(luma[: 3 * height // 4] >= 0.97),
        "ground_luma": float(luma[bottom:].mean()),
        "ground_warmth": float(warmth[bottom:].mean()),
        "sides": abs(float(luma[sky, : luma.shape[1] // 2].mean() - luma[sky, luma.shape[1] // 2 :].mean())),
        "sky_red_blue": _log_ratio(float(red[sky].mean()), float(blue[sky].mean())),
        "sky_to_ground": _log_ratio(float(luma[sky].mean()), float(luma[bottom:].mean())),
    }
    found |= _hues(planes[:, :bottom], largest[sky], smallest[sky])
    found |= _levels(luma[sky], warmth[sky])
    found |= _bands(luma, warmth, bottom)
    return found | _textures(luma, warmth, bottom)


def _part(mask: np.ndarray) -> float:
    """Share of true values; counting is many times faster than a mean of booleans."""
    return float(np.count_nonzero(mask)) / mask.size


def _quantiles(plane: np.ndarray, percents: Sequence[int]) -> np.ndarray:
    """Percentiles, the nearest value below; one sort of float32 is faster than the partitions of `np.percentile`."""
    ordered = np.sort(plane, axis=None)
    return ordered[[(len(ordered) - 1) * percent // 100 for percent in percents]]


def _log_ratio(above: float, below: float) -> float:
    return float(np.log((above + _TINY) / (below + _TINY)))


def _colourfulness(planes: np.ndarray) -> float:
    """Hasler and Suesstrunk 2003, M3, of planes (3, h, w) in [0, 1]."""
    red, green, blue = planes
    first, second = red - green, 0.5 * (red + green) - blue
    return float(np.hypot(first.std(), second.std()) + 0.3 * np.hypot(first.mean(), second.mean()))


def _hues(planes: np.ndarray, largest: np.ndarray, smallest: np.ndarray) -> dict[str, float]:
    """What follows from hue and saturation of the sky's planes (3, h, w)."""
    red, green, blue = planes
    chroma = largest - smallest
    saturation = chroma / np.maximum(largest, _TINY)
    safe = np.maximum(chroma, np.float32(1e-6))
    hue = np.where(
        largest == red, (green - blue) / safe, np.where(largest == green, 2.0 + (blue - red) / safe,
                                                        4.0 + (red - green) / safe)
    ) % 6.0  # fmt: skip
    degrees = 60.0 * hue
    lit = largest >= _LIT
    coloured = lit & (saturation >= _COLOURFUL)
    found = {f"sky_{name}": _part(_within(degrees, *sector) & coloured) for name, sector in _HUES.items()}
    warm = _within(degrees, 300.0, 65.0) & lit & (saturation >= 0.35)
    radians = hue * np.float32(np.pi / 3.0)
    weight = np.float32(chroma.sum()) + np.float32(_TINY)
    cosine, sine = float((chroma * np.cos(radians)).sum() / weight), float((chroma * np.sin(radians)).sum() / weight)
    sectors = np.bincount(np.minimum((2.0 * hue).astype(np.int64), 11).ravel(), weights=chroma.ravel(), minlength=12)
    quantiles = _quantiles(saturation, (10, 50, 90, 99))
    return found | {
        "sky_warm": _part(warm),
        "sky_vivid": _part((saturation >= 0.5) & lit),
        "sky_chroma": float(chroma.mean()),
        "hue_red_axis": cosine,
        "hue_yellow_axis": sine,
        "hue_spread": float(np.clip(1.0 - np.hypot(cosine, sine), 0.0, 1.0)),
        "hue_entropy": _entropy(sectors),
        **{f"sky_saturation_p{q}": float(value) for q, value in zip((10, 50, 90, 99), quantiles, strict=True)},
    }


def _within(degrees: np.ndarray, low: float, high: float) -> np.ndarray:
    """Whether a hue lies in a sector that may go over 360."""
    return (degrees >= low) & (degrees < high) if low < high else (degrees >= low) | (degrees < high)


def _entropy(counts: np.ndarray) -> float:
    """In bits; 0 where nothing was counted."""
    total = counts.sum()
    if total <= 0:
        return 0.0
    shares = counts[counts > 0] / total
    return float(max(0.0, -(shares * np.log2(shares)).sum()))


def _levels(luma: np.ndarray, warmth: np.ndarray) -> dict[str, float]:
    """Percentiles and spreads of the sky."""
    levels = _quantiles(luma, (5, 25, 50, 75, 95))
    cold, hot = _quantiles(warmth, (5, 95))
    bins = np.bincount(np.minimum((32.0 * luma).astype(np.int64), 31).ravel(), minlength=32)
    return {
        **{f"sky_luma_p{q}": float(value) for q, value in zip((5, 25, 50, 75, 95), levels, strict=True)},
        "sky_contrast": float(luma.std()),
        "sky_warmth": float(warmth.mean()),
        "sky_warmth_p5": float(cold),
        "sky_warmth_p95": float(hot),
        "sky_warmth_range": float(warmth.std()),
        "entropy": _entropy(bins),
    }


def _bands(luma: np.ndarray, warmth: np.ndarray, bottom: int) -> dict[str, float]:
    """What follows from the means of rows."""
    height = len(luma)
    light, warm = luma.mean(axis=1), warmth.mean(axis=1)
    top, horizon = slice(0, max(1, height // 4)), slice(int(0.40 * height), int(0.65 * height))
    place = np.linspace(-0.5, 0.5, bottom)
    spread = float((place**2).sum())
    return {
        "luma_gradient": float((place * light[:bottom]).sum()) / spread,
        "warmth_gradient": float((place * warm[:bottom]).sum()) / spread,
        "horizon_glow": float(light[horizon].mean() - light[top].mean()),
        "horizon_warmth": float(warm[horizon].mean() - warm[top].mean()),
        "warmest_band": max(float(part.mean()) for part in np.array_split(warm, 16)),
    }


def _blocks(plane: np.ndarray) -> np.ndarray:
    """Whole blocks of a plane, (number of blocks, BLOCK_PX ** 2)."""
    rows, columns = plane.shape[0] // BLOCK_PX, plane.shape[1] // BLOCK_PX
    cut = plane[: rows * BLOCK_PX, : columns * BLOCK_PX].reshape(rows, BLOCK_PX, columns, BLOCK_PX)
    return cut.transpose(0, 2, 1, 3).reshape(rows * columns, -1)


def _textures(luma: np.ndarray, warmth: np.ndarray, bottom: int) -> dict[str, float]:
    """What follows from blocks and neighbours."""
    all_blocks = _blocks(luma)
    sky_blocks, warm_blocks = _blocks(luma[:bottom]), _blocks(warmth[:bottom])
    means, spreads = sky_blocks.mean(axis=1), sky_blocks.std(axis=1)
    brightest = np.argsort(means, kind="stable")[-max(1, len(means) // 10) :]
    sky = luma[:bottom]
    across, down = np.abs(np.diff(sky, axis=1))[:-1], np.abs(np.diff(sky, axis=0))[:, :-1]
    laplacian = 4.0 * luma[1:-1, 1:-1] - luma[:-2, 1:-1] - luma[2:, 1:-1] - luma[1:-1, :-2] - luma[1:-1, 2:]
    return {
        "cloud_texture": float(spreads.mean()),
        "cloud_texture_p90": float(_quantiles(spreads, (90,))[0]),
        "colour_texture": float(warm_blocks.std(axis=1).mean()),
        "flat": _part(all_blocks.std(axis=1) < 0.01),
        "edges": _part((across > 0.06) | (down > 0.06)),
        "sharpness": float(np.log10(laplacian.var() + 1e-8)),
        "brightest_block": float(means.max() - means.mean()),
        "brightest_warmth": float(warm_blocks.mean(axis=1)[brightest].mean()),
    }


def features_of_image(data: bytes) -> np.ndarray:
    """Features of an encoded image, float32 (F,), through the decoder and resize of serving.

    Raises:
        ImageError: The bytes are not an image that we take.
    """
    return sky_features(to_model_input(data, SIZE_PX, SIZE_PX, PREPROCESSING_VERSION))


def cached_sky_features(
    read_image: Callable[[str], bytes], hashes: Sequence[str], cache: Path | None, threads: int = 2
) -> Iterator[np.ndarray]:
    """Features of images, float32 (F,) each, in order; each image is decoded once and then kept in the cache.

    They lie under CACHE/handmade-<preprocessing>-<size>-<feature version>/<sha256[:2]>/<sha256>.npy.

    Args:
        read_image: from an image's sha256 to its encoded bytes; called in threads.
        hashes: the images, by sha256.
        cache: directory of all cached features; None computes every time.
        threads: that decode, a little ahead.

    Raises:
        ImageError: One of them is not an image that we take; and whatever `read_image` raises.
    """
    folder = None if cache is None else cache / f"handmade-{PREPROCESSING_VERSION}-{SIZE_PX}-{FEATURE_VERSION}"
    return cached_arrays(
        lambda sha256: features_of_image(read_image(sha256)), hashes, folder, (len(FEATURES),), np.float32, threads
    )
