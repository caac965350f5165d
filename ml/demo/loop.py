"""The loop on GENERATED data: choosing what people are asked, beside asking at random.

    python -m ml.demo.loop --seed S --out DIR [--webcams N --days N --cycles N --first N --inflow N --labels N]

One world (see `ml.demo.world`) is gone through in two ways, from the same first version on. Before each cycle some
frames are rated as they come. Then the one way asks for the ratings of the review set (`ml.disagreements`) in its order,
the other draws as many frames that nobody has rated; and both train their next version by the verb `train`. One rating
is one label, whether its frame has others or not. Test frames are rated by everybody before the first cycle, and are
never asked about.

Writes DIR/loop.json last. A `world` event (seed, fraction, message) tells how far it is.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ml.demo.loop_labels import AS_THEY_COME, DRAWN, HEAD, KIND, Way, manifest_rows, write_ratings
from ml.demo.loop_summary import CHOOSING, LOOP_FILE, RANDOM
from ml.demo.world import NUM_RATERS, World, drawn, make_world
from ml.disagreements import Chosen, Frame, Settlement, Wanted, choose_review_set, near_pairs
from ml.events import Progress, VerbError, emit, finite, run_verb
from ml.images.fingerprints import fingerprints_of
from ml.images.store import FileStore
from ml.judgements import judgement
from ml.manifest import ManifestRow, manifest_bytes, manifest_sha256
from ml.readings import Reading
from ml.train import train
from ml.training.frozen import frozen_features, head_outputs
from ml.training.heads import read_run
from ml.training.recipe import make_recipe

RECIPE = {"backbone": "handmade", "head": HEAD, "seed": 0, "evaluation": "test", "threads": 1}
"""The demo's recipe; it never looks at test rows."""
_DRAWING = 0.7
"""The share of the time that drawing takes."""


class TooSmall(VerbError):
    """A world has fewer frames than are to be asked for."""

    code = "too_small"


@dataclass(frozen=True)
class Size:
    """How large a world is, and how much is asked."""

    webcams: int = 36
    days: int = 24
    cycles: int = 5
    first: int = 80
    """Ratings that the first version learns from, one a frame, drawn at random."""
    inflow: int = 40
    """Ratings that come in before each cycle, one a frame, as they come: the version has not learned from them."""
    labels: int = 40
    """Ratings that each cycle asks for, at most: a review set may be smaller."""


@dataclass(frozen=True)
class Version:
    """A trained version, and what it says of every snapshot of its world."""

    outputs: Mapping[str, np.ndarray]
    """Output name -> float (N,), in order of snapshot."""
    stars: np.ndarray
    """float (N,), on the label's scale."""
    passes: np.ndarray
    """bool (N,): whether it reaches its threshold."""
    reading: Reading
    """How its raw scores are to be read."""
    rows: tuple[ManifestRow, ...]
    """Its manifest."""


@dataclass(frozen=True)
class Loop:
    """What stays the same in both ways of one world."""

    world: World
    size: Size
    out: Path
    features: np.ndarray
    """float32 (N, D), in order of snapshot."""
    alike: Sequence[tuple[int, int]]
    """Pairs of snapshots of the pool that are near-duplicates."""

    def train(self, name: str, given: Mapping[int, int]) -> Version:
        """Train a version on the first `given` ratings of each snapshot, by the verb `train`, in DIR/NAME."""
        folder = self.out / name
        folder.mkdir(parents=True, exist_ok=True)
        rows = manifest_rows(self.world, given)
        (folder / "manifest_full.csv").write_bytes(manifest_bytes(rows))
        (folder / "recipe.json").write_text(json.dumps(RECIPE), encoding="utf-8")
        write_ratings(folder / "ratings.csv", self.world, given)
        train(KIND, folder / "manifest_full.csv", folder / "recipe.json", str(self.out / "store"), self.out / "cache",
              folder / "run", ratings=folder / "ratings.csv")  # fmt: skip
        run = read_run(folder / "run")
        outputs, policy = head_outputs(run, self.features), run.facts["threshold_policy"]
        stars = run.judgement.scores(outputs, HEAD)
        reading = Reading(name, run.judgement, HEAD, run.scale, run.calibration, policy)
        return Version(outputs, stars, outputs[policy["on"]] >= policy["threshold"], reading, tuple(rows))

    def told(self, version: Version, number: int, way: Way) -> dict[str, Any]:
        """What is kept of a version: what it cost, and what it says of the test rows."""
        test = [row for row in version.rows if row.split == "test"]
        is_test = np.array([each.is_test for each in self.world.snapshots])
        learned = [row for row in version.rows if row.split in ("train", "val")]
        mean = next(iter(judgement(KIND).baselines(learned, test, HEAD).values()))
        return {
            "version": number,
            "labels": way.given.total(),
            "snapshots": len(+way.given),
            **way.told(),
            "manifest_sha256": manifest_sha256(version.rows),
            "test_sha256": manifest_sha256(test),
            "scores": version.stars[is_test].tolist(),
            "passes": version.passes[is_test].tolist(),
            "predict_the_mean": mean.tolist(),
        }


def run_loop(seed: int, size: Size, out: Path) -> dict[str, Any]:
    """Go through one world in both ways; returns what `ml.demo.loop_summary.summarise` takes, and writes it."""
    out.mkdir(parents=True, exist_ok=True)
    (out / LOOP_FILE).unlink(missing_ok=True)
    world = make_world(seed, size.webcams, size.days)
    needed, there = size.first + size.cycles * (size.inflow + size.labels), len(world.pool)
    if needed > there or not world.test:
        raise TooSmall(
            f"{needed} ratings are asked for one by one, of {there} frames that are not test: take more --webcams or --days"
        )
    store = FileStore(str(out / "store"))
    world = drawn(world, store, lambda done, total: _tell(seed, _DRAWING * done / total, "drawing frames"))
    everything = manifest_rows(world, {each.snapshot_id: 1 for each in world.pool})
    found = frozen_features(make_recipe(RECIPE), store, everything, out / "cache", Progress())
    prints = fingerprints_of(store.image, [each.image_sha256 for each in world.pool], out / "cache", threads=1)
    features = np.stack([found[each.image_sha256] for each in world.snapshots])
    loop = Loop(world, size, out, features, near_pairs(_unjudged(world), prints))
    content = {
        "generated": True,
        "seed": seed,
        "size": asdict(size),
        "raters": [{"name": each.name, "bias": each.bias, "noise_sd": each.noise_sd} for each in world.raters],
        "test": _test_facts(everything),
        "ways": _go_through(loop),
    }
    (out / LOOP_FILE).write_text(json.dumps(finite(content), sort_keys=True) + "\n", encoding="utf-8")
    return content


def _go_through(loop: Loop) -> dict[str, list[dict[str, Any]]]:
    """Both ways, from one first version on: way -> what is kept of each version."""
    size, seed, order = loop.size, loop.world.seed, loop.world.order
    ways = {name: Way(Counter()) for name in (CHOOSING, RANDOM)}
    for way in ways.values():
        way.take(order, size.first, DRAWN)
    begun = loop.train("first", ways[CHOOSING].given)
    version, told = begun, {name: [loop.told(begun, 0, way)] for name, way in ways.items()}
    for number in range(1, size.cycles + 1):
        for way in ways.values():
            way.take(order, size.inflow, AS_THEY_COME)
        chosen = review_set(loop, version, ways[CHOOSING], number)
        for each in chosen:
            ways[CHOOSING].ask(each.frame.snapshot_id, each.reasons[0])
        _settle(loop, version, ways[CHOOSING], chosen)
        ways[RANDOM].take(order, len(chosen), DRAWN)
        versions = {name: loop.train(f"{name}-{number}", way.given) for name, way in ways.items()}
        for name, way in ways.items():
            told[name].append(loop.told(versions[name], number, way))
        version = versions[CHOOSING]
        _tell(seed, _DRAWING + (1 - _DRAWING) * number / size.cycles, f"cycle {number}/{size.cycles}")
    return told


def review_set(loop: Loop, version: Version, way: Way, number: int) -> tuple[Chosen, ...]:
    """What the product asks for after the cycle of a version: the beginning of its review set, never a test frame."""
    learned = {row.snapshot_id for row in version.rows}
    labels = {row.snapshot_id: row for row in manifest_rows(loop.world, way.given)}
    raw = version.outputs["raw_score"]
    frames = []
    for place, each in enumerate(loop.world.snapshots):
        if each.is_test or way.given[each.snapshot_id] >= NUM_RATERS:
            continue
        row = labels.get(each.snapshot_id)
        frames.append(
            Frame(
                each.snapshot_id, each.webcam_id, each.captured_at, None if row is None else row.label_value,
                way.given[each.snapshot_id], float(raw[place]), each.snapshot_id in learned, False,
                tuple(way.settled[each.snapshot_id]),
            )
        )  # fmt: skip
    found = choose_review_set(frames, version.reading, Wanted(), loop.world.seed * 100 + number, loop.alike)
    return found.asked[: loop.size.labels]


def _settle(loop: Loop, version: Version, way: Way, chosen: Sequence[Chosen]) -> None:
    """Note what the rating of a review set answered, so that the same question is not asked again."""
    labels = {row.snapshot_id: row.label_value for row in manifest_rows(loop.world, way.given)}
    for each in chosen:
        label = labels[each.frame.snapshot_id]
        direction = version.reading.direction(label, each.frame.raw_score)
        way.settled[each.frame.snapshot_id].append(Settlement(version.reading.model_version, label, direction))


def _unjudged(world: World) -> list[Frame]:
    """The frames of the pool before anybody says anything of them."""
    return [
        Frame(each.snapshot_id, each.webcam_id, each.captured_at, None, 0, None, False, False) for each in world.pool
    ]


def _tell(seed: int, fraction: float, message: str) -> None:
    emit({"event": "world", "seed": seed, "fraction": round(fraction, 4), "message": message})


def _test_facts(rows: Sequence[ManifestRow]) -> dict[str, Any]:
    test = [row for row in rows if row.split == "test"]
    return {
        "snapshot_ids": [row.snapshot_id for row in test],
        "groups": [row.group_id for row in test],
        "targets": [row.label_value for row in test],
        "good": [bool(row.is_good) for row in test],
        "sha256": manifest_sha256(test),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Read the command line and go through a world; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m ml.demo.loop", description="The loop on GENERATED data.")
    parser.add_argument("--seed", required=True, type=int, help="of the world: frames, raters, chance")
    parser.add_argument("--out", required=True, type=Path, help="directory of the loop's files")
    for name, value in asdict(Size()).items():
        parser.add_argument(f"--{name}", type=int, default=value)
    given = parser.parse_args(arguments)
    size = Size(**{name: getattr(given, name) for name in asdict(Size())})

    def verb() -> dict[str, Any]:
        run_loop(given.seed, size, given.out)
        return {"file": str(given.out / LOOP_FILE)}

    return run_verb(verb)


if __name__ == "__main__":
    sys.exit(main())
