"""Scoring over HTTP."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from api.errors import REFUSALS, problem_of, problem_response
from api.keyed_route import KeyedRoute, check_query, needed_scopes, query_names
from api.picture_input import MAX_BATCH, Picture, read_batch, read_picture
from api.schemas.fields import Text
from api.schemas.frames import FrameFields, ScoreItem
from api.schemas.score import BatchAnswer, ScoreAnswer, refused
from api.scoring import ScoringDesk
from api.security import admit, require
from api.strict_request import StrictRequest
from ml.judgements import judgement

router = APIRouter(prefix="/v1/score", tags=["score"], dependencies=[require("score")], route_class=KeyedRoute)
Kind = Annotated[Text, Query(description="The kind of judgement.")]
BINARY = {"schema": {"type": "string", "format": "binary"}}
BASE64_EXAMPLE = "iVBORw0KGgoAAAANSUhEUgAAAAgAAAAICAIAAABLbSncAAAAEklEQVR4nGP4P9EBK2IYXBIAaOOIwUwXEW0AAAAASUVORK5CYII="
"""A picture of 8 x 8 pixels."""


async def get_desk(request: Request) -> ScoringDesk:
    """What scoring needs, made when the API started. Async, or each request would go through a thread for it."""
    desk: ScoringDesk = request.app.state.desk
    return desk


Desk = Annotated[ScoringDesk, Depends(get_desk)]


def frame_parameters() -> list[dict[str, Any]]:
    """The query parameters that say where and when, for the API's description."""
    schema = FrameFields.model_json_schema()["properties"]
    return [
        {"name": name, "in": "query", "required": False, "description": about.get("description", ""),
         "schema": {key: value for key, value in about.items() if key not in ("description", "default")}}
        for name, about in schema.items()
    ]  # fmt: skip


def form_schema(file_field: str, *, many: bool = False) -> dict[str, Any]:
    """The form that carries a picture, for the API's description."""
    file: dict[str, Any] = {"type": "string", "format": "binary"}
    fields = FrameFields.model_json_schema()["properties"]
    if many:
        return {"type": "object", "required": [file_field], "properties": {
            file_field: {"type": "array", "maxItems": MAX_BATCH, "items": file},
            "frames": {"type": "string", "description": "JSON list with one object {webcam_id, phase, ...} per image."},
        }}  # fmt: skip
    return {"type": "object", "required": [file_field], "properties": {file_field: file, **fields}}


class ScoreFirst:
    """Pure ASGI before FastAPI's own handling: scoring one picture is the request whose speed counts, and a router that
    tries one route after the other, exit stacks and handlers of errors cost as much of it as everything that is ours.

    The checks are those of every route, in their order: the key, the names of the query, then the body.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer the request, or hand it on."""
        if scope["type"] != "http" or scope["method"] != "POST" or scope["path"] != _ROUTE.path:
            await self.app(scope, receive, send)
            return
        scope["route"] = _ROUTE
        request = StrictRequest(scope, receive)
        response: Response
        try:
            await admit(request, _NEEDED)
            check_query(request, _KNOWN)
            response = await score(request, request.query_params.get("kind", "rating"))
        except REFUSALS as error:
            response = problem_response(scope, error)
        await response(scope, receive, send)


async def score(request: Request, kind: Kind = "rating") -> Response:
    """Score the bytes of a picture (as the body, or as the file `image` of a form) or a picture by address.

    With a webcam named, the score is written to it, the capture gate decides whether the frame is kept, and a picture
    that has not changed since is answered from the last score (`cache-hit`). Every attempt is recorded. Without an
    active model or a readable picture the answer is `unscored` with nulls and a reason: a score is never made up.
    """
    desk: ScoringDesk = request.app.state.desk
    answer = await desk.score(kind, await read_picture(request))
    # Written out here: FastAPI would check the answer, which was made a moment ago, once more.
    return Response(answer.model_dump_json(by_alias=True), media_type="application/json")


router.add_api_route(
    "",
    score,
    methods=["POST"],
    response_model=ScoreAnswer,
    summary="Score one picture",
    openapi_extra={
        "parameters": frame_parameters(),
        "requestBody": {
            "required": True,
            "content": {
                "image/*": BINARY,
                "application/octet-stream": BINARY,
                "multipart/form-data": {"schema": form_schema("image")},
                "application/json": {
                    "schema": ScoreItem.model_json_schema(),
                    "examples": {
                        "by address": {"value": {"url": "https://example.org/webcam.jpg"}},
                        "as text": {"value": {"image_base64": BASE64_EXAMPLE, "captured_at": "2026-02-14T17:05:00Z"}},
                    },
                },
            },
        },
    },
)


_ROUTE = next(each for each in router.routes if isinstance(each, KeyedRoute) and each.path == router.prefix)
_NEEDED, _KNOWN = needed_scopes(_ROUTE), query_names(_ROUTE)


@router.post(
    "/batch",
    response_model=BatchAnswer,
    summary=f"Score up to {MAX_BATCH} pictures",
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {
                "multipart/form-data": {"schema": form_schema("images", many=True)},
                "application/json": {
                    "schema": {
                        "type": "object",
                        "required": ["items"],
                        "properties": {
                            "items": {"type": "array", "maxItems": MAX_BATCH, "items": ScoreItem.model_json_schema()}
                        },
                    },
                    "examples": {"two": {"value": {"items": [{"image_base64": BASE64_EXAMPLE}] * 2}}},
                },
            },
        }
    },
)
async def score_batch(request: Request, desk: Desk, kind: Kind = "rating") -> BatchAnswer:
    """Score several pictures; the answers stand in the order of the items. A bad item never spoils the others:
    its answer is `unscored` with the problem in `error`.
    """
    judgement(kind)
    pictures = await read_batch(request)
    turn = asyncio.Semaphore(2 * desk.score_pool.threads)  # half of them score while the others are recorded

    async def one(picture: Picture | Exception) -> ScoreAnswer:
        try:
            if isinstance(picture, Exception):
                raise picture
            async with turn:
                return await desk.score(kind, picture)
        except REFUSALS as error:
            problem = problem_of(error, instance=request.url.path, request_id=request.state.request_id)
            return refused(kind, problem)

    return BatchAnswer(answers=list(await asyncio.gather(*(one(picture) for picture in pictures))))
