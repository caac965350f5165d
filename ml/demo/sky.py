"""A small renderer of GENERATED webcam frames whose true rating is known, because it is planted.

What a frame shows follows from its weather, the height of the sun and the strength of its colour; the planted rating
follows from the same three. The webcam adds what has nothing to do with the rating: its horizon and skyline,
exposure, tint, noise, softness, a caption. So the rating can be learned from the pixels, and not from the webcam.

Everything is drawn from seeds: the same arguments give the same frames.
"""

import io
import math
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Literal

import numpy as np
from PIL import Image

from ml.demo import paint
from ml.images.decode import Pixels

Phase = Literal["sunrise", "sunset"]
Weather = Literal["clear", "cloudy", "overcast", "fog", "storm"]
Scene = Literal["sea", "mountains", "city", "fields"]

FIRST_DAY = date(2025, 3, 1)

# name: latitude and longitude, from and to, in degrees; boxes on land or coast, chosen by hand.
_REGIONS: dict[str, tuple[float, float, float, float]] = {
    "Alps": (45.5, 47.5, 6.0, 13.0),
    "Atlantic coast": (37.0, 47.0, -9.0, -1.5),
    "Baltic": (54.0, 60.0, 11.0, 25.0),
    "Mediterranean": (36.0, 43.5, 3.0, 24.0),
    "Pacific coast": (33.0, 48.0, -124.0, -118.0),
    "South Pacific": (-44.0, -28.0, 151.0, 175.0),
}
_SCENES: tuple[Scene, ...] = ("sea", "mountains", "city", "fields")
# weather: its share, the colour strength (two parameters of a beta distribution), the cloud cover (from, to).
_WEATHER: dict[Weather, tuple[float, tuple[float, float], tuple[float, float]]] = {
    "clear": (0.30, (2.2, 2.4), (0.02, 0.22)),
    "cloudy": (0.36, (2.2, 1.6), (0.25, 0.75)),
    "overcast": (0.19, (1.2, 6.0), (0.85, 1.0)),
    "fog": (0.07, (1.0, 9.0), (0.5, 0.9)),
    "storm": (0.08, (1.4, 4.0), (0.75, 0.95)),
}
# The share of frames taken long after dark, and the sun's height there: they show no sunset.
_NIGHT_SHARE = 0.04
_DEGREES_PER_MINUTE = 0.2


@dataclass(frozen=True)
class Webcam:
    """A GENERATED webcam: where it stands, and how its pictures differ from those of others."""

    id: str
    title: str
    lat: float
    """Degrees north."""
    lng: float
    """Degrees east."""
    region: str
    scene: Scene
    horizon: float
    """Where the sky ends, as a fraction of the height from the top."""
    tint: tuple[float, float, float]
    """Gains of red, green, blue; around 1."""
    exposure_ev: float
    """The camera's habit of exposing, in stops."""
    noise: float
    """Standard deviation of the sensor noise, as a fraction of full scale."""
    softness: int
    """1 is sharp; 2 means that the picture has half the detail."""
    has_caption: bool
    skyline_seed: int


@dataclass(frozen=True)
class Frame:
    """One GENERATED frame: what it shows, and what it is truly worth."""

    webcam: Webcam
    captured_at: datetime
    """UTC."""
    phase: Phase
    beauty: float
    """The planted true rating, 0..5; higher is better; 0 where no sunset is to be seen."""
    weather: Weather
    sun_deg: float
    """Height of the sun over the horizon, in degrees."""
    colour: float
    """How strong the colours are now, 0..1."""
    cover: float
    """Share of the sky that is covered by clouds, 0..1."""
    seed: int

    @property
    def is_sunset(self) -> bool:
        """Say whether a sunset or a sunrise is to be seen at all: not at night, nor through dense fog."""
        return self.beauty > 0.0


def make_webcams(count: int, seed: int) -> list[Webcam]:
    """Invent webcams. The first n are the same whatever the count."""
    return [_make_webcam(number, np.random.default_rng([seed, 1, number])) for number in range(count)]


def _make_webcam(number: int, rng: np.random.Generator) -> Webcam:
    region = list(_REGIONS)[int(rng.integers(len(_REGIONS)))]
    south, north, west, east = _REGIONS[region]
    scene = _SCENES[int(rng.integers(len(_SCENES)))]
    tint = 1.0 + rng.normal(0.0, 0.035, 3)
    return Webcam(
        id=f"generated-{number + 1:03d}",
        title=f"Generated {scene} {number + 1}, {region}",
        lat=round(float(rng.uniform(south, north)), 4),
        lng=round(float(rng.uniform(west, east)), 4),
        region=region,
        scene=scene,
        horizon=float(rng.uniform(0.58, 0.82)),
        tint=(float(tint[0]), float(tint[1]), float(tint[2])),
        exposure_ev=float(rng.normal(0.0, 0.18)),
        noise=float(rng.uniform(0.004, 0.022)),
        softness=int(rng.choice([1, 1, 2])),
        has_caption=bool(rng.random() < 0.4),
        skyline_seed=int(rng.integers(2**31)),
    )


def make_frames(webcams: list[Webcam], days: int, seed: int, frames_per_day: int = 2) -> list[Frame]:
    """Invent frames: the weather belongs to a webcam and a day, so frames of one day resemble each other.

    Args:
        webcams: as `make_webcams` returns them.
        days: consecutive ones from `FIRST_DAY`.
        seed: of weather and times; adding webcams or days leaves the frames of the others as they are.
        frames_per_day: of each webcam.

    Returns:
        frames ordered by webcam, then time.
    """
    frames: list[Frame] = []
    for webcam in webcams:
        for day in range(days):
            rng = np.random.default_rng([seed, 2, webcam.skyline_seed, day])
            frames += sorted(_frames_of_day(webcam, day, frames_per_day, rng), key=lambda frame: frame.captured_at)
    return frames


def _frames_of_day(webcam: Webcam, day: int, count: int, rng: np.random.Generator) -> list[Frame]:
    weathers = list(_WEATHER)
    weather = weathers[int(rng.choice(len(weathers), p=[_WEATHER[name][0] for name in weathers]))]
    _, strength, covers = _WEATHER[weather]
    day_colour, day_cover = float(rng.beta(*strength)), float(rng.uniform(*covers))
    frames = []
    for _ in range(count):
        phase: Phase = "sunset" if rng.random() < 0.65 else "sunrise"
        night = rng.random() < _NIGHT_SHARE
        sun_deg = float(rng.uniform(-18.0, -13.0) if night else rng.uniform(-5.5, 6.0))
        # The colours peak while the sun is about a degree under the horizon, and fade within half an hour.
        ripeness = 0.3 + 0.7 * math.exp(-(((sun_deg + 1.0) / 4.0) ** 2))
        colour = 0.0 if night else float(np.clip(day_colour * ripeness + rng.normal(0.0, 0.03), 0.0, 1.0))
        cover = float(np.clip(day_cover + rng.normal(0.0, 0.05), 0.0, 1.0))
        hidden = night or (weather == "fog" and cover > 0.7)
        minutes = -sun_deg / _DEGREES_PER_MINUTE * (1 if phase == "sunset" else -1)
        frames.append(
            Frame(
                webcam=webcam,
                captured_at=_sun_at_horizon(webcam, day, phase) + timedelta(seconds=round(60 * minutes)),
                phase=phase,
                beauty=0.0 if hidden else _planted_beauty(colour, cover),
                weather=weather,
                sun_deg=sun_deg,
                colour=colour,
                cover=cover,
                seed=int(rng.integers(2**31)),
            )
        )
    return frames


def _planted_beauty(colour: float, cover: float) -> float:
    """The true rating: colour counts most, and more when there are clouds for it to fall on."""
    texture = 4.0 * cover * (1.0 - cover)
    return float(np.clip(1.0 + 7.2 * colour**1.2 * (0.5 + 0.5 * texture), 0.6, 5.0))


def _sun_at_horizon(webcam: Webcam, day: int, phase: Phase) -> datetime:
    """When the sun crosses the horizon, in UTC, to some minutes: noon by longitude, half a day by latitude."""
    day_of_year = (FIRST_DAY + timedelta(days=day)).timetuple().tm_yday
    declination = math.radians(-23.44 * math.cos(2 * math.pi * (day_of_year + 10) / 365.0))
    reach = -math.tan(math.radians(webcam.lat)) * math.tan(declination)
    half_day_h = math.degrees(math.acos(max(-1.0, min(1.0, reach)))) / 15.0
    hour = 12.0 - webcam.lng / 15.0 + (half_day_h if phase == "sunset" else -half_day_h)
    midnight = datetime.combine(FIRST_DAY, time(), UTC) + timedelta(days=day)
    return midnight + timedelta(seconds=round(3600 * hour))


def render(frame: Frame, width: int = 320, height: int = 240) -> Pixels:
    """Paint a GENERATED frame.

    Args:
        frame: what to show.
        width: in pixels, at least 32.
        height: in pixels, at least 32.

    Returns:
        uint8 `(height, width, 3)`, RGB in sRGB, 0..255.
    """
    webcam = frame.webcam
    rng = np.random.default_rng(frame.seed)
    rows, columns = height // webcam.softness, width // webcam.softness
    scene = paint.Canvas(rows, columns, webcam.horizon, sun_x=float(rng.uniform(0.15, 0.85)))
    light = paint.daylight(frame.sun_deg)
    picture = paint.sky(scene, light, frame.colour, hue=float(rng.uniform(0.0, 1.0)), sun_deg=frame.sun_deg)
    if frame.weather == "clear" or frame.weather == "cloudy":
        paint.sun_disc(picture, scene, frame.sun_deg, frame.cover)
    paint.clouds(picture, scene, light, frame.colour, frame.cover, frame.weather == "storm", rng)
    paint.ground(picture, scene, light, webcam.scene, np.random.default_rng(webcam.skyline_seed), rng)
    if frame.weather == "fog":
        paint.fog(picture, light, frame.cover)
    if webcam.softness > 1:
        picture = paint.enlarged(picture, height, width)
    gain = 2.0 ** (webcam.exposure_ev + float(rng.normal(0.0, 0.15)))
    paint.camera(picture, gain, webcam.tint, webcam.noise * (1.0 + 1.5 * (1.0 - light)), rng)
    if webcam.has_caption:
        paint.caption(picture, np.random.default_rng(webcam.skyline_seed))
    return np.ascontiguousarray((picture * np.float32(255.0) + np.float32(0.5)).astype(np.uint8).transpose(1, 2, 0))


def to_jpeg(pixels: Pixels, quality: int = 85) -> bytes:
    """Encode pixels (uint8 `(H, W, 3)`, sRGB) as JPEG, without metadata."""
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "JPEG", quality=quality)
    return out.getvalue()
