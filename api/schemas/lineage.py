"""Where models come from, and whose labels do not count."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, StringConstraints, model_validator

from api.schemas.fields import Body, BodyId, Text, View

ImageSha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


class RunRatingView(View):
    """One raw rating behind a row, as it stood when the run began."""

    user_session_id: str
    """The rater."""
    rating: int | None
    is_sunset_verdict: bool
    label_source: str
    import_id: int | None
    """The import that brought it in; null where it came over HTTP."""


class RunRowView(View):
    """One row that a training used."""

    snapshot_id: int
    image_sha256: str
    label_source: str
    label_value: float
    split: str
    included_at: datetime
    ratings: list[RunRatingView]
    """Every raw rating behind the label; empty where the run was registered from elsewhere."""


class RaterShare(View):
    """One rater of a run."""

    rater: str
    ratings: int
    excluded: bool
    """Whether this rater's ratings do not count any more."""


class ImportShare(View):
    """One import that ratings of a run came from."""

    import_id: int
    ratings: int
    excluded: bool


class RunLineageView(View):
    """What a run was made of."""

    model_config = ConfigDict(protected_namespaces=())

    run_id: int
    model_version: str
    kind: str
    status: str
    dataset_id: int | None
    as_of: datetime | None
    """Labels as they stood then."""
    manifest_sha256: str | None
    splits: dict[str, int]
    sources: dict[str, int]
    raters: list[RaterShare]
    imports: list[ImportShare]


class RunOfRowView(View):
    """One run that used a snapshot, and as what."""

    model_config = ConfigDict(protected_namespaces=())

    run_id: int
    model_version: str
    kind: str
    status: str
    active: bool
    """Its version serves now."""
    snapshot_id: int
    image_sha256: str
    label_source: str
    label_value: float
    split: str


class RunUseView(View):
    """One run that used labels of somebody."""

    model_config = ConfigDict(protected_namespaces=())

    run_id: int
    model_version: str
    kind: str
    status: str
    active: bool
    """Its version serves now."""
    rows: int
    train_rows: int
    num_rows: int
    """Rows of the run in all."""
    share: float
    """`rows / num_rows`."""


class ImportView(View):
    """One import of a file."""

    id: int
    file_name: str
    file_sha256: str
    imported_by: str
    started_at: datetime
    finished_at: datetime | None
    """Null while it runs, or where it was interrupted."""
    counts: dict[str, Any] | None


class ExclusionView(View):
    """One exclusion, or the lifting of one."""

    id: int
    action: Literal["exclude", "lift"]
    rater: str | None
    import_id: int | None
    reason: str
    excluded_by: str
    created_at: datetime


class _Subject(Body):
    rater: Text | None = None
    import_id: BodyId | None = None
    reason: Text
    """Why; it stays in the record."""

    @model_validator(mode="after")
    def _names_one(self) -> _Subject:
        if (self.rater is None) == (self.import_id is None):
            raise ValueError("name a rater or an import_id, and not both")
        return self


class ExclusionBody(_Subject):
    """Whose labels are not to count from now on."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"rater": "ana", "reason": "rated everything 1"}]})


class LiftBody(_Subject):
    """Whose labels are to count again."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"rater": "bot", "reason": "it was a person after all"}]})


class NewExclusion(ExclusionView):
    """An exclusion that was just made, and the models that it taints."""

    tainted: list[RunUseView]
    """Registered versions with a row that the rater or import has a part in, newest first."""
    unknown: list[str]
    """Versions trained elsewhere, of whose raters nothing is recorded: they may be tainted too."""


class RunDiffView(View):
    """What changed from one run to another."""

    base: str
    """Version of the run that is compared with."""
    other: str
    base_run: int
    other_run: int
    rows: dict[str, Any]
    """Rows of each run and of both; how many were added, removed, changed, and what of them."""
    predictions: dict[str, Any]
    """n, groups, mean difference and errors, each with its 95 % interval by group, paired."""
    verdicts: dict[str, int]
    notes: list[str]
    """What is not compared, and why."""
    moved: list[dict[str, Any]]
    """The largest moves first."""
    flipped: list[dict[str, Any]]
    changed: list[dict[str, Any]]
    added: list[dict[str, Any]]
    removed: list[dict[str, Any]]
