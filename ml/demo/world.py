"""A GENERATED world that a loop is tried on: frames, raters, test rows. All of it is fixed by a seed beforehand.

A snapshot's raters come in an order of their own, and each rates it in one way only. So whoever asks for the next
rating of a snapshot gets the same one, and two ways of choosing what to ask for differ by their choice alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime

import numpy as np

from ml.demo.raters import Rater, make_raters, rate
from ml.demo.sky import Frame, make_frames, make_webcams, render, to_jpeg
from ml.images.store import FileStore
from ml.splits import Assignment, assign

NUM_RATERS = 6
Vote = tuple[str, int]
"""A rater's name, and the rating: 1..5, or 0 for "not a sunset"."""


@dataclass(frozen=True)
class Snapshot:
    """A frame that was kept, and where the split puts it."""

    snapshot_id: int
    """From 1, in order of webcam and time."""
    webcam_id: int
    frame: Frame
    group_id: str
    is_test: bool
    image_sha256: str = ""
    """Empty until it was drawn."""

    @property
    def captured_at(self) -> datetime:
        """UTC."""
        return self.frame.captured_at


@dataclass(frozen=True)
class World:
    """Everything that is fixed before anybody chooses."""

    seed: int
    salt: str
    """Of its splits."""
    snapshots: tuple[Snapshot, ...]
    raters: tuple[Rater, ...]

    @property
    def pool(self) -> tuple[Snapshot, ...]:
        """What may be chosen: all that is not test."""
        return tuple(each for each in self.snapshots if not each.is_test)

    @property
    def test(self) -> tuple[Snapshot, ...]:
        """What judges all versions, and is never chosen."""
        return tuple(each for each in self.snapshots if each.is_test)

    @property
    def order(self) -> list[int]:
        """Snapshots of the pool in the order, drawn at random, in which they come to be rated."""
        return list(
            np.random.default_rng([self.seed, 6]).permutation([each.snapshot_id for each in self.pool]).tolist()
        )

    def votes(self, snapshot_id: int, count: int) -> list[Vote]:
        """The first `count` ratings of a snapshot; there are as many as raters."""
        frame = self.snapshots[snapshot_id - 1].frame
        order = np.random.default_rng([self.seed, 5, frame.seed]).permutation(len(self.raters))[:count]
        return [
            (rater.name, rate(rater, frame, np.random.default_rng([self.seed, rater.seed, frame.seed])))
            for rater in (self.raters[int(place)] for place in order)
        ]


def make_world(
    seed: int, num_webcams: int, num_days: int, salt: str | None = None, webcam_ids: Mapping[str, int] | None = None
) -> World:
    """Invent a world: one frame a webcam and day, raters with bias and noise, splits by the rules of every export.

    Args:
        seed: of frames, raters and chance.
        num_webcams: as many as are there.
        num_days: of each webcam.
        salt: of the splits; None holds out other webcams in each world.
        webcam_ids: name -> id where they have ids already; None numbers them from 1.
    """
    salt = salt or f"generated-{seed}"
    frames = make_frames(make_webcams(num_webcams, seed), num_days, seed, frames_per_day=1)
    webcams = dict.fromkeys(frame.webcam.id for frame in frames)
    ids = webcam_ids or {name: number for number, name in enumerate(webcams, start=1)}
    snapshots = []
    recorded: dict[str, Assignment] = {}
    for number, frame in enumerate(frames, start=1):
        webcam_id = ids[frame.webcam.id]
        group_id, where = assign(webcam_id, frame.captured_at, frame.webcam.lng, None, salt, recorded)
        recorded[group_id] = where
        snapshots.append(Snapshot(number, webcam_id, frame, group_id, where.split == "test"))
    return World(seed, salt, tuple(snapshots), tuple(make_raters(NUM_RATERS, seed)))


def drawn(world: World, store: FileStore, report: Callable[[int, int], None]) -> World:
    """The same world with its frames drawn into a store; `report` is told how many are done, and of how many."""
    found = []
    for done, each in enumerate(world.snapshots, start=1):
        found.append(replace(each, image_sha256=store.put_image(to_jpeg(render(each.frame)))))
        report(done, len(world.snapshots))
    return replace(world, snapshots=tuple(found))
