"""How lists are cut into pages: in order of a key that only grows, so that a row that is added moves none.

A page is found by an index, however far it is from the first. A row whose transaction commits late may get a lower key
than one that was shown already; a list that must miss nothing is read again from its beginning.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

from sqlmodel import Session
from sqlmodel.sql.expression import SelectOfScalar

Row = TypeVar("Row")


def page_rows(
    session: Session,
    query: SelectOfScalar[Row],
    key: Any,
    *,
    cursor: int | None,
    limit: int | None,
    newest_first: bool = False,
) -> Sequence[Row]:
    """The first `limit` rows (None: all) of a query in order of `key`, from beyond `cursor` (None: from the start)."""
    if cursor is not None:
        query = query.where(key < cursor if newest_first else key > cursor)
    return session.exec(query.order_by(key.desc() if newest_first else key).limit(limit)).all()
