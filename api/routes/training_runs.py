"""Training runs: started here, or registered from elsewhere."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, status

from api.deps import SessionDep
from api.idempotency import IdempotencyKey, other_body
from api.keyed_route import KeyedRoute
from api.registration import register_run
from api.remote_weights import check_remote_weights
from api.schemas.fields import Id, Text
from api.schemas.pages import DEFAULT_LIMIT, Cursor, Limit, Page, page_of, rows_to_ask
from api.schemas.training import ForeignRun, RunStatus, RunView, SubmittedRun, TrainingBody
from api.security import require
from api.upload import Upload, find_registration, read_registration
from db.queries import models
from db.tables import ModelTrainingRun
from db.tables.access import Scope
from ml.judgements import judgement
from ml.training.recipe import make_recipe
from worker.places import file_store
from worker.queue import submit_training

router = APIRouter(prefix="/v1/training-runs", tags=["training runs"], route_class=KeyedRoute)
REGISTER_PATH = "/v1/training-runs/register"


@router.post(
    "",
    response_model=SubmittedRun,
    status_code=status.HTTP_202_ACCEPTED,
    dependencies=[require(Scope.TRAIN)],
    summary="Start a training",
)
def start_training(body: TrainingBody, session: SessionDep, idempotency_key: IdempotencyKey = None) -> dict[str, Any]:
    """Train a model version. Answers with the run and its job; export to ONNX and evaluation follow by themselves."""
    recipe = make_recipe(judgement(body.kind).recipe_defaults, body.recipe)
    check_remote_weights(recipe.weights, f"afterglow train {body.kind}")
    run, job = submit_training(
        session, body.kind, recipe, dataset_id=body.dataset_id, notes=body.notes, idempotency_key=idempotency_key
    )
    asked = (body.kind, recipe.model_dump(mode="json"), body.notes, body.dataset_id)
    # The run's dataset is filled in by its export, so what was asked for stands in the job.
    if idempotency_key and asked != (run.kind, run.params_json["recipe"], run.notes, job.params.get("dataset_id")):
        raise other_body(f"run {run.id}", idempotency_key)
    return {"run": run, "job": job}


@router.post(
    "/register",
    response_model=SubmittedRun,
    status_code=status.HTTP_202_ACCEPTED,
    dependencies=[require(Scope.TRAIN)],
    summary="Register a model trained elsewhere",
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {
                "multipart/form-data": {
                    "schema": {
                        "type": "object",
                        "required": ["run", "bundle"],
                        "properties": {
                            "run": {
                                "type": "string",
                                "contentMediaType": "application/json",
                                "contentSchema": ForeignRun.model_json_schema(),
                            },
                            "bundle": {"type": "string", "format": "binary", "description": "zip of a bundle's files"},
                        },
                    }
                }
            },
        }
    },
)
def register_training(
    upload: Annotated[Upload, Depends(read_registration)], session: SessionDep, idempotency_key: IdempotencyKey = None
) -> dict[str, Any]:
    """Take in a model with the labels it has seen. A job then checks the bundle, runs its self-test and registers the
    version; nothing serves before it is promoted.
    """
    if idempotency_key is not None and (known := find_registration(session, upload, idempotency_key)) is not None:
        return {"run": known[0], "job": known[1]}
    run, job = register_run(
        session, file_store(), upload.run, upload.bundle, upload.bundle_sha256, idempotency_key=idempotency_key
    )
    return {"run": run, "job": job}


@router.get("", response_model=Page[RunView], dependencies=[require()], summary="List training runs")
def list_runs(
    session: SessionDep,
    *,
    kind: Annotated[Text | None, Query(description="Only those of this kind of judgement.")] = None,
    status: Annotated[RunStatus | None, Query(description="Only those in this state.")] = None,
    cursor: Cursor = None,
    limit: Limit = DEFAULT_LIMIT,
) -> dict[str, Any]:
    """Training runs, newest first."""
    rows = models.list_runs(session, kind=kind, status=status, cursor=cursor, limit=rows_to_ask(limit))
    return page_of(rows, limit)


@router.get("/{run_id}", response_model=RunView, dependencies=[require()], summary="One training run")
def get_run(run_id: Id, session: SessionDep) -> ModelTrainingRun:
    """A training run: its recipe, its state, its metrics."""
    return models.get_run(session, run_id)
