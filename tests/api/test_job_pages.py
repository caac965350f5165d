"""The pages of jobs: what is so, why it failed, what can be done, and that nobody works."""

from __future__ import annotations

import re
from collections.abc import Callable

import httpx
import pytest
from sqlalchemy import text

from db.engine import listening, session_scope
from db.queries import jobs
from db.queries.models import add_run
from tests.api.conftest import BROWSER
from tests.conftest import client_of

EVIL = "<script>alert('x')</script>"


def _job(
    kind: str = "train",
    state: str = "queued",
    *,
    reason: str | None = None,
    queue: str = "pages",
    run_id: int | None = None,
) -> int:
    with session_scope() as session:
        job, _ = jobs.add_job(session, kind, {"note": EVIL}, queue=queue, max_attempts=3, run_id=run_id)
        assert job.id is not None
        if state != "queued":
            claim = jobs.claim_job(session, job.id, f"w{job.id}", 60)
            assert claim is not None
            jobs.beat(session, claim, 60, progress=0.4, message=f"epoch 2 {EVIL}")
            if state != "running":
                jobs.finish_job(session, claim, state, reason=reason)
        return job.id


def _row(page: str, job_id: int) -> str:
    found = re.search(rf'<li data-job="{job_id}">.*?</li>', page, re.DOTALL)
    assert found, page
    return found[0]


def _see(client: httpx.Client, path: str) -> str:
    answer = client.get(path, headers=BROWSER)
    assert answer.status_code == 200, answer.text
    assert "<script>alert" not in answer.text
    return answer.text


def test_without_a_job_the_page_says_how_to_make_one(client: httpx.Client) -> None:
    assert "There was no job yet." in _see(client, "/jobs")


def test_the_list_says_how_far_each_is_and_why_it_failed(client: httpx.Client) -> None:
    failed = _job(state="failed", reason=f"no label is left {EVIL}")
    running = _job(state="running")
    page = _see(client, "/jobs")
    assert "no label is left &lt;script&gt;" in _row(page, failed)
    assert 'data-action="retry"' in _row(page, failed) and 'data-action="cancel"' not in _row(page, failed)
    assert 'value="40"' in _row(page, running) and "epoch 2" in _row(page, running)
    assert 'data-action="cancel"' in _row(page, running) and 'data-action="retry"' not in _row(page, running)


def test_a_filter_shows_those_alone_and_older_ones_are_a_link_away(client: httpx.Client) -> None:
    made = [_job("retain") for _ in range(30)]
    page = _see(client, "/jobs?state=queued&kind=retain")
    shown = [int(each) for each in re.findall(r'<li data-job="(\d+)"', page)]
    assert shown == sorted(made, reverse=True)[: len(shown)] and len(shown) == 25
    (older,) = re.findall(r'rel="next" href="([^"]+)"', page)
    rest = [int(each) for each in re.findall(r'<li data-job="(\d+)"', _see(client, older.replace("&amp;", "&")))]
    assert sorted(shown + rest) == made
    assert "No job is like that." in _see(client, "/jobs?state=dead")
    assert client.get("/jobs?stat=dead", headers=BROWSER).status_code == 422


def test_a_job_shows_its_version_its_reason_its_log_and_what_it_led_to(client: httpx.Client) -> None:
    with session_scope() as session:
        run = add_run(session, model_version="rating_2026_02_14", kind="rating")
    job_id = _job(state="failed", reason="the disk is full", run_id=run.id)
    with session_scope() as session:
        jobs.add_job_event(session, job_id, 1, "log", f"loss 0.5 {EVIL}")
        follow, _ = jobs.add_job(session, "evaluate", {}, queue="pages", max_attempts=1, parent_id=job_id)
    page = _see(client, f"/jobs/{job_id}")
    assert "rating_2026_02_14" in page
    assert "the disk is full" in page
    assert "loss 0.5 &lt;script&gt;" in page
    assert f'href="/jobs/{follow.id}"' in page
    assert "data-again" not in page, "it has ended, so nothing is left to watch"
    again = client.post(f"/v1/jobs/{job_id}/retry").json()["id"]
    page = _see(client, f"/jobs/{job_id}")
    assert f'href="/jobs/{again}"' in page
    assert 'data-action="retry"' not in page, "it is tried again already"
    assert "data-again" in _see(client, f"/jobs/{again}")
    assert client.get("/jobs/999999", headers=BROWSER).status_code == 404


def test_who_may_only_read_sees_jobs_and_no_buttons(server: str, api_key: Callable[..., str]) -> None:
    job_id = _job(state="failed", reason="why")
    with client_of(server, api_key("rate")) as client:
        for path in ("/jobs", f"/jobs/{job_id}"):
            page = _see(client, path)
            assert "why" in page
            assert 'data-action="retry"' not in page and 'data-action="cancel"' not in page


@pytest.mark.parametrize("path", ["/jobs", "/jobs/{job_id}"])
def test_that_nobody_works_is_said_and_no_longer_once_somebody_does(client: httpx.Client, path: str) -> None:
    job_id = _job("export_dataset", queue="lonely")
    path = path.format(job_id=job_id)
    assert "No worker is connected.</strong> Nothing hands out jobs" in _see(client, path)
    _wait_for("5 min")
    with listening(jobs.JOBS_CHANNEL):
        page = _see(client, path)
        assert "Nothing hands out jobs" not in page
        assert "No worker is connected to the queue lonely.</strong>" in page and "5 min" in page
        _wait_for("0 s")
        assert "No worker is connected" not in _see(client, path)


def _wait_for(how_long: str) -> None:
    with session_scope() as session:
        waited = text("UPDATE jobs SET run_after = clock_timestamp() - CAST(:wait AS interval) WHERE state = 'queued'")
        session.execute(waited, {"wait": how_long})
