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
    """The primary metric of cheap models under random K-fold of rows, of groups, and of whole webcams, on the same rows.

    Folds of groups are as honest as rows of known webcams allow; folds of webcams are what webcams never seen will show.

    Returns:
        `known`, or the `reason` why not; `metric`, `n`, `n_groups`, `n_webcams`, and `models`: for each its `name`; of
        `naive`, `grouped` and `webcams` the value with its interval; `difference` and `webcams_difference`, naive minus
        grouped and naive minus webcams, paired, with their intervals; `sentence`. All intervals draw webcams, since the rows
        of one are alike; of a single webcam `webcams` and its difference are null and groups are drawn.
    """
    reason = "cheap models cannot be fitted on these rows: there are too few, or they are all alike"
    groups = [row.group_id for row in kept]
    webcams = [str(row.webcam_id) for row in kept]
    if not all(row.image_sha256 in features for row in kept) or len(set(groups)) < 2:
        return {"known": False, "reason": reason}
    numbers = np.stack([features[str(row.image_sha256)] for row in kept])
    targets = np.array([row.target_label for row in kept], dtype=np.float64)
    units = {"naive": [str(row.snapshot_id) for row in kept], "grouped": groups, "webcams": webcams}
    drawn = groups if len(set(webcams)) < 2 else webcams
    primary = judgement.metrics(head)[0].name
    models = []
    for name, model in CHEAP:
        scores = {way: out_of_fold(model, numbers, targets, by, SALT) for way, by in units.items()}
        if scores["naive"] is None or scores["grouped"] is None:
            return {"known": False, "reason": reason}
        models.append({"name": f"{name} on hand-made features",
                       **_compared(judgement, head, primary, scores, targets, drawn, replicates)})  # fmt: skip
    content = {"known": True, "metric": primary, "n": len(kept), "n_groups": len(set(groups)),
               "n_webcams": len(set(webcams)), "models": models}  # fmt: skip
    return {**content, "sentence": _gap_sentence(content)}


def _compared(
    judgement: Judgement,
    head: str,
    primary: str,
    scores: Mapping[str, np.ndarray | None],
    targets: np.ndarray,
    units: Sequence[str],
    replicates: int,
) -> dict[str, Any]:
    """The metric of each way of making folds, and how far the naive one is from the others; null where it has no scores.

    Intervals draw `units`, N of them.
    """
    values, drawn = {}, {}
    for way, each in scores.items():
        if each is not None:
            values[way] = judgement.measure(each, targets, head)[primary]
            parts = [judgement.measure_many(each, targets, weights, head)[primary]
                     for weights in reports.draws(units, replicates, reports.SEED)]  # fmt: skip
            drawn[way] = np.concatenate(parts)
    found: dict[str, Any] = dict.fromkeys(scores) | {
        way: {"value": value, "interval": reports.interval(drawn[way])} for way, value in values.items()
    }
    for way, key in (("grouped", "difference"), ("webcams", "webcams_difference")):
        found[key] = None if way not in values else {
            "value": values["naive"] - values[way], "interval": reports.interval(drawn["naive"] - drawn[way])
        }  # fmt: skip
    return found


def _gap_sentence(content: Mapping[str, Any]) -> str:
    parts = []
    for each in content["models"]:
        text = f"{each['name']} would show {each['naive']['value']:.3f} where the split by group shows "
        text += f"{each['grouped']['value']:.3f} ({_difference(each['difference'])})"
        if each["webcams"] is not None:
            text += f" and the split by whole webcam {each['webcams']['value']:.3f} ({_difference(each['webcams_difference'])})"
        parts.append(text)
    return (
        f"{content['metric']} under a naive random split of {content['n']} rows in {content['n_groups']} groups of "
        f"{content['n_webcams']} webcams: " + "; ".join(parts)
    )


def _difference(found: Mapping[str, Any]) -> str:
    low, high = found["interval"] or (float("nan"), float("nan"))
    return f"difference {found['value']:+.3f}, 95 % interval {low:+.3f} to {high:+.3f}"
