"""The network without weights: pixels to the hand-made features of `ml.features.handmade`, batched, in torch.

The same arithmetic serves baselines, training and the exported graph. Counts must not hang on the last digit, or two
runtimes would disagree about a whole flat sky: levels are whole numbers, every comparison is between whole numbers that
float32 holds exactly (below 2 ** 24), and what is no count is continuous in the pixels.

Legend: N frames of SIZE_PX x SIZE_PX, S pixels or B blocks of the sky. `luma` and `warmth` are in steps of `_LUMA_ONE`
and of 255 until a number is returned.
"""

from __future__ import annotations

import math

import torch
from torch import nn

from ml.features.handmade import HUES, NAMES, SIZE_PX

Named = dict[str, torch.Tensor]
SKY_ROWS = round(0.6 * SIZE_PX)
BLOCK_PX = 8
_ONE = 255.0
_LUMA_ONE = 256.0 * _ONE
_LIT = 0.15 * _ONE
"""Least value (largest channel) of a pixel that has a hue worth counting."""
_TINY = 1e-3
_PIXELS = (1, 2)


class SkyFeatures(nn.Module):
    """Planes float32 `(N, 3, SIZE_PX, SIZE_PX)` in [0, 1], R, G, B in sRGB, to features float32 (N, F), all finite."""

    def forward(self, planes: torch.Tensor) -> torch.Tensor:
        """All features, in the order of `FEATURES`.

        Raises:
            ValueError: Frames of another size.
        """
        if planes.shape[1:] != (3, SIZE_PX, SIZE_PX):
            raise ValueError(
                f"hand-made features are defined on (N, 3, {SIZE_PX}, {SIZE_PX}), not {tuple(planes.shape)}"
            )
        levels = torch.round(planes * _ONE)
        red, green, blue = levels[:, 0], levels[:, 1], levels[:, 2]
        luma, warmth = 54.0 * red + 183.0 * green + 19.0 * blue, red - blue
        largest, smallest = levels.amax(dim=1), levels.amin(dim=1)
        found = _frame(luma, warmth, largest)
        found |= _colours(levels)
        found |= _hues(_sky(red), _sky(green), _sky(blue), _sky(largest), _sky(largest - smallest))
        found |= _levels(_sky(luma), _sky(warmth))
        found |= _bands(luma.mean(dim=2) / _LUMA_ONE, warmth.mean(dim=2) / _ONE)
        found |= _textures(luma / _LUMA_ONE, warmth / _ONE)
        found |= _neighbours(luma)
        return torch.stack([found[name] for name in NAMES], dim=1)


def _sky(plane: torch.Tensor) -> torch.Tensor:
    """The sky's pixels (N, S) of a plane (N, H, W)."""
    return plane[:, :SKY_ROWS].flatten(1)


def _part(mask: torch.Tensor) -> torch.Tensor:
    """Share of true values of each frame."""
    return mask.flatten(1).float().mean(dim=1)


def _spread(values: torch.Tensor) -> torch.Tensor:
    """Standard deviation along the last dimension."""
    return (values - values.mean(dim=-1, keepdim=True)).square().mean(dim=-1).sqrt()


def _percentiles(values: torch.Tensor, percents: tuple[int, ...]) -> list[torch.Tensor]:
    """Percentiles of each row, the nearest value below: continuous in the values."""
    ordered = torch.sort(values, dim=1).values
    last = values.shape[1] - 1
    return [ordered[:, last * percent // 100] for percent in percents]


def _entropy(counts: torch.Tensor) -> torch.Tensor:
    """In bits, of counts (N, K); 0 where nothing was counted."""
    shares = counts / counts.sum(dim=1, keepdim=True).clamp(min=1.0)
    return -(shares * torch.log2(shares.clamp(min=1e-12))).sum(dim=1)


def _log_ratio(above: torch.Tensor, below: torch.Tensor) -> torch.Tensor:
    return torch.log((above + _TINY) / (below + _TINY))


def _frame(luma: torch.Tensor, warmth: torch.Tensor, largest: torch.Tensor) -> Named:
    """Shares and means of the frame, of the sky and of what is below it."""
    ground, sky = luma[:, SKY_ROWS:].mean(dim=_PIXELS) / _LUMA_ONE, luma[:, :SKY_ROWS].mean(dim=_PIXELS) / _LUMA_ONE
    left, right = luma[:, :SKY_ROWS, : SIZE_PX // 2], luma[:, :SKY_ROWS, SIZE_PX // 2 :]
    return {
        "clipped": _part(largest >= 254.0),
        "black": _part(luma <= 0.02 * _LUMA_ONE),
        "dark": _part(luma < 0.15 * _LUMA_ONE),
        "sun_area": _part(luma[:, : 3 * SIZE_PX // 4] >= 0.97 * _LUMA_ONE),
        "luma": luma.mean(dim=_PIXELS) / _LUMA_ONE,
        "ground_luma": ground,
        "ground_warmth": warmth[:, SKY_ROWS:].mean(dim=_PIXELS) / _ONE,
        "sky_to_ground": _log_ratio(sky, ground),
        "sides": (left.mean(dim=_PIXELS) - right.mean(dim=_PIXELS)).abs() / _LUMA_ONE,
    }


def _colours(levels: torch.Tensor) -> Named:
    """Colourfulness, and red beside blue."""
    sky, ground = levels[:, :, :SKY_ROWS].flatten(2) / _ONE, levels[:, :, SKY_ROWS:].flatten(2) / _ONE
    return {
        "sky_colourfulness": _colourfulness(sky),
        "ground_colourfulness": _colourfulness(ground),
        "sky_red_blue": _log_ratio(sky[:, 0].mean(dim=1), sky[:, 2].mean(dim=1)),
    }


def _colourfulness(planes: torch.Tensor) -> torch.Tensor:
    """Hasler and Suesstrunk 2003, M3, of planes (N, 3, pixels) in [0, 1]."""
    red, green, blue = planes[:, 0], planes[:, 1], planes[:, 2]
    first, second = red - green, 0.5 * (red + green) - blue
    spread = (_spread(first).square() + _spread(second).square()).sqrt()
    return spread + 0.3 * (first.mean(dim=1).square() + second.mean(dim=1).square()).sqrt()


def _hues(red: torch.Tensor, green: torch.Tensor, blue: torch.Tensor, largest: torch.Tensor,
          chroma: torch.Tensor) -> Named:  # fmt: skip
    """What follows from hue and saturation, of the sky's levels (N, S)."""
    # `turn / chroma` is the hue in sixths of a circle, from red over yellow; `turn` itself is a whole number.
    turn = torch.where(
        largest == red, green - blue,
        torch.where(largest == green, 2.0 * chroma + blue - red, 4.0 * chroma + red - green),
    )  # fmt: skip
    turn = torch.where(turn < 0.0, turn + 6.0 * chroma, turn)
    lit = largest >= _LIT
    coloured = lit & (5.0 * chroma >= largest) & (chroma > 0.0)
    warm = lit & (20.0 * chroma >= 7.0 * largest) & (chroma > 0.0) & _within(turn, chroma, 300, 65)
    angle = turn / chroma.clamp(min=1.0) * (math.pi / 3.0)
    weight = chroma.sum(dim=1) + _TINY * _ONE
    cosine, sine = (chroma * angle.cos()).sum(dim=1) / weight, (chroma * angle.sin()).sum(dim=1) / weight
    borders = torch.arange(1, 12, dtype=torch.float32, device=chroma.device).view(1, -1, 1)
    above = ((2.0 * turn[:, None] >= borders * chroma[:, None]).float() * chroma[:, None]).sum(dim=2)
    found = {f"sky_{name}": _part(coloured & _within(turn, chroma, *sector)) for name, sector in HUES.items()}
    saturation = _percentiles(chroma / largest.clamp(min=1.0), (10, 50, 90, 99))
    return found | {
        "sky_warm": _part(warm),
        "sky_vivid": _part(lit & (2.0 * chroma >= largest)),
        "sky_chroma": chroma.mean(dim=1) / _ONE,
        "hue_red_axis": cosine,
        "hue_yellow_axis": sine,
        "hue_spread": (1.0 - (cosine.square() + sine.square()).sqrt()).clamp(0.0, 1.0),
        "hue_entropy": _entropy(_between(chroma.sum(dim=1, keepdim=True), above)),
        **{f"sky_saturation_p{q}": value for q, value in zip((10, 50, 90, 99), saturation, strict=True)},
    }


def _within(turn: torch.Tensor, chroma: torch.Tensor, low: int, high: int) -> torch.Tensor:
    """Whether a hue lies in a sector, in degrees, that may go over 360. Whole numbers: 60 / 5 = 12 steps a sixth."""
    after, before = 12.0 * turn >= low // 5 * chroma, 12.0 * turn < high // 5 * chroma
    return after & before if low < high else after | before


def _between(everything: torch.Tensor, above: torch.Tensor) -> torch.Tensor:
    """Counts (N, K + 1) of bins, of all (N, 1) and of those from each inner border on (N, K)."""
    edges = torch.cat([everything, above, torch.zeros_like(everything)], dim=1)
    return edges[:, :-1] - edges[:, 1:]


def _levels(luma: torch.Tensor, warmth: torch.Tensor) -> Named:
    """Percentiles and spreads of the sky (N, S)."""
    levels = _percentiles(luma, (5, 25, 50, 75, 95))
    cold, hot = _percentiles(warmth, (5, 95))
    borders = torch.arange(1, 32, dtype=torch.float32, device=luma.device).view(1, -1, 1) * (_LUMA_ONE / 32.0)
    above = (luma[:, None] >= borders).float().sum(dim=2)
    everything = torch.full_like(above[:, :1], luma.shape[1])
    return {
        **{f"sky_luma_p{q}": value / _LUMA_ONE for q, value in zip((5, 25, 50, 75, 95), levels, strict=True)},
        "sky_contrast": _spread(luma / _LUMA_ONE),
        "sky_warmth": warmth.mean(dim=1) / _ONE,
        "sky_warmth_p5": cold / _ONE,
        "sky_warmth_p95": hot / _ONE,
        "sky_warmth_range": _spread(warmth / _ONE),
        "entropy": _entropy(_between(everything, above)),
    }


def _bands(light: torch.Tensor, warm: torch.Tensor) -> Named:
    """What follows from the means of rows (N, H)."""
    top, horizon = slice(0, SIZE_PX // 4), slice(int(0.40 * SIZE_PX), int(0.65 * SIZE_PX))
    place = torch.linspace(-0.5, 0.5, SKY_ROWS, device=light.device)
    place = place / place.square().sum()
    return {
        "luma_gradient": (place * light[:, :SKY_ROWS]).sum(dim=1),
        "warmth_gradient": (place * warm[:, :SKY_ROWS]).sum(dim=1),
        "horizon_glow": light[:, horizon].mean(dim=1) - light[:, top].mean(dim=1),
        "horizon_warmth": warm[:, horizon].mean(dim=1) - warm[:, top].mean(dim=1),
        "warmest_band": warm.reshape(-1, 16, SIZE_PX // 16).mean(dim=2).amax(dim=1),
    }


def _blocks(plane: torch.Tensor) -> torch.Tensor:
    """Whole blocks (N, B, BLOCK_PX ** 2) of a plane (N, h, SIZE_PX)."""
    down, across = plane.shape[1] // BLOCK_PX, SIZE_PX // BLOCK_PX
    cut = plane[:, : down * BLOCK_PX].reshape(-1, down, BLOCK_PX, across, BLOCK_PX)
    return cut.permute(0, 1, 3, 2, 4).reshape(-1, down * across, BLOCK_PX * BLOCK_PX)


def _textures(luma: torch.Tensor, warmth: torch.Tensor) -> Named:
    """What follows from blocks of planes (N, H, W) in [0, 1]."""
    light, warm = _blocks(luma[:, :SKY_ROWS]), _blocks(warmth[:, :SKY_ROWS])
    means, spreads = light.mean(dim=2), _spread(light)
    brightness = torch.softmax(means / 0.02, dim=1)
    return {
        "cloud_texture": spreads.mean(dim=1),
        "cloud_texture_p90": _percentiles(spreads, (90,))[0],
        "colour_texture": _spread(warm).mean(dim=1),
        "flat": ((0.015 - _spread(_blocks(luma))) / 0.01).clamp(0.0, 1.0).mean(dim=1),
        "brightest_block": means.amax(dim=1) - means.mean(dim=1),
        "brightest_warmth": (brightness * warm.mean(dim=2)).sum(dim=1),
    }


def _neighbours(luma: torch.Tensor) -> Named:
    """What follows from steps between pixels of a plane (N, H, W)."""
    sky = luma[:, :SKY_ROWS]
    across = (sky[:, :-1, 1:] - sky[:, :-1, :-1]).abs()
    down = (sky[:, 1:, :-1] - sky[:, :-1, :-1]).abs()
    around = luma[:, :-2, 1:-1] + luma[:, 2:, 1:-1] + luma[:, 1:-1, :-2] + luma[:, 1:-1, 2:]
    laplacian = (4.0 * luma[:, 1:-1, 1:-1] - around) / _LUMA_ONE
    step = 0.06 * _LUMA_ONE
    return {
        "edges": _part((across > step) | (down > step)),
        "sharpness": torch.log10(1e8 * _spread(laplacian.flatten(1)).square() + 1.0) - 8.0,
    }
