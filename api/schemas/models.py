"""Model versions, their evaluations, and which of them serves."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from pydantic import ConfigDict

from api.schemas.fields import Body, Flag, Text, View
from api.schemas.lineage import RunUseView
from db.queries.evaluations import EvaluationHead
from db.queries.lineage import RunUse
from db.tables import Evaluation, ModelVersion
from ml.report import figures, headline_table


class ModelView(View):
    """One registered model version."""

    model_config = ConfigDict(protected_namespaces=())

    model_version: str
    kind: str
    active: bool
    """Promoted: it serves its kind unless another version is pinned."""
    served: bool
    """This server answers with it now."""
    head: str
    training_run_id: int
    bundle_sha256: str
    scale: tuple[float, float]
    """Values on the app's scale at raw scores 0 and 1."""
    threshold_policy: dict[str, Any]
    created_at: datetime
    tainted: RunUseView | None
    """How many of its rows have a label of a rater or an import that is excluded now; null where none has."""


class ModelWithHeadline(ModelView):
    """A version with the headline of its last evaluation."""

    headline: dict[str, Any] | None
    """`{metric, subset, n, n_groups, rows}`, the model beside its baselines; null before the first evaluation."""


class EvaluationSummary(View):
    """One evaluation, without its report."""

    model_config = ConfigDict(protected_namespaces=())

    id: int
    model_version: str
    kind: str
    dataset_id: int | None
    manifest_sha256: str
    method: str
    """`test`, or `kfold` (out of fold)."""
    compared_with: str | None
    """The version that was active and measured on the same rows."""
    artifact_key: str
    cycle_id: int | None
    """The evaluation cycle that it is of; null outside one."""
    role: str | None
    """`active`, `previous` or `candidate` in that cycle; null outside one."""
    created_at: datetime


class EvaluationView(EvaluationSummary):
    """One evaluation with its report."""

    report: dict[str, Any]


class PromoteBody(Body):
    """How to promote."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"force": True}]})

    force: Flag = False
    """Promote although the gate says no; the verdict is recorded all the same."""


class RollbackBody(Body):
    """What to roll back."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"kind": "rating"}]})

    kind: Text = "rating"


class PastActivation(View):
    """A change of the active model, as it was recorded."""

    model_config = ConfigDict(protected_namespaces=())

    kind: str
    model_version: str
    previous_version: str | None
    action: str
    forced: bool
    verdict: dict[str, Any]
    """What the gate found, in words and numbers."""
    activated_by: str
    activated_at: datetime


class ActivationView(PastActivation):
    """A change of the active model that was just made."""

    pinned: str | None = None
    """AI_MODEL_VERSION of this server: while it is set, that version serves its kind whatever is promoted."""


def model_facts(
    version: ModelVersion, active: Mapping[str, str], served: Mapping[str, str], tainted: Mapping[str, RunUse]
) -> dict[str, Any]:
    """A version's row as `ModelView` shows it."""
    return {
        **version.model_dump(),
        "scale": (version.scale_low, version.scale_high),
        "active": active.get(version.kind) == version.model_version,
        "served": served.get(version.kind) == version.model_version,
        "tainted": tainted.get(version.model_version),
    }


def headline_of(evaluation: Evaluation | EvaluationHead | None) -> dict[str, Any] | None:
    """The primary metric on the headline rows, the model beside everything it was compared with."""
    if evaluation is None:
        return None
    report = evaluation.report
    subset, metric = headline_table(report), report["primary"]["name"]
    return {
        "evaluation_id": evaluation.id,
        "metric": metric,
        "higher_is_better": report["primary"].get("higher_is_better"),
        "method": evaluation.method,
        "subset": report["headline"],
        "n": subset["n"],
        "n_groups": subset["n_groups"],
        "rows": [{"name": row["name"], "role": row["role"], **figures(row, metric)} for row in subset["rows"]],
        "comparisons": subset.get("comparisons", []),
    }
