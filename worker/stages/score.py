"""Score frames with the active model, and write what follows: event, inference, snapshot, webcam.

Route, tick, task and command share this file. Pixels never meet a session: `score_pixels` runs the model,
`record_score` writes the rows.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from sqlmodel import Session

from db.errors import Conflict
from db.queries import models, webcams
from db.tables import ModelVersion, Webcam
from ml import thresholds
from ml.bundle import BundleError, bundle_sha256
from ml.images.decode import ImageError, ImageInfo, read, sha256_of
from ml.images.store import FileStore, image_key
from ml.inference import Scorer
from ml.judgements import judgement
from worker.settings import ServingSettings
from worker.stages.capture import CaptureVerdict, capture


@dataclass(frozen=True)
class Served:
    """One model version, loaded and self-tested, with the threshold that applies to it."""

    model_version: str
    kind: str
    scorer: Scorer
    policy: dict[str, Any]


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
    is_good: bool | None = None
    policy: dict[str, Any] | None = None
    capture: CaptureVerdict = field(default_factory=lambda: CaptureVerdict(False, "no-score", None, None))
    event_id: int | None = None


def load_served(version: ModelVersion, store: FileStore, cache: Path, threshold: float | None = None) -> Served:
    """Fetch, check, open and self-test the bundle of a version.

    Args:
        version: The registered version.
        store: Where its bundle is.
        cache: Directory for bundles of a remote store.
        threshold: Replaces the threshold of its policy, on the same scale.

    Raises:
        BundleError: It is not the bundle that was registered, or it fails its self-test.
        ThresholdError: The threshold is not on the model's scale.
    """
    directory = store.fetch_directory(version.bundle_key, cache / version.bundle_sha256)
    if bundle_sha256(directory) != version.bundle_sha256:
        raise BundleError(f"the bundle of {version.model_version} is not the one that was registered: files changed")
    scorer = Scorer.load(directory)
    policy = dict(version.threshold_policy)
    if threshold is not None:
        policy["threshold"] = threshold
    thresholds.check_policy(policy, (version.scale_low, version.scale_high))
    return Served(version.model_version, version.kind, scorer, policy)


def score_pixels(served: Served | None, data: bytes) -> Scored:
    """Run the model on one encoded image. Never raises for a bad image: the answer says why there is no score."""
    try:
        info, pixels = read(data)
    except ImageError as error:
        return Scored("unscored", reason=f"{error.reason}: {error}", image_sha256=sha256_of(data))
    if served is None:
        return Scored("unscored", reason="no active model: train and promote one first", info=info,
                      image_sha256=info.sha256)  # fmt: skip
    outputs, prediction = served.scorer.score_image(pixels)
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
        is_good=thresholds.passes(served.policy, outputs),
        policy=served.policy,
    )


def unchanged(session: Session, served: Served | None, frame: Frame, data: bytes) -> Scored | None:
    """The last answer for a webcam whose picture has not changed since this model scored it; else None."""
    if served is None or frame.webcam_id is None or not served.scorer.judgement.scores_snapshots:
        return None
    webcam = webcams.get_webcam(session, frame.webcam_id)
    digest = sha256_of(data)
    if webcam.last_image_hash != digest or webcam.ai_model_version != served.model_version:
        return None
    event = webcams.last_scored_event(session, frame.webcam_id)
    if event is None or event.raw_score is None:
        return None
    if event.image_sha256 != digest or event.model_version != served.model_version:
        return None
    prediction, outputs = served.scorer.judgement.from_raw_score(
        event.raw_score, served.scorer.bundle.score_scale, served.scorer.bundle.head
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
    webcam = webcams.lock_webcam(session, frame.webcam_id) if frame.webcam_id is not None else None
    has_score = scored.path_taken != "unscored"
    if webcam is not None and has_score and writes_snapshots:
        _write_scores(session, scored, frame, webcam, store, data, exploration_share)
    event = webcams.add_scoring_event(
        session,
        kind=kind,
        webcam_id=frame.webcam_id,
        image_sha256=scored.image_sha256,
        model_version=scored.model_version,
        raw_score=scored.raw_score if has_score else None,
        path_taken=scored.path_taken,
        reason=scored.reason,
        captured=scored.capture.captured,
        sampling_probability=scored.capture.sampling_probability,
        snapshot_id=scored.capture.snapshot_id,
    )
    scored.event_id = event.id
    return scored


def _write_scores(
    session: Session,
    scored: Scored,
    frame: Frame,
    webcam: Webcam,
    store: FileStore,
    data: bytes | None,
    exploration_share: float,
) -> None:
    assert webcam.id is not None and scored.model_version is not None and scored.image_sha256 is not None
    assert scored.raw_score is not None
    captured_at = frame.captured_at or datetime.now(UTC)
    webcams.set_webcam_score(
        session,
        webcam.id,
        ai_rating=scored.ai_rating,
        model_version=scored.model_version,
        image_sha256=scored.image_sha256,
    )
    if scored.path_taken == "cache-hit":
        scored.capture = CaptureVerdict(False, "unchanged", None, None)
        return
    assert scored.info is not None and data is not None
    store.put_image(data)
    scored.capture = capture(
        session,
        webcam,
        scored.info,
        phase=frame.phase or likely_phase(captured_at, webcam.lng),
        captured_at=captured_at,
        above=bool(scored.is_good),
        exploration_share=exploration_share,
        image_path=image_key(scored.info.sha256),
    )
    if scored.capture.snapshot_id is not None:
        snapshot = webcams.get_snapshot(session, scored.capture.snapshot_id)
        if snapshot.image_sha256 == scored.image_sha256:
            webcams.add_inference(
                session,
                snapshot_id=scored.capture.snapshot_id,
                model_version=scored.model_version,
                raw_score=scored.raw_score,
                ai_rating=scored.ai_rating,
            )


def likely_phase(captured_at: datetime, lng: float | None) -> str:
    """`sunrise` before local solar noon, `sunset` after; by UTC where the longitude is not known."""
    hour = (captured_at.astimezone(UTC).hour + captured_at.minute / 60 + (lng or 0.0) / 15.0) % 24
    return "sunrise" if hour < 12 else "sunset"


def active_served(session: Session, kind: str, store: FileStore, cache: Path, settings: ServingSettings) -> Served:
    """The model that serves a kind, loaded: the pinned version where one is set for this kind, else the active one.

    Raises:
        Conflict: No version of this kind is active.
        NotFound: The pinned version is not registered.
    """
    version = models.active_version(session, kind)
    if settings.model_version is not None:
        pinned = models.get_version(session, settings.model_version)
        version = pinned if pinned.kind == kind else version
    if version is None:
        raise Conflict(f"no {kind} model is active: train one with `afterglow train {kind}`, then `afterglow promote`")
    threshold = settings.rating_threshold if judgement(kind).scores_snapshots else None
    return load_served(version, store, cache, threshold)
