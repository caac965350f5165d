"""The audit of leaks: whether anything that the model learned from stands on the other side too, and what that is worth.

It trusts no earlier stage: groups, image hashes and near-duplicates of the very rows that are reported are looked at
again. Beside it stands, once, what a naive random split of rows would have shown of a cheap model, next to the same
model under the honest split by group: the difference is what leakage pretends.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ml import report as reports
from ml import simple_models
from ml.export_dataset import DUPLICATE_OF_TEST
from ml.images.fingerprints import Fingerprints
from ml.judgements.base import Judgement
from ml.manifest import ManifestRow
from ml.near_duplicates import (
    NEAR_DUPLICATE_OF_TEST,
    NEAR_DUPLICATE_OF_VAL,
    closest_pair,
    find_near_duplicates,
    near_elsewhere,
    near_split,
)
from ml.simple_models import out_of_fold

BETWEEN = (("train", "test"), ("val", "test"), ("train", "val"))
"""Splits that must share nothing: the first is learned from, the second judged by."""
TOLERATED = 0.01
"""Share of out-of-fold rows with a near-duplicate in another fold above which the figures are called leaky."""
SALT = "audit"
MAX_LISTED = 20
CHEAP = (("ridge", simple_models.ridge), ("nearest neighbours", simple_models.nearest_neighbours))
"""A model of few numbers, and one that remembers: leakage flatters the second more."""


def audit(
    full: Sequence[ManifestRow], kept: Sequence[ManifestRow], prints: Fingerprints, fold_of: Mapping[int, int] | None
) -> dict[str, Any]:
    """What crosses splits among the `kept` rows, and what has been dropped for it.

    Args:
        full: all rows of the manifest, with the reasons of those that were dropped.
        kept: the rows in a split.
        prints: fingerprints of the kept rows, in their order.
        fold_of: snapshot -> fold, where the headline is out of fold; else None.

    Returns:
        `leak` (bool) and `verdict` (a sentence); `excluded` (reason -> rows); `between` (for each pair of splits: `n`
        rows of the first, `near_duplicates` of them, `closest` pair or null); `images_in_several_splits`,
        `groups_in_several_splits` and `held_out_webcams_learned` (`n` and the first of them, `listed`); `folds` (`n` rows,
        `near_duplicates` of them, or null); `look_alikes` (pairs) and `flat_frames` (rows), which are no leaks.
    """
    found = find_near_duplicates(kept, prints)
    dropped = Counter(row.exclusion_reason for row in full if row.split is None)
    content: dict[str, Any] = {
        "excluded": {
            reason: dropped[reason] for reason in (DUPLICATE_OF_TEST, NEAR_DUPLICATE_OF_TEST, NEAR_DUPLICATE_OF_VAL)
        },
        "between": [],
        "images_in_several_splits": _in_several(kept, lambda row: row.image_sha256),
        "groups_in_several_splits": _in_several(kept, lambda row: row.group_id),
        "held_out_webcams_learned": _held_out_and_learned(kept),
        "folds": None,
        "look_alikes": found.num_look_alikes,
        "flat_frames": found.num_flat,
    }
    splits = np.array([row.split for row in kept], dtype=str)
    for first, second in BETWEEN:
        near = near_split(kept, found.twins, (first,), second)
        closest = closest_pair(kept, prints, np.flatnonzero(splits == first), np.flatnonzero(splits == second))
        content["between"].append(
            {"learned": first, "judged": second, "n": int((splits == first).sum()), "near_duplicates": len(near),
             "listed": [kept[at].snapshot_id for at in near[:MAX_LISTED]], "closest": closest}
        )  # fmt: skip
    if fold_of is not None:
        parts = [fold_of.get(row.snapshot_id) for row in kept]
        content["folds"] = {"n": len(kept), "near_duplicates": len(near_elsewhere(parts, found.twins))}
    faults = _faults(content)
    return {**content, "leak": bool(faults), "verdict": _sentence(content, faults)}


def _in_several(kept: Sequence[ManifestRow], of: Any) -> dict[str, Any]:
    splits: dict[str, set[str | None]] = defaultdict(set)
    for row in kept:
        if of(row) is not None:
            splits[of(row)].add(row.split)
    crossing = sorted(name for name, parts in splits.items() if len(parts) > 1)
    return {"n": len(crossing), "listed": crossing[:MAX_LISTED]}


def _held_out_and_learned(kept: Sequence[ManifestRow]) -> dict[str, Any]:
    """Webcams with test rows that are said to be never seen, and with rows that were learned from."""
    learned = {row.webcam_id for row in kept if row.split != "test"}
    both = sorted({row.webcam_id for row in kept if row.split == "test" and row.seen is False} & learned)
    return {"n": len(both), "listed": both[:MAX_LISTED]}


def _faults(content: Mapping[str, Any]) -> list[str]:
    """What is wrong, in words; nothing where the splits share nothing."""
    said = [
        (content["groups_in_several_splits"]["n"], "groups stand in several splits"),
        (content["images_in_several_splits"]["n"], "images stand in several splits"),
        (content["held_out_webcams_learned"]["n"], "webcams that count as never seen were learned from"),
        *(
            (
                each["near_duplicates"],
                f"of {each['n']} {each['learned']} rows are near-duplicates of {each['judged']} rows",
            )
            for each in content["between"]
        ),
    ]
    faults = [f"{n} {words}" for n, words in said if n]
    apart = content["folds"]
    if apart is not None and apart["near_duplicates"] > TOLERATED * apart["n"]:
        faults.append(f"{apart['near_duplicates']} of {apart['n']} rows have a near-duplicate in another fold")
    return faults


def _sentence(content: Mapping[str, Any], faults: Sequence[str]) -> str:
    excluded = content["excluded"]
    kept_out = f"{sum(excluded.values())} rows were dropped before training as copies of rows that judge"
    if faults:
        return f"the splits leak: {', '.join(faults)}, so the figures are too good to be believed; {kept_out}"
    apart = content["folds"]
    folded = f", {apart['near_duplicates']} of {apart['n']} rows have one in another fold" if apart is not None else ""
    return (
        f"no group, image or near-duplicate stands on two sides of a split{folded}; {kept_out}, and "
        f"{content['flat_frames']} flat frames could not be compared"
    )


def naive_split(
    judgement: Judgement,
    head: str,
    kept: Sequence[ManifestRow],
    features: Mapping[str, np.ndarray],
    replicates: int,
) -> dict[str, Any]:
    """The primary metric of cheap models under random K-fold of rows beside K-fold of groups, on the same rows.

    Returns:
        `known`, or the `reason` why not; `metric`, `n`, `n_groups`, and `models`: for each its `name`, `naive` and
        `grouped` value with intervals, and `difference`, naive minus grouped, paired, with its interval; `sentence`.
    """
    reason = "cheap models cannot be fitted on these rows: there are too few, or they are all alike"
    groups = [row.group_id for row in kept]
    if not all(row.image_sha256 in features for row in kept) or len(set(groups)) < 2:
        return {"known": False, "reason": reason}
    numbers = np.stack([features[str(row.image_sha256)] for row in kept])
    targets = np.array([row.target_label for row in kept], dtype=np.float64)
    rows = [str(row.snapshot_id) for row in kept]
    primary = judgement.metrics(head)[0].name
    models = []
    for name, model in CHEAP:
        folded = [out_of_fold(model, numbers, targets, units, SALT) for units in (rows, groups)]
        scores = [each for each in folded if each is not None]
        if len(scores) < len(folded):
            return {"known": False, "reason": reason}
        drawn = [
            np.concatenate([judgement.measure_many(each, targets, weights, head)[primary]
                            for weights in reports.draws(groups, replicates, reports.SEED)])
            for each in scores
        ]  # fmt: skip
        value = [judgement.measure(each, targets, head)[primary] for each in scores]
        models.append(
            {"name": f"{name} on hand-made features",
             "naive": {"value": value[0], "interval": reports.interval(drawn[0])},
             "grouped": {"value": value[1], "interval": reports.interval(drawn[1])},
             "difference": {"value": value[0] - value[1], "interval": reports.interval(drawn[0] - drawn[1])}}
        )  # fmt: skip
    content = {"known": True, "metric": primary, "n": len(kept), "n_groups": len(set(groups)), "models": models}
    return {**content, "sentence": _gap_sentence(content)}


def _gap_sentence(content: Mapping[str, Any]) -> str:
    parts = []
    for each in content["models"]:
        (low, high) = each["difference"]["interval"] or (float("nan"), float("nan"))
        parts.append(
            f"{each['name']} would show {each['naive']['value']:.3f} where the split by group shows "
            f"{each['grouped']['value']:.3f} (difference {each['difference']['value']:+.3f}, 95 % interval {low:+.3f} to "
            f"{high:+.3f})"
        )
    return (
        f"{content['metric']} under a naive random split of {content['n']} rows in {content['n_groups']} groups: "
        + "; ".join(parts)
    )
