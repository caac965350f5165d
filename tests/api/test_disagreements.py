"""Disagreements over HTTP: found by a job, listed in pages, triaged, and settled by a rating."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import pytest

from db.engine import session_scope
from db.queries import jobs, labels
from ml.images.store import FileStore
from tests.builders import put_into_split
from tests.conftest import client_of
from tests.tiny_model import activate, picture, register_bundle
from tests.worker.stages.test_find_disagreements import stored
from worker.jobs import run_job
from worker.queue import submit


@pytest.fixture(scope="module")
def found(database: str, store: FileStore) -> dict[str, int]:
    """A version that says 4.7 of a frame which ann gave 1 star, and 0.4 of one which nobody rated."""
    with session_scope() as session:
        activate(session, register_bundle(session, store))
        bright, dark = (stored(session, store, picture(level)) for level in (240, 20))
        put_into_split(session, "train", bright)
        labels.rate_snapshot(session, snapshot_id=bright, rater="ann", rating=1, is_sunset=True, label_source="test")
    return {"bright": bright, "dark": dark}


@pytest.fixture(scope="module")
def review_set(found: dict[str, int]) -> int:
    """A review set of both."""
    params = {"kind": "rating", "model_version": None, "seed": 7, "largest": 20, "flips": 50, "band": 20, "control": 20}
    with session_scope() as session:
        job, _ = submit(session, "find_disagreements", params)
    assert job.id is not None
    assert run_job(job.id, "test") == "succeeded"
    with session_scope() as session:
        result = jobs.get_job(session, job.id).result
    assert result is not None
    number: int = result["review_set_id"]
    return number


def test_filters_narrow_the_list(client: httpx.Client, found: dict[str, int], review_set: int) -> None:
    items = client.get("/v1/disagreements", params={"review_set_id": review_set}).json()["items"]
    assert {item["snapshot_id"] for item in items} == set(found.values())
    for filters, expected in (
        ({"reason": "flip"}, ["bright"]), ({"need": "first-rating"}, ["dark"]), ({"state": "dismissed"}, []),
        ({"priority": 99}, []), ({"model_version": "tiny"}, []), ({"webcam_id": items[0]["webcam_id"]}, None),
    ):  # fmt: skip
        answer = client.get("/v1/disagreements", params={"review_set_id": review_set, **filters})
        numbers = [each["snapshot_id"] for each in answer.json()["items"]]
        assert numbers == ([items[0]["snapshot_id"]] if expected is None else [found[each] for each in expected])


def test_lists_come_in_pages(client: httpx.Client, review_set: int) -> None:
    params: dict[str, Any] = {"review_set_id": review_set, "limit": 1}
    first = client.get("/v1/disagreements", params=params).json()
    second = client.get("/v1/disagreements", params={**params, "cursor": first["next_cursor"]}).json()
    assert first["items"][0]["id"] > second["items"][0]["id"]
    assert second["next_cursor"] is None


def test_a_set_says_how_it_was_chosen(client: httpx.Client, review_set: int) -> None:
    made = client.get(f"/v1/review-sets/{review_set}").json()
    assert (made["seed"], made["params"]["control"], made["cycle_id"]) == (7, 20, None)
    assert made["counts"]["ways"]["flip"] == {"population": 1, "chosen": 1, "settled": 0}
    assert made["counts"]["control"]["n"] == 1  # of two frames one is rated
    assert made["counts"]["control"]["flips"]["share"] == 1.0
    newest = client.get("/v1/review-sets", params={"kind": "rating", "limit": 1}).json()["items"]
    assert newest == [made]
    assert client.get("/v1/review-sets/999999").status_code == 404


def test_a_rating_settles_and_triage_says_what_becomes_of_the_rest(
    client: httpx.Client, found: dict[str, int], review_set: int
) -> None:
    items = client.get("/v1/disagreements", params={"review_set_id": review_set}).json()["items"]
    numbers = {item["snapshot_id"]: item["id"] for item in items}
    bright, dark = numbers[found["bright"]], numbers[found["dark"]]
    first, again = (client.post(f"/v1/disagreements/{dark}/triage", json={"state": "dismissed"}) for _ in range(2))
    assert first.status_code == 200
    assert first.json()["state"] == "dismissed"
    assert again.json() == first.json()  # repeating it changes nothing
    opened = client.post(f"/v1/disagreements/{dark}/triage", json={"state": "open", "priority": 5}).json()
    assert (opened["state"], opened["priority"], opened["closed_by"]) == ("open", 5, None)
    waiting = client.get("/v1/disagreements/backlog").json()
    client.post(f"/v1/snapshots/{found['bright']}/ratings", json={"rater": "bob", "rating": 2})
    settled = client.get(f"/v1/disagreements/{bright}").json()
    assert (settled["state"], settled["closed_by"], settled["closed_label"]) == ("settled", "bob", 1.5)
    refused = client.post(f"/v1/disagreements/{bright}/triage", json={"state": "dismissed"})
    assert refused.status_code == 409
    assert "settled by a rating of bob" in refused.json()["detail"]
    after = client.get("/v1/disagreements/backlog").json()
    assert (after["settled"], after["open"]) == (waiting["settled"] + 1, waiting["open"] - 1)
    assert client.delete(f"/v1/snapshots/{found['bright']}/ratings/bob").status_code == 200
    assert client.get(f"/v1/disagreements/{bright}").json()["state"] == "open"


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({}, "send `state`, `priority` or both"),
        ({"state": "settled"}, "'open' or 'dismissed'"),
        ({"priority": 0}, "greater than or equal to 1"),
        ({"priority": "10"}, "valid integer"),
        ({"verdict": "good"}, "is not known here"),
    ],
)
def test_a_triage_that_makes_no_sense_is_refused_with_a_reason(
    client: httpx.Client, review_set: int, body: dict[str, Any], says: str
) -> None:
    number = client.get("/v1/disagreements").json()["items"][0]["id"]
    answer = client.post(f"/v1/disagreements/{number}/triage", json=body)
    assert answer.status_code == 422
    assert says in answer.text


@pytest.mark.parametrize("params", [{"state": "closed"}, {"reason": "whim"}, {"sort": "id"}, {"priority": 0}])
def test_a_filter_that_is_not_known_is_refused(client: httpx.Client, database: str, params: dict[str, Any]) -> None:
    assert client.get("/v1/disagreements", params=params).status_code == 422


def test_what_does_not_exist_is_not_found(client: httpx.Client, found: dict[str, int]) -> None:
    assert client.get("/v1/disagreements/999999").status_code == 404
    assert client.post("/v1/disagreements/999999/triage", json={"state": "open"}).status_code == 404
    assert client.post("/v1/disagreements", json={"model_version": "nobody"}).status_code == 404
    assert client.post("/v1/disagreements", json={"kind": "nothing"}).status_code == 422


def test_who_may_do_what(server: str, api_key: Callable[..., str], review_set: int) -> None:
    with client_of(server, api_key("rate")) as rater, client_of(server, api_key("train")) as trainer:
        number = rater.get("/v1/disagreements").json()["items"][0]["id"]
        assert rater.post(f"/v1/disagreements/{number}/triage", json={"priority": 100}).status_code == 200
        assert trainer.post(f"/v1/disagreements/{number}/triage", json={"priority": 100}).status_code == 403
        assert rater.post("/v1/disagreements", json={}).status_code == 403
        key = {"Idempotency-Key": "once"}
        first, again = (trainer.post("/v1/disagreements", json={"seed": 1}, headers=key) for _ in range(2))
        assert first.status_code == again.status_code == 202
        assert first.json()["id"] == again.json()["id"]
        assert trainer.post("/v1/disagreements", json={"seed": 2}, headers=key).status_code == 409
