"""Find disagreements: choose the review set of a version out of all frames, having scored those that it had not seen."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any

import numpy as np
from sqlmodel import Session

from db.engine import session_scope
from db.queries import disagreements, models, scoring
from db.queries.disagreements import Closed, StoredFrame
from db.queries.labels import LABEL_QUERIES, LabelRow, settled_time
from db.tables import ModelVersion
from ml.control import control_estimate
from ml.disagreements import CONTROL, Chosen, Frame, ReviewSet, Settlement, Wanted, choose_review_set, near_pairs
from ml.export_dataset import Candidate, Gates, build_rows
from ml.images.decode import ImageError
from ml.images.fingerprints import THUMBNAIL_PX, Fingerprints, fingerprints_of
from ml.images.store import FileStore, StoreError
from ml.judgements import judgement
from ml.readings import Reading
from ml.splits import Assignment
from worker.jobs import Finish, JobContext
from worker.places import bundle_cache, feature_cache, file_store
from worker.queue import version_to_ask
from worker.settings import ServingSettings
from worker.stages.export_dataset import SALT
from worker.stages.served import Served, load_served

Progress = Callable[[float, str], None]


@dataclass(frozen=True)
class Found:
    """A review set before its rows are written."""

    version: ModelVersion
    reading: Reading
    frames: Sequence[Frame]
    new_scores: dict[int, float]
    """Snapshot -> raw score, of frames that the version had not scored before."""
    num_unreadable: int
    """Frames that were left out since their image is missing or damaged."""
    chosen: ReviewSet
    closed: dict[int, Closed]
    """Snapshot -> what became of it last in an earlier set."""
    control: dict[str, Any]
    """How the version does by its controls, this one and those before: see `ml.control`."""
    as_of: datetime


def find_disagreements(
    store: FileStore, kind: str, model_version: str | None, wanted: Wanted, seed: int, progress: Progress
) -> Found:
    """Choose a review set; reads rows and images, and writes nothing but the cache of fingerprints.

    Raises:
        NotFound: There is no such version.
        Conflict: It is of another kind, or none is active.
    """
    with session_scope() as session:
        version = version_to_ask(session, kind, model_version)
        as_of = settled_time(session)
        labelled = [row for source in judgement(kind).label_sources for row in LABEL_QUERIES[source](session, as_of)]
        test = snapshots_in_test(session, version, labelled)
        stored = disagreements.stored_frames(session, version.model_version)
        closed = disagreements.closed_before(session, kind)
        drawn = disagreements.control_frames(session, version.model_version)
    prints, readable = _fingerprints(store, stored, lambda part, text: progress(0.5 * part, text))
    threshold = ServingSettings().rating_threshold if judgement(kind).scores_snapshots else None
    served = load_served(version, store, bundle_cache(), threshold)
    reading = Reading.of(served.scorer.bundle, served.scorer.judgement, served.policy)
    scores = _score_new(store, served, readable, lambda part, text: progress(0.5 + 0.45 * part, text))
    kept = [at for at, each in enumerate(readable) if each.raw_score is not None or each.snapshot_id in scores]
    readable = [readable[at] for at in kept]
    prints = Fingerprints(prints.hashes[kept], prints.thumbnails[kept])
    settlements = _settlements(reading, closed)
    labels = {row.snapshot_id: row for row in reversed(labelled)}  # the earlier of two sources goes before
    frames = [_frame(each, labels.get(each.snapshot_id), test, scores, settlements) for each in readable]
    alike = near_pairs(frames, prints)
    chosen = choose_review_set(frames, reading, wanted, seed, alike)
    drawn += [each.frame.snapshot_id for each in chosen.chosen if CONTROL in each.reasons]
    return Found(
        version, reading, frames, scores, len(stored) - len(readable), chosen,
        {each.snapshot_id: each for each in closed}, control_estimate(frames, drawn, reading, alike), as_of,
    )  # fmt: skip


def snapshots_in_test(session: Session, version: ModelVersion, labelled: Sequence[LabelRow]) -> set[int]:
    """Snapshots that an export of these labels, in order of source, would put into its test split."""
    recorded = {
        row.group_id: Assignment(row.split, row.seen) for row in models.split_assignments(session, version.kind)
    }
    candidates = [Candidate(**asdict(row)) for row in labelled]
    rows, _ = build_rows(candidates, judgement(version.kind), version.head, Gates(), SALT, recorded)
    return {row.snapshot_id for row in rows if row.split == "test"}


def _fingerprints(
    store: FileStore, frames: Sequence[StoredFrame], progress: Progress
) -> tuple[Fingerprints, list[StoredFrame]]:
    """Fingerprints of the frames whose image can be read, and these frames."""
    found: dict[str, Fingerprints | None] = {}
    for done, frame in enumerate(frames, start=1):
        sha256 = frame.image_sha256
        if sha256 not in found:
            found[sha256] = None  # where the image is gone, even if its fingerprint is in the cache
            try:
                if store.has_image(sha256):
                    found[sha256] = fingerprints_of(store.image, [sha256], feature_cache(), threads=1)
            except (ImageError, StoreError):
                pass
        progress(done / len(frames), f"looked at frame {done} of {len(frames)}")
    readable = [frame for frame in frames if found[frame.image_sha256] is not None]
    kept = [each for frame in readable if (each := found[frame.image_sha256]) is not None]
    if not kept:
        return Fingerprints(np.empty(0, np.uint64), np.empty((0, THUMBNAIL_PX, THUMBNAIL_PX, 3), np.uint8)), []
    hashes, thumbnails = ([getattr(each, part) for each in kept] for part in ("hashes", "thumbnails"))
    return Fingerprints(np.concatenate(hashes), np.concatenate(thumbnails)), readable


def _score_new(store: FileStore, served: Served, frames: Sequence[StoredFrame], progress: Progress) -> dict[int, float]:
    """Raw scores of the frames that this version has not scored, by snapshot; none where the image cannot be read."""
    by_image: dict[str, float | None] = {}
    new = [frame for frame in frames if frame.raw_score is None]
    for done, frame in enumerate(new, start=1):
        if frame.image_sha256 not in by_image:
            try:
                outputs, _ = served.scorer.score_image(store.image(frame.image_sha256))
                by_image[frame.image_sha256] = outputs["raw_score"]
            except (ImageError, StoreError):
                by_image[frame.image_sha256] = None
        progress(done / len(new), f"scored frame {done} of {len(new)}")
    return {frame.snapshot_id: raw for frame in new if (raw := by_image[frame.image_sha256]) is not None}


def _settlements(reading: Reading, closed: Sequence[Closed]) -> dict[int, tuple[Settlement, ...]]:
    found: dict[int, tuple[Settlement, ...]] = {}
    for each in closed:
        theirs = replace(reading, head=each.head)
        one = Settlement(each.model_version, each.label, theirs.direction(each.label, each.raw_score))
        found[each.snapshot_id] = (*found.get(each.snapshot_id, ()), one)
    return found


def _frame(
    stored: StoredFrame,
    label: LabelRow | None,
    test: Collection[int],
    scores: dict[int, float],
    settlements: dict[int, tuple[Settlement, ...]],
) -> Frame:
    return Frame(
        stored.snapshot_id,
        stored.webcam_id,
        stored.captured_at,
        None if label is None else label.label_value,
        0 if label is None else label.num_verdicts,
        scores.get(stored.snapshot_id, stored.raw_score),
        stored.learned,
        stored.snapshot_id in test,
        settlements.get(stored.snapshot_id, ()),
    )


def add_found(
    session: Session, found: Found, wanted: Wanted, seed: int, *, cycle_id: int | None = None
) -> dict[str, Any]:
    """Write a review set, of an evaluation cycle or of none, and the scores that were new; returns what a job answers."""
    scoring.add_inferences(session, list(_inferences(found)), shown=False)
    counts = {
        "frames": len(found.frames),
        "unreadable": found.num_unreadable,
        "settled": found.chosen.num_settled,
        "near_duplicates": found.chosen.num_alike,
        "ways": {reason: asdict(way) for reason, way in found.chosen.ways.items()},
        "control": found.control,
    }
    params = {**asdict(wanted), "band": list(found.reading.band()), "policy": dict(found.reading.policy)}
    made = disagreements.add_review_set(
        session,
        [_row(found, each) for each in found.chosen.chosen],
        kind=found.version.kind,
        model_version=found.version.model_version,
        cycle_id=cycle_id,
        seed=seed,
        params=params,
        counts=counts,
        as_of=found.as_of,
    )
    return {
        "review_set_id": made.id,
        "model_version": found.version.model_version,
        "seed": seed,
        "disagreements": len(found.chosen.asked),
        "counts": counts,
    }


def _inferences(found: Found) -> list[dict[str, Any]]:
    return [
        {"snapshot_id": snapshot_id, "model_version": found.version.model_version, "raw_score": raw_score,
         "ai_rating": found.reading.outputs(raw_score).get("ai_rating")}
        for snapshot_id, raw_score in sorted(found.new_scores.items())
    ]  # fmt: skip


def _row(found: Found, chosen: Chosen) -> dict[str, Any]:
    """The row of a frame; of one that chance drew and that is settled, with what became of it before."""
    frame = chosen.frame
    outputs = {} if frame.raw_score is None else found.reading.outputs(frame.raw_score)
    before = found.closed[frame.snapshot_id] if chosen.is_settled else None
    closing = {} if before is None else {
        "state": before.state, "closed_by": before.closed_by, "closed_at": before.closed_at,
        "closed_label": before.label,
    }  # fmt: skip
    return closing | {
        "snapshot_id": frame.snapshot_id,
        "reasons": list(chosen.reasons),
        "inclusion_probability": chosen.inclusion_probability,
        "label_value": frame.label,
        "num_verdicts": frame.num_verdicts,
        "raw_score": frame.raw_score,
        "ai_rating": outputs.get("ai_rating"),
        "p_good": outputs.get("p_good"),
        "disagreement": chosen.disagreement,
        "need": chosen.need,
    }


def run(context: JobContext) -> Finish:
    """The job `find_disagreements`: parameters `kind`, `model_version` (null: the active one), `seed` (null: the job's
    number), `largest`, `flips`, `band` and `control`, how many frames each way may bring in, and perhaps `cycle_id`.
    """
    params = context.params
    wanted = Wanted(*(int(params[name]) for name in ("largest", "flips", "band", "control")))
    seed = context.claim.job_id if params["seed"] is None else int(params["seed"])
    found = find_disagreements(
        file_store(), str(params["kind"]), params["model_version"], wanted, seed, context.progress
    )
    result: dict[str, Any] = {}

    def effects(session: Session) -> None:
        result.clear()
        result.update(add_found(session, found, wanted, seed, cycle_id=params.get("cycle_id")))

    return Finish(result, effects)
