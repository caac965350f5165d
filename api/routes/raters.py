"""Raters: what each did, what the others tell of it, whom to doubt, and the models that their labels reached."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query

from api.deps import SessionDep
from api.keyed_route import KeyedRoute
from api.schemas.fields import Text
from api.schemas.pages import DEFAULT_LIMIT, Cursor, Limit, page_of, rows_to_ask
from api.schemas.raters import RaterPage, RaterView
from api.security import require
from ml.raters import DOUBTFUL
from worker.stages.raters import overall_facts, rater_facts, rater_rows

router = APIRouter(prefix="/v1/raters", tags=["lineage"], route_class=KeyedRoute, dependencies=[require()])


@router.get("", response_model=RaterPage, summary="List raters")
def list_raters(
    session: SessionDep,
    *,
    doubtful: Annotated[bool | None, Query(description="Only those in doubt, or only the others.")] = None,
    cursor: Cursor = None,
    limit: Limit = DEFAULT_LIMIT,
) -> dict[str, Any]:
    """Everybody who rated, who began first comes first: bias, noise and agreement with their intervals, beside how far
    all agree. Doubtful are those whose ratings have no relation to the others' or are far noisier; they are listed with
    the models that their labels reached. It is a hint to look: nobody is excluded by it.
    """
    rows, overall = rater_rows(session)
    chosen = [
        row
        for row in rows
        if row.id > (cursor or 0) and (doubtful is None or (row.figures.state == DOUBTFUL) == doubtful)
    ]
    page = page_of(chosen[: rows_to_ask(limit)], limit)
    return {**page, "items": [rater_facts(row) for row in page["items"]], "overall": overall_facts(overall)}


@router.get("/{rater}", response_model=RaterView, summary="One rater")
def get_rater(rater: Text, session: SessionDep) -> dict[str, Any]:
    """One rater, with the training runs that these ratings reached."""
    (row,) = rater_rows(session, only=rater)[0]
    return rater_facts(row)
