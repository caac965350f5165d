"""A tick: many webcams scored by one request, and the sum of what came of it."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, ConfigDict, Field, WithJsonSchema, model_validator

from api.errors import Problem
from api.schemas.fields import Body, Phase, View
from api.schemas.frames import DEFAULT_SOURCE, FrameFields, picture_url
from api.schemas.score import ScoreAnswer, answer_of, refused
from api.schemas.webcams import WebcamFacts
from worker.stages.tick_rows import TickResult, TickRow, counts

MAX_WEBCAMS = 500


class TickItem(FrameFields, WebcamFacts):
    """One webcam of a tick. One that is not known is added with the facts given here, where the key may do that."""

    url: Annotated[str, AfterValidator(picture_url)] = Field(examples=["https://example.org/webcam.jpg"])
    """Address of its picture, http or https."""

    @model_validator(mode="after")
    def _names_a_webcam(self) -> TickItem:
        if not self.names_webcam:
            raise ValueError("say which webcam: webcam (its id at its source) with source, or webcam_id")
        return self

    def row(self) -> TickRow:
        """The row as the stage takes it."""
        given = self.model_dump(include=set(WebcamFacts.model_fields), exclude_none=True)
        key: int | tuple[str, str]
        if self.webcam is not None:
            key = (self.source or DEFAULT_SOURCE, self.webcam)
        else:
            assert self.webcam_id is not None
            key = self.webcam_id
        return TickRow(self.url, key, self.phase, self.captured_at, given)


Item = Annotated[Any, WithJsonSchema(TickItem.model_json_schema())]
"""Checked one by one, so that one that makes no sense spoils no other."""


class TickBody(Body):
    """The webcams of a tick, each once."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "webcams": [
                        {
                            "source": "windy", "webcam": "1179853135", "phase": "sunset",
                            "url": "https://example.org/1179853135.jpg", "title": "Lisbon", "lat": 38.69, "lng": -9.18,
                        }
                    ]
                }
            ]
        }
    )  # fmt: skip

    webcams: list[Item] = Field(min_length=1, max_length=MAX_WEBCAMS)


class TickScore(ScoreAnswer):
    """What came of one webcam: the answer of `POST /v1/score`, and which webcam it is."""

    source: str | None
    webcam: str | None
    """The webcam's id at its source."""
    phase: Phase | None
    failure: str | None
    """One word for why there is no score; `refused` where `error` says what is wrong with the row."""


class TickCounts(View):
    """Every webcam is in `total_scored` or in `failures`."""

    total_scored: int
    """Webcams with a score, by a model now or unchanged."""
    unchanged: int
    """Of these, pictures that this model had scored before (`cache-hit`)."""
    above_threshold: int
    """Scores that reach the threshold, unchanged ones too."""
    snapshots_captured: int
    """New snapshots; with those that were kept to measure recall below the threshold."""
    inference_rows_written: int
    """New rows of `snapshot_ai_inferences`."""
    failures: int
    """Webcams without a score."""
    failure_reasons: dict[str, int]
    """Word of `failure` -> how many."""


class TickAnswer(View):
    """The sum of a tick, and what came of each webcam."""

    ok: bool
    """False where something on this side kept a webcam from being scored: no active model, the time, a fault. Webcams
    that are dead or send no picture do not make it false."""
    sunrise: int
    """Webcams that were asked for in this phase."""
    sunset: int
    ai: TickCounts
    webcams: list[TickScore]
    """In the order of the request."""


def tick_answer(kind: str, results: list[TickResult], problems: list[Problem | None]) -> TickAnswer:
    """The wire form of a tick; `problems` has one for each result that was refused."""
    answers = [_score_of(kind, result, problem) for result, problem in zip(results, problems, strict=True)]
    return TickAnswer(**counts(results), webcams=answers)


def _score_of(kind: str, result: TickResult, problem: Problem | None) -> TickScore:
    webcam = result.webcam
    if problem is not None:
        answer = refused(kind, problem)
    else:
        assert result.scored is not None
        answer = answer_of(kind, result.scored, webcam.id if webcam else None)
    source, external_id = result.named
    return TickScore(
        **answer.model_dump(), source=source, webcam=external_id, phase=result.phase,
        failure="refused" if problem is not None else result.failure,
    )  # fmt: skip
