"""Retrain cycles."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from api.schemas.fields import Body, Flag, JsonObject, LongText, Text, View
from api.schemas.jobs import JobView


class RetrainBody(Body):
    """What to retrain, and what shall become of it."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"kind": "rating", "recipe": {"weights": "none"}, "promote": True}]}
    )

    kind: Text = "rating"
    """The kind of judgement."""
    recipe: JsonObject = Field(default_factory=dict)
    """Hyper-parameters that differ from the recipe of the version that serves, or where none does the kind's."""
    promote: Flag = True
    """Promote the version if the gate allows it; false leaves a candidate, with the gate's verdict."""
    force: Flag = False
    """Train it though there is nothing new, and promote it though the gate says no; the verdict is recorded all the same."""
    notes: LongText | None = None

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if self.force and not self.promote:
            raise ValueError("`force` promotes and `promote: false` does not: send one of them")
        return self


class RetrainView(View):
    """How far a retrain cycle is, and how it ended."""

    model_config = ConfigDict(protected_namespaces=())

    job_id: int
    """Its first job."""
    state: Literal["running", "promoted", "not-promoted", "nothing-new", "failed", "cancelled", "dead"]
    """`running` while something is left to do. `nothing-new`: the version that serves was trained on the same rows by the same
    recipe, so nothing was trained. `failed`, `cancelled` and `dead`: how the job ended that broke the chain;
    trying it again goes on from there."""
    progress: float
    """How far it is, in [0, 1], over all its jobs."""
    model_version: str | None
    """The version that it makes; null before the dataset is exported."""
    dataset_id: int | None
    reason: str | None
    """Why it was promoted or not, or what broke the chain."""
    verdict: dict[str, Any] | None
    """What the gate found, in words and numbers."""
    jobs: list[JobView]
    """Its jobs in the order of their submission, those that were tried again too."""
