"""The pages of evaluations: reports and cycles over time, and the frames on which people and a version disagree."""

from __future__ import annotations

from itertools import groupby
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response

from api.deps import SessionDep
from api.keyed_route import KeyedRoute
from api.schemas.disagreements import Need, Reason, State, view_of
from api.schemas.fields import Id, Text
from api.schemas.pages import Cursor, page_of, rows_to_ask
from api.security import require
from api.web.filters import EMPTY_IS_ABSENT
from api.web.rendering import render
from db.queries import disagreements, evaluations
from db.queries.backlog import backlog
from ml.history import history_plot
from ml.judgements import kinds
from worker.evaluating import history

router = APIRouter(include_in_schema=False, route_class=KeyedRoute)
ON_A_PAGE = 25
CYCLES = 5


@router.get("/evaluations", dependencies=[require()])
def list_evaluations(
    request: Request, session: SessionDep, *, kind: Annotated[Text | None, Query()] = None, cursor: Cursor = None
) -> Response:
    """What versions reached over time, the newest cycles, and every report."""
    heads = evaluations.list_heads(session, kind=kind, cursor=cursor, limit=rows_to_ask(ON_A_PAGE))
    page = page_of(heads, ON_A_PAGE)
    points = history(page["items"])
    by_metric = sorted(points, key=_metric_of)  # stable: newest first within each
    plots = [history_plot(metric, list(found)) for (_, metric), found in groupby(by_metric, key=_metric_of)]
    return render(
        request, "evaluations.html.j2", points=points, heads={each.id: each for each in page["items"]},
        plots=[each for each in plots if each is not None], next_cursor=page["next_cursor"], kind=kind,
        cycles=evaluations.list_cycles(session, kind=kind, limit=CYCLES),
        backlogs=[backlog(session, each) for each in kinds()],
    )  # fmt: skip


@router.get("/disagreements", dependencies=[require()])
def list_disagreements(
    request: Request,
    session: SessionDep,
    *,
    state: Annotated[State | None, EMPTY_IS_ABSENT, Query()] = "open",
    reason: Annotated[Reason | None, EMPTY_IS_ABSENT, Query()] = None,
    need: Annotated[Need | None, EMPTY_IS_ABSENT, Query()] = None,
    review_set_id: Id | None = None,
    cursor: Cursor = None,
) -> Response:
    """Frames of review sets with what people and a version said, to be dismissed, kept waiting or brought first."""
    chosen = {"state": state, "reason": reason, "need": need, "review_set_id": review_set_id}
    rows = disagreements.list_disagreements(session, **chosen, cursor=cursor, limit=rows_to_ask(ON_A_PAGE))  # type: ignore[arg-type]
    items = [view_of(*row) for row in rows[:ON_A_PAGE]]
    query: dict[str, Any] = {name: value or "" for name, value in chosen.items() if value or name == "state"}
    more = query | {"cursor": items[-1].id} if len(rows) > ON_A_PAGE else None
    has_sets = bool(disagreements.list_review_sets(session, limit=1))
    return render(request, "disagreements.html.j2", items=items, chosen=chosen, more=more, has_sets=has_sets)


def _metric_of(point: dict[str, Any]) -> tuple[str, str]:
    return point["kind"], point["metric"]
