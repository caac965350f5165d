"""The demo's server, and its talk with it over HTTP: started here, asked with a key of its own, ended by the caller."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from rich.console import Console

from db.engine import session_scope
from db.queries import access
from worker.cli.output import console

UP_TIMEOUT_S = 90.0
SERVED_TIMEOUT_S = 30.0
FINAL = ("succeeded", "failed", "cancelled", "dead")


class DemoFailed(Exception):
    """A step of the demo did not do what it must; the message says which."""


def start_up(home: Path, port: int) -> subprocess.Popen[bytes]:
    """Start `afterglow up` and wait until it answers; its output goes to `home/up.log`.

    Raises:
        DemoFailed: It ended, or does not answer in time.
    """
    log = (home / "up.log").open("wb")
    process = subprocess.Popen(
        [sys.executable, "-m", "worker.cli.main", "up", "--port", str(port)], stdout=log, stderr=subprocess.STDOUT
    )
    deadline = time.monotonic() + UP_TIMEOUT_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if httpx.get(f"http://127.0.0.1:{port}/healthz", timeout=1.0, trust_env=False).is_success:
                return process
        except httpx.TransportError:
            time.sleep(0.2)
    process.terminate()
    raise DemoFailed(f"the server did not start: {(home / 'up.log').read_text(errors='replace')[-2000:]}")


class DemoClient:
    """Requests with a key; an answer that is an error fails the demo."""

    def __init__(self, http: httpx.Client, said_on: Console = console) -> None:
        self._http = http
        self._said_on = said_on

    @property
    def address(self) -> str:
        """Where the server listens."""
        return str(self._http.base_url).rstrip("/")

    def get(self, path: str) -> Any:
        """The JSON of an answer."""
        return _checked(self._http.get(path)).json()

    def get_text(self, path: str) -> str:
        """The text of an answer."""
        return _checked(self._http.get(path)).text

    def post(self, path: str, body: dict[str, Any]) -> Any:
        """The JSON of an answer to JSON."""
        return _checked(self._http.post(path, json=body)).json()

    def post_picture(self, path: str, query: dict[str, str], jpeg: bytes) -> Any:
        """The JSON of an answer to a picture."""
        answer = self._http.post(path, params=query, content=jpeg, headers={"Content-Type": "image/jpeg"})
        return _checked(answer).json()

    def follow(self, job_id: int) -> Any:
        """Wait for a job and those that follow it, showing progress; returns the first one's row."""
        answer = self._wait_for(job_id)
        for follow_up in answer["follow_ups"]:
            self.follow(follow_up["id"])
        return answer["job"]

    def wait_until_served(self, version: str) -> None:
        """Wait until the server says that it serves a version."""
        deadline = time.monotonic() + SERVED_TIMEOUT_S
        while time.monotonic() < deadline:
            if version in self._http.get("/readyz").text:
                return
            time.sleep(0.2)
        raise DemoFailed(f"the server did not take up {version} in time: {self._http.get('/readyz').text}")

    def _wait_for(self, job_id: int) -> Any:
        said = ""
        while True:
            answer = self.get(f"/v1/jobs/{job_id}")
            job = answer["job"]
            if job["state"] in FINAL:
                break
            now = f"   {job['kind']}: {job['state']} {job['progress']:.0%} {job['message'] or ''}"
            if now != said and sys.stderr.isatty():
                print(f"\r{now[:110]:<110}", end="", file=sys.stderr, flush=True)
                said = now
            time.sleep(0.3)
        if sys.stderr.isatty():
            print("\r" + " " * 110 + "\r", end="", file=sys.stderr)
        if job["state"] != "succeeded":
            raise DemoFailed(f"job {job_id} ({job['kind']}) {job['state']}: {job['reason']}")
        worker = next((event["worker"] for event in answer["events"] if event["event"] == "started"), "?")
        self._said_on.print(f"   {job['kind']}: succeeded on {worker}")
        return answer


@contextmanager
def demo_client(port: int, said_on: Console = console) -> Iterator[DemoClient]:
    """A client with a key of the scope `admin`, which says what it waited for."""
    with session_scope() as session:
        _, key = access.add_key(session, name="demo", scopes=["admin"])
    headers = {"Authorization": f"Bearer {key}"}
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", headers=headers, timeout=60.0, trust_env=False) as http:
        yield DemoClient(http, said_on)


def _checked(answer: httpx.Response) -> httpx.Response:
    if answer.is_error:
        raise DemoFailed(
            f"{answer.request.method} {answer.request.url.path} answered {answer.status_code}: {answer.text}"
        )
    return answer
