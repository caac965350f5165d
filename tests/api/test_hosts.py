"""Which host names are answered."""

from __future__ import annotations

import httpx

from api.main import create_app
from api.settings import ApiSettings
from tests.conftest import client_of, serving


def test_only_named_hosts_are_answered_where_they_are_named(database: str) -> None:
    app = create_app(ApiSettings(trusted_hosts="api.example.org, *.cams.example.org"))
    with serving(app) as address, client_of(address) as client:
        for host, status in (
            ("api.example.org", 200), ("api.example.org:8000", 200), ("API.example.org", 200),
            ("a.cams.example.org", 200), ("127.0.0.1", 400), ("example.org", 400), ("api.example.org.evil.net", 400),
            ("evilcams.example.org", 400),
        ):  # fmt: skip
            answer = client.get("/healthz", headers={"Host": host})
            assert answer.status_code == status, host
            assert answer.headers["x-request-id"]
            assert client.get(
                "/healthz", headers={"Host": host, "X-Forwarded-Host": "api.example.org"}
            ).status_code == (status), "what a proxy says of the host is not asked"


def test_no_answer_leads_to_the_host_that_a_caller_names(client: httpx.Client) -> None:
    answer = client.get("/v1/webcams/", headers={"Host": "evil.example.org"})
    assert (answer.status_code, "location" in answer.headers) == (404, False)
