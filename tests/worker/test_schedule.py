"""What the clock starts: once per slot, however often beat ticks."""

from __future__ import annotations

import subprocess
import sys
import time
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta

import pytest

from db.engine import session_scope
from db.queries import jobs, models
from tests.builders import make_version
from tests.conftest import environment
from worker.app import app, beat_of
from worker.cron import read_cron
from worker.queue import CLOCK_PRIORITY
from worker.schedule import slot, submit_cycles
from worker.settings import worker_settings


@pytest.fixture(scope="module")
def version(database: str) -> str:
    """The active model."""
    with session_scope() as session:
        version = make_version(session).model_version
        models.add_activation(
            session, kind="rating", model_version=version, action="promote", verdict={}, activated_by="test"
        )
    return version


def _at(day: int, hour: int = 2, minute: int = 30) -> datetime:
    return datetime(2031, 5, day, hour, minute, tzinfo=UTC)


def test_two_ticks_of_one_slot_submit_one_cycle_of_each_kind_that_is_served(version: str) -> None:
    first = submit_cycles(_at(1))
    assert submit_cycles(_at(1, 23, 59)) == submit_cycles(_at(2, 2, 29)) == []
    assert len(submit_cycles(_at(2, 2, 30))) == 1
    (job_id,) = first
    with session_scope() as session:
        job = jobs.get_job(session, job_id)
    assert (job.kind, job.params) == (
        "evaluate_cycle", {"kind": "rating", "by": "clock", "slot": "2031-05-01T02:30Z"},
    )  # fmt: skip
    assert job.priority == CLOCK_PRIORITY


TICK = """
import sys
from datetime import datetime
from worker.schedule import submit_cycles
from db.engine import engine
with engine().connect():
    print("ready", flush=True)
sys.stdin.readline()
print(*submit_cycles(datetime.fromisoformat(sys.argv[1])), flush=True)
"""


def test_beats_of_two_processes_at_the_same_moment_submit_one_cycle(version: str) -> None:
    """Real processes, all at the line before they submit when they are let go."""
    now = _at(5).isoformat()
    with ExitStack() as stack:
        beats = [
            stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-c", TICK, now], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
                )
            )
            for _ in range(3)
        ]
        for beat in beats:
            assert beat.stdout is not None
            assert beat.stdout.readline() == "ready\n"
        for beat in beats:
            assert beat.stdin is not None
            beat.stdin.write("go\n")
            beat.stdin.flush()
        answers = [beat.communicate()[0].splitlines()[-1].split() for beat in beats]
    assert sum(len(answer) for answer in answers) == 1


def test_when_the_clock_stood_still_one_cycle_catches_up(version: str) -> None:
    assert len(submit_cycles(_at(8))) == 1
    ticks = [submit_cycles(_at(18) + number * timedelta(hours=6)) for number in range(5)]
    assert [len(each) for each in ticks] == [1, 0, 0, 0, 1]


def test_the_slot_is_of_the_databases_clock(version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    submit_cycles()
    monkeypatch.setattr(time, "time", lambda: 0.0)
    assert submit_cycles() == []


def test_a_slot_begins_where_the_one_before_it_ends() -> None:
    assert [slot(10.0, second) for second in (0, 9.9, 10, 19.9, 20)] == [0, 0, 1, 1, 2]


def test_beat_has_the_cron_expression_and_looks_between_as_well() -> None:
    due, missed = (app.conf.beat_schedule[f"submit_cycles_{name}"]["schedule"] for name in ("due", "missed"))
    assert due == beat_of(read_cron(worker_settings().evaluate_cron))
    assert missed <= 3600


def test_a_cycle_is_never_submitted_where_the_clock_is_off(version: str) -> None:
    with environment(AFTERGLOW_EVALUATE_CRON="off"):
        assert submit_cycles(_at(25)) == []
    assert len(submit_cycles(_at(25))) == 1
