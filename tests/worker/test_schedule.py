"""What the clock starts: once per slot, however often beat ticks."""

from __future__ import annotations

from db.engine import session_scope
from db.queries import jobs, models
from tests.builders import make_version
from worker.app import app
from worker.schedule import slot, submit_evaluations
from worker.settings import worker_settings


def test_two_ticks_of_one_slot_submit_one_evaluation_of_the_active_model(database: str) -> None:
    with session_scope() as session:
        version = make_version(session).model_version
        models.add_activation(
            session, kind="rating", model_version=version, action="promote", verdict={}, activated_by="test"
        )
    day = worker_settings().evaluate_every_h * 3600
    first = submit_evaluations(now_s=10 * day + 1)
    assert submit_evaluations(now_s=10 * day + day / 2) == []
    assert len(submit_evaluations(now_s=11 * day + 1)) == 1
    (job_id,) = first
    with session_scope() as session:
        job = jobs.get_job(session, job_id)
    assert (job.kind, job.params) == ("evaluate", {"model_version": version, "fresh": True})


def test_a_slot_begins_where_the_one_before_it_ends() -> None:
    assert [slot(10.0, second) for second in (0, 9.9, 10, 19.9, 20)] == [0, 0, 1, 1, 2]


def test_beat_ticks_several_times_a_slot_so_that_a_missed_tick_is_made_up_for() -> None:
    entry = app.conf.beat_schedule["submit_evaluations"]
    assert entry["schedule"] <= worker_settings().evaluate_every_h * 3600 / 2
