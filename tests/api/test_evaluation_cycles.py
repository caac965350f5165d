"""Evaluation cycles over HTTP, evaluations of all versions, and what versions reached over time."""

from __future__ import annotations

import uuid
from collections.abc import Callable

import httpx
import pytest
from sqlmodel import Session

from db.engine import session_scope
from db.queries import evaluations, jobs, models
from db.tables import Job
from tests.api.builders import count, evaluation_report
from tests.builders import NOON
from tests.conftest import client_of
from tests.tiny_model import BRIGHT, DARK, YES, activate, register_bundle


@pytest.fixture(scope="module")
def cycle_id(database: str, store: object) -> int:
    """A cycle of three versions, and one evaluation of no cycle."""
    with session_scope() as session:
        before, now, new = (register_bundle(session, store, each) for each in (DARK, BRIGHT, YES))  # type: ignore[arg-type]
        activate(session, before)
        activate(session, now)
        job, _ = jobs.add_job(session, "evaluate_cycle", {}, queue="train", max_attempts=1)
        assert job.id is not None
        dataset = models.add_dataset(session, [], kind="rating", as_of=NOON, manifest_sha256="0" * 64, artifact_key="k")
        assert dataset.id is not None
        cycle = evaluations.add_cycle(
            session, kind="rating", job_id=job.id, slot="2026-02-12T02:30Z", created_by="clock", dataset_id=dataset.id,
            manifest_sha256="0" * 64, params={}, summary={"rows": {"judging": 120}},
        )  # fmt: skip
        facts = {"kind": "rating", "manifest_sha256": "0" * 64, "method": "test", "artifact_key": "k"}
        for role, version in (("active", now), ("previous", before), ("candidate", new)):
            evaluations.add_evaluation(
                session, model_version=version.model_version, report=evaluation_report(role == "active"),
                cycle_id=cycle.id, role=role, **facts,
            )  # fmt: skip
        evaluations.add_evaluation(session, model_version="tiny_yes", report=evaluation_report(True), **facts)
        assert cycle.id is not None
        return cycle.id


def test_a_cycle_is_submitted_once_for_a_key(client: httpx.Client, session: Session, cycle_id: int) -> None:
    headers = {"Idempotency-Key": uuid.uuid4().hex}
    answer = client.post("/v1/evaluations", json={"kind": "rating"}, headers=headers)
    assert answer.status_code == 202, answer.text
    assert (answer.json()["kind"], answer.json()["params"]["kind"]) == ("evaluate_cycle", "rating")
    assert answer.json()["params"]["by"].startswith("key:")
    before = count(session, Job)
    assert client.post("/v1/evaluations", json={"kind": "rating"}, headers=headers).json() == answer.json()
    assert count(session, Job) == before


@pytest.mark.parametrize(("body", "word"), [({"kind": "mood"}, "Known: "), ({"versions": []}, "versions")])
def test_a_bad_cycle_is_refused_and_leaves_nothing(
    client: httpx.Client, session: Session, cycle_id: int, body: dict[str, object], word: str
) -> None:
    before = count(session, Job)
    answer = client.post("/v1/evaluations", json=body)
    assert (answer.status_code, word in answer.json()["detail"]) == (422, True)
    assert count(session, Job) == before


def test_it_needs_the_scope_of_trainings(server: str, api_key: Callable[..., str]) -> None:
    with client_of(server, api_key("rate")) as client:
        assert client.post("/v1/evaluations", json={}).status_code == 403


def test_evaluations_are_listed_by_cycle_role_and_version(client: httpx.Client, cycle_id: int) -> None:
    def asked(**params: object) -> list[tuple[str, str]]:
        found = client.get("/v1/evaluations", params=params).json()["items"]  # type: ignore[arg-type]
        return [(row["model_version"], row["role"]) for row in found]

    assert asked(cycle_id=cycle_id) == [
        ("tiny_yes", "candidate"), ("tiny_dark", "previous"), ("tiny_bright", "active"),
    ]  # fmt: skip
    assert asked(role="previous") == [("tiny_dark", "previous")]
    assert asked(model_version="tiny_yes") == [("tiny_yes", None), ("tiny_yes", "candidate")]
    assert client.get("/v1/evaluations", params={"role": "best"}).status_code == 422


def test_a_cycle_shows_its_slot_its_summary_and_its_evaluations(client: httpx.Client, cycle_id: int) -> None:
    cycle = client.get(f"/v1/evaluation-cycles/{cycle_id}").json()
    assert (cycle["slot"], cycle["created_by"], cycle["summary"]) == (
        "2026-02-12T02:30Z", "clock", {"rows": {"judging": 120}},
    )  # fmt: skip
    assert len(cycle["evaluations"]) == 3
    assert [row["id"] for row in client.get("/v1/evaluation-cycles").json()["items"]] == [cycle_id]
    one = client.get(f"/v1/evaluations/{cycle['evaluations'][0]['id']}").json()
    assert (one["role"], one["report"]["headline"]) == ("candidate", "not seen")
    assert client.get("/v1/evaluation-cycles/999999").status_code == 404


def test_metrics_over_time_stand_beside_the_best_baseline_of_the_same_rows(client: httpx.Client, cycle_id: int) -> None:
    points = client.get("/v1/evaluation-metrics", params={"kind": "rating", "limit": 3}).json()
    assert [each["value"] for each in points["items"]] == [0.5, 1.5, 1.5]
    assert {(each["n"], each["n_groups"], each["metric"]) for each in points["items"]} == {(120, 12, "mae")}
    assert points["items"][0]["baseline"] == {"name": "predict the mean", "value": 1.0, "interval": [0.9, 1.1]}
    more = client.get("/v1/evaluation-metrics", params={"cursor": points["next_cursor"]}).json()["items"]
    assert [(each["role"], each["value"]) for each in more] == [("active", 0.5)]


def test_the_page_of_metrics_needs_nothing_else_and_may_run_nothing(client: httpx.Client, cycle_id: int) -> None:
    answer = client.get("/v1/evaluation-metrics.html")
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert answer.text.count("<svg") == 1
    assert all(name in answer.text for name in ("tiny_bright", "tiny_dark", "tiny_yes", "predict the mean"))
    assert client.get("/v1/evaluation-metrics.html", params={"kind": "mood"}).status_code == 422
