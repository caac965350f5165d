"""Webcams, snapshots and what people say of them."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from pydantic import BeforeValidator, ConfigDict, Field, model_validator

from api.schemas.fields import Body, Flag, Text, VersionName, View
from api.schemas.frames import DEFAULT_SOURCE, FrameFields

RATING_RULE = 'a rating is 1, 2, 3, 4 or 5; for "not a sunset" send "rating": null and "is_sunset": false'
HUMAN = "human"
"""Label source of a rating that came over HTTP and says nothing else."""


def _stars(value: Any) -> Any:
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 5):
        raise ValueError(RATING_RULE)
    return value


class WebcamFacts(Body):
    """What is known of a webcam beside its name."""

    title: Text | None = None
    status: Text | None = None
    lat: float | None = Field(None, ge=-90, le=90, allow_inf_nan=False, strict=True)
    """Degrees north."""
    lng: float | None = Field(None, ge=-180, le=180, allow_inf_nan=False, strict=True)
    """Degrees east; decides the local day that splits go by."""
    city: Text | None = None
    region: Text | None = None
    country: Text | None = None
    continent: Text | None = None


class WebcamBody(WebcamFacts):
    """A webcam to add."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "source": "windy", "external_id": "1179853135", "title": "Lisbon, Ponte 25 de Abril",
                    "lat": 38.69, "lng": -9.18, "city": "Lisbon", "country": "Portugal",
                }
            ]
        }
    )  # fmt: skip

    source: Text = DEFAULT_SOURCE
    """Whose webcam it is."""
    external_id: Text
    """Its id there."""


class WebcamView(View):
    """A webcam with its latest score."""

    id: int
    source: str
    external_id: str
    title: str | None
    status: str | None
    lat: float | None
    lng: float | None
    city: str | None
    region: str | None
    country: str | None
    continent: str | None
    ai_rating: float | None
    ai_model_version: str | None
    last_image_hash: str | None
    """sha256 of the last scored frame."""
    created_at: datetime
    updated_at: datetime


class SnapshotFields(FrameFields):
    """What a snapshot needs beside its picture: all of it, or the same frame could be kept twice."""

    @model_validator(mode="after")
    def _whole(self) -> SnapshotFields:
        missing = [name for name in ("phase", "captured_at") if getattr(self, name) is None]
        if not self.names_webcam:
            missing.append("webcam_id (or webcam with source)")
        if missing:
            raise ValueError(f"a snapshot also needs {', '.join(missing)}")
        return self


class SnapshotView(View):
    """A kept frame, its labels' mean and its latest score."""

    id: int
    webcam_id: int
    phase: str
    rank: int | None
    initial_rating: float | None
    calculated_rating: float | None
    """Mean of people's ratings; null without one."""
    rating_count: int
    ai_rating: float | None
    ai_model_version: str | None
    firebase_url: str | None
    firebase_path: str | None
    captured_at: datetime
    created_at: datetime
    image_sha256: str | None
    image_state: str
    """`present`, `unfetched`, `dead-url`, `unreadable`, or `removed` by retention."""
    sampling_probability: float | None
    """Chance with which a frame below the gate was kept; 1 above it, null where it was not scored first."""


class RatingBody(Body):
    """One person's verdict on one snapshot."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"rater": "ana", "rating": 4}, {"rater": "ben", "is_sunset": False}]}
    )

    rater: Text
    """Who says so; a second verdict of the same rater replaces the first, and both stay in the record."""
    rating: Annotated[int | None, BeforeValidator(_stars)] = None
    """1 nothing, 2 a trace of colour, 3 real but unremarkable, 4 vivid, 5 spectacular; null when it is no sunset."""
    is_sunset: Flag = True
    """False: not a sunset, and no rating."""
    label_source: Text = HUMAN
    """Where the verdict came from."""
    shown_model_version: VersionName | None = None
    """The model whose answer the rater had seen before; null where the rating was blind."""

    @model_validator(mode="after")
    def _verdict_is_whole(self) -> RatingBody:
        if self.is_sunset == (self.rating is None):
            raise ValueError(RATING_RULE)
        return self


class RatingView(View):
    """The current verdict of one rater."""

    snapshot_id: int
    user_session_id: str
    """The rater."""
    rating: int | None
    is_sunset_verdict: bool
    label_source: str
    excluded: bool
    """Whether it does not count, since its rater or its import is excluded."""
    created_at: datetime
