"""Reading pictures out of requests: raw bytes, a form, or JSON with an address."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass, field
from typing import Any

from fastapi import Request
from pydantic import ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData, UploadFile

from api.errors import InvalidInput, UnsupportedBody
from api.schemas.frames import FRAME_FIELDS, FrameFields, ScoreItem
from ml.strict_json import parse_json

MAX_BATCH = 32
MAX_FIELDS = 20
LARGE_JSON_BYTES = 256 << 10
RAW_TYPES = ("application/octet-stream", "application/x-www-form-urlencoded", "")
"""Beside `image/*`; the second is what `curl --data-binary` says when it is not told otherwise."""
HOW = (
    'Send the bytes of a picture as the body (Content-Type: image/jpeg), a form with the file field "image", '
    'or JSON {"url": "https://..."}.'
)
HOW_BATCH = (
    f'Send a form with up to {MAX_BATCH} files in the field "images", '
    'or JSON {"items": [{"url": "https://..."}, ...]}.'
)


@dataclass(frozen=True)
class Picture:
    """One picture of a request: its bytes, or the address to fetch it from, and what is known of it."""

    data: bytes | None
    url: str | None = None
    frame: FrameFields = field(default_factory=FrameFields)


def media_type(request: Request) -> str:
    """The body's declared type, without parameters."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


async def read_picture(request: Request) -> Picture:
    """The one picture of a request. What the body does not say of webcam, phase and time is taken from the query.

    Raises:
        InvalidInput: There is no picture.
        UnsupportedBody: The body is of another type.
        ValidationError: A field makes no sense.
    """
    query = _query(request)
    kind = media_type(request)
    if kind == "application/json":
        content = await _json(request, HOW)
        item = ScoreItem.model_validate({**query, **content})
        return picture_of(item)
    if kind == "multipart/form-data":
        async with request.form(max_files=1, max_fields=MAX_FIELDS) as form:
            data = await _form_file(form)
            given = {name: value for name, value in form.items() if name != "image"}
        return Picture(data, frame=FrameFields.model_validate({**query, **given}))
    if not kind.startswith("image/") and kind not in RAW_TYPES:
        raise UnsupportedBody(f"a body of type {kind!r} is not taken here. {HOW}")
    data = await request.body()
    if not data:
        raise InvalidInput("body", f"the body is empty. {HOW}")
    return Picture(data, frame=FrameFields.model_validate(query))


def _query(request: Request) -> dict[str, str]:
    unknown = [name for name in request.query_params if name not in (*FRAME_FIELDS, "kind")]
    if unknown:
        known = ", ".join(("kind", *FRAME_FIELDS))
        raise InvalidInput(f"query.{unknown[0]}", f"is not known here; known are {known}")
    return {name: value for name, value in request.query_params.items() if name != "kind"}


async def read_batch(request: Request) -> list[Picture | Exception]:
    """The pictures of a batch in order; an item that makes no sense is its error, so that it spoils no other.

    Raises:
        InvalidInput: There are no items, or too many.
        UnsupportedBody: The body is of another type.
    """
    kind = media_type(request)
    if kind == "application/json":
        content = await _json(request, HOW_BATCH)
        items = content.get("items")
        if not isinstance(items, list) or set(content) != {"items"}:
            raise InvalidInput("body.items", f'the body must be an object with a list "items" only. {HOW_BATCH}')
        _check_count(len(items))
        return [_attempt(item) for item in items]
    if kind == "multipart/form-data":
        async with request.form(max_files=MAX_BATCH + 1, max_fields=MAX_FIELDS) as form:
            files = [each for each in form.getlist("images") if isinstance(each, UploadFile)]
            _check_count(len(files))
            frames = _frames(form.get("frames"), len(files))
            return [_attempt(frame, await file.read()) for file, frame in zip(files, frames, strict=True)]
    raise UnsupportedBody(f"a body of type {kind!r} is not taken here. {HOW_BATCH}")


def picture_of(item: ScoreItem) -> Picture:
    """A JSON item as a picture.

    Raises:
        InvalidInput: `image_base64` is not base64 of anything.
    """
    frame = FrameFields.model_validate(item.model_dump(include=set(FRAME_FIELDS)))
    if item.image_base64 is None:
        return Picture(None, item.url, frame)
    try:
        data = base64.b64decode(item.image_base64, validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidInput("image_base64", f"is not base64: {error}") from error
    if not data:
        raise InvalidInput("image_base64", "is empty")
    return Picture(data, frame=frame)


def _attempt(content: Any, data: bytes | None = None) -> Picture | Exception:
    try:
        if data is None:
            return picture_of(ScoreItem.model_validate(content))
        return Picture(data, frame=FrameFields.model_validate(content))
    except (ValidationError, InvalidInput) as error:
        return error


def _check_count(count: int) -> None:
    if not 1 <= count <= MAX_BATCH:
        raise InvalidInput("body", f"a batch holds 1 to {MAX_BATCH} pictures, this one {count}. {HOW_BATCH}")


async def _json(request: Request, how: str) -> dict[str, Any]:
    body = await request.body()
    if not body:
        raise InvalidInput("body", f"the body is empty. {how}")
    try:
        # A picture as text may be large, and the event loop must not wait for it.
        content = await run_in_threadpool(parse_json, body) if len(body) > LARGE_JSON_BYTES else parse_json(body)
    except ValueError as error:
        raise InvalidInput("body", f"the body is not JSON: {error}. {how}") from error
    if not isinstance(content, dict):
        raise InvalidInput("body", f"the body must be a JSON object. {how}")
    return content


async def _form_file(form: FormData) -> bytes:
    file = form.get("image")
    if not isinstance(file, UploadFile):
        raise InvalidInput("body.image", f'the form has no file field "image". {HOW}')
    data = await file.read()
    if not data:
        raise InvalidInput("body.image", f"the file {ascii(file.filename)[:100]} is empty. {HOW}")
    return data


def _frames(text: Any, count: int) -> list[Any]:
    if text is None:
        return [{}] * count
    try:
        frames = parse_json(text if isinstance(text, str) else b"")
    except ValueError as error:
        raise InvalidInput("body.frames", f"is not JSON: {error}") from error
    if not isinstance(frames, list) or len(frames) != count:
        raise InvalidInput("body.frames", f"must be a JSON list with one object for each of the {count} images")
    return frames
