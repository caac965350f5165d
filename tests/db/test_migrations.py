"""Migrations: the models and the schema are one, both ways."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.engine import URL

from db.engine import alembic_directory, migrate, sqlalchemy_url
from tests.conftest import administer, drop_database, text_of


@pytest.fixture
def empty_url(postgres_url: URL) -> Iterator[str]:
    name = "afterglow_migrations"
    drop_database(postgres_url, name)
    administer(postgres_url, f"CREATE DATABASE {name}")
    yield text_of(postgres_url.set(database=name))
    drop_database(postgres_url, name)


@pytest.fixture
def empty(empty_url: str) -> Iterator[Engine]:
    engine = create_engine(sqlalchemy_url(empty_url))
    yield engine
    engine.dispose()


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(alembic_directory()))
    return config


def _schema(engine: Engine) -> list[tuple[str, ...]]:
    """Every column, constraint, index, trigger and function, as Postgres describes them."""
    queries = (
        "SELECT table_name, column_name, data_type, is_nullable, column_default FROM information_schema.columns "
        "WHERE table_schema = 'public' ORDER BY 1, 2",
        "SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint "
        "WHERE connamespace = 'public'::regnamespace ORDER BY 1, 2",
        "SELECT tablename, indexname, indexdef FROM pg_indexes WHERE schemaname = 'public' ORDER BY 1, 2",
        "SELECT tgrelid::regclass::text, tgname, pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal "
        "ORDER BY 1, 2",
        "SELECT proname, prosrc FROM pg_proc WHERE pronamespace = 'public'::regnamespace ORDER BY 1",
    )
    with engine.connect() as connection:
        return [tuple(map(str, row)) for query in queries for row in connection.execute(text(query))]


def _run(engine: Engine, action: str, revision: str) -> None:
    config = _config()
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        getattr(command, action)(config, revision)


def test_there_is_one_head() -> None:
    assert len(ScriptDirectory.from_config(_config()).get_heads()) == 1


def test_models_and_migrations_describe_the_same_schema(empty: Engine, empty_url: str) -> None:
    migrate(empty_url)
    config = _config()
    with empty.begin() as connection:
        config.attributes["connection"] = connection
        command.check(config)  # raises when autogenerate would add anything


def test_migrating_twice_changes_nothing(empty: Engine, empty_url: str) -> None:
    migrate(empty_url)
    once = _schema(empty)
    migrate(empty_url)
    assert _schema(empty) == once


def test_each_step_down_and_up_again_gives_the_same_schema(empty: Engine, empty_url: str) -> None:
    revisions = [one.revision for one in ScriptDirectory.from_config(_config()).walk_revisions()][::-1]
    previous = "base"
    for revision in revisions:
        _run(empty, "upgrade", revision)
        up = _schema(empty)
        _run(empty, "downgrade", previous)
        _run(empty, "upgrade", revision)
        assert _schema(empty) == up
        previous = revision


def test_all_the_way_down_leaves_nothing_behind(empty: Engine, empty_url: str) -> None:
    migrate(empty_url)
    _run(empty, "downgrade", "base")
    assert {row[0] for row in _schema(empty)} <= {"alembic_version"}
