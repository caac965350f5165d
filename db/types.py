"""Column shapes that all tables share. Keys are bigint, times are UTC with time zone, enumerations are text + CHECK."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, Column, DateTime, ForeignKey, Identity, Numeric, func
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import Field, SQLModel

SQLModel.metadata.naming_convention = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}


def bigint_key() -> Any:
    """A bigint primary key that the database counts up; None until the row is flushed."""
    return Field(default=None, sa_column=Column(BigInteger, Identity(), primary_key=True))


def reference(target: str, *, on_delete: str = "RESTRICT", nullable: bool = False, index: bool = True) -> Any:
    """A bigint foreign key to `table.column` with an explicit ON DELETE."""
    column = Column(BigInteger, ForeignKey(target, ondelete=on_delete), nullable=nullable, index=index)
    return Field(default=None, sa_column=column) if nullable else Field(sa_column=column)


def time_column(*, nullable: bool = False, now: bool = False, index: bool = False) -> Any:
    """A UTC timestamp; with `now`, set by the database's clock."""
    column = Column(DateTime(timezone=True), nullable=nullable, server_default=func.now() if now else None, index=index)
    return Field(default=None, sa_column=column) if nullable or now else Field(sa_column=column)


def rating_column() -> Any:
    """A rating on the app's scale, numeric(3,2), or null where nobody and nothing has judged."""
    return Field(default=None, sa_column=Column(Numeric(3, 2, asdecimal=False), nullable=True))


def json_column(*, nullable: bool = False) -> Any:
    """A JSONB object."""
    if nullable:
        return Field(default=None, sa_column=Column(JSONB, nullable=True))
    return Field(default_factory=dict, sa_column=Column(JSONB, nullable=False, server_default="{}"))


def one_of(column: str, values: Iterable[str]) -> str:
    """The SQL of a CHECK that a text column holds one of `values`."""
    return f"{column} IN ({', '.join(repr(value) for value in values)})"


def sha256_check(column: str) -> str:
    """The SQL of a CHECK that a text column is a lower-case sha256."""
    return f"{column} ~ '^[0-9a-f]{{64}}$'"


Moment = datetime
