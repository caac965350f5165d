"""The files of an evaluation's report: the page for people, the same as JSON, and the suspected labels."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Response

from api.conditional import FOR_EVER, IfNoneMatch, not_modified
from api.deps import SessionDep
from api.keyed_route import KeyedRoute
from api.schemas.fields import Id
from api.schemas.pages import DEFAULT_LIMIT, Cursor, Limit, Page, page_of, rows_to_ask
from api.schemas.suspects import SuspectView
from api.security import require
from db.errors import NotFound
from db.queries import evaluations
from ml.suspects import SUSPECTS_FILE, parse_suspects
from worker.places import file_store
from worker.verified import read_evaluation_file

router = APIRouter(prefix="/v1/evaluations/{evaluation_id}", tags=["models"], route_class=KeyedRoute)
POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'; sandbox"
)
"""What a report's page may do: show its own styles and pictures; no script, no request, no form."""


def _answers(media_type: str, schema: dict[str, str]) -> dict[int | str, dict[str, Any]]:
    return {
        200: {"content": {media_type: {"schema": schema}}, "description": "The file, with its `ETag`."},
        304: {"description": "The caller has this file: `If-None-Match` names it."},
    }


@router.get(
    "/report.html",
    response_class=Response,
    responses=_answers("text/html", {"type": "string"}),
    dependencies=[require()],
    summary="An evaluation's report as a page",
)
def get_report_page(evaluation_id: Id, session: SessionDep, if_none_match: IfNoneMatch = None) -> Response:
    """The report as one self-contained page: verdict, figures, slices, frames, cards. It never changes."""
    answer = _file(session, evaluation_id, "report.html", "text/html; charset=utf-8", if_none_match)
    answer.headers["Content-Security-Policy"] = POLICY
    return answer


@router.get(
    "/report.json",
    response_class=Response,
    responses=_answers("application/json", {"type": "object"}),
    dependencies=[require()],
    summary="An evaluation's report as JSON",
)
def get_report_json(evaluation_id: Id, session: SessionDep, if_none_match: IfNoneMatch = None) -> Response:
    """The report as the verb wrote it, byte for byte. It never changes."""
    return _file(session, evaluation_id, "report.json", "application/json", if_none_match)


@router.get("/suspects", response_model=Page[SuspectView], dependencies=[require()], summary="Suspected wrong labels")
def list_suspects(
    evaluation_id: Id, session: SessionDep, *, cursor: Cursor = None, limit: Limit = DEFAULT_LIMIT
) -> dict[str, Any]:
    """All rows of an evaluation, the most doubtful label first, by models that did not learn from them."""
    ranked = parse_suspects(_content(session, evaluation_id, SUSPECTS_FILE))
    return page_of(ranked[cursor or 0 :][: rows_to_ask(limit)], limit, key="rank")


def _file(session: SessionDep, evaluation_id: int, name: str, media_type: str, if_none_match: str | None) -> Response:
    headers = {"ETag": f'"evaluation-{evaluation_id}-{name}"', "Cache-Control": FOR_EVER}
    evaluations.get_evaluation(session, evaluation_id)
    if (known := not_modified(headers, if_none_match)) is not None:
        return known
    return Response(_content(session, evaluation_id, name), media_type=media_type, headers=headers)


def _content(session: SessionDep, evaluation_id: int, name: str) -> bytes:
    evaluation = evaluations.get_evaluation(session, evaluation_id)
    content = read_evaluation_file(file_store(), evaluation, name)
    if content is None:
        raise NotFound(
            f"evaluation {evaluation_id} has no {name}: it is older than that file. "
            f"POST /v1/models/{evaluation.model_version}/evaluations makes a new one"
        )
    return content
