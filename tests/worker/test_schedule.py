"""What the clock starts: once per slot, however often beat ticks."""

from __future__ import annotations

import subprocess
import sys
import time
from contextlib import ExitStack

import pytest

from db.engine import session_scope
from db.queries import jobs, models
from tests.builders import make_version
from worker.app import app
from worker.queue import CLOCK_PRIORITY
from worker.schedule import slot, submit_evaluations
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


def test_two_ticks_of_one_slot_submit_one_evaluation_of_the_active_model(version: str) -> None:
    day = worker_settings().evaluate_every_h * 3600
    first = submit_evaluations(now_s=10 * day + 1)
    assert submit_evaluations(now_s=10 * day + day / 2) == []
    assert len(submit_evaluations(now_s=11 * day + 1)) == 1
    (job_id,) = first
    with session_scope() as session:
        job = jobs.get_job(session, job_id)
    assert (job.kind, job.params) == ("evaluate", {"model_version": version, "fresh": True})


TICK = """
import sys
from worker.schedule import submit_evaluations
from db.engine import engine
with engine().connect():
    print("ready", flush=True)
sys.stdin.readline()
print(*submit_evaluations(now_s=float(sys.argv[1])), flush=True)
"""


def test_beats_of_two_processes_at_the_same_moment_submit_one_evaluation(version: str) -> None:
    """Real processes, all at the line before they submit when they are let go."""
    now_s = str(20 * worker_settings().evaluate_every_h * 3600 + 5)
    with ExitStack() as stack:
        beats = [
            stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-c", TICK, now_s], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
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


def test_when_the_clock_stood_still_one_evaluation_catches_up(version: str) -> None:
    """Ticks come four times a slot; here none came for ten slots."""
    interval = worker_settings().evaluate_every_h * 3600
    assert len(submit_evaluations(now_s=30 * interval)) == 1
    assert [len(submit_evaluations(now_s=40 * interval + tick * interval / 4)) for tick in range(5)] == [1, 0, 0, 0, 1]


def test_the_slot_is_of_the_databases_clock(version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (job_id,) = submit_evaluations()
    monkeypatch.setattr(time, "time", lambda: 0.0)
    assert submit_evaluations() == []
    with session_scope() as session:
        assert jobs.get_job(session, job_id).priority == CLOCK_PRIORITY


def test_a_slot_begins_where_the_one_before_it_ends() -> None:
    assert [slot(10.0, second) for second in (0, 9.9, 10, 19.9, 20)] == [0, 0, 1, 1, 2]


def test_beat_ticks_several_times_a_slot_so_that_a_missed_tick_is_made_up_for() -> None:
    entry = app.conf.beat_schedule["submit_evaluations"]
    assert entry["schedule"] <= worker_settings().evaluate_every_h * 3600 / 2
