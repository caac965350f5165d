"""The label queue: which frames a rater judges next, and how far the work is."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from pydantic import ConfigDict, Field

from api.schemas.fields import Body, BodyId, Text, View

MAX_FRAMES = 50
MAX_SKIPPED = 1000


class QueueBody(Body):
    """Who asks for frames, and for how many."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"rater": "ana", "seat": "kitchen-tablet", "count": 5}]})

    rater: Text
    """Who will judge them."""
    seat: Text
    """Where: any name that the page or program has for itself. Two of one rater are given different frames."""
    count: Annotated[int, Field(ge=1, le=MAX_FRAMES, strict=True)] = 5
    """Frames to keep for this seat."""
    skipped: Annotated[list[BodyId], Field(max_length=MAX_SKIPPED)] = []
    """Snapshots that the rater has put off: they are not given."""


class QueuedFrameView(View):
    """A frame that is kept for the rater. What models and other people say of it is told after the rating."""

    snapshot_id: int
    reason: str
    """Why it was chosen: `review` (it waits in a review set), `unsure` (a model is, near what people call good) or
    `random` (drawn from all without a label)."""
    expires_at: datetime
    """Until when nobody else is given it; asking again renews that."""
    image_sha256: str
    width: int
    """Pixels."""
    height: int
    phase: str
    captured_at: datetime
    title: str | None
    """Of the webcam, as are the next two."""
    city: str | None
    country: str | None


class QueueCountsView(View):
    """How far the work is."""

    rated: int
    """Snapshots on which the rater has a verdict."""
    waiting: int
    """Snapshots with a picture on which nobody has one; 10000 stands for that or more."""


class QueueView(QueueCountsView):
    """Frames to judge, in order, and how far the work is."""

    frames: list[QueuedFrameView]
