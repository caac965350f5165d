"""Review sets and disagreements."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from api.schemas.fields import Body, Phase, Text, VersionName, View
from db.tables import Disagreement, ReviewSet, WebcamSnapshot

State = Literal["open", "settled", "dismissed"]
Reason = Literal["largest-disagreement", "flip", "band", "control"]
Need = Literal["first-rating", "one-more-rating", "audit"]
Priority = Annotated[int, Field(ge=1, le=999, strict=True)]
"""Lower goes first."""
Size = Annotated[int, Field(ge=0, le=1000, strict=True)]


class FindBody(Body):
    """Which version to compare with people, and how many frames each way may bring in."""

    model_config = ConfigDict(
        protected_namespaces=(), json_schema_extra={"examples": [{"kind": "rating", "largest": 20, "control": 20}]}
    )

    kind: Text = "rating"
    """The kind of judgement."""
    model_version: VersionName | None = None
    """Null: the version that is active."""
    seed: Annotated[int, Field(ge=0, le=2**53 - 1, strict=True)] | None = None
    """What chance depends on; the same seed and rows give the same set. Null: the job's number."""
    largest: Size = 20
    """Frames on which people and the version are furthest apart."""
    flips: Size = 50
    """Frames for which they stand on opposite sides of the threshold, the furthest apart first."""
    band: Size = 20
    """Frames drawn from all that are near the threshold."""
    control: Size = 20
    """Frames drawn from all."""


class ReviewSetView(View):
    """One choice of frames for people to look at."""

    model_config = ConfigDict(protected_namespaces=())

    id: int
    kind: str
    model_version: str
    cycle_id: int | None
    """The evaluation cycle that it belongs to; null where somebody asked for it alone."""
    seed: int
    params: dict[str, Any]
    """How many frames each way could bring in, the band and the threshold policy."""
    counts: dict[str, Any]
    """Frames looked at and not asked about; for each way how many there were, were chosen, and were settled before; and by
    `control` what the controls of this version so far say of it by the labels of then: `mean_absolute_error` and `flips` over
    `n` frames of `n_groups` webcams, of so many `drawn`, `learned` from and `unanswered`."""
    as_of: datetime
    """Labels as they stood at this time."""
    created_at: datetime


class DisagreementView(View):
    """One frame of a review set."""

    model_config = ConfigDict(protected_namespaces=())

    id: int
    review_set_id: int
    kind: str
    model_version: str
    snapshot_id: int
    webcam_id: int
    phase: Phase
    captured_at: datetime
    reasons: list[Reason]
    """By which ways it came in."""
    inclusion_probability: float
    """Chance, over all seeds, that the set holds this frame; weigh a frame by its inverse to speak of all frames."""
    label_value: float | None
    """What people had said when the set was made; null where nobody had."""
    num_verdicts: int
    raw_score: float | None
    """What the version said, in [0, 1]."""
    ai_rating: float | None
    p_good: float | None
    disagreement: float | None
    """Distance in [0, 1]; null without a label or a score, of a test row, or where the version had learned from the frame."""
    need: Need
    """What it needs: a first rating, one more where few have rated, a look into it where many have."""
    priority: int
    """Lower goes first."""
    state: State
    """`settled` by a rating after the set was made; or earlier, of a frame that chance drew again."""
    closed_by: str | None
    """The rater who settled it, or who dismissed it."""
    closed_at: datetime | None
    closed_label: float | None
    """The label after that."""


class TriageBody(Body):
    """What becomes of a frame that waits."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"state": "dismissed"}, {"state": "open", "priority": 10}]}
    )

    state: Literal["open", "dismissed"] | None = None
    """`dismissed`: nobody need look at it; `open`: it waits again. What a rating settled stays settled."""
    priority: Priority | None = None
    """Lower goes first; 100 is usual."""

    @model_validator(mode="after")
    def _something(self) -> Self:
        if self.state is None and self.priority is None:
            raise ValueError("send `state`, `priority` or both")
        return self


class BacklogView(View):
    """What people have answered since the data of the active version, and what waits."""

    model_config = ConfigDict(protected_namespaces=())

    kind: str
    model_version: str | None
    """The active version; null where none is."""
    dataset_id: int | None
    """Which it was trained on; null where that is not known."""
    as_of: datetime | None
    """Labels later than this are new to it; null: all are."""
    settled: int
    """Frames that somebody settled since then: what a training now would have and that version had not."""
    open: int
    """Frames that wait for an answer."""


def view_of(row: Disagreement, made: ReviewSet, snapshot: WebcamSnapshot) -> DisagreementView:
    """A disagreement with what its set and its snapshot say of it."""
    return DisagreementView.model_validate(
        {
            **row.model_dump(),
            "kind": made.kind,
            "model_version": made.model_version,
            "webcam_id": snapshot.webcam_id,
            "phase": snapshot.phase,
            "captured_at": snapshot.captured_at,
        }
    )
