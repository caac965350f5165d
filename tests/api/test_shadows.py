"""Shadows over HTTP: what a candidate says is in its comparison and in no answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import pytest

from db.engine import session_scope
from ml.images.store import FileStore
from tests.conftest import client_of
from tests.tiny_model import BRIGHT, DARK, activate, picture, register_bundle
from worker.jobs import run_job


@pytest.fixture(scope="module")
def versions(database: str, store: FileStore) -> tuple[str, str]:
    """The active version and a candidate."""
    with session_scope() as session:
        bright, dark = (register_bundle(session, store, each) for each in (BRIGHT, DARK))
        activate(session, bright)
    return bright.model_version, dark.model_version


def _answers(client: httpx.Client, webcam: int) -> list[Any]:
    """Everything over HTTP that tells of scores, but for times and numbers that grow."""
    found = [
        client.get(path).json() for path in ("/v1/snapshots", "/v1/webcams", f"/v1/webcams/{webcam}", "/v1/models")
    ]
    return [*found, *(client.get(f"/v1/snapshots/{each['id']}").json() for each in found[0]["items"])]


def test_a_candidate_shadows_is_compared_and_appears_in_no_answer(
    versions: tuple[str, str], client: httpx.Client
) -> None:
    active, candidate = versions
    webcam = client.post("/v1/webcams", json={"external_id": "shadowed"}).json()["id"]
    params = {"webcam_id": webcam, "phase": "sunset"}
    scored = client.post("/v1/score", content=picture(250), params=params).json()
    assert (scored["modelVersion"], scored["capture"]["captured"]) == (active, True)
    before = _answers(client, webcam)
    assert before[0]["items"]
    path = f"/v1/models/{candidate}/shadow"
    assert client.get(path).json() == {
        "model_version": candidate, "kind": "rating", "shadows": False, "chosen_by": None, "chosen_at": None,
        "comparison": None, "compared_at": None,
    }  # fmt: skip
    job = client.post(path)
    assert (job.status_code, job.json()["kind"]) == (202, "shadow")
    assert run_job(job.json()["id"], "test") == "succeeded"
    facts = client.get(path).json()
    assert (facts["shadows"], facts["comparison"]["n"], facts["comparison"]["active"]) == (True, 1, active)
    assert facts["chosen_by"].startswith("key:")
    assert _answers(client, webcam) == before
    again = client.post("/v1/score", content=picture(250), params=params).json()
    assert again["modelVersion"] == active
    stopped = client.delete(path).json()
    assert (stopped["shadows"], stopped["comparison"]) == (False, facts["comparison"])
    assert client.delete(path).status_code == 200


def test_what_cannot_shadow_is_refused(versions: tuple[str, str], client: httpx.Client) -> None:
    active, _ = versions
    refused = client.post(f"/v1/models/{active}/shadow")
    assert (refused.status_code, "active rating version itself" in refused.json()["detail"]) == (409, True)
    for method in ("GET", "POST", "DELETE"):
        assert client.request(method, "/v1/models/nobody/shadow").status_code == 404


def test_it_needs_the_scope_of_trainings(versions: tuple[str, str], server: str, api_key: Callable[..., str]) -> None:
    with client_of(server, api_key("rate")) as client:
        assert client.post(f"/v1/models/{versions[1]}/shadow").status_code == 403
        assert client.delete(f"/v1/models/{versions[1]}/shadow").status_code == 403
        assert client.get(f"/v1/models/{versions[1]}/shadow").status_code == 200
