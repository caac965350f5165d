"""Logging in and out at the pages, and what a cookie may do."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from sqlmodel import Session

from api.main import create_app
from api.security import CACHE_S, KeyCache, look_up_login
from db.engine import session_scope
from db.queries import access, logins
from tests.api.builders import add_snapshot
from tests.api.conftest import BROWSER
from tests.conftest import serving


def link_for(rater: str = "ann", *scopes: str) -> str:
    with session_scope() as session:
        return logins.make_link(session, rater=rater, scopes=scopes or ("rate",))[1]


def log_in(client: httpx.Client, *scopes: str, rater: str = "ann") -> httpx.Response:
    answer = client.post("/login", data={"link": link_for(rater, *scopes)})
    assert answer.status_code == 303, answer.text
    return answer


def test_looking_at_a_link_does_not_use_it_up_and_using_it_does(visitor: httpx.Client) -> None:
    link = link_for("ann")
    for _ in range(2):
        page = visitor.get("/login", params={"link": link})
        assert page.status_code == 200
        assert "Log in as ann" in page.text
    first, second = (visitor.post("/login", data={"link": link}) for _ in range(2))
    assert (first.status_code, first.headers["location"]) == (303, "/")
    assert second.status_code == 401
    assert "was used already" in second.text
    assert "was used already" in visitor.get("/login", params={"link": link}).text
    assert visitor.get("/label").status_code == 200


def test_the_cookie_is_for_this_server_alone_and_no_script_sees_it(visitor: httpx.Client, server: str) -> None:
    cookie = log_in(visitor).headers["set-cookie"]
    assert cookie.startswith(f"afterglow-{server.rpartition(':')[2]}=")
    assert {"HttpOnly", "Path=/", "SameSite=lax"} <= set(cookie.split("; "))
    assert int(re.findall(r"Max-Age=(\d+)", cookie)[0]) == pytest.approx(12 * 3600, abs=60)
    assert "Domain" not in cookie
    assert "Secure" not in cookie


def test_over_tls_the_cookie_is_secure_and_bound_to_the_host(server: str) -> None:
    proxied = {"X-Forwarded-Proto": "https", "Origin": server.replace("http:", "https:")}
    with httpx.Client(base_url=server, headers=proxied, trust_env=False) as client:
        answer = client.post("/login", data={"link": link_for()})
        assert answer.headers["set-cookie"].startswith("__Host-afterglow=")
        assert "; Secure" in answer.headers["set-cookie"]
        secret = answer.headers["set-cookie"].partition("=")[2].partition(";")[0]
        page = client.get("/label", headers={"Cookie": f"__Host-afterglow={secret}", **BROWSER})
    assert (page.status_code, page.headers["strict-transport-security"]) == (200, "max-age=31536000")


def test_a_link_is_good_for_an_hour(visitor: httpx.Client, session: Session) -> None:
    row, link = logins.make_link(session, rater="late", scopes=["rate"])
    assert row.link_expires_at is not None
    assert row.link_expires_at - datetime.now(UTC) == pytest.approx(timedelta(hours=1), abs=timedelta(minutes=1))
    row.link_expires_at = datetime.now(UTC) - timedelta(seconds=1)
    session.commit()
    assert visitor.post("/login", data={"link": link}).status_code == 401


def test_a_key_opens_a_login_with_its_scopes_under_a_name_of_ones_own(
    visitor: httpx.Client, api_key: Callable[..., str]
) -> None:
    key = api_key("rate")
    answer = visitor.post("/login", data={"key": f" {key} ", "rater": " Ann ", "goes_to": "/label"})
    assert (answer.status_code, answer.headers["location"]) == (303, "/label")
    assert ">Ann</summary>" in visitor.get("/label").text
    assert visitor.post("/v1/jobs/1/cancel").status_code == 403
    assert key not in visitor.get("/label").text
    assert visitor.post("/login", data={"key": key}).status_code == 303
    assert ">test-rate</summary>" in visitor.get("/").text


@pytest.mark.parametrize("key", ["", "ag_1", f"ag_00000000_{'0' * 48}"])
def test_a_key_that_is_not_valid_is_said_so(visitor: httpx.Client, key: str) -> None:
    answer = visitor.post("/login", data={"key": key, "goes_to": "/label"})
    assert answer.status_code == 401
    assert "This key is not valid" in answer.text
    assert 'value="/label"' in answer.text


@pytest.mark.parametrize("elsewhere", ["https://bad.example/", "//bad.example", "/\\bad.example", "label", "/\n/x", ""])
def test_a_login_leads_to_no_other_server(visitor: httpx.Client, api_key: Callable[..., str], elsewhere: str) -> None:
    answer = visitor.post("/login", data={"key": api_key("rate"), "goes_to": elsewhere})
    assert answer.headers["location"] == "/"


def test_logging_out_ends_the_login_at_once_and_for_every_copy_of_its_cookie(
    visitor: httpx.Client, server: str
) -> None:
    log_in(visitor)
    with httpx.Client(base_url=server, cookies=dict(visitor.cookies), trust_env=False) as copy:
        assert copy.get("/label").status_code == 200
        assert (answer := visitor.post("/logout")).status_code == 303
        assert answer.headers["location"] == "/login"
        assert copy.get("/label").status_code == 401
    assert visitor.get("/label").status_code == 401


def test_revoking_the_key_ends_the_logins_that_it_opened(
    visitor: httpx.Client, client: httpx.Client, api_key: Callable[..., str]
) -> None:
    key = api_key("rate")
    visitor.post("/login", data={"key": key})
    assert visitor.get("/label").status_code == 200
    assert client.delete(f"/v1/keys/{key.split('_')[1]}").status_code == 200
    assert visitor.get("/label").status_code == 401


def test_a_login_that_another_process_ends_is_refused_within_five_seconds(session: Session) -> None:
    now = [100.0]
    app = create_app()
    app.state.logins = KeyCache(clock=lambda: now[0], look_up=look_up_login)
    with (
        serving(app) as address,
        httpx.Client(base_url=address, headers={"Origin": address}, trust_env=False) as browser,
    ):
        log_in(browser, rater="remote")
        assert browser.get("/label").status_code == 200
        (login,) = [row for row in logins.list_logins(session) if row.rater == "remote"]
        assert login.id is not None
        logins.end_login(session, login.id)
        session.commit()
        now[0] += CACHE_S
        assert browser.get("/label").status_code == 401


def test_a_login_ends_with_the_day_or_with_its_key(session: Session) -> None:
    row, _ = access.add_key(session, name="short", scopes=["rate"], expires_in=timedelta(hours=2))
    login, secret = logins.open_with_key(session, row, rater="ann")
    assert login.expires_at == row.expires_at
    assert logins.find_login(session, secret) is not None
    login.expires_at = datetime.now(UTC) - timedelta(seconds=1)
    session.flush()
    assert logins.find_login(session, secret) is None


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://bad.example"},
        {"Origin": "null"},
        {"Origin": ""},
        {"Origin": "http://["},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
def test_what_another_sites_page_sends_changes_nothing(visitor: httpx.Client, headers: dict[str, str]) -> None:
    log_in(visitor, "admin")
    for path in ("/v1/keys", "/v1/webcams", "/logout", "/v1/score"):
        answer = visitor.post(path, json={"name": "x", "scopes": ["admin"]}, headers={"Accept": "*/*", **headers})
        assert answer.status_code == 403, (path, answer.text)
        assert "not sent by a page of this server" in answer.json()["detail"]
    assert visitor.post("/login", data={"link": link_for()}, headers=headers).status_code == 403
    assert visitor.get("/v1/webcams", headers=headers).status_code == 200
    del visitor.headers["Origin"]
    assert visitor.post("/v1/webcams", json={"external_id": "1"}).status_code == 403


def test_a_page_may_call_every_route_that_its_scopes_allow(visitor: httpx.Client) -> None:
    log_in(visitor, "ingest")
    assert visitor.post("/v1/webcams", json={"external_id": "by-cookie"}).status_code == 201
    answer = visitor.post("/v1/keys", json={"name": "x", "scopes": ["admin"]})
    assert answer.status_code == 403
    assert "a login with the scope 'admin'" in answer.json()["detail"]
    assert "afterglow login --scopes admin" in answer.json()["detail"]


def test_a_key_is_asked_for_itself_whatever_cookie_comes_along(
    visitor: httpx.Client, api_key: Callable[..., str]
) -> None:
    log_in(visitor, "admin")
    key = {"Authorization": f"Bearer {api_key('rate')}", "Origin": "https://bad.example"}
    assert visitor.post("/v1/webcams", json={"external_id": "1"}, headers=key).status_code == 403
    assert visitor.get("/v1/webcams", headers={"Authorization": "Bearer ag_wrong"}).status_code == 401


def test_what_a_login_did_is_recorded_in_its_name(visitor: httpx.Client, client: httpx.Client) -> None:
    log_in(visitor, "admin", rater="ann")
    snapshot = add_snapshot(client)
    client.post(f"/v1/snapshots/{snapshot['id']}/ratings", json={"rater": "vandal", "rating": 5})
    excluded = visitor.post("/v1/exclusions", json={"rater": "vandal", "reason": "test"})
    assert excluded.json()["excluded_by"] == "login:ann", excluded.text


def test_secrets_are_stored_as_hashes_only(session: Session) -> None:
    row, link = logins.make_link(session, rater="ann", scopes=["rate"])
    opened = logins.open_link(session, link)
    assert opened is not None
    stored = opened[0].model_dump_json() + row.model_dump_json()
    assert link not in stored
    assert opened[1] not in stored


def test_of_two_who_use_a_link_at_once_one_gets_in(database: str) -> None:
    link = link_for()
    with session_scope() as one, session_scope() as other:
        assert logins.open_link(one, link) is not None
        one.commit()
        assert logins.open_link(other, link) is None
