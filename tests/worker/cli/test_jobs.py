"""Commands for jobs and lists: pages, live progress, trying again, and nobody there to work."""

from __future__ import annotations

import io
import threading
import time

import pytest
from rich.console import Console
from sqlmodel import Session

from db.engine import make_engine, session_scope
from db.queries import jobs
from db.tables import Job
from tests.builders import make_version
from tests.worker.cli.conftest import Afterglow
from worker.cli.watch import jobs_table
from worker.queue import submit


def _submitted(kind: str = "export_dataset") -> int:
    with session_scope() as session:
        job, _ = submit(session, kind, {"kind": "rating"})
    assert job.id is not None
    return job.id


def _claimed(job_id: int) -> jobs.Claim:
    with session_scope() as session:
        claim = jobs.claim_job(session, job_id, "somebody", 60.0)
    assert claim is not None
    return claim


def _failed(reason: str) -> int:
    claim = _claimed(_submitted())
    with session_scope() as session:
        assert jobs.finish_job(session, claim, "failed", reason=reason)
    return claim.job_id


def test_a_list_of_jobs_goes_on_where_the_page_before_ended(database: str, afterglow: Afterglow) -> None:
    made = [_failed(f"reason {number}") for number in range(5)]
    first = afterglow("jobs", "--limit", "2", "--state", "failed")
    assert f"afterglow jobs --before {made[3]}" in first.err
    second = afterglow("jobs", "--limit", "2", "--before", str(made[3]), "--json").json
    assert [row["id"] for row in second] == [made[2], made[1]]
    assert afterglow("jobs", "list", "--kind", "train", "--json").json == []


def test_other_lists_go_on_likewise(database: str, session: Session, afterglow: Afterglow) -> None:
    versions = [make_version(session) for _ in range(3)]
    session.commit()
    page = afterglow("models", "--limit", "2")
    assert versions[2].model_version in page.out
    assert f"--before {versions[1].id}" in page.err
    (rest,) = afterglow("models", "--limit", "2", "--before", str(versions[1].id), "--json").json
    assert rest["model_version"] == versions[0].model_version
    runs = afterglow("runs", "--limit", "2", "--json").json
    assert len(afterglow("runs", "--before", str(runs[1]["id"]), "--json").json) == 1


def test_showing_a_job_tells_its_attempts_its_log_and_its_reason(database: str, afterglow: Afterglow) -> None:
    job_id = _failed("the disk was full")
    said = afterglow("jobs", "show", str(job_id))
    for wanted in ("failed", "the disk was full", "submitted", "started", "somebody"):
        assert wanted in said.out
    told = afterglow("jobs", "show", str(job_id), "--json").json
    assert [event["event"] for event in told["events"]] == ["submitted", "started", "failed"]


def test_a_queued_job_that_nobody_would_run_is_said_to_wait(database: str, afterglow: Afterglow) -> None:
    job_id = _submitted()
    for words in (("jobs",), ("jobs", "show", str(job_id))):
        assert "no worker is connected" in afterglow(*words).err
        assert afterglow(*words, "--quiet").err == ""
    assert afterglow("jobs", "cancel", str(job_id)).out == f"job {job_id} is cancelled\n"
    assert afterglow("jobs", "cancel", str(_failed("x"))).code == 3


def test_a_running_job_is_asked_to_stop(database: str, afterglow: Afterglow) -> None:
    claim = _claimed(_submitted())
    assert afterglow("jobs", "cancel", str(claim.job_id), "--json").json["cancel_requested"] is True
    with session_scope() as session:
        jobs.finish_job(session, claim, "cancelled", reason="cancelled on request")


def test_trying_again_makes_one_new_job(database: str, afterglow: Afterglow) -> None:
    job_id = _failed("it rained")
    first = afterglow("jobs", "retry", str(job_id), "--no-wait", "--json").json
    assert (first["retry_of"], first["state"], first["is_new"]) == (job_id, "queued", True)
    again = afterglow("jobs", "retry", str(job_id), "--no-wait", "--json").json
    assert (again["id"], again["is_new"]) == (first["id"], False)
    assert afterglow("jobs", "retry", str(first["id"]), "--no-wait").code == 3
    afterglow("jobs", "cancel", str(first["id"]))


def test_watching_follows_a_job_to_its_end(database: str, afterglow: Afterglow) -> None:
    claim = _claimed(_submitted())
    engine = make_engine(database)  # its own: the command, which runs in this process, gives the common one up

    def work() -> None:
        with Session(engine) as session:
            for step in (0.3, 0.6):
                jobs.beat(session, claim, 60.0, progress=step, message=f"step {step}")
                session.commit()
                time.sleep(0.8)
            jobs.finish_job(session, claim, "succeeded", result={})
            session.commit()

    worker = threading.Thread(target=work)
    worker.start()
    said = afterglow("jobs", "watch", str(claim.job_id))
    worker.join()
    engine.dispose()
    assert said.code == 0
    assert f"job {claim.job_id} export_dataset: 60% step 0.6" in said.err
    assert "100% succeeded" in said.err


def test_watching_a_job_that_failed_ends_with_its_reason(database: str, afterglow: Afterglow) -> None:
    said = afterglow("jobs", "watch", str(_failed("it snowed")))
    assert said.code == 1
    assert "it snowed" in said.err
    assert afterglow("jobs", "watch", "7777").code == 4


def test_watching_where_nothing_runs_says_so_and_ends(database: str, afterglow: Afterglow) -> None:
    assert afterglow("jobs", "--watch").out == "no job runs or waits\n"


def test_ctrl_c_leaves_watched_jobs_alone_and_says_so(
    database: str, afterglow: Afterglow, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = _submitted()

    def interrupted(_: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(time, "sleep", interrupted)
    said = afterglow("jobs", "watch")
    assert said.code == 130
    assert f"job {job_id} goes on" in said.err
    with session_scope() as session:
        assert jobs.get_job(session, job_id).state == "queued"


def test_the_live_table_shows_state_attempt_bar_heartbeat_and_message() -> None:
    from datetime import UTC, datetime, timedelta

    job = Job(id=5, kind="train", state="running", attempt=2, max_attempts=3, progress=0.42, message="epoch 3 [of 7]",
              heartbeat_at=datetime.now(UTC) - timedelta(seconds=4))  # fmt: skip
    page = Console(file=io.StringIO(), width=140)
    page.print(jobs_table([job]))
    shown = page.file.getvalue()  # type: ignore[attr-defined]
    for wanted in ("train", "running", "2/3", "42%", "s ago", "epoch 3 [of 7]"):
        assert wanted in shown


def test_a_shell_completes_jobs_and_versions_of_a_running_database(database: str, session: Session) -> None:
    import typer

    from worker.cli.main import app
    from worker.cli.options import complete_jobs, complete_versions

    version, job_id = make_version(session).model_version, _submitted()
    session.commit()
    context = typer.main.get_command(app).make_context("afterglow", [], resilient_parsing=True)
    assert complete_versions(context, version[:4])[0] == version  # type: ignore[arg-type]
    assert (str(job_id), "export_dataset, queued") in complete_jobs(context, str(job_id))  # type: ignore[arg-type]


def test_keys_show_what_they_may_until_when_and_when_they_were_used(database: str, afterglow: Afterglow) -> None:
    made = afterglow("keys", "create", "--scopes", "score", "--expires-in", "90d", "--name", "cron")
    assert made.out.startswith("ag_")
    assert len(made.out.split()) == 1
    assert "it expires" in made.err
    assert "score pictures" in made.err
    listed = afterglow("keys", "list")
    for wanted in ("cron", "valid", "never", "score   may "):
        assert wanted in listed.out
    key_id = made.out.split("_")[1]
    assert afterglow("keys", "revoke", key_id, "--json").json == {"key_id": key_id, "state": "revoked"}
    assert [row["state"] for row in afterglow("keys", "list", "--json").json] == ["revoked"]
