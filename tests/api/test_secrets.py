"""No secret reaches a log, and no answer tells what runs here."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from tests.conftest import client_of
from tests.tiny_model import picture

SECRETS = ("hunter2", "tok-9f8e7d", "s3cret-pw", "hush-hush")


@pytest.fixture
def process(database: str, data_dir: Path, tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """The API as a process of its own, as `afterglow up` starts it: its address, and all that it writes."""
    from worker.up import serving_processes

    api = next(each for each in serving_processes("127.0.0.1", 0, data_dir) if each.name == "api")
    log = tmp_path / "log"
    with log.open("wb") as out, subprocess.Popen(api.argv, stdout=out, stderr=out, env=os.environ.copy()) as child:
        try:
            while (found := re.search(r"running on (http://[0-9.:]+)", log.read_text())) is None:
                assert child.poll() is None, log.read_text()
            yield found[1], log
        finally:
            child.send_signal(signal.SIGTERM)
            child.wait(30)


def test_no_secret_reaches_the_log_of_the_server(process: tuple[str, Path], api_key: Callable[..., str]) -> None:
    address, log = process
    key = api_key()
    with client_of(address, key) as client:
        assert client.get("/v1/jobs?token=hunter2").status_code == 422
        assert client.get("/healthz?token=hunter2").status_code == 200
        assert client.get("/nowhere?token=hunter2").status_code == 404
        client.get("/v1/jobs?kind=hunter2")
        client.get("/v1/webcams", headers={"Authorization": "Bearer ag_00000000_hush-hush"})
        client.get("/v1/webcams", headers={"Cookie": "session=hush-hush", "X-Api-Key": "hush-hush"})
        for url in ("http://ana:s3cret-pw@127.0.0.1/x.jpg", "http://127.0.0.1:1/x.jpg?sig=tok-9f8e7d",
                    "https://no-such-host.invalid/x.jpg?sig=tok-9f8e7d"):  # fmt: skip
            client.post("/v1/score", json={"url": url})
            client.post("/v1/score/batch", json={"items": [{"url": url}]})
        client.post("/v1/score?captured_at=hunter2", content=picture(1))
        client.post("/v1/webcams", json={"external_id": "x", "password": "s3cret-pw"})
        made = client.post("/v1/keys", json={"name": "new", "scopes": ["rate"]}).json()["key"]
        client.get(f"/v1/jobs/{key}")
        assert client.get("/v1/jobs", headers={"X-Request-ID": key}).headers["x-request-id"] != key
        client.get("/v1/webcams", headers={"X-Request-ID": "done"})
        client.get("/healthz")  # by the time of its answer, the line about the request before is written
        answer = client.get("/healthz")
    written = log.read_text()
    assert '"path": "/v1/jobs"' in written
    assert '"key": "test-admin"' in written
    assert '"request_id": "done"' in written
    assert f'"path": "/v1/jobs/{key[:11]}_..."' in written
    for secret in (*SECRETS, key, key.rpartition("_")[2], made, made.rpartition("_")[2], os.environ["DATABASE_URL"]):
        assert secret not in written, secret
    assert "HTTP/1.1" not in written, "no line of uvicorn's access log, which holds queries"
    assert "server" not in answer.headers


def test_answers_tell_nothing_of_what_runs_here_and_forbid_browsers_everything(
    anonymous: httpx.Client, client: httpx.Client
) -> None:
    for answer in (
        anonymous.get("/healthz"), anonymous.get("/nowhere"), anonymous.get("/v1/webcams"), client.get("/v1/webcams"),
        client.post("/v1/webcams", content=b"{", headers={"Content-Type": "application/json"}),
    ):  # fmt: skip
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'"
        assert "access-control-allow-origin" not in answer.headers
        assert "Traceback" not in answer.text
        assert "sqlalchemy" not in answer.text.lower()


def test_the_docs_page_may_run_our_scripts_only(anonymous: httpx.Client) -> None:
    page = anonymous.get("/docs")
    policy = page.headers["content-security-policy"]
    scripts = re.search(r"script-src ([^;]+);", policy)
    assert scripts is not None
    assert re.fullmatch(r"'self' 'sha256-[A-Za-z0-9+/=]+'", scripts[1])
    assert page.text.count("<script>") == 1
    assert "frame-ancestors 'none'" in policy


def test_labels_of_counters_are_names_of_ours(client: httpx.Client) -> None:
    client.post("/v1/webcams", json={"external_id": "secret-pier", "source": "own", "title": "secret-title"})
    client.post("/v1/score?source=own&webcam=secret-pier", content=picture(1))
    client.get("/v1/secret-path")
    labels = set(re.findall(r'([a-z_]+)="', client.get("/metrics").text))
    assert "secret" not in client.get("/metrics").text
    assert labels <= {"method", "route", "status", "kind", "path_taken", "state", "le", "stage", "pool", "reason"}
