"""Errors of the database package. The class's docstring is the message; ids are attributes."""

from __future__ import annotations

import inspect
from typing import Any


class DatabaseError(Exception):
    """The database refused this."""

    def __init__(self, message: str | None = None, **facts: Any) -> None:
        self.facts = facts
        text = message or inspect.getdoc(type(self)) or type(self).__name__
        super().__init__(text.format(**facts) if facts and message is None else text)


class NotFound(DatabaseError):
    """There is no {what} {key}."""


class Conflict(DatabaseError):
    """This contradicts what is stored already."""


class NoDatabase(DatabaseError):
    """No database is running: start `afterglow up`, or set DATABASE_URL to a Postgres 15 or newer."""
