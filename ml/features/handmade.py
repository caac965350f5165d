"""Hand-made features of a sky: numbers with a name and a meaning, from pixels alone. Here is what each one means.

They are what a report compares a network with, and what a model can be made of: on some thousand labels, boosting on
such features has beaten networks (cloud detection at Lowell Observatory, arXiv 2003.11109). `ml.features.sky` computes
them, for baselines, for training and in the exported graph alike. Colours are counted as they are shown, gamma-encoded
sRGB. No torch here, so that what only needs the names stays free of it.

Legend: F features. "Sky" is the upper 60 % of a frame, where a webcam's horizon usually is; "warmth" is red minus blue;
"luma" is (54 R + 183 G + 19 B) / 256, Rec. 709 in whole numbers; all three are of values in [0, 1]. Frames are squashed
to 128 x 128 pixels by the decoder and resize of serving, so that features of frames of all sizes compare; a block is
8 x 8 of these pixels.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

FEATURE_VERSION = 2
"""Raised whenever a number here may come out differently: cached features of another version are not read, and a run
that learned from them is not exported."""
SIZE_PX = 128
"""Side of what features are computed from; a fixed one, or blur and texture of two frames could not be compared."""


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


HUES: dict[str, tuple[int, int]] = {
    "red": (345, 15), "orange": (15, 40), "yellow": (40, 65), "blue": (180, 255), "purple": (255, 300),
    "pink": (300, 345),
}  # fmt: skip
"""Name of a hue -> its sector in degrees, from and to; multiples of 5."""

FEATURES: tuple[Feature, ...] = (
    Feature("sky_colourfulness", "Colourfulness of the sky (Hasler and Suesstrunk 2003).", "fraction of 255", 0.0, 2.0),
    Feature("ground_colourfulness", "The same of what lies below the sky.", "fraction of 255", 0.0, 2.0),
    *(
        _share(f"sky_{name}", f"Lit, coloured sky pixels with a hue of {low} to {high} degrees.")
        for name, (low, high) in HUES.items()
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
    _signed("brightest_warmth", "Warmth of the sky's blocks, weighted by a softmax of luma over 0.02: the brightest part."),
    _share("clipped", "Pixels of which a channel is at least 254 of 255."),
    _share("black", "Pixels with a luma of at most 0.02."),
    _share("dark", "Pixels with a luma under 0.15: night."),
    _level("luma", "Mean luma of the frame."),
    _level("cloud_texture", "Mean standard deviation of luma within blocks of the sky."),
    _level("cloud_texture_p90", "90th percentile of the same: the most broken part of the sky."),
    _level("colour_texture", "Mean standard deviation of warmth within blocks of the sky."),
    _share("flat", "Blocks of the frame whose luma hardly varies (whole to a deviation of 0.005, none from 0.015): fog."),
    _share("edges", "Sky pixels whose luma differs from a neighbour's by more than 0.06."),
    Feature("entropy", "Entropy of the sky's luma in 32 bins.", "bits", 0.0, 5.0),
    Feature("sharpness", "Logarithm of the variance of the frame's Laplacian; low is blurred.", "log10", -8.0, 2.0),
    _level("ground_luma", "Mean luma below the sky."),
    _signed("ground_warmth", "Mean warmth below the sky: reflections on water and snow."),
    Feature("sky_to_ground", "Logarithm of the sky's mean luma over the ground's.", "natural log", -7.0, 7.0),
    _level("sides", "Distance of the mean luma of the sky's left and right half: the sun stands at one side."),
)  # fmt: skip
NAMES = tuple(feature.name for feature in FEATURES)
DEFINITIONS_SHA256 = hashlib.sha256(f"{FEATURE_VERSION}|{SIZE_PX}|{'|'.join(NAMES)}".encode()).hexdigest()
"""Stands where the sha256 of a network's weights does: names cached features, and is recorded with a run."""
