"""The engine of this process, the only place that commits, and the migrations."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from sqlalchemy import Engine, create_engine, text
from sqlmodel import Session

from db.errors import NoDatabase
from db.settings import state_settings

MIGRATION_LOCK = 0x4146_5445_5247_4C57
"""Advisory lock held while migrating, so that several starting processes do it once."""


def sqlalchemy_url(url: str) -> str:
    """The URL with psycopg 3 as its driver, whatever spelling of the scheme was given."""
    for scheme in ("postgresql://", "postgres://"):
        if url.startswith(scheme):
            return "postgresql+psycopg://" + url.removeprefix(scheme)
    return url


def make_engine(url: str) -> Engine:
    """An engine on `url`: UTC, a statement timeout, and connections checked before use."""
    settings = state_settings()
    return create_engine(
        sqlalchemy_url(url),
        pool_size=settings.pool_size,
        max_overflow=10,
        pool_pre_ping=True,
        connect_args={
            "connect_timeout": 5,
            "options": f"-c timezone=UTC -c statement_timeout={settings.statement_timeout_s * 1000}",
        },
    )


@cache
def engine() -> Engine:
    """The engine of this process.

    Raises:
        NoDatabase: Neither DATABASE_URL is set nor the private Postgres of the data directory is running.
    """
    settings = state_settings()
    url = settings.database_url
    if url is None:
        from db.embedded import running_url

        url = running_url(settings.resolved_data_dir)
    if url is None:
        raise NoDatabase()
    return make_engine(url)


@contextmanager
def session_scope() -> Iterator[Session]:
    """One unit of work: commits at the end, rolls back on any error. The only commit in Afterglow."""
    with Session(engine(), expire_on_commit=False) as session:
        try:
            yield session
            session.commit()
        except BaseException:
            session.rollback()
            raise


def alembic_directory() -> Path:
    """The directory with the migrations, beside the packages."""
    spec = find_spec("db")
    if spec is None or spec.origin is None:
        raise FileNotFoundError("the package `db` has no place on disk, so its migrations cannot be found")
    return Path(spec.origin).parent.parent / "alembic"


def migrate(url: str, revision: str = "head") -> None:
    """Bring the schema of the database at `url` to `revision`. Safe to call from several processes at once."""
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(alembic_directory()))
    own = create_engine(sqlalchemy_url(url), connect_args={"connect_timeout": 5, "options": "-c timezone=UTC"})
    try:
        with own.connect() as connection:
            connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": MIGRATION_LOCK})
            connection.commit()
            try:
                config.attributes["connection"] = connection
                command.upgrade(config, revision)
                connection.commit()
            finally:
                connection.rollback()
                connection.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": MIGRATION_LOCK})
                connection.commit()
    finally:
        own.dispose()
