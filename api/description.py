"""How the API describes itself: its OpenAPI document, which /docs shows."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI

from api import errors
from api.security import bearer
from db.tables.access import Scope

DESCRIPTION = """
Turns people's judgements of images into models that can be trusted, and keeps them honest.

Every route under `/v1` needs a key: press *Authorize* and paste one made by `afterglow keys create --scopes ...`.
Any valid key may read; what changes something needs a scope, which its description names.
Lists come in pages of one shape: `{"items": [...], "next_cursor": 123}`; ask again with `cursor=123` for what follows.
A query parameter that a route does not know is refused, and so is JSON that names a key twice or holds NaN.
Errors are `application/problem+json` with the request's id, which is also in the server's log.
"""
TAGS = [
    {"name": "score", "description": "Score pictures with the active model."},
    {"name": "webcams", "description": "Cameras, with the latest score of their picture."},
    {"name": "snapshots", "description": "Kept frames, and what people say of them."},
    {"name": "disagreements", "description": "Frames that are worth a person's time, why, and what became of them."},
    {"name": "datasets", "description": "Frozen exports of labels, row by row."},
    {"name": "training runs", "description": "Start a training, or register one that happened elsewhere."},
    {"name": "models", "description": "Versions, their evaluations, promotion and rollback."},
    {"name": "photos", "description": "Projects of photos to choose from and crop, and taking photos into one."},
    {"name": "lineage", "description": "Which rows, raters and imports made a model; whose labels do not count."},
    {"name": "jobs", "description": "Work in the background: progress, log, cancel, try again."},
    {"name": "keys", "description": "Who may call, and what they may do."},
    {"name": "system", "description": "Health, which needs no key, and counters."},
]
PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {"description": text, "content": {errors.MEDIA_TYPE: {"schema": errors.PROBLEM_SCHEMA}}}
    for status, text in (
        (400, "The body breaks off, or is no form although it says so."),
        (401, "No valid key."),
        (403, "The key lacks a scope."),
        (404, "Not known."),
        (409, "Contradicts what is stored."),
        (413, "The body is too large."),
        (415, "The body is of a type that is not taken here."),
        (422, "Something in the request is wrong; `errors` names it."),
        (503, "Busy, or the database is away; try again."),
    )
}
_OF_A_BODY = ("400", "413", "415")
"""Refusals that only a request with a body can meet."""


def describe(app: FastAPI) -> None:
    """Put our error format into the description in place of FastAPI's own, and say of every route what it needs."""
    plain = app.openapi

    def described() -> dict[str, Any]:
        if app.openapi_schema is not None:
            return app.openapi_schema
        content = plain()
        schemas = content["components"]["schemas"]
        for name in ("HTTPValidationError", "ValidationError"):
            schemas.pop(name, None)
        if "Problem" not in schemas or "FieldProblem" not in schemas:
            about = errors.Problem.model_json_schema(ref_template="#/components/schemas/{model}")
            schemas.update(about.pop("$defs"), Problem=about)
        for path in content["paths"].values():
            for method, operation in path.items():
                _finish(method, operation)
        return content

    app.openapi = described  # type: ignore[method-assign]


def _finish(method: str, operation: dict[str, Any]) -> None:
    answers = operation["responses"]
    for status, answer in answers.items():
        if status in {str(each) for each in PROBLEMS}:
            # A route that says more about a refusal leaves its format out.
            answer.setdefault("content", PROBLEMS[int(status)]["content"])
    needless = [] if "requestBody" in operation else [*_OF_A_BODY]
    if method == "get":
        needless.append("409")
    for status in needless:
        answers.pop(status, None)
    for needed in operation.get("security", ()):
        scopes = needed[bearer.scheme_name]
        what = " and ".join(f"`{scope}` ({Scope(scope).allows})" for scope in scopes)
        operation["description"] += f"\n\nNeeds a key with the scope {what}." if scopes else "\n\nNeeds any valid key."
