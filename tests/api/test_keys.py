"""Keys over HTTP."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import pytest

from tests.conftest import client_of


def test_a_key_is_made_shown_once_used_listed_and_revoked(server: str, client: httpx.Client) -> None:
    answer = client.post("/v1/keys", json={"name": "cron", "scopes": ["score", "ingest"], "expires_in_days": 30})
    assert answer.status_code == 201, answer.text
    assert answer.headers["cache-control"] == "no-store"
    made = answer.json()
    assert (made["name"], made["scopes"], made["revoked_at"], made["last_used_at"]) == (
        "cron", ["ingest", "score"], None, None
    )  # fmt: skip
    assert made["key"].startswith(f"ag_{made['key_id']}_")
    with client_of(server, made["key"]) as other:
        assert other.get("/v1/webcams").status_code == 200
        assert other.get("/v1/keys").status_code == 403
        assert other.post("/v1/keys", json={"name": "more", "scopes": ["admin"]}).status_code == 403
        assert other.patch(f"/v1/keys/{made['key_id']}", json={"scopes": ["admin"]}).status_code == 405

        listed = {each["key_id"]: each for each in client.get("/v1/keys").json()["items"]}
        assert listed[made["key_id"]]["last_used_at"] is not None
        assert made["key"].rpartition("_")[2] not in client.get("/v1/keys").text
        assert "sha256" not in client.get("/v1/keys").text

        revoked = client.delete(f"/v1/keys/{made['key_id']}")
        assert (revoked.status_code, revoked.json()["revoked_at"] is None) == (200, False)
        assert other.get("/v1/webcams").status_code == 401, "this server knows at once"
    assert client.delete(f"/v1/keys/{made['key_id']}").json() == revoked.json()


def test_keys_are_paged(client: httpx.Client, api_key: Callable[..., str]) -> None:
    made = [api_key("rate").split("_")[1] for _ in range(3)]
    seen: list[str] = []
    cursor: dict[str, int] | None = {}
    while cursor is not None:
        page = client.get("/v1/keys", params={"limit": 2, **cursor}).json()
        seen += [each["key_id"] for each in page["items"]]
        cursor = {"cursor": page["next_cursor"]} if page["next_cursor"] is not None else None
    assert seen[-3:] == made
    assert len(set(seen)) == len(seen)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"name": "x", "scopes": []}, "body.scopes"),
        ({"name": "x", "scopes": ["sudo"]}, "body.scopes.0"),
        ({"name": "x"}, "body.scopes"),
        ({"name": "", "scopes": ["rate"]}, "body.name"),
        ({"name": "x", "scopes": ["rate"], "expires_in_days": 0}, "body.expires_in_days"),
        ({"name": "x", "scopes": ["rate"], "key_id": "00000000"}, "body.key_id"),
    ],
)
def test_a_bad_key_is_refused_by_field(client: httpx.Client, body: dict[str, Any], field: str) -> None:
    answer = client.post("/v1/keys", json=body)
    assert answer.status_code == 422
    assert [each["field"] for each in answer.json()["errors"]] == [field]


@pytest.mark.parametrize(("key_id", "status"), [("00000000", 404), ("nobody", 422), ("ag_00000000", 422)])
def test_a_key_that_is_not_known_is_not_revoked(client: httpx.Client, key_id: str, status: int) -> None:
    assert client.delete(f"/v1/keys/{key_id}").status_code == status
