"""Conditional GETs: what never changes is sent once, and a caller who has it already is told so."""

from __future__ import annotations

from typing import Annotated

from fastapi import Header, Response
from starlette import status

IfNoneMatch = Annotated[
    str | None,
    Header(
        max_length=2000, description="The `ETag` of an answer that the caller has; 304 when it is still the answer."
    ),
]
FOR_EVER = "private, max-age=31536000, immutable"
"""For what never changes under its address."""
ASK_AGAIN = "private, no-cache"
"""For what may be replaced by something newer: keep it, but ask."""


def not_modified(headers: dict[str, str], if_none_match: str | None) -> Response | None:
    """The 304 answer, when the caller has what `headers["ETag"]` names (RFC 9110: weak comparison); else None."""
    given = [each.strip().removeprefix("W/") for each in (if_none_match or "").split(",")]
    if "*" in given or headers["ETag"] in given:
        return Response(status_code=status.HTTP_304_NOT_MODIFIED, headers=headers)
    return None
