"""Groups for folds: those that hold near-duplicates of each other count as one, so that no fold is judged by its copies.

Only folds are made by them. Splits are recorded for ever by the groups of the manifest, and bootstraps draw those.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from ml.images.decode import ImageError
from ml.images.fingerprints import fingerprints_of
from ml.images.store import FileStore, StoreError
from ml.manifest import ManifestError, ManifestRow
from ml.near_duplicates import find_near_duplicates, joined_groups
from ml.training.dataset import Items


def with_fold_groups(
    items: Items, rows: Sequence[ManifestRow], needed: np.ndarray, store: FileStore, cache: Path, threads: int
) -> tuple[Items, str | None]:
    """The items with `fold_groups` joined where groups hold near-duplicates; and what was joined, in words, or None.

    Where all would become one group, nothing could be held out: then they stay apart, which the words say.

    Args:
        items: as `load_items` made them.
        rows: the manifest.
        needed: indices of the items that may be in folds, int64 (M,); others are not looked at.
        store: where images are.
        cache: directory of cached fingerprints.
        threads: that decode; 0 for the caller's.

    Raises:
        ManifestError: An image is missing or cannot be decoded.
    """
    by_snapshot = {row.snapshot_id: row for row in rows}
    chosen = [by_snapshot[int(snapshot)] for snapshot in items.snapshot_ids[needed]]
    try:
        prints = fingerprints_of(store.image, [str(row.image_sha256) for row in chosen], cache, threads=threads)
    except (StoreError, ImageError) as error:
        raise ManifestError(f"an image of the manifest cannot be used: {error}; export the dataset again") from error
    apart = [row.group_id for row in chosen]
    joined = joined_groups(apart, find_near_duplicates(chosen, prints).twins)
    before, after = len(set(apart)), len(set(joined))
    if before == after:
        return items, None
    if after == 1:
        return items, f"all {before} groups hold near-duplicates of others, so folds cannot keep these together"
    groups = list(items.fold_groups)
    for place, group in zip(needed, joined, strict=True):
        groups[place] = group
    told = f"{before} groups count as {after} in folds, since some hold near-duplicates of others"
    return replace(items, fold_groups=tuple(groups)), told
