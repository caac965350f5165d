"""Health, counters, the description page, and how errors look."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from fastapi import FastAPI
from sqlalchemy.exc import OperationalError
from sqlmodel import Session, col, select

from api.health import head_revision
from api.main import create_app
from api.metrics import Metrics
from api.settings import ApiSettings
from db.tables import RatingEvent, ScoringEvent, Webcam
from tests.conftest import client_of, environment, serving
from tests.tiny_model import picture

HEAVY = ("torch", "torchvision", "celery", "open_clip", "sklearn", "onnx", "matplotlib", "imagehash")


def test_the_api_imports_nothing_heavy_and_no_other_stage() -> None:
    code = (
        "import sys, json, api.main\n"
        "from ml.judgements import judgement, kinds\n"
        "[judgement(kind) for kind in kinds()]\n"
        "print(json.dumps([m for m in sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    loaded = set(json.loads(done.stdout))
    assert {name for name in loaded if name.partition(".")[0] in HEAVY} == set()
    stages = {name for name in loaded if name.startswith("worker.")}
    assert stages <= {
        "worker.queue", "worker.retraining", "worker.evaluating", "worker.shadowing", "worker.settings", "worker.cron",
        "worker.places", "worker.verified", "worker.stages", "worker.stages.score",
        "worker.stages.served", "worker.stages.capture", "worker.stages.promote", "worker.stages.diff_runs",
        "worker.stages.raters", "worker.stages.tick", "worker.stages.tick_fetches", "worker.stages.tick_rows",
    }  # fmt: skip


class TestHealth:
    def test_alive_and_ready(self, anonymous: httpx.Client, client: httpx.Client) -> None:
        assert anonymous.get("/healthz").json() == {"status": "ok"}
        client.post("/v1/datasets", json={})
        answer = anonymous.get("/readyz")
        assert answer.status_code == 200, answer.text
        body = answer.json()
        assert (body["ready"], body["database"], body["errors"]) == (True, True, [])
        assert body["migrations"] == {"current": head_revision(), "head": head_revision()}
        assert body["queue_depth"] == body["jobs"]["queued"] >= 1

    def test_an_old_schema_is_not_ready_and_says_what_to_do(self, anonymous: httpx.Client, database: str) -> None:
        plain = database.replace("+psycopg", "")
        with psycopg.connect(plain, autocommit=True) as connection:
            connection.execute("UPDATE alembic_version SET version_num = '0001'")
            try:
                answer = anonymous.get("/readyz")
            finally:
                connection.execute("UPDATE alembic_version SET version_num = %s", [head_revision()])
        assert answer.status_code == 503
        assert "make migrate" in answer.json()["errors"][0]

    def test_without_a_database_it_lives_and_is_not_ready(self, database: str, data_dir: Path) -> None:
        with (
            environment(DATABASE_URL="postgresql://nobody:secret@127.0.0.1:1/none"),
            serving(create_app()) as address,
            client_of(address, f"ag_00000000_{'0' * 48}") as client,
        ):
            assert client.get("/healthz").status_code == 200
            ready, score = client.get("/readyz"), client.post("/v1/score", content=picture(1))
            metrics = client.get("/metrics")
        assert (ready.status_code, ready.json()["errors"]) == (503, ["the database does not answer"])
        assert (score.status_code, score.headers["retry-after"]) == (503, "1")
        assert metrics.status_code == 503
        assert "secret" not in ready.text + score.text

    def test_counters(self, client: httpx.Client) -> None:
        client.post("/v1/score", content=picture(1))
        client.get("/v1/webcams/999999")
        text = client.get("/metrics").text
        route = r'method="GET",route="/v1/webcams/\{webcam_id\}",status="404"'
        assert re.search(rf"afterglow_http_requests_total\{{{route}\}} [1-9]", text)
        assert re.search(r'afterglow_scores_total\{kind="rating",path_taken="unscored"\} [1-9]', text)
        assert 'afterglow_score_seconds_bucket{kind="rating",le="3.0"}' in text
        assert 'afterglow_jobs{state="running"} 0.0' in text
        assert "afterglow_database_up 1.0" in text


def test_without_an_active_model_the_answer_is_unscored_and_recorded(client: httpx.Client, session: Session) -> None:
    webcam = client.post("/v1/webcams", json={"external_id": "no-model"}).json()
    body = client.post("/v1/score", content=picture(255), params={"webcam_id": webcam["id"]}).json()
    assert (body["pathTaken"], body["rawScore"], body["aiRating"], body["isGood"]) == ("unscored", None, None, None)
    assert body["reason"] == "no active model: train and promote one first"
    assert body["capture"]["captured"] is False
    event = session.get_one(ScoringEvent, body["eventId"])
    assert (event.webcam_id, event.path_taken, event.raw_score) == (webcam["id"], "unscored", None)
    assert client.get(f"/v1/webcams/{webcam['id']}").json() == webcam, "nothing goes into score columns"
    assert client.get("/v1/snapshots", params={"webcam_id": webcam["id"]}).json()["items"] == []


class TestDocs:
    def test_the_page_needs_nothing_from_elsewhere(self, anonymous: httpx.Client) -> None:
        page = anonymous.get("/docs")
        assert page.status_code == 200
        links = re.findall(r'(?:src|href)="([^"]+)"', page.text)
        assert len(links) == 3
        for link in links:
            assert link.startswith("/"), link
            assert anonymous.get(link).status_code == 200
        assert "://" not in page.text.replace(str(anonymous.base_url), "")

    def test_every_operation_has_a_summary_a_tag_and_its_errors(self, anonymous: httpx.Client) -> None:
        description = anonymous.get("/openapi.json").json()
        tags = {tag["name"]: tag["description"] for tag in description["tags"]}
        assert "HTTPValidationError" not in description["components"]["schemas"]
        for path, operations in description["paths"].items():
            for method, operation in operations.items():
                assert operation["summary"], (method, path)
                assert operation["description"], (method, path)
                assert operation["tags"][0] in tags, (method, path)
                if path.startswith("/v1"):
                    refusal = operation["responses"]["422"]["content"]["application/problem+json"]["schema"]
                    assert refusal == {"$ref": "#/components/schemas/Problem"}


class TestErrors:
    def test_an_error_names_its_request(self, client: httpx.Client) -> None:
        answer = client.get("/v1/snapshots/7777", headers={"X-Request-ID": "my-id.1"})
        assert answer.headers["x-request-id"] == "my-id.1"
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json() == {
            "type": "urn:afterglow:problem:not-found", "title": "Not found", "status": 404,
            "detail": "There is no snapshot 7777.", "instance": "/v1/snapshots/7777", "request_id": "my-id.1",
        }  # fmt: skip

    @pytest.mark.parametrize("given", ["", "a b", "x" * 65, 'a"b', "a\tb"])
    def test_an_odd_request_id_is_replaced(self, anonymous: httpx.Client, given: str) -> None:
        answer = anonymous.get("/healthz", headers={"X-Request-ID": given})
        assert re.fullmatch(r"[0-9a-f]{32}", answer.headers["x-request-id"])

    @pytest.mark.parametrize(
        ("method", "path", "status"), [("GET", "/nowhere", 404), ("PUT", "/v1/webcams", 405), ("GET", "/v1/%ff", 404)]
    )
    def test_what_the_framework_refuses_looks_the_same(
        self, client: httpx.Client, method: str, path: str, status: int
    ) -> None:
        answer = client.request(method, path)
        assert (answer.status_code, answer.json()["status"]) == (status, status)
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.fixture(scope="module")
def small(database: str) -> Iterator[str]:
    """A server that takes 1 MiB."""
    with serving(create_app(ApiSettings(max_body_mib=1, max_bundle_mib=2))) as address:
        yield address


class TestBodyLimit:
    @pytest.mark.parametrize("is_chunked", [False, True])
    @pytest.mark.parametrize("path", ["/v1/score", "/v1/webcams", "/v1/snapshots"])
    def test_a_body_over_the_limit_is_413(
        self, small: str, api_key: Callable[..., str], path: str, is_chunked: bool
    ) -> None:
        data = b"\0" * ((1 << 20) + 1)
        chunks = (data[at : at + 65536] for at in range(0, len(data), 65536))
        with client_of(small, api_key()) as client:
            answer = client.post(path, content=chunks if is_chunked else data)
        assert answer.status_code == 413, answer.text
        assert answer.headers["content-type"] == "application/problem+json"
        assert "1 MiB" in answer.json()["detail"]

    def test_a_body_at_the_limit_passes_and_bundles_have_their_own(
        self, small: str, api_key: Callable[..., str]
    ) -> None:
        with client_of(small, api_key()) as client:
            at_limit = client.post("/v1/score", content=b"\0" * (1 << 20))
            assert (at_limit.status_code, at_limit.json()["pathTaken"]) == (200, "unscored")
            url, run = "/v1/training-runs/register", {"run": "{}"}
            assert client.post(url, data=run, files={"bundle": b"\0" * (3 << 19)}).status_code == 422
            assert client.post(url, data=run, files={"bundle": b"\0" * (2 << 20)}).status_code == 413


def test_a_busy_server_says_so_at_once(database: str, api_key: Callable[..., str], monkeypatch: Any) -> None:
    entered, release = threading.Event(), threading.Event()

    def slow(served: Any, data: bytes, *without: str) -> Any:
        entered.set()
        assert release.wait(30)
        return score_pixels(served, data, *without)

    from api import scoring

    score_pixels = scoring.score_pixels
    monkeypatch.setattr(scoring, "score_pixels", slow)
    app = create_app(ApiSettings(score_threads=1, score_queue=0))
    with serving(app) as address, client_of(address, api_key()) as client:
        answers: list[int] = []
        first = threading.Thread(target=lambda: answers.append(client.post("/v1/score", content=b"x").status_code))
        first.start()
        assert entered.wait(30)
        refused = client.post("/v1/score", content=b"x")
        release.set()
        first.join(30)
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
        assert "try again" in refused.json()["detail"]
        assert answers == [200]
        assert client.post("/v1/score", content=b"x").status_code == 200, "the place is free again"


class TestFaults:
    @pytest.fixture
    def broken(self, database: str) -> FastAPI:
        """An app with a route that fails."""
        app = create_app()

        @app.get("/boom")
        def boom() -> None:
            raise RuntimeError("internal detail")

        return app

    def test_our_own_fault_is_500_with_the_id_and_without_a_trace(
        self, broken: FastAPI, capfd: pytest.CaptureFixture[str]
    ) -> None:
        with serving(broken) as address, client_of(address) as client:
            answer = client.get("/boom", headers={"X-Request-ID": "find-me"})
        assert (answer.status_code, answer.json()["request_id"]) == (500, "find-me")
        assert answer.headers["x-request-id"] == "find-me"
        assert "internal detail" not in answer.text
        log = [json.loads(line) for line in capfd.readouterr().err.splitlines() if "internal detail" in line]
        assert {entry["request_id"] for entry in log} == {"find-me"}

    def test_a_commit_that_fails_is_no_success(
        self, client: httpx.Client, session: Session, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def lost(self: Session) -> None:
            raise OperationalError("COMMIT", {}, psycopg.OperationalError("connection lost"))

        assert client.get("/v1/jobs").status_code == 200  # the key is known from here on
        with monkeypatch.context() as patch:
            patch.setattr("sqlmodel.Session.commit", lost)
            answer = client.post("/v1/webcams", json={"external_id": "lost-in-commit"})
        assert answer.status_code == 503
        assert "connection lost" not in answer.text
        assert session.exec(select(Webcam).where(col(Webcam.external_id) == "lost-in-commit")).all() == []

    def test_a_deferred_refusal_of_the_database_is_seen_by_the_caller(
        self, client: httpx.Client, database: str, session: Session
    ) -> None:
        """The database itself refuses at COMMIT, when the route has long returned."""
        webcam = client.post("/v1/webcams", json={"external_id": "deferred"}).json()
        params = {"webcam_id": webcam["id"], "phase": "sunset", "captured_at": "2026-02-14T17:00:00Z"}
        snapshot = client.post("/v1/snapshots", content=picture(7), params=params).json()
        with psycopg.connect(database.replace("+psycopg", ""), autocommit=True) as connection:
            connection.execute(
                "CREATE FUNCTION refuse_late() RETURNS trigger LANGUAGE plpgsql AS "
                "$$ BEGIN RAISE EXCEPTION 'too late' USING ERRCODE = 'integrity_constraint_violation'; END $$"
            )
            connection.execute(
                "CREATE CONSTRAINT TRIGGER late AFTER INSERT ON rating_events DEFERRABLE INITIALLY DEFERRED "
                "FOR EACH ROW EXECUTE FUNCTION refuse_late()"
            )
            try:
                url = f"/v1/snapshots/{snapshot['id']}/ratings"
                answer = client.post(url, json={"rater": "ana", "rating": 4})
            finally:
                connection.execute("DROP TRIGGER late ON rating_events")
                connection.execute("DROP FUNCTION refuse_late()")
        assert answer.status_code == 409, answer.text
        rows = session.exec(select(RatingEvent).where(col(RatingEvent.snapshot_id) == snapshot["id"])).all()
        assert rows == []


def test_counters_of_two_apps_do_not_mix() -> None:
    one, other = Metrics(), Metrics()
    one.scores.labels("rating", "onnx").inc()
    assert 'path_taken="onnx"' not in other.text().decode()
