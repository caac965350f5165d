"""Datasets."""

from __future__ import annotations

from typing import Any, Literal

from fastapi import APIRouter, Response, status

from api.deps import IdempotencyKey, SessionDep
from api.errors import InvalidInput
from api.schemas.fields import Id, Limit, Text
from api.schemas.jobs import JobView
from api.schemas.training import DatasetBody, DatasetView
from api.security import require
from db.queries import models
from db.tables import Dataset, Job
from ml.judgements import judgement
from worker.places import file_store
from worker.queue import submit

router = APIRouter(prefix="/v1/datasets", tags=["datasets"])


@router.post(
    "",
    response_model=JobView,
    status_code=status.HTTP_202_ACCEPTED,
    dependencies=[require("train")],
    summary="Export a dataset",
)
def export_dataset(body: DatasetBody, session: SessionDep, idempotency_key: IdempotencyKey = None) -> Job:
    """Freeze the labels of a kind with gates and splits. Answers with the job; its `result` names the dataset."""
    about = judgement(body.kind)
    head = body.head or about.heads[0]
    if head not in about.heads:
        raise InvalidInput(
            "body.head", f"a {body.kind} model has no head {head!r}; choose from {', '.join(about.heads)}"
        )
    params = {**body.model_dump(mode="json"), "head": head}
    return submit(session, "export_dataset", params, idempotency_key=idempotency_key)[0]


@router.get("", response_model=list[DatasetView], dependencies=[require()], summary="List datasets")
def list_datasets(session: SessionDep, kind: Text | None = None, limit: Limit = 50) -> Any:
    """Datasets, newest first."""
    return models.list_datasets(session, kind=kind, limit=limit)


@router.get("/{dataset_id}", response_model=DatasetView, dependencies=[require()], summary="One dataset")
def get_dataset(dataset_id: Id, session: SessionDep) -> Dataset:
    """A dataset: parameters, counts by split and by reason of exclusion, and the sha256 over its rows."""
    return models.get_dataset(session, dataset_id)


@router.get(
    "/{dataset_id}/manifests/{name}.csv",
    response_class=Response,
    responses={200: {"content": {"text/csv": {"schema": {"type": "string"}}}}},
    dependencies=[require()],
    summary="A manifest file",
)
def get_manifest(dataset_id: Id, name: Literal["full", "train", "val", "test"], session: SessionDep) -> Response:
    """One of the dataset's manifest files, byte for byte as it was frozen."""
    dataset = models.get_dataset(session, dataset_id)
    data = file_store().read_file(f"{dataset.artifact_key}/manifest_{name}.csv")
    disposition = f'attachment; filename="dataset-{dataset_id}-manifest_{name}.csv"'
    return Response(data, media_type="text/csv", headers={"Content-Disposition": disposition})
