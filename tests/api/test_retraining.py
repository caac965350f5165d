"""Retrain cycles over HTTP. They are submitted here, and run elsewhere."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from sqlmodel import Session

from db.tables import Job
from tests.api.builders import count
from tests.conftest import client_of


def test_a_cycle_is_its_first_job_and_says_how_far_it_is(client: httpx.Client) -> None:
    answer = client.post("/v1/retrain", json={"recipe": {"epochs": 3}, "promote": False, "notes": "try"})
    assert answer.status_code == 202, answer.text
    job = answer.json()
    assert (job["kind"], job["state"]) == ("retrain", "queued")
    asked = {key: job["params"][key] for key in ("kind", "recipe", "promote", "force", "notes")}
    assert asked == {"kind": "rating", "recipe": {"epochs": 3}, "promote": False, "force": False, "notes": "try"}
    assert job["params"]["by"].startswith("key:")
    cycle = client.get(f"/v1/retrain/{job['id']}").json()
    assert (cycle["state"], cycle["progress"], cycle["reason"]) == ("running", 0.0, None)
    assert cycle["jobs"] == [job]


def test_a_broken_cycle_says_why_and_a_retry_goes_on(client: httpx.Client) -> None:
    job_id = client.post("/v1/retrain", json={}).json()["id"]
    client.post(f"/v1/jobs/{job_id}/cancel")
    broken = client.get(f"/v1/retrain/{job_id}").json()
    assert (broken["state"], f"jobs retry {job_id}" in broken["reason"]) == ("cancelled", True)
    again = client.post(f"/v1/jobs/{job_id}/retry").json()
    cycle = client.get(f"/v1/retrain/{job_id}").json()
    assert (cycle["state"], [each["id"] for each in cycle["jobs"]]) == ("running", [job_id, again["id"]])


def test_a_repeated_key_is_the_same_cycle_and_with_another_body_it_is_refused(
    client: httpx.Client, session: Session
) -> None:
    headers = {"Idempotency-Key": uuid.uuid4().hex}
    first = client.post("/v1/retrain", json={"notes": "a"}, headers=headers).json()
    before = count(session, Job)
    assert client.post("/v1/retrain", json={"notes": "a"}, headers=headers).json() == first
    refused = client.post("/v1/retrain", json={"notes": "b"}, headers=headers)
    assert (refused.status_code, "another body" in refused.json()["detail"]) == (409, True)
    assert count(session, Job) == before


@pytest.mark.parametrize(
    ("body", "word"),
    [
        ({"recipe": {"epoch": 3}}, "did you mean 'epochs'"),
        ({"recipe": {"head": "ranking"}}, "regression, binary"),
        ({"recipe": {"weights": "/etc/passwd"}}, "afterglow retrain rating --set weights=FILE"),
        ({"kind": "mood"}, "Known: "),
        ({"promote": False, "force": True}, "send one of them"),
        ({"promote": "yes"}, "promote"),
        ({"dataset_id": 1}, "dataset_id"),
    ],
)
def test_a_bad_cycle_is_refused_and_leaves_nothing(
    client: httpx.Client, session: Session, body: dict[str, Any], word: str
) -> None:
    before = count(session, Job)
    answer = client.post("/v1/retrain", json=body)
    assert answer.status_code == 422, answer.text
    assert word in answer.json()["detail"]
    assert count(session, Job) == before


def test_it_needs_the_scope_of_trainings(server: str, api_key: Callable[..., str]) -> None:
    with client_of(server, api_key("rate")) as client:
        assert client.post("/v1/retrain", json={}).status_code == 403


def test_a_job_that_began_no_cycle_is_none(client: httpx.Client) -> None:
    other = client.post("/v1/datasets", json={}).json()["id"]
    for job_id in (other, 999999):
        assert client.get(f"/v1/retrain/{job_id}").status_code == 404
