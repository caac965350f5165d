"""How an attempt ends: its effects once, through outages of the database, stops of the worker and losses of memory."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import pytest
from sqlalchemy import text
from sqlalchemy.engine import make_url
from sqlmodel import Session

from db.engine import engine, session_scope
from db.queries import jobs
from db.tables import Job
from tests.conftest import close_engines, environment, text_of
from tests.faults.relay import Relay, relayed
from worker import job_context
from worker.jobs import STAGES, Finish, JobContext, JobFailed, OutOfMemory, run_job

Stage = Callable[[JobContext], Finish]
LEASE_S = 2.0
WORK: list[Stage] = []
"""What the stage `toy` does next; the last one again and again."""


def toy(context: JobContext) -> Finish:
    return (WORK.pop(0) if len(WORK) > 1 else WORK[0])(context)


@pytest.fixture(scope="module")
def effects(database: str) -> None:
    with session_scope() as session:
        session.execute(text("CREATE TABLE effects (job_id bigint, attempt int)"))


@pytest.fixture
def relay(database: str, effects: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Relay]:
    """The database, reached through a relay that can be told to cut; leases of seconds."""
    monkeypatch.setitem(STAGES, "toy", f"{__name__}:toy")
    with (
        relayed(make_url(database)) as relay,
        environment(
            DATABASE_URL=text_of(relay.url),
            AFTERGLOW_JOB_LEASE_S=str(LEASE_S),
            AFTERGLOW_JOB_HEARTBEAT_S="0.5",
            AFTERGLOW_JOB_BACKOFF_S="0",
        ),
    ):
        yield relay
        engine().dispose()
    close_engines()


def _submit(*work: Stage) -> int:
    WORK[:] = work
    with session_scope() as session:
        job, _ = jobs.add_job(session, "toy", {}, queue="default", max_attempts=3)
    assert job.id is not None
    return job.id


def _job(job_id: int) -> Job:
    with session_scope() as session:
        return jobs.get_job(session, job_id)


def _num_effects(job_id: int) -> int:
    with session_scope() as session:
        return session.execute(text("SELECT count(*) FROM effects WHERE job_id = :id"), {"id": job_id}).scalar_one()


def _succeed(context: JobContext, before: Callable[[Session], None] = lambda session: None) -> Finish:
    def write(session: Session) -> None:
        before(session)
        session.execute(
            text("INSERT INTO effects VALUES (:job, :attempt)"),
            {"job": context.claim.job_id, "attempt": context.claim.attempt},
        )

    return Finish({"ok": True}, write)


def test_a_commit_whose_answer_is_lost_has_its_effects_once(relay: Relay) -> None:
    def cut_the_answer_of_the_commit(session: Session) -> None:
        relay.cut_after(b"COMMIT")

    job_id = _submit(lambda context: _succeed(context, cut_the_answer_of_the_commit))
    assert run_job(job_id, "w") == "succeeded"
    assert relay.num_cut == 1
    assert (_job(job_id).state, _job(job_id).attempt, _num_effects(job_id)) == ("succeeded", 1, 1)


def test_a_transaction_that_broke_before_its_commit_is_written_again(relay: Relay) -> None:
    broken: list[int] = []

    def break_once(session: Session) -> None:
        if not broken:
            broken.append(1)
            relay.cut_after(b"INSERT INTO effects")

    job_id = _submit(lambda context: _succeed(context, break_once))
    assert run_job(job_id, "w") == "succeeded"
    assert relay.num_cut == 1
    assert (_job(job_id).attempt, _num_effects(job_id)) == (1, 1)


def _away_for(relay: Relay, seconds: float) -> None:
    relay.go_away()
    threading.Timer(seconds, relay.go_away, (False,)).start()


@pytest.mark.parametrize(
    ("error", "state"), [(None, "succeeded"), (JobFailed("no"), "failed"), (RuntimeError("perhaps"), "queued")]
)
def test_each_end_is_written_when_the_database_comes_back_within_the_lease(
    relay: Relay, error: Exception | None, state: str
) -> None:
    def work(context: JobContext) -> Finish:
        _away_for(relay, LEASE_S / 4)
        if error is not None:
            raise error
        return _succeed(context)

    job_id = _submit(work)
    assert run_job(job_id, "w") == state
    assert (_job(job_id).state, _num_effects(job_id)) == (state, int(state == "succeeded"))


def test_an_attempt_whose_end_cannot_be_written_is_left_to_its_lease(relay: Relay) -> None:
    def work(context: JobContext) -> Finish:
        relay.go_away()
        raise RuntimeError("perhaps")

    job_id = _submit(work)
    assert run_job(job_id, "w") is None
    relay.go_away(False)
    assert _job(job_id).state == "running"
    _wait_for_lease(job_id)
    with session_scope() as session:
        jobs.reap_jobs(session, 0)
    WORK[:] = [_succeed]
    assert run_job(job_id, "w2") == "succeeded"
    assert _num_effects(job_id) == 1


def _wait_for_lease(job_id: int) -> None:
    for _ in range(200):
        with session_scope() as session:
            over = session.execute(
                text("SELECT lease_until < clock_timestamp() FROM jobs WHERE id = :id"), {"id": job_id}
            )
            if over.scalar_one():
                return
        time.sleep(0.05)
    raise AssertionError("the lease never ended")


def test_work_stops_before_its_lease_is_over_when_no_heartbeat_gets_through(relay: Relay) -> None:
    stopped: list[str] = []

    def work(context: JobContext) -> Finish:
        relay.go_away()
        try:
            while True:
                context.check()
                time.sleep(0.02)
        except job_context.FenceLost as error:
            stopped.append(type(error).__name__)
            relay.go_away(False)
            with session_scope() as session:
                holds = "SELECT lease_until > clock_timestamp() FROM jobs WHERE id = :id"
                stopped.append(str(session.execute(text(holds), {"id": context.claim.job_id}).scalar_one()))
            raise

    job_id = _submit(work)
    assert run_job(job_id, "w") is None
    assert stopped == ["LeaseAtRisk", "True"]


@pytest.fixture
def _not_stopping() -> Iterator[None]:
    yield
    job_context.STOPPING.clear()


@pytest.mark.usefixtures("_not_stopping")
def test_a_worker_that_is_told_to_stop_gives_its_job_back_at_once_and_takes_no_other(relay: Relay) -> None:
    def work(context: JobContext) -> Finish:
        job_context.STOPPING.set()
        context.progress(0.5, "half")
        raise AssertionError("went on")

    job_id = _submit(work)
    assert run_job(job_id, "w") == "queued"
    assert run_job(job_id, "w2") is None
    job = _job(job_id)
    assert (job.attempt, job.max_attempts, job.reason) == (1, 4, "its worker was told to stop")
    job_context.STOPPING.clear()
    WORK[:] = [_succeed]
    assert run_job(job_id, "w3") == "succeeded"  # without waiting


def test_a_job_that_runs_out_of_memory_is_tried_again_once(relay: Relay) -> None:
    def eat(context: JobContext) -> Finish:
        raise OutOfMemory("It held 9 MiB.")

    job_id = _submit(eat, _succeed)
    assert [run_job(job_id, "w1"), run_job(job_id, "w2")] == ["queued", "succeeded"]
    job_id = _submit(eat)
    assert [run_job(job_id, "w1"), run_job(job_id, "w2")] == ["queued", "failed"]
    assert _job(job_id).reason == "It ran out of memory 2 times. It held 9 MiB."


def test_an_attempt_that_fails_thrice_is_dead(relay: Relay) -> None:
    def stumble(context: JobContext) -> Finish:
        raise RuntimeError("perhaps")

    job_id = _submit(stumble)
    assert [run_job(job_id, f"w{n}") for n in range(4)] == ["queued", "queued", "dead", None]
    assert _job(job_id).reason == "RuntimeError: perhaps"


def test_a_log_line_that_cannot_be_written_costs_no_attempt(relay: Relay) -> None:
    def work(context: JobContext) -> Finish:
        with relay.away():
            context.log("nobody hears this")
        return _succeed(context)

    job_id = _submit(work)
    assert run_job(job_id, "w") == "succeeded"
