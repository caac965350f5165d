"""Shadow: score the frames that the active version has scored with a candidate, and compare both.

Only inferences are written, which name their version. What the web app shows stays: the columns of webcams and snapshots,
the events, the captures, the answers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlmodel import Session

from db.engine import session_scope
from db.queries import lineage, scoring, shadows
from db.queries.labels import LABEL_QUERIES, settled_time
from db.queries.lineage import LearnedFrame
from db.queries.shadows import PairedScore
from db.tables import ModelVersion
from ml.images.decode import ImageError
from ml.images.fingerprints import fingerprints_of
from ml.images.store import FileStore, StoreError
from ml.judgements import judgement
from ml.near_duplicates import near_others
from ml.readings import Reading
from ml.shadow import ShadowedFrame, compare
from worker.jobs import Finish, JobContext
from worker.places import bundle_cache, feature_cache, file_store
from worker.settings import ServingSettings
from worker.shadowing import check_shadow
from worker.stages.readable import is_readable
from worker.stages.score import score_pixels
from worker.stages.served import Served, load_served

FRAMES_AT_ONCE = 50
"""Frames of one transaction."""


def run(context: JobContext) -> Finish:
    """The job `shadow`: parameter `model_version`. What it has scored stays when it is stopped, and is not done again.

    Its result has the numbers of frames `scored` now and `unreadable`, and the `comparison` over all, see `ml.shadow`.
    """
    store = file_store()
    with session_scope() as session:
        version, active = check_shadow(session, str(context.params["model_version"]))
    threshold = ServingSettings().rating_threshold
    shadow = load_served(version, store, bundle_cache(), threshold)
    scored, unreadable = _score(context, store, shadow, active.model_version)
    beside = load_served(active, store, bundle_cache(), threshold)
    context.progress(0.95, "comparing")
    frames = _frames(store, active, version)
    comparison = compare(_reading(beside), _reading(shadow), frames)
    return Finish(
        {"model_version": version.model_version, "active": active.model_version, "scored": scored,
         "unreadable": unreadable, "comparison": comparison}
    )  # fmt: skip


def _score(context: JobContext, store: FileStore, shadow: Served, active: str) -> tuple[int, int]:
    with session_scope() as session:
        total = shadows.count_unshadowed(session, active, shadow.model_version)
    scored = done = after = 0
    while True:
        with session_scope() as session:
            found = shadows.unshadowed(session, active, shadow.model_version, after=after, limit=FRAMES_AT_ONCE)
        if not found:
            return scored, done - scored
        rows = [row for row in (_row(store, shadow, *each) for each in found) if row is not None]
        with session_scope() as session:
            scoring.add_inferences(session, rows, shown=False)
        scored, done, after = scored + len(rows), done + len(found), found[-1][0]
        context.progress(0.9 * min(1.0, done / max(total, 1)), f"scored {done} of {total} frames")


def _row(store: FileStore, shadow: Served, snapshot_id: int, sha256: str) -> dict[str, Any] | None:
    """The inference of one frame; None where its image cannot be had or read, and no score is made up."""
    try:
        answer = score_pixels(shadow, store.image(sha256))
    except (StoreError, ImageError):
        return None
    if answer.raw_score is None:
        return None
    return {"snapshot_id": snapshot_id, "model_version": shadow.model_version, "raw_score": answer.raw_score,
            "ai_rating": answer.ai_rating}  # fmt: skip


def _frames(store: FileStore, active: ModelVersion, shadow: ModelVersion) -> list[ShadowedFrame]:
    """All frames that both have scored, with people's label where neither learned from the frame or from one like it."""
    with session_scope() as session:
        learned = lineage.learned_frames(session, [active.training_run_id, shadow.training_run_id])
        labels = _labels(session, shadow.kind)
        pairs = shadows.paired_scores(session, active.model_version, shadow.model_version)
    fresh = _fresh(store, [pair for pair in pairs if pair.snapshot_id in labels], learned)
    return [
        ShadowedFrame(
            pair.webcam_id, pair.active, pair.shadow, labels[pair.snapshot_id] if pair.snapshot_id in fresh else None
        )
        for pair in pairs
    ]


def _labels(session: Session, kind: str) -> dict[int, float]:
    labels: dict[int, float] = {}
    moment = settled_time(session)
    for source in judgement(kind).label_sources:  # the one that wins comes first
        for row in LABEL_QUERIES[source](session, moment):
            if row.label_value is not None:
                labels.setdefault(row.snapshot_id, row.label_value)
    return labels


def _fresh(store: FileStore, judged: Sequence[PairedScore], learned: Sequence[LearnedFrame]) -> set[int]:
    """Snapshots that were not learned from and resemble none that were; without those whose image nobody can look at."""
    snapshots, images = {frame.snapshot_id for frame in learned}, {frame.image_sha256 for frame in learned}
    others = [
        pair
        for pair in judged
        if pair.snapshot_id not in snapshots
        and pair.image_sha256 not in images
        and is_readable(store, pair.image_sha256)
    ]
    there = [frame for frame in learned if is_readable(store, frame.image_sha256)]
    hashes = [*(pair.image_sha256 for pair in others), *(frame.image_sha256 for frame in there)]
    near = near_others(others, there, fingerprints_of(store.image, hashes, feature_cache()))
    return {pair.snapshot_id for pair in others} - {others[at].snapshot_id for at in near}


def _reading(served: Served) -> Reading:
    return Reading.of(served.scorer.bundle, served.scorer.judgement, served.policy)
