"""Every refusal as problem+json (RFC 9457). The only place that knows status codes."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

import psycopg
import structlog
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, ConfigDict, ValidationError
from sqlalchemy import exc as sql
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import Scope

from api.methods import allowed_methods
from api.web.rendering import problem_page, wants_page
from db.errors import Conflict, NoDatabase, NotFound
from ml.bundle import BundleError
from ml.images.decode import ImageError
from ml.images.fetch import FetchError
from ml.images.store import StoreError
from ml.judgements import UnknownKind
from ml.judgements.base import JudgementError
from ml.manifest import ManifestError
from ml.thresholds import ThresholdError
from ml.training.recipe import RecipeError
from worker.stages.promote import PromotionRefused

log = structlog.get_logger("api")
MEDIA_TYPE = "application/problem+json"
PROBLEM_SCHEMA = {"$ref": "#/components/schemas/Problem"}


class FieldProblem(BaseModel):
    """One part of the request that was refused."""

    field: str
    """Where it stands, e.g. `body.rating`."""
    message: str
    """What is wrong and what to send instead."""


class Problem(BaseModel):
    """Why a request was refused (RFC 9457)."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "type": "urn:afterglow:problem:not-found",
                    "title": "Not found",
                    "status": 404,
                    "detail": "There is no snapshot 7.",
                    "instance": "/v1/snapshots/7",
                    "request_id": "4f0c6d1f0a7b4d0f9d0e8a2b7c5d3e11",
                }
            ]
        }
    )
    type: str
    title: str
    status: int
    detail: str
    instance: str
    request_id: str
    errors: list[FieldProblem] | None = None
    """The parts that were refused, where that is known."""
    verdict: dict[str, Any] | None = None
    """What the promotion gate found, where it refused."""


class ApiError(Exception):
    """The request is refused."""


class Unauthenticated(ApiError):
    """A valid API key is needed: send `Authorization: Bearer ag_...`; `afterglow keys create` makes one."""


class MissingScope(ApiError):
    """The key or login lacks a scope."""

    def __init__(self, scope: str, scopes: tuple[str, ...], *, is_login: bool = False) -> None:
        what, command = ("login", "login") if is_login else ("key", "keys create")
        super().__init__(
            f"this needs a {what} with the scope {scope!r}; the one given has {', '.join(scopes)}. "
            f"`afterglow {command} --scopes {scope}` makes one"
        )


class ForeignRequest(ApiError):
    """This was not sent by a page of this server; open the page here and try again. Programs send a key, no cookie."""


class OtherRater(ApiError):
    """A login rates in its own name alone."""

    def __init__(self, rater: str) -> None:
        super().__init__(f"this login rates as {rater} and in no other name; log in again to be somebody else")


class ImageRemoved(ApiError):
    """The picture is gone for good."""


class InvalidInput(ApiError):
    """A part of the request makes no sense; `field` names it."""

    def __init__(self, field: str, message: str) -> None:
        self.field = field
        super().__init__(message)


class UnsupportedBody(ApiError):
    """The body is of a type that this route does not take."""


class Busy(ApiError):
    """Too many requests wait already; try again in a second."""


class BodyTooLarge(HTTPException):
    """The body is over the limit. An HTTPException, since FastAPI turns others that come out of a body into a 400."""

    def __init__(self, limit: int) -> None:
        super().__init__(
            413, f"the request body is larger than {limit >> 20} MiB, which is the most that is taken here"
        )


_IMAGE_STATUS = {"too_large": 413, "format_not_allowed": 415}
_UNAVAILABLE = "the database cannot be used now; try again in a moment"

_STATUS: dict[type[Exception], int] = {
    Unauthenticated: 401,
    MissingScope: 403,
    ForeignRequest: 403,
    OtherRater: 403,
    NotFound: 404,
    ImageRemoved: 410,
    PromotionRefused: 409,
    Conflict: 409,
    sql.IntegrityError: 409,
    UnsupportedBody: 415,
    InvalidInput: 422,
    ImageError: 422,
    FetchError: 422,
    RecipeError: 422,
    JudgementError: 422,
    UnknownKind: 422,
    ThresholdError: 422,
    BundleError: 422,
    ValidationError: 422,
    RequestValidationError: 422,
    sql.DataError: 422,
    Busy: 503,
    NoDatabase: 503,
    StoreError: 503,
    ManifestError: 503,
    sql.OperationalError: 503,
    sql.InterfaceError: 503,
    sql.TimeoutError: 503,
    psycopg.OperationalError: 503,
}
"""Kind of error -> status. What is not here and no HTTPException is our own fault: 500."""
REFUSALS: tuple[type[Exception], ...] = (*_STATUS, HTTPException)
"""Everything that is the caller's matter or a passing state, and no fault of ours."""


def problem_of(error: Exception, *, instance: str, request_id: str) -> Problem:
    """Say what an error means to the caller. Never shows a stack trace or what a driver printed."""
    status = _status_of(error)
    facts: dict[str, Any] = {}
    detail = str(error) or (type(error).__doc__ or "").strip()
    if isinstance(error, RequestValidationError | ValidationError):
        facts["errors"] = _field_problems(error)
        detail = "; ".join(f"{each.field}: {each.message}" for each in facts["errors"])[:2000]
    elif isinstance(error, InvalidInput):
        facts["errors"] = [FieldProblem(field=error.field, message=str(error))]
    elif isinstance(error, PromotionRefused):
        facts["verdict"] = error.verdict.to_json()
    elif isinstance(error, HTTPException):
        detail = str(error.detail)
    elif isinstance(error, StoreError | ManifestError):
        detail = "the file store cannot give or take this file now; the server's log says why"
    elif isinstance(error, sql.IntegrityError):
        detail = f"this contradicts what is stored already ({_constraint(error)})"
    elif isinstance(error, sql.DataError):
        detail = "a value is outside of what can be stored"
    elif status == 503 and not isinstance(error, Busy | NoDatabase):
        detail = _UNAVAILABLE
    elif status == 500:
        detail = f"this is a fault of the server; its log has more under request id {request_id}"
    title = HTTPStatus(status).phrase.capitalize()
    return Problem(
        type=f"urn:afterglow:problem:{title.lower().replace(' ', '-')}",
        title=title, status=status, detail=printable(detail), instance=instance, request_id=request_id, **facts,
    )  # fmt: skip


def problem_response(scope: Scope, error: Exception) -> Response:
    """The answer to a request that failed with `error`: a problem, or a page where a browser asked for one."""
    request_id = str(scope.get("state", {}).get("request_id", "unknown"))
    problem = problem_of(error, instance=printable(scope["path"]), request_id=request_id)
    if problem.status >= 500 and not isinstance(error, Busy):
        # Of a statement that failed only what the driver said: its parameters may hold what nobody should read.
        cause = error.orig if isinstance(error, sql.DBAPIError) else error
        log.error("request failed", status=problem.status, error=f"{type(error).__name__}: {cause}"[:2000])
    headers = dict(getattr(error, "headers", None) or {})
    if problem.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    if problem.status == 503:
        headers["Retry-After"] = "1"
    if wants_page(scope):
        return problem_page(scope, problem.model_dump(), headers)
    return JSONResponse(
        problem.model_dump(mode="json", exclude_none=True), problem.status, headers, media_type=MEDIA_TYPE
    )


def install(app: FastAPI) -> None:
    """Answer every error of the table, and FastAPI's own, as a problem."""

    async def answer(request: Request, error: Exception) -> Response:
        response = problem_response(request.scope, error)
        if response.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
            response.headers["Allow"] = allowed_methods(app, request.url.path)
        return response

    for kind in REFUSALS:
        app.add_exception_handler(kind, answer)


def printable(text: str) -> str:
    """A text that every JSON encoder takes: lone surrogates and control characters are escaped."""
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() or character == "\n" else ascii(character)[1:-1] for character in text
    )


def _status_of(error: Exception) -> int:
    if isinstance(error, HTTPException):
        return error.status_code
    if isinstance(error, ImageError):
        return _IMAGE_STATUS.get(error.reason, 422)
    if isinstance(error, sql.IntegrityError) and isinstance(error.orig, psycopg.errors.CheckViolation):
        return 422
    return next((_STATUS[each] for each in type(error).__mro__ if each in _STATUS), 500)


def _constraint(error: sql.IntegrityError) -> str:
    orig = error.orig
    name = orig.diag.constraint_name if isinstance(orig, psycopg.Error) else None
    return name or "the rows are append-only"


def _field_problems(error: RequestValidationError | ValidationError) -> list[FieldProblem]:
    found = []
    for item in list(error.errors())[:20]:
        field = ".".join(str(part) for part in item["loc"]) or "body"
        found.append(FieldProblem(field=printable(field), message=printable(_message(item))))
    return found


def _message(item: Any) -> str:
    if item["type"] == "missing":
        return "is missing; add it"
    if item["type"] == "extra_forbidden":
        return "is not known here; check its spelling or leave it out"
    if item["type"] == "json_invalid":
        return f"is not JSON: {item.get('ctx', {}).get('error', item['msg'])}"
    text = str(item["msg"]).removeprefix("Value error, ")
    given = item.get("input")
    return f"{text} (given {ascii(given)[:100]})" if isinstance(given, str | int | float | bool) else text
