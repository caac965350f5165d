"""The brushes of the GENERATED skies: each paints one thing into a picture of floats.

Legend: a picture is float32 `(3, H, W)`, RGB as displayed (sRGB-coded), 0..1; planes, since numpy is several times
faster on them than on pixels. A colour is `(3, 1, 1)`. Brushes change the picture in place.
`light` is how bright the day is, 0 (night) to 1.
"""

from collections.abc import Callable
from typing import Literal

import numpy as np
import numpy.typing as npt

Picture = npt.NDArray[np.float32]
Scene = Literal["sea", "mountains", "city", "fields"]

_GOLD = (1.00, 0.76, 0.36)
_ORANGE = (1.00, 0.47, 0.16)
_RED = (0.90, 0.27, 0.22)
_PINK = (0.86, 0.40, 0.50)
_PURPLE = (0.45, 0.28, 0.52)


def _rgb(red: float, green: float, blue: float, gain: float = 1.0) -> Picture:
    return np.array([[[red]], [[green]], [[blue]]], np.float32) * np.float32(gain)


class Canvas:
    """The coordinates of a picture, shared by all brushes.

    Args:
        rows: H, in pixels.
        columns: W, in pixels.
        horizon: where the sky ends, as a fraction of H from the top.
        sun_x: where the sun stands, as a fraction of W from the left.
    """

    def __init__(self, rows: int, columns: int, horizon: float, sun_x: float) -> None:
        self.rows, self.columns = rows, columns
        self.horizon_row = int(rows * horizon)
        self.x = ((np.arange(columns, dtype=np.float32) + 0.5) / columns)[None, :]
        y = (np.arange(rows, dtype=np.float32) + 0.5) / rows
        # 0 at the horizon, 1 at the upper edge; negative on the ground.
        self.altitude = ((horizon - y) / horizon)[:, None]
        self.aspect = columns / rows
        self.horizon = horizon
        self.sun_x = sun_x


def daylight(sun_deg: float) -> float:
    """How bright the day is at a height of the sun in degrees: 1 from 6 up, about 0.03 at night."""
    return float(0.03 + 0.97 / (1.0 + np.exp(-(sun_deg + 3.5) / 2.2)))


def noise(
    rng: np.random.Generator,
    row_places: npt.NDArray[np.float32],
    column_places: npt.NDArray[np.float32],
    octaves: int,
    stretch: float = 1.0,
) -> npt.NDArray[np.float32]:
    """Smooth fractal noise on a grid of places, about 0..1.

    Args:
        rng: draws the values.
        row_places: float32 `(H,)`, in cells of the coarsest octave, from 0.
        column_places: float32 `(W,)`, likewise.
        octaves: how many; each has half the size and about half the weight.
        stretch: makes cells wider than high.
    """
    total = np.zeros((len(row_places), len(column_places)), np.float32)
    weight, weights = 1.0, 0.0
    for octave in range(octaves):
        size = 2.0**octave
        rows, columns = row_places * size, column_places * size / stretch
        grid = rng.random((int(rows.max()) + 2, int(columns.max()) + 2), dtype=np.float32)
        total += np.float32(weight) * _between(_between(grid, rows, 0), columns, 1)
        weights += weight
        weight *= 0.55
    return total / np.float32(weights)


def _between(values: Picture, places: npt.NDArray[np.float32], axis: int) -> Picture:
    """Values at places between cells (smoothstep), along one axis.

    Written without a matrix product: its threads would spin against every other process of a small machine.
    """
    low = places.astype(np.int64)
    share = places - low
    share = share * share * (3.0 - 2.0 * share)
    share = share.reshape([-1 if index == axis % values.ndim else 1 for index in range(values.ndim)])
    first = np.take(values, low, axis)
    step = np.take(values, low + 1, axis)
    step -= first
    step *= share
    return first + step


def _blend(picture: Picture, colour: npt.NDArray[np.float32], share: npt.NDArray[np.float32]) -> None:
    """Lay a colour or a picture over another; `share` is `(H, W)` in 0..1."""
    change = colour - picture
    change *= share
    picture += change


def _warm(canvas: Canvas, hue: float) -> Picture:
    """The colours of the evening by altitude, `(3, H, 1)`: gold below, then orange or red, pink and purple above."""
    heights = np.array([-1.0, 0.0, 0.14, 0.40, 0.75, 1.1])
    gold, orange, red, pink, purple = (np.array(colour) for colour in (_GOLD, _ORANGE, _RED, _PINK, _PURPLE))
    low = gold * (1.0 - 0.4 * hue) + orange * (0.4 * hue)
    middle = orange * (1.0 - hue) + red * hue
    upper = (orange * 0.5 + pink * 0.5) * (1.0 - hue) + pink * hue
    stops = np.stack([gold, low, middle, upper, purple, purple])
    planes = [np.interp(canvas.altitude[:, 0], heights, stops[:, channel]) for channel in range(3)]
    return np.stack(planes).astype(np.float32)[:, :, None]


def sky(canvas: Canvas, light: float, colour: float, hue: float, sun_deg: float) -> Picture:
    """Paint the cloudless sky: blue above, pale below, and the warm band as strong as `colour` (0..1) says."""
    up = np.clip(canvas.altitude, 0.0, 1.0)
    zenith = _rgb(0.27, 0.46, 0.76, light) + _rgb(0.015, 0.03, 0.10)
    pale = _rgb(0.78, 0.82, 0.86, 0.08 + 0.92 * light)
    column = (pale + (zenith - pale) * up**0.7).astype(np.float32)
    picture = np.repeat(column, canvas.columns, axis=2)
    aside = (canvas.x - canvas.sun_x) * canvas.aspect
    reach = 0.10 + 0.62 * colour
    band = np.exp(-((np.clip(canvas.altitude, 0.0, 2.0) / reach) ** 1.6)) * (
        0.45 + 0.55 * np.exp(-((aside / 0.75) ** 2))
    )
    warm = _warm(canvas, hue) * np.float32(0.45 + 0.55 * min(1.0, light * 1.6))
    _blend(picture, warm, (min(1.0, 1.35 * colour) * band).astype(np.float32))
    # Even a dull evening is a little brighter where the sun is.
    glow = np.exp(-(((canvas.altitude - sun_deg / 40.0) / 0.22) ** 2) - (aside / 0.35) ** 2)
    pale_gold = _rgb(1.0, 0.93, 0.80, 0.3 + 0.7 * light)
    _blend(picture, pale_gold, ((0.28 + 0.3 * colour) * light * glow).astype(np.float32))
    return picture


def sun_disc(picture: Picture, canvas: Canvas, sun_deg: float, cover: float) -> None:
    """Paint the sun where it is over the horizon."""
    if sun_deg < -0.3:
        return
    height = (canvas.altitude - sun_deg / 40.0) * canvas.horizon
    distance = np.sqrt(height**2 + ((canvas.x - canvas.sun_x) * canvas.aspect) ** 2)
    disc = np.clip((0.028 - distance) / 0.008, 0.0, 1.0) * (1.0 - 0.6 * cover)
    halo = 0.55 * np.exp(-distance / 0.06) * (1.0 - 0.6 * cover)
    _blend(picture, _rgb(1.0, 0.95, 0.80), np.clip(disc + halo, 0.0, 1.0).astype(np.float32))


def clouds(
    picture: Picture,
    canvas: Canvas,
    light: float,
    colour: float,
    cover: float,
    is_storm: bool,
    rng: np.random.Generator,
) -> None:
    """Paint clouds over a share `cover` of the sky, lit from below by the warm band as strongly as `colour` says."""
    # Seen from below, a layer of clouds crowds together towards the horizon.
    depth = 1.0 / (0.16 + np.clip(canvas.altitude[:, 0], 0.0, 1.0))
    places = ((6.25 - depth) * 1.1).astype(np.float32)
    field = noise(rng, places, (canvas.x[0] * canvas.aspect * 4.0).astype(np.float32), 5, stretch=1.6)
    field = (field - field.min()) / max(1e-6, float(field.max() - field.min()))
    edge = float(np.quantile(field[: canvas.horizon_row : 2, ::2], 1.0 - cover)) if cover < 1.0 else 0.0
    density = np.clip((field - edge + 0.05) / (0.10 + 0.16 * (1.0 - cover)), 0.0, 1.0)
    density = density * density * (3.0 - 2.0 * density)
    underside = np.zeros_like(field)
    step = max(1, canvas.rows // 80)
    underside[:-step] = (field[:-step] - field[step:]) * 7.0
    thin = 1.0 - np.clip((field - edge) / 0.45, 0.0, 1.0)
    aside = (canvas.x - canvas.sun_x) * canvas.aspect
    towards_sun = 0.35 + 0.65 * np.exp(-((aside / 0.8) ** 2))
    # A closed layer keeps the low sun out; it takes gaps for clouds to catch fire.
    through = 1.0 - 0.65 * cover**4
    lit = np.clip(colour * through * (0.55 + 0.5 * thin + underside) * towards_sun * 1.7, 0.0, 1.0)
    grey = _rgb(0.25, 0.28, 0.34) if is_storm else _rgb(0.47, 0.50, 0.56)
    shade = (grey * np.float32(0.07 + 0.93 * light)) * (0.72 + 0.5 * field + 0.25 * np.clip(underside, -0.6, 0.6))
    glow = _warm(canvas, 0.55) * np.float32(0.5 + 0.5 * min(1.0, light * 1.7)) * (0.85 + 0.3 * thin)
    _blend(shade, glow, lit)
    _blend(picture, shade, 0.94 * density)


def ground(
    picture: Picture, canvas: Canvas, light: float, scene: Scene, fixed: np.random.Generator, rng: np.random.Generator
) -> None:
    """Paint what stands under the sky: the same for every frame of a webcam (`fixed`), but for lights and waves."""
    start = canvas.horizon_row
    below = canvas.rows - start
    mean_sky = picture[:, :start].mean(axis=(1, 2), keepdims=True)
    if scene == "sea":
        mirrored = picture[:, np.clip(start - 1 - (np.arange(below) * 1.3).astype(int), 0, start - 1)]
        waves = noise(rng, np.linspace(0, 14, below, dtype=np.float32), canvas.x[0] * 5.0, 3)
        picture[:, start:] = mirrored * (0.42 + 0.40 * waves) + _rgb(0.0, 0.012, 0.03)
    else:
        texture = noise(fixed, np.linspace(0, 5, below, dtype=np.float32), canvas.x[0] * 7.0, 4)
        base = {"mountains": (0.16, 0.17, 0.19), "city": (0.15, 0.15, 0.17), "fields": (0.15, 0.20, 0.10)}[scene]
        lit = _rgb(*base, gain=0.10 + 0.9 * light) + 0.10 * mean_sky
        picture[:, start:] = lit * (0.45 + 0.9 * texture)
    outline = _OUTLINES[scene](canvas.columns, fixed) * canvas.rows
    solid = np.arange(canvas.rows)[:, None] >= (start - outline)[None, :]
    solid[start:] = False
    far = _rgb(0.10, 0.11, 0.14, 0.25 + 0.75 * light) + 0.10 * mean_sky
    np.copyto(picture, far, where=solid)
    if scene == "city":
        _windows(picture, solid, light, rng)


def _windows(picture: Picture, solid: npt.NDArray[np.bool_], light: float, rng: np.random.Generator) -> None:
    rows, columns = np.nonzero(solid)
    if len(rows) == 0:
        return
    chosen = rng.integers(0, len(rows), int(len(rows) * 0.05 * (1.0 - 0.8 * light)))
    picture[:, rows[chosen], columns[chosen]] = _rgb(0.95, 0.80, 0.50)[:, 0]


def _ridge(columns: int, rng: np.random.Generator, height: float, cells: float) -> npt.NDArray[np.float32]:
    places = np.linspace(0.0, cells, columns, dtype=np.float32)
    return np.asarray(height * noise(rng, np.zeros(1, np.float32), places, 5)[0], np.float32)


def _towers(columns: int, rng: np.random.Generator) -> npt.NDArray[np.float32]:
    outline = np.full(columns, 0.015, np.float32)
    for _ in range(int(rng.integers(14, 30))):
        left, width = int(rng.integers(columns)), max(2, int(columns * rng.uniform(0.02, 0.07)))
        outline[left : left + width] = np.maximum(outline[left : left + width], rng.uniform(0.02, 0.20) ** 1.1)
    return outline


_OUTLINES: dict[str, Callable[[int, np.random.Generator], npt.NDArray[np.float32]]] = {
    "sea": lambda columns, rng: np.clip(_ridge(columns, rng, 0.14, 2.0) - 0.075, 0.0, None),
    "mountains": lambda columns, rng: _ridge(columns, rng, 0.34, 4.0),
    "city": _towers,
    "fields": lambda columns, rng: _ridge(columns, rng, 0.08, 9.0),
}


def fog(picture: Picture, light: float, density: float) -> None:
    """Lay fog over everything; `density` 0..1."""
    grey = _rgb(0.70, 0.71, 0.73, 0.06 + 0.94 * light)
    thickness = np.clip(1.25 * density, 0.0, 0.95) * np.linspace(0.86, 1.0, picture.shape[1], dtype=np.float32)
    _blend(picture, grey, thickness[:, None])


def enlarged(picture: Picture, rows: int, columns: int) -> Picture:
    """Enlarge a picture smoothly, as a camera that interpolates does."""
    height, width = picture.shape[1:]
    down = np.linspace(0, height - 1.001, rows, dtype=np.float32)
    across = np.linspace(0, width - 1.001, columns, dtype=np.float32)
    return _between(_between(picture, down, 1), across, 2)


def camera(
    picture: Picture, gain: float, tint: tuple[float, float, float], noise_sd: float, rng: np.random.Generator
) -> None:
    """Do to a picture what a camera does: exposure, tint, a soft shoulder instead of clipping, vignette, noise."""
    rows, columns = picture.shape[1:]
    y, x = np.linspace(-1, 1, rows, dtype=np.float32)[:, None], np.linspace(-1, 1, columns, dtype=np.float32)[None, :]
    picture *= _rgb(*tint, gain=gain)
    picture *= np.float32(1.0) - np.float32(0.10) * (x * x + y * y)
    over = np.maximum(picture - np.float32(0.8), np.float32(0.0))
    picture -= over
    picture += over * np.float32(0.25) / (np.float32(0.25) + over)
    grain = rng.standard_normal((rows, columns), dtype=np.float32) * np.float32(noise_sd)
    chroma = rng.standard_normal((3, rows // 2 + 1, columns // 2 + 1), dtype=np.float32) * np.float32(0.5 * noise_sd)
    speckle = np.repeat(np.repeat(chroma, 2, axis=1), 2, axis=2)[:, :rows, :columns]
    speckle += grain
    picture += speckle
    np.clip(picture, 0.0, 1.0, out=picture)


def caption(picture: Picture, rng: np.random.Generator) -> None:
    """Burn in a strip with something like letters, at the upper or lower edge."""
    rows, columns = picture.shape[1:]
    thick = max(6, rows // 20)
    top = 0 if rng.random() < 0.5 else rows - thick
    strip = picture[:, top : top + thick]
    strip *= np.float32(0.35)
    letters = rng.random((3, int(columns * rng.uniform(0.2, 0.5)) // 2)) < 0.55
    letters[:, ::4] = False
    drawn = np.repeat(np.repeat(letters, max(1, (thick - 2) // 3), axis=0), 2, axis=1)
    strip[:, 1 : 1 + drawn.shape[0], 4 : 4 + drawn.shape[1]][:, drawn] = np.float32(0.92)
