"""The pages. Each is a template of `api/web/templates`; what it shows and does goes through the routes under /v1."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Request, Response
from fastapi.staticfiles import StaticFiles

from api.deps import SessionDep
from api.keyed_route import KeyedRoute
from api.security import Caller, require
from api.web.attention import notices, who_works
from api.web.rendering import render
from db.tables.access import Scope

router = APIRouter(include_in_schema=False, route_class=KeyedRoute)


class StaticAssets(StaticFiles):
    """Modules and styles. A browser asks each time whether they are still the same: they name each other without a
    version, and after an update half of them would be old.
    """

    def file_response(self, *args: object, **facts: object) -> Response:
        """A file, or 304."""
        response = super().file_response(*args, **facts)  # type: ignore[arg-type]
        response.headers["Cache-Control"] = "no-cache"
        return response


@router.get("/")
def home(request: Request, session: SessionDep, caller: Annotated[Caller, require()]) -> Response:
    """What wants attention now."""
    return render(request, "home.html.j2", notices=notices(session, caller.name), **who_works(session))


@router.get("/label", dependencies=[require(Scope.RATE)])
def label(request: Request) -> Response:
    """Label frames at key speed."""
    return render(request, "label.html.j2")
