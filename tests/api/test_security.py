"""Keys, scopes, and what every route asks for."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from fastapi import APIRouter, FastAPI
from fastapi.routing import APIRoute, iter_route_contexts
from sqlmodel import Session, col, select

from api import security
from api.keyed_route import KeyedRoute, needed_scopes
from api.main import create_app
from api.routes.system import ASSETS_PATH, OPEN_PATHS
from api.security import CACHE_S, Caller, KeyCache, require
from api.web.rendering import STATIC_PATH
from db.queries import access, logins
from db.tables import ApiKey
from db.tables.access import Scope
from tests.conftest import client_of, serving

PATH_VALUES = {
    "webcam_id": "1", "snapshot_id": "1", "rater": "ana", "dataset_id": "1", "name": "full", "run_id": "1",
    "model_version": "v", "job_id": "1", "evaluation_id": "1", "cycle_id": "1", "key_id": "00000000",
    "image_sha256": "0" * 64, "import_id": "1", "exclusion_id": "1", "other_run_id": "2", "first_job_id": "1",
    "disagreement_id": "1", "review_set_id": "1", "project": "p",
}  # fmt: skip
BROKEN = {"content": b'{"broken', "headers": {"Content-Type": "application/json"}}
"""A body that would be refused with 422, were it read."""


def every_route(app: FastAPI) -> Iterator[tuple[str, str, Any]]:
    """(method, path, route) of everything that the app answers, mounts by their name."""
    for context in iter_route_contexts(app.routes):
        methods = getattr(context.original_route, "methods", None) or {"GET"}
        for method in sorted(methods):
            yield method, context.path or "", context.original_route


def keyed_routes(app: FastAPI) -> list[tuple[str, str, list[str]]]:
    """(method, path with values, scopes needed) of every route but the open ones.

    Raises:
        AssertionError: A route says not who may use it.
    """
    found = []
    for method, path, route in every_route(app):
        if path in OPEN_PATHS or path.startswith((ASSETS_PATH, STATIC_PATH)):
            continue
        assert isinstance(route, KeyedRoute), f"{method} {path} is open to everybody"
        found.append((method, path.format(**PATH_VALUES), needed_scopes(route)))
    return found


@pytest.fixture(scope="module")
def wrong_headers(api_key: Callable[..., str], server: str) -> dict[str, dict[str, str]]:
    """Every way to present no valid key."""
    from db.engine import session_scope

    good = api_key("admin")
    with session_scope() as session:
        _, expired = access.add_key(session, name="e", scopes=["admin"], expires_in=timedelta(seconds=-1))
        row, revoked = access.add_key(session, name="r", scopes=["admin"])
        access.revoke_key(session, row.key_id)
    presented = {
        "malformed": "Bearer ag_1", "unknown": f"Bearer ag_00000000_{'0' * 48}", "expired": f"Bearer {expired}",
        "revoked": f"Bearer {revoked}", "right id, wrong secret": f"Bearer {good[:-1]}{'0' if good[-1] != '0' else '1'}",
        "another scheme": f"Basic {good}", "no scheme": good, "empty": "Bearer",
    }  # fmt: skip
    port = urlsplit(server).port
    cookies = {
        "unknown cookie": "0" * 43,
        "a key as cookie": good,
        "empty cookie": "",
        "a used up link": used_up_link(),
    }
    return {
        "none": {},
        **{name: {"Authorization": text} for name, text in presented.items()},
        **{name: {"Cookie": f"afterglow-{port}={text}"} for name, text in cookies.items()},
    }


def used_up_link() -> str:
    from db.engine import session_scope

    with session_scope() as session:
        _, link = logins.make_link(session, rater="ann", scopes=["admin"])
        assert logins.open_link(session, link) is not None
    return link


def test_every_route_but_the_open_ones_refuses_what_is_no_valid_key_before_it_reads_a_body(
    server: str, anonymous: httpx.Client, wrong_headers: dict[str, dict[str, str]]
) -> None:
    routes = keyed_routes(create_app())
    assert len(routes) > 35, "the walk finds the routes of included routers"
    bodies = set()
    for method, path, _ in routes:
        for name, header in wrong_headers.items():
            headers = {**BROKEN["headers"], **header}  # type: ignore[dict-item]
            answer = anonymous.request(method, f"{path}?unknown=1", content=BROKEN["content"], headers=headers)
            assert answer.status_code == 401, (method, path, name, answer.text)
            assert answer.headers["www-authenticate"] == "Bearer"
            bodies.add(tuple(sorted({**answer.json(), "instance": "", "request_id": ""}.items())))
    assert len(bodies) == 1, "nobody is told what was wrong with a key"


def test_a_key_that_lacks_the_scope_is_403_before_its_body_is_read(server: str, api_key: Callable[..., str]) -> None:
    routes = keyed_routes(create_app())
    assert {scope for _, _, scopes in routes for scope in scopes} == set(Scope)
    for given in Scope:
        with client_of(server, api_key(given)) as client:
            for method, path, scopes in routes:
                if path.endswith("/score") or path.endswith("/batch"):
                    answer = client.request(method, path, json={"items": []})
                else:
                    answer = client.request(method, path, **BROKEN)  # type: ignore[arg-type]
                is_refused = given != Scope.ADMIN and set(scopes) - {given} != set()
                assert (answer.status_code == 403) == is_refused, (given, method, path, answer.text)
                assert answer.status_code != 401
                if is_refused:
                    assert f"scope '{scopes[0]}'" in answer.json()["detail"]


def test_the_open_routes_need_no_key(anonymous: httpx.Client) -> None:
    for path in (*OPEN_PATHS, f"{ASSETS_PATH}/swagger-ui.css", f"{STATIC_PATH}/shell.css"):
        assert anonymous.get(path).status_code == 200, path


def test_a_route_that_names_no_scope_cannot_be_added() -> None:
    router = APIRouter(route_class=KeyedRoute)
    with pytest.raises(TypeError, match="who may use it"):
        router.get("/v1/new")(lambda: None)
    with pytest.raises(ValueError, match="sudo"):
        require("sudo")
    app = create_app()
    app.get("/v1/new")(lambda: None)
    with pytest.raises(AssertionError, match="GET /v1/new is open"):
        keyed_routes(app)


def test_the_description_says_which_scope_each_operation_needs_and_what_scopes_allow() -> None:
    app = create_app()
    description = app.openapi()
    about = description["components"]["securitySchemes"]["key"]
    assert about["scheme"] == "bearer"
    for scope in Scope:
        assert f"`{scope}`: {scope.allows}" in about["description"]
    for method, path, route in every_route(app):
        if not isinstance(route, APIRoute) or not route.include_in_schema:
            continue
        operation = description["paths"][path][method.lower()]
        if path in OPEN_PATHS:
            assert "security" not in operation
        else:
            assert operation["security"] == [{"key": needed_scopes(route)}], path
            assert "Needs a" in operation["description"]


def test_any_key_may_read(server: str, api_key: Callable[..., str]) -> None:
    with client_of(server, api_key("rate")) as client:
        for path in ("webcams", "snapshots", "datasets", "training-runs", "models", "models/activations", "jobs"):
            assert client.get(f"/v1/{path}").status_code == 200


def test_no_route_changes_the_scopes_of_a_key() -> None:
    description = create_app().openapi()
    methods = {method for operations in description["paths"].values() for method in operations}
    assert methods == {"get", "post", "delete"}
    taking = [name for name, schema in description["components"]["schemas"].items()
              if name.endswith("Body") and "scopes" in schema["properties"]]  # fmt: skip
    assert taking == ["KeyBody"]


def ask(cache: KeyCache, presented: str) -> Caller | None:
    return asyncio.run(cache.caller(presented))


class TestKeyCache:
    def test_a_revoked_key_works_no_longer_than_the_cache(self, session: Session) -> None:
        row, key = access.add_key(session, name="cached", scopes=["score"])
        session.commit()
        now = [100.0]
        cache = KeyCache(clock=lambda: now[0])
        assert ask(cache, key) is not None
        access.revoke_key(session, row.key_id)
        session.commit()
        now[0] += CACHE_S - 0.01
        assert ask(cache, key) is not None
        now[0] += 0.01
        assert CACHE_S <= 5
        assert ask(cache, key) is None

    def test_a_revocation_by_another_process_reaches_a_server_within_five_seconds(self, session: Session) -> None:
        row, key = access.add_key(session, name="elsewhere", scopes=["score"])
        session.commit()
        now = [100.0]
        app = create_app()
        app.state.keys = KeyCache(clock=lambda: now[0])
        with serving(app) as address, client_of(address, key) as client:
            assert client.get("/v1/webcams").status_code == 200
            code = (
                "from db.engine import session_scope; from db.queries import access\n"
                f"with session_scope() as session: access.revoke_key(session, {row.key_id!r})"
            )
            subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
            now[0] += 5
            assert client.get("/v1/webcams").status_code == 401

    def test_a_key_ends_when_it_expires_even_while_cached(self, session: Session) -> None:
        _, key = access.add_key(session, name="short", scopes=["score"], expires_in=timedelta(hours=1))
        session.commit()
        cache = KeyCache(clock=lambda: 0.0)
        assert ask(cache, key) is not None
        digest, (until, caller) = next(iter(cache._known.items()))
        past = datetime.now(UTC) - timedelta(seconds=1)
        cache._known[digest] = (until, type(caller)(caller.key_id, caller.name, caller.scopes, past))
        assert ask(cache, key) is None

    def test_use_is_noted_once_a_minute_at_most(self, session: Session) -> None:
        row, key = access.add_key(session, name="noted", scopes=["score"])
        session.commit()

        def last_used() -> datetime | None:
            session.rollback()
            return session.exec(select(ApiKey.last_used_at).where(col(ApiKey.key_id) == row.key_id)).one()

        assert last_used() is None
        ask(KeyCache(), key)
        first = last_used()
        assert first is not None
        ask(KeyCache(), key)
        assert last_used() == first
        stored = session.get_one(ApiKey, row.id)
        stored.last_used_at = first - timedelta(seconds=61)
        session.commit()
        ask(KeyCache(), key)
        again = last_used()
        assert again is not None
        assert again >= first

    def test_many_requests_at_once_ask_the_database_once_and_a_remembered_key_never(
        self, session: Session, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        _, key = access.add_key(session, name="crowd", scopes=["score"])
        session.commit()
        looked: list[str] = []
        look_up = security._look_up

        def counted(presented: str) -> Caller | None:
            looked.append(presented)
            return look_up(presented)

        monkeypatch.setattr(security, "_look_up", counted)

        async def crowd() -> list[Caller | None]:
            cache = KeyCache()
            first = await asyncio.gather(*(cache.caller(key) for _ in range(20)))
            return [*first, await cache.caller(key)]

        callers = asyncio.run(crowd())
        assert {each.name for each in callers if each is not None} == {"crowd"}
        assert (len(callers), looked) == (21, [key])

    def test_one_who_goes_away_spoils_it_for_nobody(self, session: Session) -> None:
        _, key = access.add_key(session, name="impatient", scopes=["score"])
        session.commit()

        async def two() -> Caller | None:
            cache = KeyCache()
            leaving, staying = (asyncio.create_task(cache.caller(key)) for _ in range(2))
            await asyncio.sleep(0)
            leaving.cancel()
            return await staying

        assert asyncio.run(two()) is not None

    @pytest.mark.parametrize("presented", ["", "ag_", "ag_x_\0", "ag__", "ag_a_b_c", "\udce9", "x" * 10_000])
    def test_nonsense_is_no_key(self, database: str, presented: str) -> None:
        assert ask(KeyCache(), presented) is None
