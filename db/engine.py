"""The engine of this process, the only place that commits, and the migrations."""

from __future__ import annotations

import select
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psycopg
from sqlalchemy import URL, Connection, Engine, Row, create_engine, event, make_url, text
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlmodel import Session

from db.errors import DatabaseError, NoDatabase
from db.settings import state_settings

MIGRATION_LOCK = 0x4146_5445_5247_4C57
"""Advisory lock held while migrating, so that several starting processes do it once."""


_making = threading.Lock()

MIN_SERVER_VERSION = 150000
"""Postgres 15, as the server tells it."""


class BadDatabaseUrl(DatabaseError):
    """DATABASE_URL is not the address of a Postgres."""


class OldPostgres(DatabaseError):
    """This Postgres is too old: Afterglow needs 15 or newer."""


def sqlalchemy_url(url: str) -> str:
    """The URL with psycopg 3 as its driver, whatever spelling of the scheme was given.

    Raises:
        BadDatabaseUrl: It is none; the message has no part of it, since it may hold a password.
    """
    return _parsed(url).render_as_string(hide_password=False)


def place_of(url: str) -> str:
    """Which database a URL means, as `host:port/name`: without user and password, to be shown and compared."""
    parsed = _parsed(url)
    host = parsed.host or parsed.query.get("host") or "localhost"
    port = parsed.port or parsed.query.get("port") or 5432
    return f"{host}:{port}/{parsed.database or parsed.username or ''}"


def _parsed(url: str) -> URL:
    shape = "postgresql://user:password@host:5432/name"
    scheme, found, rest = url.partition("://")
    if not found or scheme not in ("postgresql", "postgres", "postgresql+psycopg"):
        raise BadDatabaseUrl(f"DATABASE_URL must start with postgresql://, as in {shape}.")
    try:
        parsed = make_url(f"postgresql+psycopg://{rest}")
    except (ArgumentError, ValueError):
        parsed = None
    if parsed is None or "@" in (parsed.host or ""):
        raise BadDatabaseUrl(
            f"DATABASE_URL cannot be read: it must look like {shape}. "
            "In a password, write @ as %40, : as %3A, / as %2F and % as %25."
        ) from None
    return parsed


def make_engine(url: str) -> Engine:
    """An engine on `url`: UTC, a statement timeout, and connections checked before use.

    A connection that died while it lay in the pool, since Postgres was started again, is replaced before a statement
    is sent on it.
    """
    settings = state_settings()
    made = create_engine(
        sqlalchemy_url(url),
        pool_size=settings.pool_size,
        max_overflow=10,
        pool_pre_ping=True,
        connect_args={
            "connect_timeout": 5,
            # A host that vanished without a word is noticed within a minute, not after the system's two hours.
            "keepalives_idle": 30,
            "keepalives_interval": 10,
            "keepalives_count": 3,
            "options": f"-c timezone=UTC -c statement_timeout={settings.statement_timeout_s * 1000}",
        },
    )
    event.listen(made, "connect", _refuse_old_server)
    return made


def _refuse_old_server(connection: psycopg.Connection[Any], _record: object) -> None:
    version = connection.info.server_version
    if version < MIN_SERVER_VERSION:
        connection.close()
        raise OldPostgres(
            f"The database is Postgres {version // 10000}.{version % 10000}, and Afterglow needs 15 or newer. "
            "Update it, or unset DATABASE_URL to use the private one."
        )


def engine() -> Engine:
    """The engine of this process.

    Raises:
        NoDatabase: Neither DATABASE_URL is set nor the private Postgres of the data directory is running.
    """
    with _making:  # two threads that ask first would make two, and the connections of one would never be closed
        return _engine()


@cache
def _engine() -> Engine:
    settings = state_settings()
    url = settings.database_url
    if url is None:
        from db.embedded import running_url

        url = running_url(settings.resolved_data_dir)
    if url is None:
        raise NoDatabase()
    return make_engine(url)


def forget_engine() -> Engine | None:
    """Have the next use make a new engine, since the settings changed; returns the old one, for the caller to dispose."""
    with _making:
        old = _engine() if _engine.cache_info().currsize else None
        _engine.cache_clear()
    return old


@contextmanager
def session_scope() -> Iterator[Session]:
    """One unit of work: commits at the end, rolls back on any error. The only commit, beside `LoneStatements`."""
    with Session(engine(), expire_on_commit=False) as session:
        try:
            yield session
            session.commit()
        except BaseException:
            session.rollback()
            raise


@contextmanager
def listening(channel: str) -> Iterator[psycopg.Connection]:
    """A connection of its own, outside the pool, that hears the notifications of a channel.

    Raises:
        NoDatabase: As `engine`.
        psycopg.OperationalError: The database is away, now or within the block.
    """
    url = engine().url.set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(url, autocommit=True, connect_timeout=5) as connection:
        connection.execute(f"LISTEN {channel}")
        yield connection


def is_away(error: Exception) -> bool:
    """Whether an error says that the database itself cannot be used, so that trying again at once is of no use."""
    if not isinstance(error, DBAPIError):
        return isinstance(error, NoDatabase)
    state = getattr(error.orig, "sqlstate", None)
    return error.connection_invalidated or state is None or state[:2] in ("08", "53", "57")


class LoneStatements:
    """Runs statements each of which is a unit of work by itself, on a connection of its own: Postgres commits it before
    it answers, so that one round trip does what takes `session_scope` four. For one thread at a time; close it.

    A connection that died while nothing was under way is replaced before the next statement is sent. No statement is
    ever sent twice: where the connection breaks after it was sent, its rows may be there or not, as with a COMMIT whose
    answer is lost. The caller hears of it, and whoever tries again may write the rows a second time.
    """

    def __init__(self) -> None:
        self._engine: Engine | None = None
        self._connection: Connection | None = None

    def run(self, statement: str, given: Mapping[str, Any]) -> Sequence[Row[Any]]:
        """Run a statement with psycopg's placeholders; its rows.

        Raises:
            NoDatabase: There is no database.
            sqlalchemy.exc.DBAPIError: The database refused it, and nothing was written; or it cannot be reached
                (OperationalError).
        """
        connection = self._live_connection()
        try:
            rows = connection.exec_driver_sql(statement, given).all()
            connection.commit()  # of SQLAlchemy's own state: Postgres has committed
        except BaseException:
            self.close()
            raise
        return rows

    def close(self) -> None:
        """Close the connection; the next statement opens another."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _live_connection(self) -> Connection:
        now = engine()
        if self._connection is not None and (now is not self._engine or _has_news(self._connection)):
            self.close()
        if self._connection is None:
            self._engine = now
            self._connection = now.connect().execution_options(isolation_level="AUTOCOMMIT")
            self._connection.detach()  # it never goes back to the pool, whose connections begin transactions
        return self._connection


def _has_news(connection: Connection) -> bool:
    """Whether the server sent something unasked on an idle connection: as a rule that it has ended."""
    driver: Any = connection.connection.dbapi_connection  # a psycopg.Connection
    if driver is None or driver.closed:
        return True
    poll = select.poll()
    poll.register(driver.fileno(), select.POLLIN)
    return bool(poll.poll(0))


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
    event.listen(own, "connect", _refuse_old_server)
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
