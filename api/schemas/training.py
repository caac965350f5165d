"""Datasets and training runs."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import ConfigDict, Field

from api.schemas.fields import Body, BodyId, JsonObject, LongText, Moment, PastMoment, Split, Text, VersionName, View
from api.schemas.jobs import JobView


class DatasetBody(Body):
    """An export to make."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"kind": "rating", "min_rating_count": 1}]})

    kind: Text = "rating"
    """The kind of judgement."""
    head: Text | None = None
    """What is to be trained on it; empty: the kind's default head."""
    min_rating_count: int = Field(1, ge=1, le=1_000_000, strict=True)
    """Fewest people who must have judged a snapshot."""
    as_of: PastMoment | None = None
    """Labels as they stood at this time; empty: now."""


class DatasetView(View):
    """A frozen export."""

    id: int
    kind: str
    as_of: datetime
    params: dict[str, Any]
    counts: dict[str, Any]
    manifest_sha256: str
    """Over all rows, the excluded ones too."""
    artifact_key: str
    created_at: datetime


class TrainingBody(Body):
    """A training to start."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "kind": "rating",
                    "recipe": {"backbone": "mobilenet_v3_small", "weights": "none", "head": "regression"},
                    "notes": "first try",
                }
            ]
        }
    )

    kind: Text = "rating"
    """The kind of judgement."""
    recipe: JsonObject = Field(default_factory=dict)
    """Hyper-parameters that differ from the kind's recipe; unknown keys are refused."""
    dataset_id: BodyId | None = None
    """Rows to train on; empty: a new export."""
    notes: LongText | None = None


RunStatus = Literal["queued", "running", "trained", "registered", "failed", "cancelled"]


class RunView(View):
    """One training of one model version."""

    model_config = ConfigDict(protected_namespaces=())

    id: int
    model_version: str
    kind: str
    status: RunStatus
    trained_at: datetime | None
    params_json: dict[str, Any]
    notes: str | None
    dataset_id: int | None
    manifest_sha256: str | None
    metrics: dict[str, Any] | None
    artifact_path: str | None
    artifact_sha256: str | None
    reason: str | None
    """Why it failed."""
    created_at: datetime


class SubmittedRun(View):
    """A training run and the job that does it."""

    run: RunView
    job: JobView


class ForeignLabel(Body):
    """One row that a model trained elsewhere has seen."""

    snapshot_id: BodyId
    label_source: Text
    label_value: float = Field(allow_inf_nan=False, strict=True)
    split: Split


class ForeignRun(Body):
    """A training that happened elsewhere: the field `run` of a registration."""

    model_config = ConfigDict(
        protected_namespaces=(),
        json_schema_extra={
            "examples": [
                {
                    "model_version": "sunset_v2_2026_02_12", "kind": "rating", "trained_at": "2026-02-12T08:00:00Z",
                    "params": {"epochs": 40}, "notes": "trained on the lab's GPU",
                    "labels": [{"snapshot_id": 1, "label_source": "calculated_rating", "label_value": 4.5,
                                "split": "train"}],
                }
            ]
        },
    )  # fmt: skip

    model_version: VersionName
    """Its name, which never changes and which the bundle carries too."""
    kind: Text = "rating"
    trained_at: Moment
    params: JsonObject = Field(default_factory=dict)
    """Whatever it was trained with."""
    notes: LongText | None = None
    labels: list[ForeignLabel] = Field(max_length=1_000_000)
    """Every row it was trained, validated or tested on."""
