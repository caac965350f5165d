"""Score frames with the active model, and write what follows: event, inference, snapshot, webcam.

Route, tick, task and command share this file. Pixels never meet a session: `score_pixels` runs the model,
`record_score` writes the rows, `record_scores` those of many attempts in one go.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from pydantic import BaseModel
from sqlmodel import Session

from db.engine import LoneStatements
from db.queries import scoring, webcams
from ml import thresholds
from ml.images.decode import ImageError, ImageInfo, inspect, sha256_of
from ml.images.store import FileStore
from worker.stages.capture import CaptureVerdict, ScoredFrame, capture
from worker.stages.served import Served

NO_MODEL = "no active model: train and promote one first"
FILES_AT_ONCE = 4
"""Kept images that are flushed to the disk at the same time."""


@dataclass(frozen=True)
class Frame:
    """Where and when a picture was taken, as far as the caller knows."""

    webcam_id: int | None = None
    phase: str | None = None
    captured_at: datetime | None = None


@dataclass
class Scored:
    """How a score came about. Without a model or a readable image: no score, and the reason."""

    path_taken: str
    model_version: str | None = None
    reason: str | None = None
    info: ImageInfo | None = None
    image_sha256: str | None = None
    prediction: BaseModel | None = None
    raw_score: float | None = None
    ai_rating: float | None = None
    p_good: float | None = None
    is_good: bool | None = None
    policy: dict[str, Any] | None = None
    capture: CaptureVerdict = field(default_factory=lambda: CaptureVerdict(False, "no-score", None, None))
    event_id: int | None = None
    wrote_inference: bool = False
    """Whether the snapshot that shows this picture got an inference of this version, which it did not have."""


@dataclass
class Attempt:
    """One attempt to score, before its rows are written."""

    kind: str
    frame: Frame
    scored: Scored
    data: bytes | None
    """The picture; None where it could not be fetched."""
    writes_snapshots: bool
    """The kind's `scores_snapshots`."""

    @property
    def has_score(self) -> bool:
        """Whether a model said something, now or before."""
        return self.scored.path_taken != "unscored"

    @property
    def writes_webcam(self) -> bool:
        """Whether it goes into a webcam's columns and through the gate."""
        return self.frame.webcam_id is not None and self.has_score and self.writes_snapshots


def score_pixels(served: Served | None, data: bytes, without: str = NO_MODEL) -> Scored:
    """Run the model on one encoded image. Never raises for a bad image: the answer says why there is no score.

    `without` is the reason where nothing is served.
    """
    try:
        if served is None:
            info = inspect(data)
            return Scored("unscored", reason=without, info=info, image_sha256=info.sha256)
        info, pixels = served.scorer.read(data)
    except ImageError as error:
        return Scored("unscored", reason=f"{error.reason}: {error}", image_sha256=sha256_of(data))
    outputs, prediction = served.scorer.score_input(pixels)
    return _scored("onnx", served, prediction, outputs, info)


def _scored(
    path: str, served: Served, prediction: BaseModel, outputs: dict[str, float], info: ImageInfo | None
) -> Scored:
    return Scored(
        path,
        model_version=served.model_version,
        info=info,
        image_sha256=info.sha256 if info else None,
        prediction=prediction,
        raw_score=getattr(prediction, "raw_score", None),
        ai_rating=getattr(prediction, "ai_rating", None),
        p_good=getattr(prediction, "p_good", None),
        is_good=thresholds.passes(served.policy, outputs),
        policy=served.policy,
    )


def unchanged(session: Session, served: Served | None, frame: Frame, data: bytes) -> Scored | None:
    """The last answer for a webcam whose picture has not changed since this model scored it; else None."""
    if served is None or frame.webcam_id is None or not served.scorer.judgement.scores_snapshots:
        return None
    webcam = webcams.get_webcam(session, frame.webcam_id)
    if webcam.ai_model_version != served.model_version or webcam.last_image_hash is None:
        return None
    digest = sha256_of(data)
    if webcam.last_image_hash != digest:
        return None
    event = webcams.last_scored_event(session, frame.webcam_id)
    if event is None or event.raw_score is None:
        return None
    if event.image_sha256 != digest or event.model_version != served.model_version:
        return None
    bundle = served.scorer.bundle
    prediction, outputs = served.scorer.judgement.from_raw_score(
        event.raw_score, bundle.score_scale, bundle.head, bundle.fitted_calibration
    )
    answer = _scored("cache-hit", served, prediction, outputs, None)
    answer.image_sha256 = digest
    return answer


def record_score(
    session: Session,
    scored: Scored,
    frame: Frame,
    *,
    kind: str,
    store: FileStore,
    data: bytes | None,
    exploration_share: float,
    writes_snapshots: bool,
) -> Scored:
    """Write the attempt: always an event; with a score of a webcam also its columns, the gate's verdict, an inference.

    `writes_snapshots` is the kind's `scores_snapshots`. Nothing goes into score columns without a score.
    """
    attempt = Attempt(kind, frame, scored, data, writes_snapshots)
    record_scores(session, [attempt], store=store, exploration_share=exploration_share)
    return scored


def record_scores(session: Session, attempts: Sequence[Attempt], *, store: FileStore, exploration_share: float) -> None:
    """Write several attempts in one go, as `record_score` does one; at most one of each webcam.

    Locks their webcams in order of id. Images of kept frames are in the store when this returns, before the commit.
    Sets `capture` and `event_id` of each attempt's `scored`.

    Raises:
        NotFound: A webcam is not known.
        StoreError: The store cannot take an image.
    """
    session.flush()
    webcam_ids = [attempt.frame.webcam_id for attempt in attempts if attempt.frame.webcam_id is not None]
    longitudes = scoring.lock_webcams(session, webcam_ids) if webcam_ids else {}
    shown = [attempt for attempt in attempts if attempt.writes_webcam]
    if shown:
        _write_webcams(session, shown)
        fresh = [attempt for attempt in shown if attempt.scored.path_taken != "cache-hit"]
        if fresh:
            _pass_gate(session, fresh, longitudes, store, exploration_share)
    event_ids = scoring.add_scoring_events(session, [_event(attempt) for attempt in attempts])
    for attempt, event_id in zip(attempts, event_ids, strict=True):
        attempt.scored.event_id = event_id
    session.expire_all()


def record_lone_scores(statements: LoneStatements, attempts: Sequence[Attempt]) -> None:
    """Write and commit several attempts on pictures of no webcam: an event each and nothing else, in one round trip.

    Sets `event_id` of each attempt's `scored`.

    Raises:
        ValueError: One of them names a webcam.
    """
    if any(attempt.frame.webcam_id is not None for attempt in attempts):
        raise ValueError("the picture of a webcam has more rows than its event: use record_scores")
    event_ids = scoring.add_lone_events(statements, [_event(attempt) for attempt in attempts])
    for attempt, event_id in zip(attempts, event_ids, strict=True):
        attempt.scored.event_id = event_id


def _event(attempt: Attempt) -> dict[str, Any]:
    scored = attempt.scored
    return {
        "kind": attempt.kind,
        "webcam_id": attempt.frame.webcam_id,
        "image_sha256": scored.image_sha256,
        "model_version": scored.model_version,
        "raw_score": scored.raw_score if attempt.has_score else None,
        "path_taken": scored.path_taken,
        "reason": scored.reason,
        "captured": scored.capture.captured,
        "sampling_probability": scored.capture.sampling_probability,
        "snapshot_id": scored.capture.snapshot_id,
    }


def _write_webcams(session: Session, attempts: Sequence[Attempt]) -> None:
    scoring.set_webcam_scores(
        session,
        [
            {"webcam_id": attempt.frame.webcam_id, "ai_rating": attempt.scored.ai_rating,
             "model_version": attempt.scored.model_version, "image_sha256": attempt.scored.image_sha256}
            for attempt in attempts
        ],
    )  # fmt: skip
    for attempt in attempts:
        if attempt.scored.path_taken == "cache-hit":
            attempt.scored.capture = CaptureVerdict(False, "unchanged", None, None)


def _pass_gate(
    session: Session, attempts: Sequence[Attempt], longitudes: dict[int, float | None], store: FileStore, share: float
) -> None:
    now = datetime.now(UTC)
    frames = []
    for attempt in attempts:
        webcam_id, info = attempt.frame.webcam_id, attempt.scored.info
        assert webcam_id is not None and info is not None
        captured_at = attempt.frame.captured_at or now
        phase = attempt.frame.phase or likely_phase(captured_at, longitudes[webcam_id])
        frames.append(ScoredFrame(webcam_id, info, phase, captured_at, bool(attempt.scored.is_good)))
    for attempt, verdict in zip(attempts, capture(session, frames, share), strict=True):
        attempt.scored.capture = verdict
    _store_images(store, [attempt.data for attempt in attempts if attempt.scored.capture.captured])
    standing = [attempt.scored for attempt in attempts if attempt.scored.capture.shows_snapshot]
    written: set[int] = set()
    if standing:
        written = scoring.add_inferences(
            session,
            [
                {"snapshot_id": scored.capture.snapshot_id, "model_version": scored.model_version,
                 "raw_score": scored.raw_score, "ai_rating": scored.ai_rating}
                for scored in standing
            ],
        )  # fmt: skip
    for attempt in attempts:
        attempt.scored.wrote_inference = attempt.scored.capture.snapshot_id in written


def _store_images(store: FileStore, images: Sequence[bytes | None]) -> None:
    kept = [data for data in images if data is not None]
    if len(kept) > 1:
        # Each is flushed to the disk, which takes several at once in hardly more time than one.
        with ThreadPoolExecutor(min(FILES_AT_ONCE, len(kept))) as files:
            list(files.map(store.put_image, kept))
    elif kept:
        store.put_image(kept[0])


def likely_phase(captured_at: datetime, lng: float | None) -> str:
    """`sunrise` before local solar noon, `sunset` after; by UTC where the longitude is not known."""
    hour = (captured_at.astimezone(UTC).hour + captured_at.minute / 60 + (lng or 0.0) / 15.0) % 24
    return "sunrise" if hour < 12 else "sunset"
