"""The files of an evaluation's report over HTTP."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from sqlmodel import Session

from ml.images.store import FileStore
from tests.api.builders import evaluate, store_report
from tests.conftest import client_of
from tests.tiny_model import YES, register_bundle


@pytest.fixture(scope="module")
def files(store: FileStore) -> dict[str, bytes]:
    with tempfile.TemporaryDirectory() as folder:
        return store_report(store, Path(folder), "reports/page")


@pytest.fixture(scope="module")
def evaluation_id(database: str, store: FileStore, files: dict[str, bytes]) -> int:
    from db.engine import session_scope

    with session_scope() as session:
        version = register_bundle(session, store, YES)
    found = evaluate(version, True, "reports/page")
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("name", "media_type"), [("report.html", "text/html; charset=utf-8"), ("report.json", "application/json")]
)
def test_a_file_comes_byte_for_byte_and_once(
    client: httpx.Client, evaluation_id: int, files: dict[str, bytes], name: str, media_type: str
) -> None:
    url = f"/v1/evaluations/{evaluation_id}/{name}"
    answer = client.get(url)
    assert (answer.status_code, answer.content, answer.headers["content-type"]) == (200, files[name], media_type)
    assert "immutable" in answer.headers["cache-control"]
    known = client.get(url, headers={"If-None-Match": answer.headers["etag"]})
    assert (known.status_code, known.content) == (304, b"")
    other = client.get(url, headers={"If-None-Match": '"another"'})
    assert other.status_code == 200


def test_page_and_json_have_tags_of_their_own(client: httpx.Client, evaluation_id: int) -> None:
    tags = {client.get(f"/v1/evaluations/{evaluation_id}/report.{kind}").headers["etag"] for kind in ("html", "json")}
    assert len(tags) == 2


def test_the_page_may_run_nothing_and_ask_nobody(client: httpx.Client, evaluation_id: int) -> None:
    headers = client.get(f"/v1/evaluations/{evaluation_id}/report.html").headers
    policy = dict(part.strip().partition(" ")[::2] for part in headers["content-security-policy"].split(";"))
    assert policy["default-src"] == "'none'"
    assert policy["style-src"] == "'unsafe-inline'"
    assert policy["img-src"] == "data:"
    assert "sandbox" in policy
    assert "script-src" not in policy
    assert headers["x-content-type-options"] == "nosniff"


def test_an_evaluation_that_is_older_than_its_page_says_what_to_do(
    client: httpx.Client, session: Session, evaluation_id: int
) -> None:
    from db.queries import models

    old = evaluate(models.get_version(session, "tiny_yes"), True, "reports/gone")
    answer = client.get(f"/v1/evaluations/{old}/report.html")
    assert answer.status_code == 404
    assert "POST /v1/models/tiny_yes/evaluations makes a new one" in answer.json()["detail"]


def test_unknown_and_unkeyed_are_refused(
    client: httpx.Client, server: str, evaluation_id: int, api_key: Callable[..., str]
) -> None:
    assert client.get("/v1/evaluations/999999/report.html").status_code == 404
    assert client.get("/v1/evaluations/x/report.html").status_code == 422
    with client_of(server, "ag_wrong") as stranger:
        assert stranger.get(f"/v1/evaluations/{evaluation_id}/report.html").status_code == 401


def test_suspects_come_page_by_page_the_most_doubtful_first(client: httpx.Client, evaluation_id: int) -> None:
    url = f"/v1/evaluations/{evaluation_id}/suspects"
    first = client.get(url, params={"limit": 2}).json()
    rest = client.get(url, params={"limit": 2, "cursor": first["next_cursor"]}).json()
    assert [each["rank"] for each in (*first["items"], *rest["items"])] == [1, 2, 3]
    assert rest["next_cursor"] is None
    assert first["items"][0]["direction"] == "label too high"
    assert first["items"][0]["doubt"] == 2.5
