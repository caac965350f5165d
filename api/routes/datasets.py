"""Datasets."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Response, status

from api.conditional import FOR_EVER, IfNoneMatch, not_modified
from api.deps import SessionDep
from api.errors import InvalidInput
from api.idempotency import IdempotencyKey, submit_once
from api.keyed_route import KeyedRoute
from api.schemas.fields import Id, Text
from api.schemas.jobs import JobView
from api.schemas.pages import DEFAULT_LIMIT, Cursor, Limit, Page, page_of, rows_to_ask
from api.schemas.training import DatasetBody, DatasetView
from api.security import require
from db.queries import models
from db.tables import Dataset, Job
from db.tables.access import Scope
from ml.judgements import judgement
from worker.places import file_store
from worker.verified import read_dataset_file

router = APIRouter(prefix="/v1/datasets", tags=["datasets"], route_class=KeyedRoute)


@router.post(
    "",
    response_model=JobView,
    status_code=status.HTTP_202_ACCEPTED,
    dependencies=[require(Scope.TRAIN)],
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
    return submit_once(session, "export_dataset", {**body.model_dump(mode="json"), "head": head}, idempotency_key)


@router.get("", response_model=Page[DatasetView], dependencies=[require()], summary="List datasets")
def list_datasets(
    session: SessionDep,
    *,
    kind: Annotated[Text | None, Query(description="Only those of this kind of judgement.")] = None,
    cursor: Cursor = None,
    limit: Limit = DEFAULT_LIMIT,
) -> dict[str, Any]:
    """Datasets, newest first."""
    return page_of(models.list_datasets(session, kind=kind, cursor=cursor, limit=rows_to_ask(limit)), limit)


@router.get("/{dataset_id}", response_model=DatasetView, dependencies=[require()], summary="One dataset")
def get_dataset(dataset_id: Id, session: SessionDep) -> Dataset:
    """A dataset: parameters, counts by split and by reason of exclusion, and the sha256 over its rows."""
    return models.get_dataset(session, dataset_id)


@router.get(
    "/{dataset_id}/manifests/{name}.csv",
    response_class=Response,
    responses={
        200: {"content": {"text/csv": {"schema": {"type": "string"}}}, "description": "The file, with its `ETag`."},
        304: {"description": "The caller has this file: `If-None-Match` names it."},
    },
    dependencies=[require()],
    summary="A manifest file",
)
def get_manifest(
    dataset_id: Id,
    name: Literal["full", "train", "val", "test"],
    session: SessionDep,
    if_none_match: IfNoneMatch = None,
) -> Response:
    """One of the dataset's manifest files, byte for byte as it was frozen. It never changes: keep it with its `ETag`."""
    dataset = models.get_dataset(session, dataset_id)
    headers = {"ETag": f'"{dataset.manifest_sha256}-{name}"', "Cache-Control": FOR_EVER}
    if (known := not_modified(headers, if_none_match)) is not None:
        return known
    data = read_dataset_file(file_store(), dataset, name)
    headers["Content-Disposition"] = f'attachment; filename="dataset-{dataset_id}-manifest_{name}.csv"'
    return Response(data, media_type="text/csv", headers=headers)
