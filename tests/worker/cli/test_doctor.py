"""The doctor says what is there, what is missing and what to do, and touches nothing."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any

import pytest

from db.engine import session_scope
from db.queries import access
from tests.conftest import environment, short_directory
from tests.worker.cli.conftest import Afterglow, Said
from tests.worker.conftest import Running

STATES = {"ok", "warning", "problem", "unknown"}


def _about(said: Said) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for each in said.json["findings"]:
        assert each["health"] in STATES
        assert each["says"].rstrip().endswith((".", "?", ")")), each
        found.setdefault(each["about"], []).append(each)
    return found


def _one(said: Said, about: str) -> dict[str, Any]:
    (found,) = _about(said)[about]
    return found


@pytest.fixture
def nothing(monkeypatch: pytest.MonkeyPatch) -> Any:
    """No service is named and none runs; the data directory does not exist."""
    for name in ("DATABASE_URL", "REDIS_URL", "STORE_URL"):
        monkeypatch.delenv(name, raising=False)
    with short_directory() as home, environment(AFTERGLOW_DATA_DIR=str(home / "var")):
        yield home


def test_an_empty_machine_can_work_and_is_left_as_it_was(nothing: Path, afterglow: Afterglow) -> None:
    said = afterglow("doctor", "--json")
    assert said.code == 0
    assert said.err == ""
    assert list(nothing.iterdir()) == []
    assert "not there yet" in _one(said, "data directory")["says"]
    assert _one(said, "Postgres")["health"] == "ok"
    assert _one(said, "schema")["health"] == "unknown"
    assert "torch" in _one(said, "torch")["says"]
    assert _one(said, "libraries")["health"] == "ok"


def test_it_reads_for_people_with_one_cure_under_a_line(nothing: Path, afterglow: Afterglow) -> None:
    said = afterglow("doctor", "--no-torch")
    assert said.code == 0
    assert "-> afterglow up" in said.out
    assert "Afterglow can do its work." in said.out
    assert "torch 2" not in said.out


def test_a_typo_of_a_setting_names_the_nearest_and_nonsense_is_a_problem(nothing: Path, afterglow: Afterglow) -> None:
    with environment(
        AFTERGLOW_DATA_DIR=str(nothing / "var"), AFTERGLOW_JOB_LEAES_S="30", AFTERGLOW_SCORE_THREADS="geheim"
    ):
        said = afterglow("doctor", "--no-torch", "--json")
    assert said.code == 1
    told = {each["health"]: each["says"] for each in _about(said)["settings"]}
    assert (
        "AFTERGLOW_SCORE_THREADS cannot be used" in told["problem"]
    )  # the server's setting, without importing it here
    assert "Nothing reads AFTERGLOW_JOB_LEAES_S. Did you mean AFTERGLOW_JOB_LEASE_S?" in told["warning"]
    assert "geheim" not in said.out


def test_a_schedule_that_cannot_be_read_is_a_problem_that_names_the_field(nothing: Path, afterglow: Afterglow) -> None:
    with environment(AFTERGLOW_DATA_DIR=str(nothing / "var"), AFTERGLOW_EVALUATE_CRON="30 2 * * 7"):
        said = afterglow("doctor", "--no-torch", "--json")
    assert said.code == 1
    (wrong,) = [each["says"] for each in _about(said)["settings"] if each["health"] == "problem"]
    assert wrong.startswith("AFTERGLOW_EVALUATE_CRON cannot be used: the day of the week '7' is not in 0 to 6")


def test_services_that_are_away_are_problems_and_their_passwords_stay_unsaid(
    nothing: Path, afterglow: Afterglow
) -> None:
    with environment(
        AFTERGLOW_DATA_DIR=str(nothing / "var"),
        DATABASE_URL="postgresql://me:geheim@127.0.0.1:1/x",
        REDIS_URL="redis://:geheim@127.0.0.1:1/0",
    ):
        said = afterglow("doctor", "--no-torch", "--json")
        text = afterglow("doctor", "--no-torch").out
    assert said.code == 1
    for service in ("Postgres", "Redis"):
        found = _one(said, service)
        assert (found["health"], "127.0.0.1:1 does not answer" in found["says"]) == ("problem", True)
        assert found["cure"]
    assert "geheim" not in said.out + said.err + text


def test_a_database_url_that_is_none_is_not_repeated(nothing: Path, afterglow: Afterglow) -> None:
    with environment(AFTERGLOW_DATA_DIR=str(nothing / "var"), DATABASE_URL="mysql://me:geheim@h/x"):
        said = afterglow("doctor", "--no-torch", "--json")
    assert said.code == 1
    assert "geheim" not in said.out


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_data_directory_that_cannot_be_written_is_a_problem(nothing: Path, afterglow: Afterglow) -> None:
    (nothing / "var").mkdir(mode=0o555)
    said = afterglow("doctor", "--no-torch", "--json")
    assert said.code == 1
    assert _one(said, "data directory")["health"] == "problem"


def test_a_file_in_the_place_of_the_data_directory_is_a_problem(nothing: Path, afterglow: Afterglow) -> None:
    (nothing / "var").write_text("")
    said = afterglow("doctor", "--no-torch", "--json")
    assert _one(said, "data directory")["health"] == "problem"


def test_a_taken_port_is_told_with_the_next_free_one(nothing: Path, afterglow: Afterglow) -> None:
    from worker.up import DEFAULT_PORT

    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            holder.bind(("127.0.0.1", DEFAULT_PORT))
            holder.listen()
        except OSError:
            pass  # somebody else has it, which is as good
        found = _one(afterglow("doctor", "--no-torch", "--json"), "port")
    assert found["health"] == "warning"
    assert f"Port {DEFAULT_PORT} is taken" in found["says"]


def test_with_everything_running_it_names_queues_dispatcher_schema_and_what_is_still_missing(
    running: Running, afterglow: Afterglow
) -> None:
    import time

    deadline = time.monotonic() + 60
    while True:  # a worker that has just been started answers when it is ready
        said = afterglow("doctor", "--no-torch", "--json")
        if "serves default, train" in _one(said, "workers")["says"]:
            break
        assert time.monotonic() < deadline, said.out
    assert said.code == 0, said.out
    assert "up to date" in _one(said, "schema")["says"]
    assert _one(said, "dispatcher")["says"] == "1 of them is connected."
    assert (_one(said, "keys")["health"], _one(said, "keys")["cure"]) == (
        "warning",
        "afterglow keys create --scopes score,rate",
    )
    assert "unscored" in _one(said, "model of rating")["says"]
    with session_scope() as session:
        access.add_key(session, name="a", scopes=["score"])
    assert _one(afterglow("doctor", "--no-torch", "--json"), "keys")["health"] == "ok"


def test_a_schema_from_the_future_is_a_problem(database: str, afterglow: Afterglow) -> None:
    from sqlalchemy import text

    with session_scope() as session:
        head = session.execute(text("SELECT version_num FROM alembic_version")).scalar_one()
        session.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    try:
        said = afterglow("doctor", "--no-torch", "--json")
    finally:
        with session_scope() as session:
            session.execute(text("UPDATE alembic_version SET version_num = :head"), {"head": head})
    assert said.code == 1
    assert "9999" in _one(said, "schema")["says"]
