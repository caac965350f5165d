"""Which split a row is in: decided by its group's hash, recorded when first decided, never changed by other rows.

A group is a webcam that is held out whole, a webcam's local day, or a group that an import named. A recorded
assignment always wins over the hash, so that even another salt or other shares would move nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np

UNSEEN_SHARE = 0.15
"""Share of the webcams that are test whole: how a model does on a webcam that it has never seen."""
TRAIN_SHARE, VAL_SHARE = 0.8, 0.1
"""Shares of the other groups; the rest is test."""
ENOUGH_ROWS, ENOUGH_GROUPS = 100, 8
"""Below either, a table is called insufficient, and a test split makes way for K-fold: its intervals say too little."""
DEGREES_PER_HOUR = 15.0


class SplitError(ValueError):
    """Too few groups to split; the message says how many and what to do."""


@dataclass(frozen=True)
class Assignment:
    """Where a group belongs, for ever."""

    split: str
    """`train`, `val` or `test`."""
    seen: bool
    """False where the whole webcam is held out."""


HELD_OUT = Assignment("test", seen=False)


def uniform(key: str, salt: str) -> float:
    """A number in [0, 1) that depends on key and salt only, on every machine and in every process."""
    digest = hashlib.sha256(f"{salt}|{key}".encode()).hexdigest()
    return int(digest[:8], 16) / 2**32


def local_day(captured_at: datetime, lng: float | None) -> str:
    """The day `YYYY-MM-DD` by the sun at longitude `lng` (degrees east); UTC where it is not known.

    Solar time, not the time zone: a sunset and the frames around it never straddle midnight.
    """
    shift = timedelta(hours=(lng or 0.0) / DEGREES_PER_HOUR)
    return (captured_at.astimezone(UTC) + shift).strftime("%Y-%m-%d")


def webcam_group(webcam_id: int) -> str:
    """The group id of a webcam that is held out whole."""
    return f"webcam:{webcam_id}"


def is_held_out(webcam_id: int, salt: str, recorded: Mapping[str, Assignment]) -> bool:
    """Whether the webcam is test whole, by record or else by hash."""
    group_id = webcam_group(webcam_id)
    if group_id in recorded:
        return not recorded[group_id].seen
    return uniform(group_id, salt) < UNSEEN_SHARE


def _by_hash(group_id: str, salt: str) -> Assignment:
    position = uniform(group_id, salt)
    split = "train" if position < TRAIN_SHARE else "val" if position < TRAIN_SHARE + VAL_SHARE else "test"
    return Assignment(split, seen=True)


def assign(
    webcam_id: int,
    captured_at: datetime,
    lng: float | None,
    named_group: str | None,
    salt: str,
    recorded: Mapping[str, Assignment],
    may_hold_out: bool = True,
) -> tuple[str, Assignment]:
    """The group of a row and its assignment.

    A named group is the unit, whatever its webcam: the caller excludes its rows when the webcam is held out whole.
    Record what is answered for a group that is not in `recorded`.

    Args:
        webcam_id: The webcam.
        captured_at: Time with zone.
        lng: Longitude in degrees east, or None.
        named_group: The group that the import named, or None.
        salt: Part of every hash; the same for ever.
        recorded: Group id -> assignment, as recorded by earlier exports.
        may_hold_out: False keeps the webcam from being held out whole unless that is recorded.
    """
    if named_group:
        group_id = f"group:{named_group}"
        return group_id, recorded.get(group_id) or _by_hash(group_id, salt)
    group_id = webcam_group(webcam_id)
    day = f"{group_id}:{local_day(captured_at, lng)}"
    if group_id in recorded:
        if not recorded[group_id].seen:
            return group_id, recorded[group_id]
    elif day not in recorded and may_hold_out and is_held_out(webcam_id, salt, recorded):
        return group_id, HELD_OUT
    return day, recorded.get(day) or _by_hash(day, salt)


def folds(group_ids: Sequence[str], k: int, salt: str) -> np.ndarray:
    """Deal groups to folds for grouped K-fold: the fold of every row, int (N,), values 0..k-1.

    Groups go in order of their hash, each to the fold with the fewest rows so far, so that no group straddles, folds
    are of similar size, and the order of the rows does not matter. With fewer groups than `k` there are as many
    folds as groups.

    Raises:
        SplitError: Fewer than two groups: nothing can be held out.
    """
    unique, counts = np.unique(np.asarray(group_ids, dtype=object).astype(str), return_counts=True)
    if len(unique) < 2:
        raise SplitError(
            f"grouped K-fold needs at least 2 groups, and there {'is' if len(unique) == 1 else 'are'} {len(unique)}; "
            "add labels of other days or webcams, or name groups in the import"
        )
    sizes = np.zeros(min(k, len(unique)))
    fold_of: dict[str, int] = {}
    dealt = sorted(zip(unique, counts, strict=True), key=lambda pair: uniform(f"fold|{pair[0]}", salt))
    for position, (group_id, count) in enumerate(dealt):
        # The first round gives every fold a group; a later one may well leave a fold empty of large groups.
        fold = position if position < len(sizes) else int(np.argmin(sizes))
        fold_of[str(group_id)] = fold
        sizes[fold] += count
    return np.array([fold_of[str(group_id)] for group_id in group_ids], dtype=np.int64)
