"""The one shape of every list: some items, and where the next ones begin."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Generic, Literal, TypeVar

from fastapi import Query
from pydantic import BaseModel, ConfigDict

from api.schemas.fields import Id

Item = TypeVar("Item")
DEFAULT_LIMIT, MAX_LIMIT = 50, 200

Cursor = Annotated[
    Id | None,
    Query(description="Where the page begins: `next_cursor` of the page before; left out for the first page."),
]
Limit = Annotated[int, Query(ge=1, le=MAX_LIMIT, description="Items on a page at most.")]
Sort = Annotated[
    Literal["oldest", "newest"], Query(description="Which come first: those that were added first, or last.")
]


class Page(BaseModel, Generic[Item]):
    """A page of a list. A row that is added meanwhile moves no other."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    items: list[Item]
    next_cursor: int | None
    """Ask again with this as `cursor`; null on the last page."""


def rows_to_ask(limit: int) -> int:
    """How many rows to ask for a page of `limit`: one more, which tells whether there is another page."""
    return limit + 1


def page_of(rows: Sequence[Any], limit: int, key: str = "id") -> dict[str, Any]:
    """The page out of up to `limit + 1` rows; `key` names the attribute that the list is in order of."""
    items = list(rows[:limit])
    return {"items": items, "next_cursor": getattr(items[-1], key) if len(rows) > limit else None}
