"""The tick: many webcams scored by one request of a cron."""

from __future__ import annotations

from typing import Annotated, Any

import structlog
from fastapi import APIRouter, Query, Request
from pydantic import ValidationError
from starlette.routing import Match
from starlette.types import Scope

from api.deps import MetricsDep, ModelsDep, SettingsDep
from api.errors import problem_of
from api.keyed_route import KeyedRoute
from api.pool import BoundedPool
from api.schemas.fields import Text
from api.schemas.tick import MAX_WEBCAMS, TickAnswer, TickBody, TickItem, tick_answer
from api.security import Caller, require
from db.tables.access import Scope as KeyScope
from worker.places import file_store
from worker.settings import worker_settings
from worker.stages.tick import tick
from worker.stages.tick_rows import TickRow

log = structlog.get_logger("tick")


class TickRoute(KeyedRoute):
    """Stands beside a route with an id in its place, which would take this path too: it answers for all methods."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Whether the path is this route's, whatever the method."""
        match, found = super().matches(scope)
        return (Match.NONE if match is Match.NONE else Match.FULL), found


router = APIRouter(prefix="/v1/webcams", tags=["score"], route_class=TickRoute)


@router.post("/score", response_model=TickAnswer, summary=f"Score up to {MAX_WEBCAMS} webcams by address")
async def score_webcams(
    body: TickBody,
    request: Request,
    caller: Annotated[Caller, require(KeyScope.SCORE)],
    models: ModelsDep,
    settings: SettingsDep,
    metrics: MetricsDep,
    kind: Annotated[Text, Query(description="The kind of judgement.")] = "rating",
) -> TickAnswer:
    """Fetch the picture of each webcam, score it, and let the capture gate decide whether it is kept.

    It answers within `AFTERGLOW_TICK_TOTAL_S` seconds with whatever is done by then. The answers stand in the order of
    the webcams, and a bad one never spoils the others. A webcam that is not known is added with the facts given, where
    the key has the scope `ingest` too. One whose picture could not be had is left alone for a while (`backoff`). The
    same tick again keeps nothing twice: an unchanged picture is a `cache-hit`, and a snapshot of the last 30 minutes
    stands for a new frame.
    """
    pool: BoundedPool = request.app.state.tick_pool
    results = await pool.run(
        tick, [_row(item) for item in body.webcams], models.served(kind), kind=kind, store=file_store(),
        settings=settings, without=models.reason(kind), allow_hosts=worker_settings().allowed_hosts,
        may_add=caller.may(KeyScope.INGEST), is_stopping=lambda: pool.is_closed,
    )  # fmt: skip
    for result in results:
        if result.scored is not None:
            metrics.count_score(kind, result.scored.path_taken)
    problems = [
        None if each.error is None
        else problem_of(each.error, instance=request.url.path, request_id=request.state.request_id)
        for each in results
    ]  # fmt: skip
    answer = tick_answer(kind, results, problems)
    log.info("tick", ok=answer.ok, **answer.ai.model_dump())
    return answer


def _row(item: Any) -> TickRow | Exception:
    try:
        return TickItem.model_validate(item).row()
    except ValidationError as error:
        return error
