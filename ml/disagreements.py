"""The review set: which frames are worth a person's time after an evaluation, why, and with which probability each is in.

Four ways lead in. Two are certain: the frames on which people and the model are furthest apart, and flips, where they
stand on opposite sides of the threshold. Both are asked only of frames that the version did not learn from, since a
model agrees with what it was taught, and of no test rows, whose labels must not bend towards it. Two are drawn by
chance: a sample of all frames near the threshold, and a control of everything, whose figures alone say how the model
does in general (see `ml.control`). Near-duplicates are one question. For the certain ways the largest disagreement
stands for those that it resembles; for chance a lot decides, as it must know nothing of people or model.

A frame that is settled is not asked again, nor are its near-duplicates for what they disagree on. It comes back for a new
reason only: its label is another one than after its answers, or another version errs in the other direction. Chance
draws from settled frames too, or what is left to draw from would look better with every answer (docs/decisions/0013).

Source of the ways: the plan for the web app's disagreement report; inclusion probabilities after Horvitz and Thompson
1952, "A generalization of sampling without replacement from a finite universe".
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from ml.images.fingerprints import Fingerprints
from ml.near_duplicates import find_near_duplicates
from ml.readings import ROUNDING, Reading

LARGEST, FLIP, BAND, CONTROL = "largest-disagreement", "flip", "band", "control"
REASONS = (LARGEST, FLIP, BAND, CONTROL)
"""Why a frame is in a review set (its selection reason); of the last two chance decides."""
FIRST_RATING, ONE_MORE_RATING, AUDIT = "first-rating", "one-more-rating", "audit"
NEEDS = (FIRST_RATING, ONE_MORE_RATING, AUDIT)
"""What a person is asked for."""
AUDIT_FROM = 4
"""Verdicts from which on a label is no accident, so that what contradicts it is to be looked into: see `_need`."""


@dataclass(frozen=True)
class Settlement:
    """How the question about a frame was settled once."""

    model_version: str
    """Which version raised it."""
    label: float | None
    """The label after that; None where it was dismissed without any."""
    direction: int | None
    """Where that version's score stood to that label: 1 above, -1 below, 0 on it; None without a label."""


@dataclass(frozen=True)
class Frame:
    """One frame with what people and the version say of it."""

    snapshot_id: int
    webcam_id: int
    captured_at: datetime
    label: float | None
    """What people said, as label queries give it; None where nobody did."""
    num_verdicts: int
    """People behind the label; 0 for a label without raters."""
    raw_score: float | None
    """What the version says, in [0, 1]; None where it has not scored this frame."""
    learned: bool
    """Whether the version was trained or validated on it."""
    is_test: bool
    """Whether an export would have it in its test split."""
    settlements: tuple[Settlement, ...] = ()


@dataclass(frozen=True)
class Wanted:
    """How many frames each way may bring in, at most; one frame may come by several."""

    largest: int = 20
    flips: int = 50
    band: int = 20
    control: int = 20

    def __post_init__(self) -> None:
        """Refuse what is no count."""
        for name, value in self.__dict__.items():
            if value < 0:
                raise ValueError(f"{name} must be 0 or more frames, not {value}")


@dataclass(frozen=True)
class Chosen:
    """One frame of a review set."""

    frame: Frame
    reasons: tuple[str, ...]
    """Every way by which it came in, in the order of `REASONS`."""
    inclusion_probability: float
    """Chance, over all seeds, that a set of these frames holds this one by whatever way; in (0, 1]."""
    disagreement: float | None
    """In [0, 1]; None without a label or a score, of a test row, or where the version learned from it or a near-duplicate."""
    need: str
    is_settled: bool
    """Drawn by chance, and not asked again since it was answered or dismissed before."""


@dataclass(frozen=True)
class Way:
    """One way into a set: how many frames it could bring in, and how many it did."""

    population: int
    chosen: int
    settled: int = 0
    """Those of the chosen that are not asked again."""


@dataclass(frozen=True)
class ReviewSet:
    """What people are asked to look at, and what chance drew of that which they have answered."""

    chosen: tuple[Chosen, ...]
    """In an order of chance, so that every beginning of it is a mixture and tells no rater why a frame is there."""
    ways: Mapping[str, Way]
    """By selection reason."""
    num_settled: int
    """Frames that are not asked about since they are settled, whether chance drew them or not."""
    num_alike: int
    """Others that no way could bring in since a near-duplicate stands for them, or was settled."""

    @property
    def asked(self) -> tuple[Chosen, ...]:
        """Those of the chosen that people are asked about."""
        return tuple(each for each in self.chosen if not each.is_settled)


def near_pairs(frames: Sequence[Frame], prints: Fingerprints) -> list[tuple[int, int]]:
    """Pairs of snapshots that are near-duplicates; `prints` are the frames' fingerprints, in their order."""
    pairs = set()
    for twins in find_near_duplicates(frames, prints).twins:
        for first in twins.first:
            for second in twins.second:
                one, other = sorted((frames[first].snapshot_id, frames[second].snapshot_id))
                if one != other:
                    pairs.add((one, other))
    return sorted(pairs)


def is_settled(frame: Frame, reading: Reading) -> bool:
    """Whether the question that this version would raise about this frame was answered before."""
    direction = reading.direction(frame.label, frame.raw_score)
    return any(
        each.label == frame.label and (each.model_version == reading.model_version or each.direction == direction)
        for each in frame.settlements
    )


def choose_review_set(
    frames: Sequence[Frame], reading: Reading, wanted: Wanted, seed: int, alike: Iterable[tuple[int, int]] = ()
) -> ReviewSet:
    """The frames that are worth a person's time; the same whatever the order of `frames`.

    Args:
        frames: all there are, each snapshot once.
        reading: how to read the version's scores.
        wanted: how many.
        seed: what chance depends on; the same seed gives the same set.
        alike: pairs of snapshots that are near-duplicates, as of `near_pairs`.

    Raises:
        ValueError: A snapshot occurs twice.
    """
    if len({frame.snapshot_id for frame in frames}) != len(frames):
        raise ValueError("a snapshot occurs twice among the frames of a review set")
    near = neighbours(alike)
    apart = _apart(frames, reading, near)
    settled = {frame.snapshot_id for frame in frames if is_settled(frame, reading)}
    standing = _thinned(sorted(frames, key=lambda each: _lot(0, "stands", each.snapshot_id)), near)
    audited = _audited(frames, reading, apart, near, settled)
    flips = [frame for frame in audited if reading.flips(*_said(frame))]
    ids = [frame.snapshot_id for frame in standing]
    in_band = [frame.snapshot_id for frame in standing if _is_in_band(frame, reading)]
    ways = {
        LARGEST: ([frame.snapshot_id for frame in audited], _first(audited, wanted.largest)),
        FLIP: ([frame.snapshot_id for frame in flips], _first(flips, wanted.flips)),
        BAND: (in_band, _draw(in_band, wanted.band, seed, BAND)),
        CONTROL: (ids, _draw(ids, wanted.control, seed, CONTROL)),
    }
    chosen = [
        Chosen(
            frame,
            reasons,
            _inclusion_probability(frame.snapshot_id, ways),
            apart.get(frame.snapshot_id),
            _need(frame, LARGEST in reasons or FLIP in reasons),
            frame.snapshot_id in settled,
        )
        for frame in frames
        if (reasons := tuple(reason for reason in REASONS if frame.snapshot_id in ways[reason][1]))
    ]
    chosen.sort(key=lambda each: _lot(seed, "order", each.frame.snapshot_id))
    could = {*ids, *ways[LARGEST][0]} - settled
    return ReviewSet(
        tuple(chosen),
        {
            reason: Way(len(population), len(members), len(members & settled))
            for reason, (population, members) in ways.items()
        },
        len(settled),
        len(frames) - len(settled) - len(could),
    )


def neighbours(alike: Iterable[tuple[int, int]]) -> Mapping[int, set[int]]:
    """Snapshot -> those that it is a near-duplicate of, from pairs as of `near_pairs`."""
    near: dict[int, set[int]] = defaultdict(set)
    for one, other in alike:
        near[one].add(other)
        near[other].add(one)
    return near


def untaught(frames: Iterable[Frame], near: Mapping[int, set[int]]) -> set[int]:
    """Snapshots that the version learned neither from nor from a near-duplicate of."""
    listed = list(frames)
    learned = {frame.snapshot_id for frame in listed if frame.learned}
    return {
        frame.snapshot_id for frame in listed if not frame.learned and not near.get(frame.snapshot_id, set()) & learned
    }


def _apart(frames: Sequence[Frame], reading: Reading, near: Mapping[int, set[int]]) -> dict[int, float]:
    """Snapshot -> disagreement, of frames that may be asked about for it: judged by both, not what the version was taught,
    and no test row.
    """
    fresh = untaught(frames, near)
    return {
        frame.snapshot_id: reading.disagreement(frame.label, frame.raw_score)
        for frame in frames
        if frame.label is not None and frame.raw_score is not None and not frame.is_test and frame.snapshot_id in fresh
    }


def _audited(
    frames: Sequence[Frame],
    reading: Reading,
    apart: Mapping[int, float],
    near: Mapping[int, set[int]],
    settled: Collection[int],
) -> list[Frame]:
    """Frames that may be asked about for their disagreement, the largest first, then the oldest; no two of them alike.

    A settled near-duplicate has answered for a frame, unless the version errs on it in the other direction, or it was
    settled itself once and is open again.
    """
    directions = {frame.snapshot_id: reading.direction(frame.label, frame.raw_score) for frame in frames}

    def is_answered(frame: Frame) -> bool:
        twins = near.get(frame.snapshot_id, set()).intersection(settled)
        return not frame.settlements and any(
            directions[twin] in (None, directions[frame.snapshot_id]) for twin in twins
        )

    asked = [
        frame
        for frame in frames
        if apart.get(frame.snapshot_id, 0.0) > ROUNDING and frame.snapshot_id not in settled and not is_answered(frame)
    ]
    return _thinned(sorted(asked, key=lambda each: (-apart[each.snapshot_id], each.snapshot_id)), near)


def _thinned(frames: Iterable[Frame], near: Mapping[int, set[int]]) -> list[Frame]:
    """Frames of which no two are alike: each that is left out is alike one that goes before it.

    Chains do not matter: of A, B like A, and C like B alone, A and C stay where A goes first.
    """
    kept: dict[int, Frame] = {}
    for frame in frames:
        if not near.get(frame.snapshot_id, set()) & kept.keys():
            kept[frame.snapshot_id] = frame
    return list(kept.values())


def _is_in_band(frame: Frame, reading: Reading) -> bool:
    return frame.raw_score is not None and reading.is_in_band(frame.raw_score)


def _said(frame: Frame) -> tuple[float, float]:
    assert frame.label is not None and frame.raw_score is not None
    return frame.label, frame.raw_score


def _first(frames: Sequence[Frame], num: int) -> frozenset[int]:
    return frozenset(frame.snapshot_id for frame in frames[:num])


def _draw(population: Collection[int], num: int, seed: int, way: str) -> frozenset[int]:
    """A simple random sample without replacement: everybody's lot depends on seed, way and itself alone."""
    return frozenset(sorted(population, key=lambda each: _lot(seed, way, each))[:num])


def _lot(seed: int, way: str, snapshot_id: int) -> str:
    return hashlib.sha256(f"{seed}|{way}|{snapshot_id}".encode()).hexdigest()


def _inclusion_probability(snapshot_id: int, ways: Mapping[str, tuple[Collection[int], Collection[int]]]) -> float:
    """1 for what is certain; else the chance that at least one of the independent draws hits it, whether or not it did."""
    if snapshot_id in ways[LARGEST][1] or snapshot_id in ways[FLIP][1]:
        return 1.0
    missed = 1.0
    for way in (BAND, CONTROL):
        population, members = ways[way]
        if snapshot_id in population:
            missed *= 1.0 - len(members) / len(population)
    return 1.0 - missed


def _need(frame: Frame, is_contradicted: bool) -> str:
    """What is asked for. A label of few verdicts that is contradicted is most likely noise, so one more tells; one of many
    is not moved by one more, so it is looked into.
    """
    if frame.num_verdicts == 0 and frame.label is None:
        return FIRST_RATING
    return AUDIT if is_contradicted and frame.num_verdicts >= AUDIT_FROM else ONE_MORE_RATING
