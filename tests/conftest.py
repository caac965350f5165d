"""What tests share: a real Postgres, a fresh migrated database per module, a data directory, keys, a running server.

AFTERGLOW_TEST_DATABASE_URL and AFTERGLOW_TEST_REDIS_URL name services to run on instead of private ones (`make
test-served` does): a Postgres 15 or newer whose user may create databases, and a Redis 7 or newer.

A test module gets its own database, copied from a migrated template: append-only tables cannot be emptied. Tests of a
module share it, so they make their own webcams and snapshots and look only at those.
"""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import httpx
import psycopg
import pytest
from sqlalchemy.engine import URL, Engine, make_url
from sqlmodel import Session

if TYPE_CHECKING:
    from fastapi import FastAPI

    from ml.images.store import FileStore

MODEL_SETTINGS = ("AI_MODEL_VERSION", "AI_RATING_THRESHOLD", "REDIS_URL", "STORE_URL")
"""Of whoever runs the tests; none of them may reach a test."""
RETIRED: list[Engine] = []
"""Engines that were forgotten. Closed with their database and not before: a server's thread may hold a connection of
one, which would be lost open, and psycopg warns of that whenever the garbage collector finds it."""


LONG_FILES = frozenset({"test_kill_each.py", "test_demo.py", "test_lifecycle.py", "test_up.py", "test_retrain.py"})


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first, so that at the end no process waits for another."""
    items.sort(key=lambda item: item.path.name not in LONG_FILES)


def pytest_configure(config: pytest.Config) -> None:
    """Describe the markers."""
    config.addinivalue_line("markers", "faults: too slow for every run; `make test-faults` runs it")
    config.addinivalue_line("markers", "browser: needs a Chromium; `make test-browser` runs it")
    config.addinivalue_line("markers", "embedded: about the private services, so senseless on others")


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[URL]:
    """A running Postgres: AFTERGLOW_TEST_DATABASE_URL where it is set, else a private one."""
    given = os.environ.get("AFTERGLOW_TEST_DATABASE_URL")
    with ExitStack() as stack:
        if given is None:
            from db.embedded import EmbeddedPostgres

            directory = Path(stack.enter_context(short_directory()))
            given = stack.enter_context(EmbeddedPostgres(directory)).url
        from db.engine import sqlalchemy_url

        yield make_url(sqlalchemy_url(given))


@pytest.fixture(scope="session")
def template_database(postgres_url: URL) -> Iterator[str]:
    """The name of a migrated, empty database that others are copied from."""
    from db.engine import migrate

    name = f"afterglow_template_{uuid.uuid4().hex[:8]}"
    administer(postgres_url, f"CREATE DATABASE {name}")
    migrate(text_of(postgres_url.set(database=name)))
    yield name
    drop_database(postgres_url, name)


@pytest.fixture(scope="module")
def redis_url() -> Iterator[str | None]:
    """An empty database of AFTERGLOW_TEST_REDIS_URL that nobody else uses; None where no Redis is given."""
    import redis

    given = os.environ.get("AFTERGLOW_TEST_REDIS_URL")
    if given is None:
        yield None
        return

    def database(number: int) -> str:
        return urlsplit(given)._replace(path=f"/{number}").geturl()

    with redis.Redis.from_url(database(0)) as claims:
        num_databases = int(claims.config_get("databases")["databases"])
        claim = "afterglow-test-uses-{}".format
        number = next(n for n in range(1, num_databases) if claims.set(claim(n), "1", nx=True, ex=3600))
        with redis.Redis.from_url(database(number)) as own:
            own.flushdb()
            yield database(number)
            own.flushdb()
        claims.delete(claim(number))


@pytest.fixture(scope="module")
def data_dir() -> Iterator[Path]:
    """An empty data directory with a short path, which AFTERGLOW_DATA_DIR names."""
    with short_directory() as directory, environment(AFTERGLOW_DATA_DIR=str(directory)):
        yield directory


@pytest.fixture(scope="module")
def database(postgres_url: URL, template_database: str, data_dir: Path) -> Iterator[str]:
    """The URL of a fresh, migrated database, which DATABASE_URL names and `db.engine` uses."""
    name = f"afterglow_test_{uuid.uuid4().hex[:8]}"
    administer(postgres_url, f"CREATE DATABASE {name} TEMPLATE {template_database}")
    url = text_of(postgres_url.set(database=name))
    with environment(DATABASE_URL=url):
        yield url
    close_engines()
    drop_database(postgres_url, name)


@pytest.fixture
def session(database: str) -> Iterator[Session]:
    """A session; what a test has not committed by itself is committed at its end."""
    from db.engine import session_scope

    with session_scope() as session:
        yield session


@pytest.fixture(scope="module")
def store(data_dir: Path) -> FileStore:
    """The file store of the data directory."""
    from worker.places import file_store

    return file_store()


@pytest.fixture(scope="module")
def api_key(database: str) -> Callable[..., str]:
    """A function that makes a key with the scopes it is given (none: admin)."""
    from db.engine import session_scope
    from db.queries import access

    def make(*scopes: str) -> str:
        with session_scope() as session:
            return access.add_key(session, name=f"test-{'-'.join(scopes) or 'admin'}", scopes=scopes or ("admin",))[1]

    return make


@pytest.fixture(scope="module")
def server(database: str) -> Iterator[str]:
    """The address of the API, served by uvicorn on a free port."""
    from api.main import create_app
    from api.settings import ApiSettings

    with serving(create_app(ApiSettings(fetch_timeout_s=3))) as address:
        yield address


@pytest.fixture
def client(server: str, api_key: Callable[..., str]) -> Iterator[httpx.Client]:
    """A client of the API whose key may do everything."""
    with client_of(server, api_key()) as client:
        yield client


@pytest.fixture
def anonymous(server: str) -> Iterator[httpx.Client]:
    """A client of the API without a key."""
    with client_of(server) as client:
        yield client


def client_of(address: str, key: str | None = None) -> httpx.Client:
    """A client with a key, straight to the server whatever proxies the environment names."""
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    return httpx.Client(base_url=address, headers=headers, timeout=30, trust_env=False)


@contextmanager
def serving(app: FastAPI) -> Iterator[str]:
    """Serve an app over real HTTP for the duration; gives its address.

    Raises:
        RuntimeError: The app did not start; the message is what uvicorn would have logged.
    """
    import uvicorn

    config = uvicorn.Config(app, ws="none", log_config=None, timeout_graceful_shutdown=2, lifespan="on")
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        ready = threading.Event()
        startup = server.startup

        async def announced(sockets: Any = None) -> None:
            await startup(sockets)
            ready.set()

        def run() -> None:
            try:
                server.run(sockets=[listening])
            except SystemExit:  # how uvicorn ends when the app refuses to start
                ready.set()

        server.startup = announced  # type: ignore[method-assign]
        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        try:
            assert ready.wait(60), "the server did not start within a minute"
            if not server.started:
                raise RuntimeError("the app refused to start")
            yield f"http://127.0.0.1:{port}"
        finally:
            server.should_exit = True
            thread.join(30)
            assert not thread.is_alive(), "the server did not stop"


@contextmanager
def environment(**values: str) -> Iterator[None]:
    """Set variables for the duration; settings and engine are read anew before and after."""
    with pytest.MonkeyPatch.context() as patch:
        for name in MODEL_SETTINGS:
            patch.delenv(name, raising=False)
        for name, value in values.items():
            patch.setenv(name, value)
        forget_settings()
        try:
            yield
        finally:
            forget_settings()
    forget_settings()


def forget_settings() -> None:
    """Have settings and the engine read from the environment again."""
    from db.engine import forget_engine
    from db.settings import state_settings
    from worker.settings import worker_settings

    if (old := forget_engine()) is not None:
        RETIRED.append(old)
    state_settings.cache_clear()
    worker_settings.cache_clear()


def close_engines() -> None:
    """Close every connection of engines that were forgotten."""
    while RETIRED:
        RETIRED.pop().dispose()


@contextmanager
def short_directory() -> Iterator[Path]:
    """An empty directory that every user can enter; short, since a socket's path may have 107 characters."""
    directory = Path(tempfile.mkdtemp(prefix="ag-", dir="/tmp"))
    directory.chmod(0o755)
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def administer(url: URL, statement: str) -> None:
    """Run one statement outside of any transaction."""
    plain = text_of(url.set(drivername="postgresql"))
    with psycopg.connect(plain, autocommit=True) as connection:
        connection.execute(statement)  # type: ignore[arg-type]


def drop_database(url: URL, name: str, patience_s: float = 30.0) -> None:
    """Drop a database with whoever is in it.

    An autovacuum worker belongs to the server's owner, and a role without that right cannot end it: then wait for it.
    """
    until = time.monotonic() + patience_s
    while True:
        try:
            administer(url, f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
            return
        except psycopg.errors.InsufficientPrivilege:
            if time.monotonic() > until:
                raise
            time.sleep(0.2)


def text_of(url: URL) -> str:
    """The URL with its password."""
    return url.render_as_string(hide_password=False)
