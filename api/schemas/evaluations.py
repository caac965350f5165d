"""Evaluation cycles, and what versions reached over time."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import ConfigDict

from api.schemas.fields import Body, Text, View
from api.schemas.models import EvaluationSummary


class EvaluateBody(Body):
    """What to evaluate."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"kind": "rating"}]})

    kind: Text = "rating"
    """The kind of judgement: its active version, the one before it, and the newest candidate."""


class CycleSummary(View):
    """One evaluation cycle."""

    id: int
    kind: str
    slot: str | None
    """The moment of the schedule that it was made for; null where somebody asked for it."""
    job_id: int
    dataset_id: int
    manifest_sha256: str
    """Of the rows that all its versions were measured on."""
    created_by: str
    summary: dict[str, Any]
    """Its versions by role, how many rows judge and why others do not, drift and coverage."""
    created_at: datetime


class CycleView(CycleSummary):
    """One evaluation cycle with its evaluations."""

    evaluations: list[EvaluationSummary]


class HistoryBaseline(View):
    """The best baseline on the same rows."""

    name: str
    value: float | None
    interval: tuple[float, float] | None


class HistoryPoint(View):
    """What a version reached in one evaluation."""

    model_config = ConfigDict(protected_namespaces=())

    evaluation_id: int
    model_version: str
    kind: str
    cycle_id: int | None
    role: str | None
    """`active`, `previous` or `candidate` in its cycle; null outside one."""
    method: str
    created_at: datetime
    metric: str
    higher_is_better: bool
    subset: str
    n: int
    n_groups: int
    value: float | None
    interval: tuple[float, float] | None
    """95 %, by group."""
    baseline: HistoryBaseline | None
