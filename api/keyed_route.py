"""What every route under /v1 does before FastAPI reads its body: the key, the scope, the names in the query."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterator
from typing import Any

from fastapi import Request, Response
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute

from api.errors import InvalidInput
from api.security import admit, check
from api.strict_request import StrictRequest


class KeyedRoute(APIRoute):
    """A route that needs a key: `Depends(require(...))` must stand among its dependencies, or it cannot be made.

    FastAPI reads and parses a body before it asks any dependency, so that a caller without a key would hear of his
    syntax first, and could have a large body read. Here the key goes first, then the names of the query parameters:
    one that the route does not know is refused, so that a misspelt filter never returns everything.
    """

    def __init__(self, path: str, endpoint: Callable[..., Any], **facts: Any) -> None:
        super().__init__(path, endpoint, **facts)
        if not any(each.call is check for each in _all_of(self.dependant)):
            raise TypeError(f"the route {path} says not who may use it: add require(<scope>), or require() for any key")

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The handler, behind the checks."""
        answer = super().get_route_handler()
        asked = needed_scopes(self)
        known = query_names(self)

        async def checked(request: Request) -> Response:
            await admit(request, asked)
            check_query(request, known)
            return await answer(StrictRequest(request.scope, request.receive))

        return checked


def needed_scopes(route: APIRoute) -> list[str]:
    """The scopes that a key needs for a route; none where any valid key may use it."""
    scopes = {scope for each in _all_of(route.dependant) if each.call is check for scope in each.own_oauth_scopes or []}
    return sorted(scopes)


def query_names(route: APIRoute) -> list[str]:
    """The query parameters that a route knows, those of its description too that it reads by itself."""
    declared = [field.alias for each in _all_of(route.dependant) for field in each.query_params]
    described = [each["name"] for each in (route.openapi_extra or {}).get("parameters", ()) if each["in"] == "query"]
    return list(dict.fromkeys([*declared, *described]))


def _all_of(dependant: Dependant) -> Iterator[Dependant]:
    yield dependant
    for each in dependant.dependencies:
        yield from _all_of(each)


def check_query(request: Request, known: list[str]) -> None:
    """Refuse a query with a name that is not known, or that comes twice.

    Raises:
        InvalidInput: It has one; the message names it.
    """
    names = [name for name, _ in request.query_params.multi_items()]
    for name in names:
        if name not in known:
            allowed = f"known are {', '.join(known)}" if known else "this route takes none"
            raise InvalidInput(f"query.{name}"[:100], f"the parameter {ascii(name)[:100]} is not known here; {allowed}")
        if names.count(name) > 1:
            raise InvalidInput(f"query.{name}", f"the parameter {name} is given more than once; give it once")
