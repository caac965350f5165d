"""Training runs: started here, or registered from elsewhere."""

from __future__ import annotations

import hashlib
import re
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, status
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile

from api.deps import IdempotencyKey, SessionDep
from api.errors import InvalidInput, UnsupportedBody
from api.picture_input import media_type
from api.registration import check_bundle_zip, register_run
from api.schemas.fields import After, Id, Limit, Page, Text, page_of
from api.schemas.training import ForeignRun, RunLabelView, RunView, SubmittedRun, TrainingBody
from api.security import require
from db.queries import models
from db.tables import ModelTrainingRun
from ml.judgements import judgement
from ml.training.recipe import make_recipe
from worker.places import file_store
from worker.queue import submit_training

router = APIRouter(prefix="/v1/training-runs", tags=["training runs"])
REGISTER_PATH = "/v1/training-runs/register"
MAX_RUN_BYTES = 64 << 20
"""Of the field `run`: some 100 bytes a label."""
_REMOTE_WEIGHTS = re.compile(r"none|imagenet|sha256:[0-9a-f]{64}")
_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True)
class Upload:
    """A registration as it came in."""

    run: ForeignRun
    bundle: Path
    bundle_sha256: str


@router.post(
    "",
    response_model=SubmittedRun,
    status_code=status.HTTP_202_ACCEPTED,
    dependencies=[require("train")],
    summary="Start a training",
)
def start_training(body: TrainingBody, session: SessionDep, idempotency_key: IdempotencyKey = None) -> Any:
    """Train a model version. Answers with the run and its job; export to ONNX and evaluation follow by themselves."""
    recipe = make_recipe(judgement(body.kind).recipe_defaults, body.recipe)
    if not _REMOTE_WEIGHTS.fullmatch(recipe.weights):
        # A path would let a caller read the server's files.
        raise InvalidInput(
            "body.recipe.weights",
            "over HTTP weights are `none`, `imagenet`, or `sha256:<hex>` of a file in the store; a file on the "
            "server's disk is named on the command line only: `afterglow train rating --set weights=FILE`",
        )
    run, job = submit_training(
        session, body.kind, recipe, dataset_id=body.dataset_id, notes=body.notes, idempotency_key=idempotency_key
    )
    return {"run": run, "job": job}


async def read_registration(request: Request) -> AsyncIterator[Upload]:
    """The parts of a registration's form, the archive in a file that is removed afterwards."""
    if media_type(request) != "multipart/form-data":
        raise UnsupportedBody("send a form with the JSON field `run` and the file field `bundle`")
    with tempfile.TemporaryDirectory(prefix="afterglow-upload-") as directory:
        async with request.form(max_files=2, max_fields=2, max_part_size=MAX_RUN_BYTES) as form:
            run, bundle = form.get("run"), form.get("bundle")
            if isinstance(run, UploadFile):
                run = (await run.read()).decode("utf-8", "replace")
            if run is None:
                raise InvalidInput("body.run", "is missing; send the run as JSON")
            if not isinstance(bundle, UploadFile):
                raise InvalidInput("body.bundle", "is missing; send the bundle's directory as a zip file")
            path, digest = Path(directory) / "bundle.zip", hashlib.sha256()
            with path.open("wb") as target:
                while chunk := await bundle.read(_CHUNK_BYTES):
                    digest.update(chunk)
                    target.write(chunk)
        content = await run_in_threadpool(ForeignRun.model_validate_json, run)
        await run_in_threadpool(check_bundle_zip, path, content)
        yield Upload(content, path, digest.hexdigest())


@router.post(
    "/register",
    response_model=SubmittedRun,
    status_code=status.HTTP_202_ACCEPTED,
    dependencies=[require("train")],
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
def register_training(upload: Annotated[Upload, Depends(read_registration)], session: SessionDep) -> Any:
    """Take in a model with the labels it has seen. A job then checks the bundle, runs its self-test and registers the
    version; nothing serves before it is promoted.
    """
    run, job = register_run(session, file_store(), upload.run, upload.bundle, upload.bundle_sha256)
    return {"run": run, "job": job}


@router.get("", response_model=list[RunView], dependencies=[require()], summary="List training runs")
def list_runs(session: SessionDep, kind: Text | None = None, limit: Limit = 50) -> Any:
    """Training runs, newest first."""
    return models.list_runs(session, kind=kind, limit=limit)


@router.get("/{run_id}", response_model=RunView, dependencies=[require()], summary="One training run")
def get_run(run_id: Id, session: SessionDep) -> ModelTrainingRun:
    """A training run: its recipe, its state, its metrics."""
    return models.get_run(session, run_id)


@router.get(
    "/{run_id}/labels", response_model=Page[RunLabelView], dependencies=[require()], summary="Labels of a training run"
)
def list_run_labels(run_id: Id, session: SessionDep, after_id: After = 0, limit: Limit = 50) -> dict[str, Any]:
    """Exactly the rows that the run was trained, validated and tested on, in order of snapshot (`after_id`)."""
    models.get_run(session, run_id)
    rows = models.provenance(session, run_id, after_snapshot_id=after_id, limit=limit)
    return page_of(list(rows), limit, "snapshot_id")
