"""The scorer's answer: the one place with camelCase names, which clients of the earlier scorer rely on."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel

from api.errors import Problem
from worker.stages.score import Scored

_EXAMPLE: dict[str, Any] = {
    "kind": "rating",
    "rawScore": 0.8432,
    "aiRating": 4.216,
    "pGood": 0.71,
    "modelVersion": "sunset_v2_2026_02_12",
    "pathTaken": "onnx",
    "isGood": True,
    "threshold": {"kind": "fixed", "threshold": 4.0, "on": "ai_rating", "scale": [0.0, 5.0]},
    "capture": {"captured": True, "reason": "above-threshold", "snapshotId": 812, "samplingProbability": 1.0},
    "imageSha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "reason": None,
    "prediction": {"kind": "rating", "raw_score": 0.8432, "ai_rating": 4.216, "p_good": 0.71},
    "webcamId": 17,
    "eventId": 90210,
    "error": None,
}


class _Camel(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, use_attribute_docstrings=True)


class CaptureAnswer(_Camel):
    """What the capture gate said."""

    captured: bool
    """A new snapshot was kept."""
    reason: str
    """`above-threshold`, `below-threshold`, `explored`, `reused`, `unchanged`, `no-score` or `no-webcam`."""
    snapshot_id: int | None
    """The snapshot that stands for the frame: the new or the reused one."""
    sampling_probability: float | None
    """Chance that a frame like this is kept."""


class ScoreAnswer(_Camel):
    """A score and how it came about. Without a score the numbers are null and `reason` says why."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]}, protected_namespaces=())

    kind: str
    """The kind of judgement."""
    raw_score: float | None
    """Calibrated model output in [0, 1]."""
    ai_rating: float | None
    """The score on the model's scale; null from a yes/no model."""
    p_good: float | None
    """Calibrated probability that people would call it good; null where the model knows none."""
    model_version: str | None
    """Which model answered."""
    path_taken: Literal["onnx", "cache-hit", "unscored"]
    """`cache-hit`: the webcam's picture has not changed since this model scored it."""
    is_good: bool | None
    """Whether the score reaches the threshold."""
    threshold: dict[str, Any] | None
    """The policy that was applied, with the scale it is on."""
    capture: CaptureAnswer
    image_sha256: str | None
    """Of the picture's bytes."""
    reason: str | None
    """Why there is no score."""
    prediction: dict[str, Any] | None
    """The prediction in the kind's own words."""
    webcam_id: int | None
    event_id: int | None
    """The row of `scoring_events` that records this attempt."""
    error: Problem | None = None
    """Only in a batch: why this item was refused. Nothing was recorded for it."""


class BatchAnswer(BaseModel):
    """One answer per item, in the order of the request."""

    answers: list[ScoreAnswer]


def answer_of(kind: str, scored: Scored, webcam_id: int | None) -> ScoreAnswer:
    """The wire form of a recorded attempt."""
    capture = scored.capture
    has_score = scored.path_taken != "unscored"
    return ScoreAnswer(
        kind=kind,
        raw_score=scored.raw_score,
        ai_rating=scored.ai_rating,
        p_good=scored.p_good,
        model_version=scored.model_version,
        path_taken=scored.path_taken,
        is_good=scored.is_good,
        threshold=scored.policy,
        capture=CaptureAnswer(
            captured=capture.captured,
            reason="no-webcam" if has_score and webcam_id is None else capture.reason,
            snapshot_id=capture.snapshot_id,
            sampling_probability=capture.sampling_probability,
        ),
        image_sha256=scored.image_sha256,
        reason=scored.reason,
        prediction=scored.prediction.model_dump(mode="json") if scored.prediction is not None else None,
        webcam_id=webcam_id,
        event_id=scored.event_id,
    )


def refused(kind: str, problem: Problem) -> ScoreAnswer:
    """The place of a batch item that was refused."""
    return ScoreAnswer(
        kind=kind, raw_score=None, ai_rating=None, p_good=None, model_version=None, path_taken="unscored", is_good=None,
        threshold=None, capture=CaptureAnswer(captured=False, reason="no-score", snapshot_id=None,
                                              sampling_probability=None),
        image_sha256=None, reason=problem.detail, prediction=None, webcam_id=None, event_id=None, error=problem,
    )  # fmt: skip
