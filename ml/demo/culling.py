"""A GENERATED culling project: photos with stages, bursts of near-duplicates, and somebody's taste, which is planted.

The taste is a rule on what is to be seen, `taste_of`: a warm subject is liked, clutter is not. It knows neither the stage
nor the size of a photo. In most groups the photo that is liked most has the highest stage, as in real projects, where
"always the highest stage" is right nearly always; in the planted anomalies it has a lower one. People crop around the
subject. What was planted is kept, so that a test can compare.

Everything is drawn from seeds: the same arguments give the same files.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

from ml.demo.culling_paint import MAX_CLUTTER, Look, paint, to_png
from ml.images.photo_names import STAGES

FIRST_TIME = datetime(2025, 7, 1, tzinfo=UTC)
PHOTOS = "training data"
"""Directory that the projects' photos are under; logs name another one."""
_RUNS = ((1.0, 2.0), (1.0, 1.5), (1.0, 3.0), (1.5, 2.0), (1.0, 1.5, 2.0), (1.0, 2.0, 3.0), (1.0, 1.5, 2.0, 3.0))
"""Stages of a group. Each begins no higher than any ends, so that two groups never run into one."""
_MARGIN = 0.25
"""By how much the photo that is liked most is liked more than the next."""
_BASE_PX = (96, 72)


@dataclass(frozen=True)
class MadePhoto:
    """A GENERATED photo."""

    project: str
    path: str
    """Relative to the project's directory, with `/`."""
    stage: float | None
    look: Look
    width: int
    """In pixels."""
    height: int
    companions: dict[str, str]
    """Path -> text of the files that belong to it."""

    @property
    def name(self) -> str:
        """File name without its directory."""
        return self.path.rpartition("/")[2]

    @property
    def taste(self) -> float:
        """How much it is liked."""
        return taste_of(self.look)

    @property
    def crop(self) -> tuple[float, float, float, float]:
        """Where people crop it: x1, y1, x2, y2 as fractions, the aspect ratio kept, the subject in the middle."""
        half = min(0.45, 1.6 * self.look.radius)
        x, y = (min(max(centre, half), 1.0 - half) for centre in self.look.centre)
        return x - half, y - half, x + half, y + half

    def png(self) -> bytes:
        """The file's bytes."""
        return to_png(paint(self.look, self.width, self.height))


@dataclass(frozen=True)
class MadeGroup:
    """Photos that were made to be chosen from, in order."""

    photos: tuple[MadePhoto, ...]
    chosen: int | None
    """Place of the photo that is liked most; None in a burst, whose photos are all alike."""

    @property
    def is_anomaly(self) -> bool:
        """Whether the chosen photo has a lower stage than one that was not."""
        if self.chosen is None:
            return False
        stages = [photo.stage or 0.0 for photo in self.photos]
        return stages[self.chosen] < max(stages)


@dataclass(frozen=True)
class MadeProject:
    """A GENERATED project."""

    name: str
    groups: tuple[MadeGroup, ...]
    singles: tuple[MadePhoto, ...]
    """Photos that belong to no group."""
    doubles: tuple[tuple[MadePhoto, MadePhoto], ...]
    """Two different photos of one name, in two directories: a log that gives only the name means neither."""

    def photos(self) -> Iterator[MadePhoto]:
        """Every photo, each once."""
        for group in self.groups:
            yield from group.photos
        yield from self.singles
        for pair in self.doubles:
            yield from pair


def taste_of(look: Look) -> float:
    """The planted taste: how much a photo is liked, by what is to be seen and nothing else."""
    return 2.0 * look.warmth - look.clutter / MAX_CLUTTER


def make_project(name: str, num_groups: int, seed: int, anomaly_share: float = 0.15) -> MadeProject:
    """Invent a project: one burst for every three groups with stages, a single for every four, and three doubles.

    Args:
        name: of the project, as in its directory; it is part of the seed.
        num_groups: with stages.
        seed: of everything.
        anomaly_share: chance that the photo of a group which is liked most has not the highest stage.
    """
    rng = np.random.default_rng([seed, 5, *name.encode()])
    moment = FIRST_TIME
    groups: list[MadeGroup] = []
    singles: list[MadePhoto] = []
    for number in range(num_groups):
        moment += timedelta(seconds=int(rng.integers(60, 240)))
        groups.append(_staged(name, moment, rng, float(rng.random()) < anomaly_share))
        if number % 3 == 2:
            moment += timedelta(seconds=int(rng.integers(60, 240)))
            groups.append(_burst(name, moment, rng))
        if number % 4 == 3:
            moment += timedelta(seconds=int(rng.integers(60, 240)))
            singles.append(_photo(name, f"{moment:%Y%m%d_%H%M%S}_single.png", None, _look(rng), rng))
    doubles = []
    for number in range(3):
        moment += timedelta(minutes=5)
        path = f"{moment:%Y%m%d_%H%M%S}_double.png"
        one, other = (_photo(name, f"{place}{path}", None, _look(rng), rng) for place in ("", f"again {number}/"))
        doubles.append((one, other))
    return MadeProject(name, tuple(groups), tuple(singles), tuple(doubles))


def write_project(
    project: MadeProject, directory: Path, progress: Callable[[int, int], None] = lambda done, total: None
) -> None:
    """Write a project's photos and companions under `directory/training data/<name>`, which must not exist yet.

    Raises:
        FileExistsError: It does.
    """
    root = directory / PHOTOS / project.name
    root.mkdir(parents=True)
    photos = list(project.photos())
    for done, photo in enumerate(photos, start=1):
        path = root / photo.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(photo.png())
        for companion, text in photo.companions.items():
            (root / companion).write_text(text, encoding="utf-8")
        progress(done, len(photos))


def _staged(project: str, moment: datetime, rng: np.random.Generator, is_anomaly: bool) -> MadeGroup:
    stages = _RUNS[int(rng.integers(len(_RUNS)))]
    chosen = int(rng.integers(len(stages) - 1)) if is_anomaly else len(stages) - 1
    looks = _looks(len(stages), chosen, rng)
    photos = []
    for at, (stage, look) in enumerate(zip(stages, looks, strict=True)):
        made_at = moment + timedelta(seconds=9 * at)
        photos.append(_photo(project, f"{made_at:%Y%m%d_%H%M%S}_stage{stage:g}_{STAGES[stage]}.png", stage, look, rng))
    return MadeGroup(tuple(photos), chosen)


def _looks(count: int, chosen: int, rng: np.random.Generator) -> list[Look]:
    """Looks of one shot, of which the chosen one is clearly liked most."""
    base = _look(rng)
    while True:
        looks = [_varied(base, rng, float(rng.uniform()), int(rng.integers(MAX_CLUTTER + 1))) for _ in range(count)]
        looks.sort(key=taste_of)
        if taste_of(looks[-1]) - taste_of(looks[-2]) >= _MARGIN:
            best, others = looks[-1], looks[:-1]
            others = [others[at] for at in rng.permutation(len(others))]
            return [*others[:chosen], best, *others[chosen:]]


def _burst(project: str, moment: datetime, rng: np.random.Generator) -> MadeGroup:
    base = _look(rng)
    photos = []
    for at in range(int(rng.integers(2, 5))):
        made_at = moment + timedelta(seconds=at)
        look = _varied(base, rng, base.warmth, base.clutter)
        photos.append(_photo(project, f"{made_at:%Y%m%d_%H%M%S}_burst.png", None, look, rng))
    return MadeGroup(tuple(photos), None)


def _look(rng: np.random.Generator) -> Look:
    radius = float(rng.uniform(0.14, 0.24))
    x, y = (float(each) for each in rng.uniform(0.25, 0.75, 2))
    seeds = rng.integers(2**31, size=2)
    return Look(
        background=int(seeds[0]),
        warmth=float(rng.uniform()),
        clutter=int(rng.integers(MAX_CLUTTER + 1)),
        centre=(x, y),
        radius=radius,
        gain=1.0,
        noise=int(seeds[1]),
    )


def _varied(base: Look, rng: np.random.Generator, warmth: float, clutter: int) -> Look:
    """The same shot a moment later: a little brighter or darker, with other grain."""
    gain, noise = float(rng.uniform(0.96, 1.04)), int(rng.integers(2**31))
    return Look(base.background, warmth, clutter, base.centre, base.radius, gain, noise)


def _photo(project: str, path: str, stage: float | None, look: Look, rng: np.random.Generator) -> MadePhoto:
    """A photo with its companions; its size depends on nothing that is to be seen."""
    scale = float(rng.choice([1.0, 1.0, 1.5]))
    width, height = (round(scale * side) for side in _BASE_PX)
    stem = path.removesuffix(".png")
    companions = {f"{stem}.yaml": f"seed: {look.noise}\n"}
    if rng.random() < 0.5:
        companions[f"{stem}.caption"] = "a generated subject\n"
    if rng.random() < 0.1:
        companions[f"{path}.txt"] = "kept\n"
    return MadePhoto(project, path, stage, look, width, height, companions)
