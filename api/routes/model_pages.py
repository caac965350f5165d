"""The pages of models: versions, one version, and what changed between two. Promoting goes through the routes under /v1."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from sqlmodel import Session

from api.deps import ModelsDep, SessionDep
from api.keyed_route import KeyedRoute
from api.schemas.fields import Text, VersionName
from api.schemas.models import headline_of, model_facts
from api.schemas.pages import Cursor, page_of, rows_to_ask
from api.security import require
from api.web.model_figures import metric_over_versions
from api.web.rendering import render
from db.errors import Conflict
from db.queries import evaluations, lineage, models, shadows
from db.tables import ModelTrainingRun, ModelVersion
from ml.report import figures, headline_table, model_row
from worker.places import file_store
from worker.stages.diff_runs import diff_two_runs
from worker.stages.promote import judge_promotion, version_before

router = APIRouter(include_in_schema=False, route_class=KeyedRoute)
ON_A_PAGE = 25
FRAMES = 24
"""Of each list of a comparison."""
RATERS = 12


@router.get("/models", dependencies=[require()])
def list_models(
    request: Request,
    session: SessionDep,
    serving: ModelsDep,
    *,
    kind: Annotated[Text | None, Query()] = None,
    cursor: Cursor = None,
) -> Response:
    """Versions, newest first, with the headline of each."""
    rows = models.list_versions(session, kind=kind, cursor=cursor, limit=rows_to_ask(ON_A_PAGE))
    page = page_of(rows, ON_A_PAGE)
    heads = evaluations.latest_heads(session, [each.model_version for each in page["items"]])
    active, served = models.active_versions(session), serving.served_versions()
    tainted, shadowing = lineage.tainted_versions(session), set(shadows.shadows(session).values())
    shown = [
        {
            **model_facts(each, active, served, tainted),
            "shadows": each.model_version in shadowing,
            "headline": headline_of(heads.get(each.model_version)),
        }
        for each in page["items"]
    ]
    return render(
        request, "models.html.j2", versions=shown, next_cursor=page["next_cursor"], kind=kind, active=active,
        pinned=serving.pinned, figures=metric_over_versions(shown),
    )  # fmt: skip


@router.get("/models/{model_version}", dependencies=[require()])
def one_model(model_version: VersionName, request: Request, session: SessionDep, serving: ModelsDep) -> Response:
    """A version: what it reached, what the gate says of it, what it was made of, and its reports."""
    version = models.get_version(session, model_version)
    active = models.active_versions(session)
    facts = model_facts(version, active, serving.served_versions(), lineage.tainted_versions(session))
    run = models.get_run(session, version.training_run_id)
    return render(
        request, "model.html.j2", model=facts, run=run, active=active.get(version.kind), pinned=serving.pinned,
        before=version_before(session, version.kind), verdict=_verdict(session, version), raters_shown=RATERS,
        headline=headline_of(evaluations.latest_evaluation(session, model_version)),
        lineage=lineage.run_summary(session, version.training_run_id),
        reports=evaluations.list_evaluations(session, model_version, limit=10),
        history=[each for each in models.activations(session, version.kind, limit=100)
                 if model_version in (each.model_version, each.previous_version)],
        shadow=_shadow(session, version),
    )  # fmt: skip


@router.get("/comparison", dependencies=[require()])
def compare_models(
    request: Request, session: SessionDep, *, base: VersionName | None = None, other: VersionName | None = None
) -> Response:
    """What changed from one version to another: rows, scores and verdicts. Without two names, the form that asks."""
    names = [each.model_version for each in models.list_versions(session)]
    facts: dict[str, Any] = {"names": names, "base": base, "other": other, "diff": None, "refusal": None, "metrics": []}
    if base is not None and other is not None:
        runs = _run_of(session, base), _run_of(session, other)
        try:
            facts["diff"] = diff_two_runs(session, file_store(), runs[0], runs[1], FRAMES)
        except Conflict as refused:
            facts["refusal"] = str(refused)
        facts["metrics"] = _metrics(session, base, other)
    return render(request, "comparison.html.j2", frames=FRAMES, **facts)


def _run_of(session: Session, model_version: str) -> ModelTrainingRun:
    return models.get_run(session, models.get_version(session, model_version).training_run_id)


def _verdict(session: Session, version: ModelVersion) -> dict[str, Any] | None:
    """What the gate says of a version now; None where it serves already."""
    try:
        return judge_promotion(session, version.model_version).to_json()
    except Conflict:
        return None


def _shadow(session: Session, version: ModelVersion) -> dict[str, Any] | None:
    """Whether it shadows, and the newest comparison; None where it never did."""
    shadows_now = shadows.shadows(session).get(version.kind) == version.model_version
    job = shadows.last_comparison(session, version.model_version)
    if not shadows_now and job is None:
        return None
    return {
        "now": shadows_now,
        "job_id": job.id if job else None,
        "comparison": (job.result or {}).get("comparison") if job else None,
    }


def _metrics(session: Session, base: str, other: str) -> list[dict[str, Any]]:
    """Every metric that the newest reports of both have on their headline rows, the primary one first."""
    heads = evaluations.latest_heads(session, (base, other))
    if len({base, other} & heads.keys()) < 2:
        return []
    primary = heads[other].report["primary"]["name"]
    own = [model_row(headline_table(heads[name].report)) for name in (base, other)]
    return [
        {"name": name, "values": [tuple(figures(row, name).values()) for row in own]}
        for name in sorted(own[0]["metrics"], key=lambda each: each != primary)
        if all(row["metrics"].get(name) is not None for row in own)
    ]
