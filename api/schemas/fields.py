"""Types of single fields, shared by all schemas: what the database would choke on is refused here, by name."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    Strict,
    StringConstraints,
)

MAX_JSON_BYTES = 1 << 20
EARLIEST, LATEST = datetime(1970, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC)
_ISO = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d.*", re.DOTALL)


def _storable(text: str) -> str:
    if "\0" in text or any("\ud800" <= character <= "\udfff" for character in text):
        raise ValueError("must not hold the character NUL or half a surrogate pair")
    return text


def _iso_text(value: Any) -> Any:
    # pydantic would take 20260214 for seconds since 1970.
    if isinstance(value, datetime):
        return value
    if not isinstance(value, str) or not _ISO.fullmatch(value):
        raise ValueError("must be a time in ISO 8601 with its offset, e.g. 2026-02-14T17:05:00Z")
    return value


def _in_range(moment: datetime) -> datetime:
    if not EARLIEST <= moment < LATEST:
        raise ValueError("must lie between the years 1970 and 2200")
    return moment.astimezone(UTC)


def _storable_object(value: dict[str, Any]) -> dict[str, Any]:
    try:
        text = json.dumps(value, allow_nan=False)
    except (ValueError, RecursionError) as error:
        raise ValueError("must be plain JSON without NaN, Infinity or hundreds of levels") from error
    if len(text) > MAX_JSON_BYTES or "\\u0000" in text:
        raise ValueError("must be smaller than 1 MiB and free of the character NUL")
    if re.search(r"\\ud[89a-f]", text):
        json.dumps(value, ensure_ascii=False).encode()  # a lone surrogate raises UnicodeEncodeError, a ValueError
    return value


def _plain_digits(given: Any) -> Any:
    if isinstance(given, str) and re.fullmatch(r"-?[0-9]{1,400}", given) is None:
        raise ValueError("must be a whole number in plain digits")
    return given


def _in_the_past(moment: datetime) -> datetime:
    if moment > datetime.now(UTC):
        raise ValueError("lies in the future; labels can only be exported as they stood")
    return moment


Id = Annotated[int, BeforeValidator(_plain_digits), Field(ge=1, le=2**63 - 1)]
"""A primary key."""
BodyId = Annotated[Id, Strict()]
"""A primary key in JSON, where it is a number and neither text nor true."""
Flag = Annotated[bool, Strict()]
"""True or false in JSON, and nothing that only looks like it."""
Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200), AfterValidator(_storable)]
"""A short text."""
LongText = Annotated[str, StringConstraints(max_length=10_000), AfterValidator(_storable)]
VersionName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,99}$")]
Moment = Annotated[AwareDatetime, BeforeValidator(_iso_text), AfterValidator(_in_range)]
"""A time with its offset; kept in UTC. One without an offset is refused, since nobody knows when it was."""
PastMoment = Annotated[Moment, AfterValidator(_in_the_past)]
"""A time that is over."""
JsonObject = Annotated[dict[str, Any], AfterValidator(_storable_object)]
Phase = Literal["sunrise", "sunset"]
Split = Literal["train", "val", "test"]


class Body(BaseModel):
    """A request body: unknown keys are refused, so that a misspelt one is not silently ignored."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)


class View(BaseModel):
    """What a row looks like on the wire."""

    model_config = ConfigDict(from_attributes=True, use_attribute_docstrings=True)
