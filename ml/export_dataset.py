"""From labelled snapshots to the rows of a dataset: gates, splits and counts. Pure: the caller queries and writes.

Every candidate becomes one row, kept in a split or excluded with its reason. The one thing that a row cannot show is
a second label of the same snapshot: the earlier of the kind's label sources wins, and the other is counted in the
dataset's meta as `duplicate-snapshot`, so that there `candidates = total + duplicate-snapshot`.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from ml.judgements.base import Judgement
from ml.manifest import SPLITS, ManifestRow, manifest_sha256
from ml.splits import Assignment, assign, webcam_group

FORMAT = 1
NO_LABEL = "no-label"
MISSING_IMAGE = "missing-image"
IMAGE_REMOVED = "image-removed"
INVALID_URL = "invalid-image-url"
FEW_RATINGS = "rating-count-below-minimum"
WEBCAM_HELD_OUT = "webcam-held-out"
DUPLICATE_OF_TEST = "duplicate-of-test-image"
DUPLICATE_SNAPSHOT = "duplicate-snapshot"


@dataclass(frozen=True)
class Gates:
    """What a label must satisfy to enter a dataset."""

    min_rating_count: int = 1
    """Fewest people who must have judged a snapshot, "not a sunset" included; labels without raters pass."""


@dataclass(frozen=True)
class Candidate:
    """One labelled snapshot of one label source."""

    snapshot_id: int
    webcam_id: int
    lng: float | None
    """Degrees east, for the local day."""
    label_source: str
    label_value: float | None
    rating_count: int
    num_verdicts: int
    """People who judged it; 0 for a source without raters."""
    image_path_or_url: str
    image_sha256: str | None
    phase: str
    captured_at: datetime
    named_group: str | None
    image_removed: bool = False
    """Retention has taken the image."""


def build_rows(
    candidates: Iterable[Candidate],
    judgement: Judgement,
    head: str,
    gates: Gates,
    salt: str,
    recorded: Mapping[str, Assignment],
) -> tuple[list[ManifestRow], dict[str, Assignment]]:
    """Make one row a snapshot, in order of snapshot, and the assignments that are new and must be recorded.

    A webcam with named groups is not held out whole (its groups are the units) unless that is recorded already;
    then its named rows are excluded as `webcam-held-out`, but for those whose group is test.
    """
    chosen = _one_label_each(candidates, judgement.label_sources)
    with_named_groups = {candidate.webcam_id for candidate in chosen if candidate.named_group}
    rows: list[ManifestRow] = []
    new: dict[str, Assignment] = {}
    for candidate in chosen:
        group_id, assignment = assign(
            candidate.webcam_id,
            candidate.captured_at,
            candidate.lng,
            candidate.named_group,
            salt,
            recorded,
            may_hold_out=candidate.webcam_id not in with_named_groups,
        )
        reason = _gate(candidate, gates)
        whole = recorded.get(webcam_group(candidate.webcam_id))
        if candidate.named_group and whole is not None and not whole.seen:
            assignment = replace(assignment, seen=assignment.split != "test")
            if assignment.split != "test":
                reason = reason or WEBCAM_HELD_OUT
        row = _row(candidate, judgement, head, group_id, assignment)
        if reason is not None:
            row = row.excluded(reason)
        elif group_id not in recorded:
            # A row of a held-out webcam is unseen; its named group as such is not.
            new[group_id] = replace(assignment, seen=True) if candidate.named_group else assignment
        rows.append(row)
    rows = _without_test_images(rows)
    _check_counts(rows, len(chosen))
    return rows, new


def _one_label_each(candidates: Iterable[Candidate], sources: Sequence[str]) -> list[Candidate]:
    """The candidate of the earliest source of each snapshot, in order of snapshot."""
    order = {source: position for position, source in enumerate(sources)}
    best: dict[int, Candidate] = {}
    for candidate in candidates:
        current = best.get(candidate.snapshot_id)
        if current is None or order[candidate.label_source] < order[current.label_source]:
            best[candidate.snapshot_id] = candidate
    return [best[snapshot_id] for snapshot_id in sorted(best)]


def _gate(candidate: Candidate, gates: Gates) -> str | None:
    """Why the candidate may not enter, or None."""
    if candidate.label_value is None or not math.isfinite(candidate.label_value):
        return NO_LABEL
    if candidate.image_removed:
        return IMAGE_REMOVED
    if candidate.image_sha256 is None:  # an image that is in the store needs no address any more
        if not candidate.image_path_or_url.strip():
            return MISSING_IMAGE
        if not _is_address(candidate.image_path_or_url):
            return INVALID_URL
    if 0 < candidate.num_verdicts < gates.min_rating_count:
        return FEW_RATINGS
    return None


def _is_address(text: str) -> bool:
    """Whether it is an http(s) URL with a host, or a plain relative path in the store."""
    if not text.isprintable() or text != text.strip():
        return False
    try:
        parts = urlsplit(text)
        host = parts.hostname
    except ValueError:
        return False
    if parts.scheme in ("http", "https"):
        return bool(host)
    return not parts.scheme and not text.startswith(("/", "\\")) and ".." not in text.split("/")


def _row(candidate: Candidate, judgement: Judgement, head: str, group_id: str, assignment: Assignment) -> ManifestRow:
    value = candidate.label_value
    if value is not None and not math.isfinite(value):
        value = None
    return ManifestRow(
        snapshot_id=candidate.snapshot_id,
        webcam_id=candidate.webcam_id,
        label_source=candidate.label_source,
        label_value=None if value is None else float(value),
        target_label=None if value is None else float(judgement.target(value, head)),
        is_good=None if value is None else judgement.is_good(value),
        split=assignment.split,
        seen=assignment.seen,
        image_path_or_url=candidate.image_path_or_url,
        phase=candidate.phase,
        captured_at=candidate.captured_at,
        rating_count=candidate.rating_count,
        image_sha256=candidate.image_sha256,
        group_id=group_id,
        exclusion_reason=None,
    )


def _without_test_images(rows: Sequence[ManifestRow]) -> list[ManifestRow]:
    """Exclude train and val rows whose image is also a test row's. Nothing ever leaves test for this."""
    in_test = {row.image_sha256 for row in rows if row.split == "test" and row.image_sha256 is not None}
    return [
        row.excluded(DUPLICATE_OF_TEST) if row.split in ("train", "val") and row.image_sha256 in in_test else row
        for row in rows
    ]


def _check_counts(rows: Sequence[ManifestRow], total: int) -> None:
    kept = sum(row.split is not None for row in rows)
    excluded = sum(row.exclusion_reason is not None for row in rows)
    assert kept + excluded == total, f"{kept} rows kept and {excluded} excluded of {total} snapshots: one has no reason"


def drop_images(rows: Sequence[ManifestRow], failed: Mapping[int, str]) -> list[ManifestRow]:
    """Exclude the kept rows whose image could not be had; `failed` is snapshot id -> reason."""
    return [
        row.excluded(failed[row.snapshot_id]) if row.split is not None and row.snapshot_id in failed else row
        for row in rows
    ]


def with_hashes(rows: Sequence[ManifestRow], hashes: Mapping[int, str]) -> list[ManifestRow]:
    """Fill in the sha256 of images that are known by now, and exclude what turns out to be an image of test."""
    known = [replace(row, image_sha256=hashes.get(row.snapshot_id, row.image_sha256)) for row in rows]
    return _without_test_images(known)


def summary(rows: Sequence[ManifestRow]) -> dict[str, Any]:
    """Counts of a dataset's rows.

    `total`, `kept`, `num_excluded`, `excluded` (reason -> rows), `splits` (split -> rows), `groups` (split ->
    groups), `test_seen`, `test_unseen`, `positive_rate` (share of good among kept rows that know it, else None) and
    `label_histogram` (nearest whole label -> kept rows).
    """
    kept = [row for row in rows if row.split is not None]
    good = [row.is_good for row in kept if row.is_good is not None]
    labels = Counter(math.floor(row.label_value + 0.5) for row in kept if row.label_value is not None)
    return {
        "total": len(rows),
        "kept": len(kept),
        "num_excluded": len(rows) - len(kept),
        "excluded": dict(sorted(Counter(str(row.exclusion_reason) for row in rows if row.split is None).items())),
        "splits": {split: sum(row.split == split for row in kept) for split in SPLITS},
        "groups": {split: len({row.group_id for row in kept if row.split == split}) for split in SPLITS},
        "test_seen": sum(row.split == "test" and row.seen is True for row in kept),
        "test_unseen": sum(row.split == "test" and row.seen is False for row in kept),
        "positive_rate": sum(good) / len(good) if good else None,
        "label_histogram": {str(label): labels[label] for label in sorted(labels)},
    }


def meta(
    rows: Sequence[ManifestRow],
    candidates: Sequence[Candidate],
    judgement: Judgement,
    head: str,
    gates: Gates,
    salt: str,
    as_of: datetime,
) -> dict[str, Any]:
    """The content of `export_meta.json`: parameters, counts and the sha256 over all rows."""
    return {
        "format": FORMAT,
        "params": {
            "kind": judgement.name,
            "kind_version": judgement.version,
            "head": head,
            "label_sources": list(judgement.label_sources),
            "gates": asdict(gates),
            "salt": salt,
            "as_of": as_of.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        },
        "counts": {
            **summary(rows),
            "candidates": len(candidates),
            DUPLICATE_SNAPSHOT: len(candidates) - len(rows),
        },
        "manifest_sha256": manifest_sha256(rows),
    }
