"""The engine: which addresses and servers it takes, what it keeps to itself, and connections that died."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from db.embedded import EmbeddedPostgres
from db.engine import (  # fmt: skip
    BadDatabaseUrl,
    OldPostgres,
    _refuse_old_server,
    engine,
    make_engine,
    migrate,
    place_of,
    session_scope,
    sqlalchemy_url,
)
from db.processes import wait_until_gone
from db.settings import StateSettings
from tests.conftest import close_engines, environment
from tests.db.conftest import start_from


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("mysql://me:s3cret@host/name", "must start with postgresql://"),
        ("me:s3cret@host/name", "must start with postgresql://"),
        ("postgresql://me:s3cret@host:port/name", "cannot be read"),
        ("postgresql://me:s3@s3cret@host/name", "write @ as %40"),
        ("postgresql://", None),
        ("postgres://me:s3%40cret@host/name", None),
    ],
)
def test_an_address_that_cannot_be_meant_is_refused_without_repeating_it(url: str, said: str | None) -> None:
    if said is None:
        assert sqlalchemy_url(url).startswith("postgresql+psycopg://")
        return
    with pytest.raises(BadDatabaseUrl, match=said) as told:
        make_engine(url)
    assert "s3" not in str(told.value)
    assert told.value.__cause__ is None
    assert told.value.__suppress_context__ or told.value.__context__ is None


def test_the_password_is_in_no_message_and_in_no_text_form(caplog: pytest.LogCaptureFixture) -> None:
    url = "postgresql://me:s3cret@127.0.0.1:1/name"
    with pytest.raises(OperationalError) as told:
        migrate(url)
    made = make_engine(url)
    with pytest.raises(OperationalError) as told_too:
        made.connect()
    texts = [
        str(told.value),
        repr(told.value),
        str(told_too.value),
        repr(made),
        repr(made.url),
        place_of(url),
        caplog.text,
    ]
    texts.append(repr(StateSettings(DATABASE_URL=url)))
    assert not [one for one in texts if "s3cret" in one]
    assert place_of(url) == "127.0.0.1:1/name"


class FakeConnection:
    """A connection to a server of a given version, which no test machine has."""

    def __init__(self, server_version: int) -> None:
        self.info = SimpleNamespace(server_version=server_version)
        self.closed = False

    def close(self) -> None:
        self.closed = True


@pytest.mark.parametrize(("version", "is_old"), [(140011, True), (90624, True), (150000, False), (180000, False)])
def test_a_server_older_than_15_is_refused_by_its_version(version: int, is_old: bool) -> None:
    connection: Any = FakeConnection(version)
    if is_old:
        with pytest.raises(OldPostgres, match=rf"is Postgres {version // 10000}\.\d+, and Afterglow needs 15 or newer"):
            _refuse_old_server(connection, None)
    else:
        _refuse_old_server(connection, None)
    assert connection.closed == is_old


def test_the_version_is_asked_of_every_connection(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("db.engine.MIN_SERVER_VERSION", 990000)
    made = make_engine(database)
    with pytest.raises(OldPostgres):
        made.connect()
    with pytest.raises(OldPostgres):
        migrate(database)
    made.dispose()


@pytest.mark.embedded
class TestRestart:
    @pytest.fixture
    def postgres(
        self, made: Path, tmp_path_factory: pytest.TempPathFactory, data_dir: Path
    ) -> Iterator[EmbeddedPostgres]:
        with start_from(made, data_dir) as postgres, environment(DATABASE_URL=postgres.url):
            yield postgres
        close_engines()

    def test_connections_that_died_with_the_server_cost_no_unit_of_work(self, postgres: EmbeddedPostgres) -> None:
        connections = [engine().connect() for _ in range(3)]
        for connection in connections:
            connection.close()
        [server] = postgres._server_pids()
        os.kill(server, signal.SIGKILL)
        assert wait_until_gone([server], 5.0)
        postgres.ensure()
        for _ in range(5):
            with session_scope() as session:
                assert session.scalar(text("SELECT 1")) == 1
