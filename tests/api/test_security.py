"""Keys, scopes, and what every route asks for."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute, iter_route_contexts
from sqlmodel import Session, col, select

from api.main import create_app
from api.routes.system import ASSETS_PATH, OPEN_PATHS
from api.security import CACHE_S, KeyCache
from db.queries import access
from db.tables import ApiKey
from tests.conftest import client_of

PATH_VALUES = {
    "webcam_id": "1", "snapshot_id": "1", "rater": "ana", "dataset_id": "1", "name": "full", "run_id": "1",
    "model_version": "v", "job_id": "1",
}  # fmt: skip


def every_route(app: FastAPI) -> list[tuple[str, str]]:
    """(method, path) of everything that the app answers, mounts by their name."""
    found = []
    for context in iter_route_contexts(app.routes):
        methods = getattr(context.original_route, "methods", None) or {"GET"}
        found += [(method, context.path or "") for method in methods]
    return found


def test_every_route_but_the_open_ones_needs_a_key(database: str, anonymous: httpx.Client) -> None:
    routes = every_route(create_app())
    assert len(routes) > 30, "the walk finds the routes of included routers"
    bodies = set()
    for method, path in routes:
        if path in OPEN_PATHS or path.startswith(ASSETS_PATH):
            assert anonymous.get(path).status_code not in (401, 403), path
            continue
        for header in ({}, {"Authorization": "Bearer ag_00000000_wrong"}, {"Authorization": "Basic YTpi"}):
            answer = anonymous.request(method, path.format(**PATH_VALUES), headers=header)
            assert answer.status_code == 401, (method, path)
            assert answer.headers["www-authenticate"] == "Bearer"
            bodies.add((answer.json()["title"], answer.json()["detail"]))
    assert len(bodies) == 1, "a missing and a wrong key get the same answer"


def test_every_keyed_operation_says_so_in_its_description(database: str) -> None:
    description = create_app().openapi()
    for path, operations in description["paths"].items():
        for operation in operations.values():
            assert ("security" in operation) == (path not in OPEN_PATHS), path
    assert description["components"]["securitySchemes"]["API key"]["scheme"] == "bearer"


@pytest.mark.parametrize(
    ("method", "path", "scope"),
    [
        ("POST", "/v1/score", "score"),
        ("POST", "/v1/score/batch", "score"),
        ("POST", "/v1/webcams", "ingest"),
        ("POST", "/v1/snapshots", "ingest"),
        ("POST", "/v1/snapshots/1/ratings", "rate"),
        ("DELETE", "/v1/snapshots/1/ratings/ana", "rate"),
        ("POST", "/v1/datasets", "train"),
        ("POST", "/v1/training-runs", "train"),
        ("POST", "/v1/training-runs/register", "train"),
        ("POST", "/v1/models/v/evaluations", "train"),
        ("POST", "/v1/models/v/promote", "train"),
        ("POST", "/v1/models/rollback", "train"),
        ("POST", "/v1/jobs/1/cancel", "train"),
    ],
)
def test_a_key_without_the_scope_is_403_and_hears_which_one_is_missing(
    server: str, api_key: Callable[..., str], method: str, path: str, scope: str
) -> None:
    others = sorted({"score", "ingest", "rate", "train"} - {scope})
    for key, is_refused in ((api_key(*others), True), (api_key(scope), False), (api_key("admin"), False)):
        with client_of(server, key) as client:
            answer = client.request(method, path)
        assert (answer.status_code == 403) == is_refused, answer.text
        if is_refused:
            assert f"scope '{scope}'" in answer.json()["detail"]


def test_any_key_may_read(server: str, api_key: Callable[..., str]) -> None:
    with client_of(server, api_key("rate")) as client:
        for path in ("webcams", "snapshots", "datasets", "training-runs", "models", "jobs"):
            assert client.get(f"/v1/{path}").status_code == 200


class TestKeyCache:
    def test_a_revoked_key_works_no_longer_than_the_cache(self, session: Session) -> None:
        row, key = access.add_key(session, name="cached", scopes=["score"])
        session.commit()
        now = [100.0]
        cache = KeyCache(clock=lambda: now[0])
        assert cache.caller(key) is not None
        access.revoke_key(session, row.key_id)
        session.commit()
        now[0] += CACHE_S - 0.01
        assert cache.caller(key) is not None
        now[0] += 0.01
        assert CACHE_S <= 5
        assert cache.caller(key) is None

    def test_a_key_ends_when_it_expires_even_while_cached(self, session: Session) -> None:
        _, key = access.add_key(session, name="short", scopes=["score"], expires_in=timedelta(hours=1))
        session.commit()
        cache = KeyCache(clock=lambda: 0.0)
        assert cache.caller(key) is not None
        digest, (until, caller) = next(iter(cache._known.items()))
        past = datetime.now(UTC) - timedelta(seconds=1)
        cache._known[digest] = (until, type(caller)(caller.key_id, caller.name, caller.scopes, past))
        assert cache.caller(key) is None

    def test_use_is_noted_once_a_minute_at_most(self, session: Session) -> None:
        row, key = access.add_key(session, name="noted", scopes=["score"])
        session.commit()

        def last_used() -> datetime | None:
            session.rollback()
            return session.exec(select(ApiKey.last_used_at).where(col(ApiKey.key_id) == row.key_id)).one()

        assert last_used() is None
        KeyCache().caller(key)
        first = last_used()
        assert first is not None
        KeyCache().caller(key)
        assert last_used() == first

    @pytest.mark.parametrize("presented", ["", "ag_", "ag_x_\0", "ag__", "ag_a_b_c", "\udce9", "x" * 10_000])
    def test_nonsense_is_no_key(self, database: str, presented: str) -> None:
        assert KeyCache().caller(presented) is None


def test_no_secret_reaches_the_log(server: str, api_key: Callable[..., str], capfd: pytest.CaptureFixture[str]) -> None:
    key = api_key("score")
    with client_of(server, key) as client:
        assert client.get("/v1/jobs?secret=hunter2").status_code == 200
        client.get("/healthz")  # by the time of its answer, the line about the request before is written
    log = capfd.readouterr().err
    assert '"path": "/v1/jobs"' in log
    assert "test-score" in log
    assert key not in log
    assert "hunter2" not in log


def test_routes_are_of_the_kind_that_the_walk_understands(database: str) -> None:
    contexts = list(iter_route_contexts(create_app().routes))
    assert sum(isinstance(each.original_route, APIRoute) for each in contexts) > 25
